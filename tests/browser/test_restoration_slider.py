"""The restoration slider against the library: its blur, its samplers, and the restorer as a network of pixels."""

import re

import numpy as np
import pytest
import torch
from figures import (
    IMPORT,
    LIVE,
    SIZE,
    ask,
    check_own_picture,
    control,
    page_noise,
    photo_planes,
    shown_line,
    shown_picture,
)

from bdbook import cold, denoiser, processes, samplers
from bdbook.page.widgets import RestorationSlider
from bdbook.transforms import Pixel

pytestmark = pytest.mark.browser

KEYS = ("sigma_max", "epsilon", "bias", "steps")
NAMES = ("blurred", "direct", "naive", "tacos")
SPOKEN = ("D(x, 1)", "direct", "Algorithm 1", "TACoS")
LINES = ("bd-reference", "bd-f3", "bd-f5", "bd-own")
END = torch.ones(1, dtype=torch.float64)
SHOWN = torch.from_numpy(np.geomspace(np.pi / SIZE, np.pi * np.sqrt(2), 101) ** 2).reshape(1, 1, 1, -1)  # lambda


def walks(process, values, x, e) -> dict:
    """What becomes of an image x, (1, C, H, W) float64, when the restorer adds e each time."""

    def restorer(x_t, t):
        alpha = process.alpha(t)
        return process.basis.inverse(alpha / (alpha**2 + values["epsilon"]) * process.basis.forward(x_t)) + e

    model = denoiser.Denoiser(restorer, process, denoiser.X0)
    blurred = process.sample(x, 1.0, torch.zeros_like(x))
    ends = {"blurred": blurred, "direct": restorer(blurred, END)}
    for name in ("naive", "tacos"):
        ends[name] = samplers.last(
            samplers.sample(model, blurred, process.times(values["steps"]), samplers.rule(name))
        ).x
    return ends


def pattern(page, slider, basis):
    """The bias e of unit variance, in pixels."""
    return basis.inverse(torch.from_numpy(page_noise(page, slider))[None])


def check_page(page, slider, **changed):
    values = {key: getattr(slider, key) for key in KEYS} | changed

    # Shares and gains: the same walk over the frequencies that are drawn, with u_x = 1 and e = 0 or the reverse.
    process = processes.Process(
        Pixel(), lambda t: torch.exp(-SHOWN * (values["sigma_max"] * t) ** 2 / 2), torch.zeros_like
    )
    one = torch.ones_like(SHOWN)
    of_signal, of_bias = walks(process, values, one, 0 * one), walks(process, values, 0 * one, one)
    ends = np.log10([0.05, 4])  # the outermost grid lines
    for name, line in zip(NAMES, LINES, strict=True):
        x, y = shown_line(page, f".bd-shares path.{line}", ends, (0, 1))
        np.testing.assert_allclose(x, SHOWN.flatten().log10() / 2, atol=1e-3)
        np.testing.assert_allclose(y, of_signal[name].flatten(), atol=1e-4, err_msg=name)
        if name != "blurred":
            _, y = shown_line(page, f".bd-biases path.{line}", ends, (-2, 3))
            np.testing.assert_allclose(y, of_bias[name].flatten().clamp(min=1e-2).log10(), atol=1e-3, err_msg=name)

    process = cold.dct_blur(SIZE, values["sigma_max"])
    photo = torch.from_numpy(photo_planes(slider).copy())[None]
    images = walks(process, values, photo, values["bias"] * pattern(page, slider, process.basis))
    errors = [((images[name] - photo) ** 2).mean().sqrt().item() / 2 for name in NAMES]
    for name, error in zip(NAMES, errors, strict=True):
        expected = ((images[name][0] + 1) * 127.5).clamp(0, 255).numpy()
        assert np.abs(shown_picture(page, name) - expected).max() <= 0.51, name
        caption = page.locator(f'.bd-picture:has(canvas[data-name="{name}"]) .bd-hint').inner_text()
        assert float(re.search(r"RMSE (\S+\d)", caption)[1]) == pytest.approx(error, abs=6e-5)
        assert ("closest" in caption) == (error < min(errors) + 1e-9)
    said = page.locator(".bd-sentence").inner_text()
    for name, error in zip(SPOKEN, errors, strict=True):
        assert float(said.split(f"{name} ")[1][:6]) == pytest.approx(error, abs=6e-5)
    closest = [name for name, error in zip(SPOKEN, errors, strict=True) if error < min(errors) + 1e-9]
    assert said.endswith(f"Closest: {' and '.join(closest)}.")


