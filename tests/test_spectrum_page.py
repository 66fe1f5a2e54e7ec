"""The page of a spectrum: the kinds of coefficients that its figure computes with, and all that the page says."""

import re
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import idctn

from bdbook import oracle, processes, spectra
from bdbook.page import spectrum_page, widgets
from bdbook.page.widgets import spectrum
from bdbook.spectra import advice
from bdbook.transforms import DCT, lengths

LAYOUTS = {(1, 512): "NCX", (3, 24, 24): "NCXX", (2, 4, 8, 12): "NCXXX"}
SHAPES = list(LAYOUTS)


def samples(shape, count=150) -> np.ndarray:
    """Of power that falls with frequency, (count, *shape)."""
    axes = tuple(range(2, 1 + len(shape)))
    squares = sum(np.meshgrid(*[(np.pi * np.arange(n) / n) ** 2 for n in shape[1:]], indexing="ij"))
    u = np.random.default_rng(sum(shape)).standard_normal((count, *shape)) / (squares + np.pi**2 / max(shape) ** 2)
    return idctn(u, axes=axes, norm="ortho")


def on(basis, process):
    """The same process on a few coefficients alone."""
    if "basis" in {field.name for field in fields(process)}:
        return replace(process, basis=basis)
    kind = type("OnModes", (type(process),), {"basis": property(lambda self: basis)})
    return kind(**{field.name: getattr(process, field.name) for field in fields(process)})


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sums_over_the_kinds_are_those_over_all_to_a_hundredth(shape):
    found = spectra.of(samples(shape), layout=LAYOUTS[shape])
    squared, variance, count = (torch.from_numpy(of).double() for of in spectrum.modes(found.gaussian))
    assert len(count) == spectrum.MODES < count.sum() == found.variance.numel()
    basis = advice.Modes(squared[None, None])
    law, floor = oracle.Gaussian(basis, variance[None, None]), advice.floor_of(found)
    pairs = [(process, on(basis, process)) for process in advice.systems(found.basis.size).values()]
    pairs.append(tuple(processes.equal_snr(of, floor) for of in (found.gaussian, law)))
    for whole, few in pairs:
        for steps in (2, 10, 50, 200):
            for rule in ("ddim", "ancestral"):
                exact = found.gaussian.sampler_error(whole, whole.times(steps), rule).kl.sum().item()
                told = (law.sampler_error(few, few.times(steps), rule).kl.flatten() * count).sum().item()
                assert told == pytest.approx(exact, rel=0.01), (whole.name, steps, rule)


@given(st.integers(0, 2**32 - 1), st.integers(2, 400), st.integers(2, 60), st.floats(0, 0.9))
@settings(max_examples=40, deadline=None)
def test_kinds_keep_how_many_there_are_and_both_means(seed, length, most, still):
    random = torch.Generator().manual_seed(seed)
    variance = torch.randn(1, 2, length, generator=random, dtype=torch.float64).exp()
    variance[torch.rand(variance.shape, generator=random) < still] = 0
    variance[0, 0, -1] = 1.0
    of = oracle.Gaussian(DCT((length,)), variance)
    squared, powers, count = spectrum.modes(of, most)
    varies = variance.flatten() > 0
    assert len(count) == min(most, varies.sum())
    assert count.sum() == varies.sum()
    assert (np.diff(squared) >= 0).all()
    every = of.basis.freq2.expand(variance.shape).flatten()[varies]
    np.testing.assert_allclose((count * squared).sum(), every.sum(), rtol=1e-9)
    logs = variance.flatten()[varies].log()
    np.testing.assert_allclose((count * np.log(powers)).sum(), logs.sum(), rtol=1e-9, atol=1e-9)
    if len(count) == varies.sum():
        np.testing.assert_allclose(np.sort(powers), logs.exp().sort().values, rtol=1e-12)


def test_the_figure_starts_from_the_widths_of_the_advice():
    found = spectra.of(samples((2, 4, 8, 12)), layout="NCXXX")
    names = {"heat": "IHDM", "blurring": "blurring", "soft": "soft"}
    known = advice.systems(found.basis.size)
    assert set(spectrum.WIDTHS) == set(names)
    for system, name in names.items():
        assert widgets.SpectrumSlider(found, system=system).width == pytest.approx(known[name].sigma_max)
    assert widgets.SpectrumSlider(found, system="heat", width=3).width == 3
    assert widgets.SpectrumSlider(found).state()["_longest"] == max(lengths(found.basis.size)) == 12


# --- the page ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def few_steps():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(advice, "STEPS", (5, 10))
        yield


