"""The figure of the reader's own spectrum: its clocks and its sums are the laboratory's, in the page that holds it."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from figures import IMPORT, ask, control, frames
from pages import grave
from scipy.fft import idctn

from bdbook import processes, spectra
from bdbook.page import spectrum_page
from bdbook.page.widgets import SpectrumSlider
from bdbook.page.widgets.spectrum import SYSTEMS
from bdbook.spectra import advice
from bdbook.transforms import Circle

pytestmark = pytest.mark.browser

NAMES = dict(zip(SYSTEMS, ["DDPM", "cosine", "IHDM", "blurring", "soft", "equal SNR"], strict=True))
LAYOUTS = {(1, 96): "NCX", (3, 8, 8): "NCXX", (1, 4, 6, 8): "NCXXX"}  # at most 300 coefficients: each is one kind
STEPS = (2, 7, 40, 200)
TIMES = np.linspace(0, 1, 21)


def measured(shape, circles=()) -> spectra.Spectrum:
    """Samples whose power falls with frequency, and differs by channel."""
    axes = tuple(range(2, 1 + len(shape)))
    u = np.random.default_rng(sum(shape)).standard_normal((200, *shape))
    squares = sum(np.meshgrid(*[(np.pi * np.arange(n) / n) ** 2 for n in shape[1:]], indexing="ij"))
    u *= np.linspace(1, 2, shape[0]).reshape(-1, *[1] * len(axes)) / (0.02 + squares)
    return spectra.of(idctn(u, axes=axes, norm="ortho"), layout=LAYOUTS[shape], circles=circles)


def process_of(found, system):
    """The library's, as `spectra.advise` compares them."""
    if system == "equal_snr":
        return processes.equal_snr(found.gaussian, advice.floor_of(found))
    return advice.systems(found.basis.size)[NAMES[system]]


def in_table(process, t) -> torch.Tensor:
    """Times, the nearest that the process has."""
    t = torch.as_tensor(t, dtype=torch.float64)
    return t if process.steps is None else (t * process.steps).round() / process.steps


def asked(page, slider, system) -> dict:
    """What the program of the figure computes: clocks at TIMES, and (DDIM, posterior) in STEPS."""
    compute = f"""async ([source, modes, setting, at, counts]) => {{
        const {{ systemOn, missed }} = await ({IMPORT})(source);
        const {{ clocks, steps }} = systemOn(modes, setting);
        return {{ clocks: at.map(clocks), kl: counts.map((n) => missed(clocks, modes.count, n, steps)) }}; }}"""
    state = slider.state()
    width = state["_widths"].get(system, 1.0)
    setting = {"system": system, "width": width, "least": state["_least"]}
    return ask(page, compute, [str(slider._esm), state["_modes"], setting, TIMES.tolist(), list(STEPS)])


@pytest.mark.parametrize(
    ("shape", "circles"), [((1, 96), ()), ((3, 8, 8), ()), ((1, 4, 6, 8), ()), ((1, 96), (0,))], ids=str
)
def test_clocks_and_sums_are_the_laboratorys(shape, circles, open_page):
    found = measured(shape, circles)
    assert isinstance(found.basis.size[0], Circle) == bool(circles)
    slider = SpectrumSlider(found)
    law, page = found.gaussian, open_page("about:blank")
    squared = found.basis.freq2.expand(found.variance.shape).flatten()
    # Pairs of one frequency on a circle and the channels of one differ in their variance.
    order = np.lexsort([found.variance.flatten(), squared])
    np.testing.assert_allclose(slider.state()["_modes"]["squared"], squared[order], rtol=1e-12)
    for system in SYSTEMS:
        process, told = process_of(found, system), asked(page, slider, system)
        phi = law.clock(process, in_table(process, TIMES)).flatten(1)[:, order]
        np.testing.assert_allclose(told["clocks"], phi, rtol=0, atol=1e-9, err_msg=system)
        for steps, kl in zip(STEPS, told["kl"], strict=True):
            grid = in_table(process, torch.linspace(1, 0, steps + 1, dtype=torch.float64))
            for rule in ("ddim", "ancestral"):
                exact = law.sampler_error(process, grid, rule).kl.sum().item()
                assert kl[rule] == pytest.approx(exact, rel=1e-6), (system, steps, rule)


def told(page) -> list[float]:
    """KL of DDIM and of the posterior rule, and the floor, in nats, as the figure says them."""
    words = page.locator("svg.bd-errors").get_attribute("aria-label").split("logarithmic:")[1]
    return [float(v) for v in re.findall(r"\d+(?:\.\d+)?(?:e[+-]\d+)?", words)][:3]