def test_a_picture_of_the_readers_own(figure_page):
    check_own_picture(figure_page, check_page, RestorationSlider)


def test_everything_drawn_follows_the_controls(figure_page):
    slider = RestorationSlider()
    page = figure_page([slider])
    check_page(page, slider)
    control(page, "bias").fill("0.1")
    control(page, "sigma_max").fill("8")
    check_page(page, slider, bias=0.1, sigma_max=8.0)
    control(page, "epsilon").press("End")
    control(page, "steps").press("Home")
    check_page(page, slider, bias=0.1, sigma_max=8.0, epsilon=0.1, steps=1)
    page.get_by_role("button", name="Reset").click()
    check_page(page, slider)
    assert page.errors == []


@pytest.mark.parametrize(
    "values",
    [
        {"sigma_max": 0.5, "epsilon": 1e-6, "bias": 0.3, "steps": 200},
        {"sigma_max": 16.0, "epsilon": 0.1, "steps": 7},
        {"sigma_max": 0.0, "bias": 0.05, "steps": 1},
        {"sigma_max": 30.0, "epsilon": 1e-12, "steps": 3},
    ],
    ids=str,
)
def test_the_ends_of_the_ranges(figure_page, values):
    slider = RestorationSlider(**values)
    check_page(figure_page([slider]), slider)


GAINS = """async ([source, lambda, settings]) => { const { restored } = await (IMPORT)(source);
  return [0, 1].map((carry) => {
    const { signal, bias } = restored({ lambda: Float64Array.from(lambda), carry, ...settings });
    return [Array.from(signal), Array.from(bias)]; }); }""".replace("IMPORT", IMPORT)


@pytest.mark.parametrize("steps", [1, 2, 40, 200])
@pytest.mark.parametrize("epsilon", [1e-6, 1e-3, 0.1])
def test_the_gains_are_the_librarys(open_page, epsilon, steps):
    """To rounding, at every frequency, for both algorithms."""
    values, process = {"epsilon": epsilon, "steps": steps}, cold.dct_blur(SIZE, 4.0)
    basis = process.basis
    told = ask(
        open_page("about:blank"),
        GAINS,
        [
            str(RestorationSlider._esm),
            basis.freq2.flatten().tolist(),
            {"sigmaMax": 4.0, "epsilon": epsilon, "steps": steps},
        ],
    )
    ones = basis.inverse(torch.ones(1, 1, SIZE, SIZE, dtype=torch.float64))
    expected = [walks(process, values, ones, 0 * ones), walks(process, values, 0 * ones, ones)]
    for name, gains in zip(("naive", "tacos"), told, strict=True):
        for walk, gain in zip(expected, gains, strict=True):
            np.testing.assert_allclose(gain, basis.forward(walk[name]).flatten(), atol=1e-9, err_msg=name)


def test_one_step_of_algorithm_1_is_direct_restoration(figure_page):
    page = figure_page([RestorationSlider(steps=1, bias=0.1)])
    for plot in ("shares", "biases"):
        paths = [page.locator(f".bd-{plot} path.{line}").get_attribute("d") for line in ("bd-f3", "bd-f5")]
        assert paths[0] == paths[1]
    np.testing.assert_array_equal(shown_picture(page, "direct"), shown_picture(page, "naive"))


def test_python_and_the_reader_set_the_same_values(tmp_path, open_page):
    (tmp_path / "index.html").write_text("<!doctype html>", encoding="utf-8")
    page = open_page(f"{tmp_path.as_uri()}/index.html")
    slider = RestorationSlider(bias=0.1)
    page.evaluate(LIVE, [str(slider._esm), [slider.state()]])
    page.locator("path.bd-line[d]").last.wait_for(state="attached")
    page.evaluate("models[0].set('steps', 37)")  # any whole number, not only the slider's places
    assert page.locator("output").last.inner_text() == "37"
    check_page(page, slider, steps=37)
    for name in KEYS:
        control(page, name).press("ArrowLeft")
    sent = dict(page.evaluate("models[0].sent"))
    for name, value in sent.items():  # what the page sends Python accepts
        setattr(slider, name, value)
    assert set(sent) == set(KEYS)
    assert sent["steps"] == 30
    check_page(page, slider)
