"""The playground of whole pictures against the library: its errors, its Python, its pictures and its walks."""

import contextlib
import io

import numpy as np
import pytest
from figures import IMPORT, ask, control, encoded, hand_over, said, timers

from bdbook import processes
from bdbook.oracle import Gaussian
from bdbook.page.widgets import Playground, compose
from bdbook.transforms import DCT

pytestmark = pytest.mark.browser

SETTINGS = [
    {"system": "ddpm", "rule": "ancestral", "steps": 30},
    {"system": "cosine", "rule": "ddim", "order": 2, "steps": 7},
    {"system": "heat", "sigma_max": 12.5, "rule": "ihdm", "steps": 60},
    {"system": "heat", "sigma_max": 20.0, "rule": "ddim", "steps": 40, "data": "leaves"},
    {"system": "blurring", "sigma_max": 20.0, "rule": "momentum", "steps": 50},
    {"system": "blur", "rule": "ddim", "steps": 25, "data": "leaves"},
    {"system": "soft", "sigma_max": 3.3, "rule": "ddim", "order": 2, "steps": 33},
    {"system": "equal_snr", "kappa": 0.0, "rule": "ddim", "steps": 5},
    {"system": "equal_snr", "kappa": -1.3, "rule": "ancestral", "steps": 20, "data": "leaves"},
    {"system": "blurring", "sigma_max": 5.0, "rule": "flow", "steps": 5},
]
READ = f"""async ([source, spectra, settings]) => {{
  const figure = await ({IMPORT})(source);
  return settings.map((setting) => {{
    const variance = figure.decodeDoubles(spectra[setting.data].variance);
    const system = figure.composed(setting, 32, variance);
    const {{ ratio, kl }} = figure.errorOf(setting, system, variance);
    const {{ alpha, sigma }} = system.at(0.3);
    return {{ kl, ratio: [...ratio], alpha: [...alpha], sigma: [...sigma],
      python: figure.pythonOf(setting, 32) }};
  }}); }}"""


def whole(setting: dict) -> dict:
    return {name: Playground.class_traits()[name].default() for name in compose.SETTING} | setting


@pytest.fixture(scope="module")
def told(open_shared_page) -> list[dict]:
    figure = Playground()
    argument = [str(figure._esm), figure.state()["_spectra"], [whole(setting) for setting in SETTINGS]]
    return ask(open_shared_page("about:blank"), READ, argument)


@pytest.mark.parametrize("number", range(len(SETTINGS)), ids=lambda number: str(SETTINGS[number]))
def test_the_page_computes_what_the_library_does(told, number):
    setting, page = whole(SETTINGS[number]), told[number]
    law = compose.spectrum(setting["data"])
    process = compose.process(setting["system"], law, setting["sigma_max"], setting["kappa"])
    for name in ("alpha", "sigma"):
        ours = getattr(process, name)(0.3).expand(1, 1, 32, 32).flatten()
        np.testing.assert_allclose(page[name], ours, rtol=1e-9, atol=1e-200)
    rule = compose.samplers.flow(law) if setting["rule"] == "flow" else setting["rule"]
    law = Gaussian(process.basis, law.variance, law.mean)
    error = law.sampler_error(process, process.times(setting["steps"]), rule, order=setting["order"])
    np.testing.assert_allclose(page["ratio"], error.ratio.flatten(), rtol=1e-9)
    np.testing.assert_allclose(page["kl"], error.kl.sum().item(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("number", range(len(SETTINGS)), ids=lambda number: str(SETTINGS[number]))
def test_the_python_that_it_shows_gives_the_number_that_it_shows(told, number):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(told[number]["python"], {})
    assert float(printed.getvalue()) == pytest.approx(told[number]["kl"], rel=1e-6, abs=1e-12)


def test_ranks_of_frequencies_are_the_librarys(open_page):
    basis = DCT((5, 9))
    squared = basis.freq2.flatten()
    js = ask(
        open_page("about:blank"),
        f"async ([source, squared]) => [...(await ({IMPORT})(source)).rank(squared)]",
        [str(Playground._esm), squared.tolist()],
    )
    np.testing.assert_allclose(js, processes.rank(squared), atol=1e-12)


def kl(page) -> float:
    return float(page.locator(".bd-composed").get_attribute("data-kl"))


def test_a_walk_sets_what_it_says(figure_page):
    page = figure_page([Playground()])
    for title in compose.WALKS:
        page.get_by_role("button", name=title).click()
        assert not page.get_by_role("button", name="Back").is_enabled()
        for number, setting in enumerate(compose.staged(compose.WALKS[title]), 1):
            sentence = page.locator(".bd-guide").inner_text()
            assert sentence.startswith(f"{number} of {len(compose.WALKS[title])}. ")
            expected = compose.error(**setting)
            assert kl(page) == pytest.approx(expected, rel=1e-6, abs=1e-9) or kl(page) > 1e4 < expected
            if number < len(compose.WALKS[title]):
                page.get_by_role("button", name="Next").click()
        assert not page.get_by_role("button", name="Next").is_enabled()
    page.get_by_role("button", name="Back").click()
    assert page.locator(".bd-guide").inner_text().startswith("5 of 6")
    page.get_by_role("button", name="Reset").click()
    assert kl(page) == pytest.approx(compose.error(**whole({})), rel=1e-6)
    assert page.locator(".bd-led[aria-pressed=true]").count() == 0
    assert page.errors == []


READ_CANVAS = "c => Array.from(c.getContext('2d').getImageData(0, 0, 32, 32).data)"


def test_the_strips_end_where_the_walk_ends(figure_page):
    page = figure_page([Playground(system="equal_snr", rule="flow", steps=3)])
    page.wait_for_function("() => document.querySelector('.bd-composed').dataset.drawn")
    names = [f"{way}{column}" for way in ("forth", "home") for column in range(6)]
    shown = {name: np.array(page.locator(f"canvas[data-name={name}]").evaluate(READ_CANVAS)) for name in names}
    example = compose.data.load("photos", 32, channels=1, count=1)[0, 0].numpy()
    first = shown["forth0"].reshape(32, 32, 4)[..., 0]
    assert np.abs(first - (example.clip(-1, 1) + 1) * 127.5).mean() < 1
    assert shown["home5"].std() < 127
    assert (shown["home0"] != shown["home5"]).any()


def test_a_picture_of_the_readers_own_goes_forward(figure_page):
    page = figure_page([Playground()])
    before = page.locator("canvas[data-name=forth0]").evaluate(READ_CANVAS)
    hand_over(page, encoded(np.full((40, 40, 3), (250, 20, 20), np.uint8)))
    said(page, "Shown")
    after = np.reshape(page.locator("canvas[data-name=forth0]").evaluate(READ_CANVAS), (32, 32, 4))
    assert after.reshape(-1).tolist() != before
    assert np.abs(after[..., 0].mean() - 250) < 8
    page.get_by_role("button", name="Reset").click()
    assert page.locator("canvas[data-name=forth0]").evaluate(READ_CANVAS) == before


def test_what_cannot_be_set_says_whose_it_is(figure_page):
    page = figure_page([Playground(system="cosine")])
    assert not control(page, "sigma_max").is_enabled()
    assert "no blur to set" in page.locator(".bd-controls").inner_text()
    control(page, "system").select_option("equal_snr")
    assert control(page, "kappa").is_visible()
    assert not control(page, "sigma_max").is_visible()
    control(page, "kappa").fill("1")
    timers(page, 500)
    assert "playground.kappa=1" in page.url