@pytest.fixture(scope="module", params=SHAPES, ids=str)
def page(request, few_steps, tmp_path_factory):
    """(found, advised, asked, the page) of a file whose name is markup and no plain Python."""
    file = tmp_path_factory.mktemp("data") / """a <b>bold & "quoted"'s.npy"""
    np.save(file, samples(request.param))
    asked = {"layout": LAYOUTS[request.param], "limit": 100, "progress": True, "window": None}
    found = spectra.of(str(file), layout=asked["layout"], limit=100)
    advised = spectra.advise(found, 4)
    return found, advised, asked, spectrum_page.html(found, advised, asked)


def table(read: BeautifulSoup, key: str) -> tuple[list[str], list[list[str]]]:
    """The heads of the columns and the rows of the table that a paragraph is about."""
    of = read.find(attrs={"aria-labelledby": key}).table
    rows = [[cell.text for cell in row.find_all(["th", "td"])] for row in of.tbody.find_all("tr")]
    return [cell.text for cell in of.thead.find_all("th")], rows


def test_what_comes_from_the_file_is_text_and_no_markup(page):
    found, _, _, text = page
    read = BeautifulSoup(text, "html.parser")
    assert read.title.text == read.h1.text == f"Spectrum of {found.name}"
    assert "<b>bold" not in text
    assert read.html["lang"] == "en"
    ids = [node["id"] for node in read.find_all(id=True)]
    assert len(ids) == len(set(ids))


def test_the_page_needs_no_other_file(page):
    text = page[-1]
    assert set(re.findall(r"https?://[^\"'\s)<]+", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<[^>]*\b(src|href)\s*=|@import|url\([^#]", text)


def test_the_tables_are_what_was_measured_and_advised(page):
    found, advised, _, text = page
    read = BeautifulSoup(text, "html.parser")
    _, bands = table(read, "bands")
    numbers = [[float(cell.replace(",", "")) for cell in row] for row in bands]
    wanted = [(b.frequency, b.count, b.power) for b in found.bands]
    np.testing.assert_allclose([row[:3] for row in numbers], wanted, rtol=1e-3)
    heads, rows = table(read, "nats")
    assert heads == ["calls", "5", "10"]
    told = {name: [float(cell.replace(",", "")) for cell in cells] for name, *cells in rows}
    for system, rules in advised.kl.items():
        for rule, row in rules.items():
            np.testing.assert_allclose(told[f"{system}, {rule}"], [row[5], row[10]], rtol=0.006)
    least = [oracle.ddim_floor(found.variance.numel(), steps) for steps in (5, 10)]
    np.testing.assert_allclose(told["least of DDIM"], least, rtol=0.006)
    assert set(advised.reasons) == {item.text for item in read.find_all("li")}


def test_the_sigmas_can_be_copied(page):
    _, advised, _, text = page
    listed = [node.text.split(", ") for node in BeautifulSoup(text, "html.parser").find_all(class_="copied")]
    for order, shown in zip((1, 2), listed, strict=True):
        np.testing.assert_allclose(list(map(float, shown)), [*advised.sigmas[order], 0], rtol=1e-5)


def test_the_python_of_the_page_does_the_same(page, capsys):
    found, advised, _, text = page
    names = {}
    exec(BeautifulSoup(text, "html.parser").find("code").text, names)
    assert names["advised"].sigmas == advised.sigmas
    assert names["found"].count == found.count == 100
    assert capsys.readouterr().out == f"{found}\n{advised}\n"


def test_settings_are_those_that_were_given(page):
    found, advised, asked, _ = page
    (call,) = re.findall(r"spectra\.of\((.*)\)", spectrum_page.code(found, advised, asked))
    assert call == f"{found.name!r}, layout={asked['layout']!r}, limit=100"
    assert "spectra.of(array)\n" in spectrum_page.code(replace(found, name="an array"), advised)


def test_a_page_leaves_the_notebook_its_programs(page):
    found, advised, *_ = page
    widgets.new_page()
    for _ in range(2):  # each carries its own
        assert spectrum_page.html(found, advised).count('<script type="text/plain"') == 1
    assert "text/plain" in widgets.SpectrumSlider(found).static_html()


def test_of_a_sound_there_are_hertz_and_a_rate(page):
    found, advised, *_ = page
    read = BeautifulSoup(spectrum_page.html(replace(found, rate=8000), advised), "html.parser")
    heads, rows = table(read, "bands")
    assert heads[:2] == ["cycles per sample", "Hz"]
    assert float(rows[-1][1].replace(",", "")) == pytest.approx(8000 * found.bands[-1].frequency, abs=0.06)
    assert "8,000 samples a second" in read.dl.text