def test_the_figure_shows_the_system_that_is_picked_at_its_own_width(figure_page):
    found = measured((3, 8, 8))
    page = figure_page([SpectrumSlider(found, system="ddpm", steps=20)])
    assert not control(page, "width").is_enabled()
    for system in SYSTEMS:
        control(page, "system").select_option(system)
        process = process_of(found, system)
        grid = in_table(process, torch.linspace(1, 0, 21, dtype=torch.float64))
        exact = [found.gaussian.sampler_error(process, grid, rule).kl.sum().item() for rule in ("ddim", "ancestral")]
        np.testing.assert_allclose(told(page)[:2], exact, rtol=0.006, err_msg=system)
        assert control(page, "width").is_enabled() == (system in ("heat", "blurring", "soft"))
    control(page, "system").select_option("blurring")
    before = told(page)[0]
    control(page, "width").press("Home")
    assert told(page)[0] < before, "less blur is nearer to the floor"
    page.get_by_role("button", name="Reset").click()
    assert control(page, "system").input_value() == "ddpm"
    assert page.errors == []


def test_time_moves_the_noise_up_and_the_data_down(figure_page):
    found = measured((1, 96))
    page = figure_page([SpectrumSlider(found, system="equal_snr", t=0.0)])
    read = """() => { const height = (line) => document.querySelector(`.bd-spectrum .bd-line.${line}`)
        .getAttribute("d").match(/[\\d.]+$/)[0]; return [height("bd-own"), height("bd-reference")].map(Number); }"""
    under = re.compile(r"(\d+) % under the noise")
    data, noise = page.evaluate(read)
    assert data < noise, "above it"
    assert under.search(page.locator(".bd-numbers").inner_text())[1] == "0"
    control(page, "t").fill("1")
    later = page.evaluate(read)
    assert later[0] > data
    assert later[1] < noise
    assert under.search(page.locator(".bd-numbers").inner_text())[1] == "100"
    page.get_by_role("button", name="Play t").click()
    frames(page)
    assert 0 < float(control(page, "t").input_value()) < 1
    box = page.locator("svg.bd-clocks").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 8, box["y"] + 60)
    page.mouse.up()
    assert control(page, "t").input_value() == "1"


def test_the_bands_are_drawn_with_their_errors(figure_page):
    found = measured((3, 8, 8))
    page = figure_page([SpectrumSlider(found)])
    across, bars = page.locator("svg.bd-spectrum").evaluate(
        """node => [[...node.querySelectorAll("circle")].map((c) => [c.cx, c.cy].map((v) => v.baseVal.value)),
        [...node.querySelectorAll(".bd-bar")].map((b) => [b.y1, b.y2].map((v) => v.baseVal.value))]"""
    )
    x, y = np.array(across).T
    power, error = (np.array([getattr(band, name) for band in found.bands]) for name in ("power", "power_error"))
    frequency = np.log([band.frequency for band in found.bands])
    np.testing.assert_allclose((x - x[0]) / (x[-1] - x[0]), (frequency - frequency[0]) / np.ptp(frequency), atol=1e-3)
    per_px = (np.log(power[0]) - np.log(power[-1])) / (y[-1] - y[0])
    low, high = np.array(bars).T
    np.testing.assert_allclose((low - y) * per_px, np.log(power) - np.log(power - 2 * error), atol=0.02)
    np.testing.assert_allclose((y - high) * per_px, np.log(power + 2 * error) - np.log(power), atol=0.02)


def test_of_a_sound_the_axis_says_hertz(figure_page):
    found = measured((1, 96))
    page = figure_page([SpectrumSlider(found), SpectrumSlider(replace(found, rate=8000))])
    titles = page.locator(".bd-spectrum .bd-axis-title").all_text_contents()
    assert titles == ["cycles per sample", "Hz"]
    keys = [page.locator(".bd-clocks").nth(k).locator("xpath=..").locator(".bd-key").first for k in (0, 1)]
    low = found.bands[0].frequency
    assert [key.inner_text() for key in keys] == [f"{low:.3g}", f"{8000 * low:.3g} Hz"]
    ends = [page.locator("svg.bd-spectrum").nth(k).locator("circle").last.get_attribute("cx") for k in (0, 1)]
    assert ends[0] == ends[1]


def test_one_frequency_alone_can_be_shown(figure_page):
    found = spectra.of(np.random.default_rng(0).standard_normal((100, 1, 2)), layout="NCX")
    page = figure_page([SpectrumSlider(found)])
    assert len(found.bands) == page.locator(".bd-spectrum circle").count() == 1
    assert page.locator(".bd-spectrum [data-x]").all_text_contents() == ["0.25"]
    assert page.errors == []


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> str:
    """The address of a page."""
    found = measured((3, 8, 8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(advice, "STEPS", (5, 10))
        text = spectrum_page.html(found, spectra.advise(found, 5))
    file = tmp_path_factory.mktemp("page") / "spectrum.html"
    file.write_text(text, encoding="utf-8")
    return file.as_uri()


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 360])
def test_the_page_is_whole_by_itself(width, dark, written, open_page):
    page = open_page(written, width=width, dark=dark)
    page.locator("svg.bd-errors[data-complete=true]").wait_for()
    control(page, "t").press("ArrowRight")
    assert page.locator("output").nth(0).inner_text() == "0.305"
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground = page.evaluate(
        "['body', '.bdbook-widget'].map((n) => getComputedStyle(document.querySelector(n)).backgroundColor)"
    )
    assert ground == ["rgb(20, 24, 30)" if dark else "rgb(255, 255, 255)"] * 2
    assert grave(page) == []
    assert page.errors == []
    assert page.external == []
