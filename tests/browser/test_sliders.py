"""The blurring slider in a page without a kernel, and under a model that behaves as anywidget's.

Every number is computed a second time here with numpy and scipy, from the paper's formulas.
"""

import numpy as np
import pytest
from figures import (
    HEAD,
    IMPORT,
    LIVE,
    SIZE,
    ask,
    blur,
    check_own_picture,
    control,
    drag_to,
    frames,
    freq2,
    page_noise,
    photo_planes,
    process,
    shown_curve,
    shown_picture,
)
from scipy import stats
from scipy.fft import dctn, idctn

from bdbook.page import widgets
from bdbook.page.widgets import BlurringSlider

pytestmark = pytest.mark.browser


def check_page(page, slider, nth=0, **changed):
    """Everything drawn agrees with the values in the controls' place."""
    values = {key: getattr(slider, key) for key in ("sigma_max", "t", "d_min", "schedule")} | changed
    t = values.pop("t")
    lam, photo = freq2(SIZE, SIZE), photo_planes(slider)
    for i, k in enumerate([1, 2, 5, 12, 28, 63]):
        at, log_snr = shown_curve(page, f"bd-f{i}", nth)
        alpha, sigma, _ = process(lam[k, k], at, **values)
        steep = np.abs(np.gradient(2 * np.log10(alpha / sigma), at))  # t is read back to 1e-4 only
        assert (np.abs(log_snr - 2 * np.log10(alpha / sigma)) < 2e-3 + 1e-4 * steep).all(), f"curve {i}"
    alpha, sigma, a = process(lam, t, **values)
    blurred = blur(photo, alpha / a)
    expected = np.clip((blurred + 1) * 127.5, 0, 255)
    assert np.abs(shown_picture(page, "blurred", nth) - expected).max() <= 0.51
    noise = page_noise(page, slider)
    noisy = blur(photo, alpha) + sigma * noise
    assert np.abs(shown_picture(page, "noisy", nth) - np.clip((noisy + 1) * 127.5, 0, 255)).max() <= 0.51


@pytest.mark.parametrize("scheme", ["file", "http"])
def test_mouse_and_keyboard_move_curves_and_pictures(figure_page, scheme):
    slider = BlurringSlider()
    page = figure_page([slider], scheme)
    check_page(page, slider)

    drag_to(page, "sigma_max", 0.25)
    sigma_max = float(control(page, "sigma_max").input_value())
    assert 6.5 < sigma_max < 8.5
    check_page(page, slider, sigma_max=sigma_max)

    control(page, "sigma_max").press("ArrowRight")
    sigma_max = round(sigma_max + 0.1, 1)
    assert page.locator("output").first.inner_text() == f"{sigma_max:.1f} px"
    check_page(page, slider, sigma_max=sigma_max)

    control(page, "d_min").press("Home")
    control(page, "schedule").select_option("sin")
    control(page, "t").press("Home")
    for _ in range(10):
        control(page, "t").press("ArrowRight")
    check_page(page, slider, sigma_max=sigma_max, d_min=1e-5, schedule="sin", t=0.05)

    page.get_by_role("button", name="Reset").click()
    check_page(page, slider)
    assert page.errors == []
    assert page.external == []


def test_no_blur_is_the_dashed_reference(figure_page):
    page = figure_page([BlurringSlider(t=0.3)])
    control(page, "sigma_max").press("Home")
    t, log_snr = shown_curve(page, "bd-reference")
    alpha, sigma, _ = process(0.0, t, 0.0, 1e-3, "sin2")
    np.testing.assert_allclose(log_snr, 2 * np.log10(alpha / sigma), atol=2e-2)  # infinitely steep near the ends
    for i in range(6):
        np.testing.assert_array_equal(shown_curve(page, f"bd-f{i}")[1], log_snr)
    assert "4096 of 4096" in page.locator(".bd-heat").get_attribute("aria-label")


def test_the_heat_map_has_the_colours_of_its_bar(figure_page):
    slider = BlurringSlider(t=0.35, sigma_max=6.0)
    page = figure_page([slider])
    fills, colours = page.locator(".bd-heat").evaluate(
        """svg => [[...svg.querySelectorAll("rect")].map(r => r.getAttribute("fill").match(/[\\d.]+/g).map(Number)),
        Array.from(svg.previousSibling.getContext("2d").getImageData(0, 0, 256, 256).data)]"""
    )
    fills, colours = np.array(fills), np.array(colours).reshape(256, 256, 4)[::-1, :, :3]
    level = np.linspace(-15, 5, len(fills) + 1)[1:]  # the upper end of each rectangle, log10 SNR
    alpha, sigma, _ = process(freq2(SIZE, SIZE), 0.35, 6.0, 1e-3, "sin2")
    edge = 256 * np.log2(1 + np.arange(SIZE + 1)) / np.log2(1 + SIZE)  # an octave takes equal room
    centre = ((edge[1:] + edge[:-1]) / 2).astype(int)
    for n, m in [(0, 0), (1, 0), (0, 1), (3, 3), (2, 9), (9, 2), (20, 1), (63, 0), (63, 63)]:
        log_snr = 2 * np.log10(alpha[n, m] / sigma)
        expected = [np.interp(log_snr, level, fills[:, c]) for c in range(3)]
        np.testing.assert_allclose(colours[centre[n], centre[m]], expected, atol=8, err_msg=f"mode {n}, {m}")
    assert np.abs(colours[0, 0] - colours[-1, -1]).max() > 60
    count = (alpha >= sigma).sum()
    assert f"{count} of 4096 frequencies" in page.locator(".bdbook-widget").inner_text()


def test_a_photograph_from_python(figure_page):
    own = BlurringSlider(np.sin(0.1 * np.arange(SIZE * SIZE)).reshape(1, SIZE, SIZE), t=0.2, sigma_max=5.0)
    check_page(figure_page([own]), own)


def test_a_picture_of_the_readers_own(figure_page):
    check_own_picture(figure_page, check_page, BlurringSlider, t=0.2, sigma_max=5.0)


def test_dragging_on_the_curves_moves_t(figure_page):
    slider = BlurringSlider()
    page = figure_page([slider])
    box = page.locator(".bd-curves").bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 90)
    page.mouse.down()
    page.mouse.move(box["x"] + 42 + (box["width"] - 50) / 4, box["y"] + 60, steps=3)
    page.mouse.up()
    page.mouse.move(box["x"] + 300, box["y"] + 60)  # no longer pressed: t stays
    assert float(control(page, "t").input_value()) == pytest.approx(0.25, abs=0.006)
    check_page(page, slider, t=float(control(page, "t").input_value()))


def test_values_beyond_the_slider_are_shown(figure_page):
    slider = BlurringSlider(sigma_max=50.0)
    page = figure_page([slider])
    assert page.locator("output").first.inner_text() == "50.0 px"
    assert control(page, "sigma_max").input_value() == "50"
    check_page(page, slider)


def test_exported_functions_agree_with_numpy_and_scipy(chromium):
    """alpha, sigma and SNR to 1e-5 (relative), transforms to 1e-10, for a grid of settings and a non-square plane."""
    page, (h, w) = chromium.new_page(), (6, 9)
    image = np.random.default_rng(0).normal(size=(h, w))
    settings = [
        {"t": t, "sigma_max": s, "d_min": d, "schedule": k}
        for t in (0.0, 0.07, 0.5, 0.93, 1.0)
        for s, d, k in [(0.0, 1e-3, "sin2"), (20.0, 1e-3, "sin2"), (3.5, 1e-5, "sin"), (30.0, 0.1, "sin")]
    ]
    got = ask(
        page,
        f"""async ([source, h, w, image, settings]) => {{
        const core = await ({IMPORT})(source), lambda = core.freq2(h, w), list = (a) => Array.from(a);
        const u = core.dct2(Float64Array.from(image), h, w);
        return {{ lambda: list(lambda), dct: list(u), back: list(core.idct2(u, h, w)),
          tau: core.dissipationTime(3), noise: list(core.normals(1, 20000)), again: list(core.normals(1, 5)),
          all: settings.map(({{ t, sigma_max, d_min, schedule }}) => {{
            const p = core.blurringDiffusion({{ lambda, sigmaMax: sigma_max, dMin: d_min, blur: schedule }});
            return {{ alpha: list(p.alpha(t)), sigma: p.sigma(t), snr: list(p.snr(t)),
              blurred: list(core.idct2(p.alpha(t).map((a, k) => a * u[k]), h, w)) }}; }}) }}; }}""",
        [str(BlurringSlider._esm), h, w, image.ravel().tolist(), settings],
    )
    lam = freq2(h, w)
    np.testing.assert_allclose(got["lambda"], lam.ravel(), rtol=1e-12)
    np.testing.assert_allclose(got["dct"], dctn(image, norm="ortho").ravel(), atol=1e-10)
    np.testing.assert_allclose(got["back"], image.ravel(), atol=1e-10)
    assert got["tau"] == 4.5
    for setting, js in zip(settings, got["all"], strict=True):
        alpha, sigma, _ = process(lam, **setting)
        np.testing.assert_allclose(js["alpha"], alpha.ravel(), rtol=1e-5)
        assert js["sigma"] == pytest.approx(sigma, rel=1e-5)
        np.testing.assert_allclose(js["snr"], (alpha / sigma).ravel() ** 2, rtol=1e-5)
        expected = idctn(alpha * dctn(image, norm="ortho"), norm="ortho")
        np.testing.assert_allclose(js["blurred"], expected.ravel(), atol=1e-5)
    noise = np.array(got["noise"])
    assert got["again"] == got["noise"][:5]
    assert stats.kstest(noise, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(noise[:-1], noise[1:])[0, 1]) < 4 / np.sqrt(len(noise))
    page.close()


def test_linked_figures_share_t_and_nothing_else(figure_page):
    first, second, alone = BlurringSlider(link="a"), BlurringSlider(link="a", sigma_max=4.0), BlurringSlider()
    page = figure_page([first, second, alone])
    control(page, "t", 1).fill("0.2")
    control(page, "sigma_max", 0).fill("9")
    assert [control(page, "t", i).input_value() for i in range(3)] == ["0.2", "0.2", "0.5"]
    assert [control(page, "sigma_max", i).input_value() for i in range(3)] == ["9", "4", "20"]
    check_page(page, first, nth=0, t=0.2, sigma_max=9.0)
    check_page(page, second, nth=1, t=0.2)
    assert page.errors == []


def t_of(page) -> float:
    return float(control(page, "t").input_value())


def test_play_starts_stops_on_demand_and_stops_itself(figure_page):
    page = figure_page([BlurringSlider(t=0.2)])
    button = page.locator(".bd-play")
    button.click()
    assert button.inner_text() == "Pause"
    page.wait_for_function("document.querySelector('[name=t]').value > 0.25")
    button.click()
    stopped = t_of(page)
    frames(page)
    assert t_of(page) == stopped < 1
    assert button.inner_text() == "Play t"

    control(page, "t").fill("0.95")
    button.click()
    page.wait_for_function("document.querySelector('.bd-play').dataset.playing === 'false'")
    assert t_of(page) == 1

    button.click()  # from the end it starts over
    page.wait_for_function("document.querySelector('[name=t]').value < 0.5")
    control(page, "t").press("ArrowRight")  # a hand on the slider stops it
    assert button.inner_text() == "Play t"


def test_less_motion_means_steps(figure_page):
    page = figure_page([BlurringSlider(t=0.25)])
    page.emulate_media(reduced_motion="reduce")
    page.reload()
    button = page.get_by_role("button", name="Step t")
    seen = []
    for _ in range(3):
        button.click()
        seen.append(t_of(page))
    assert seen == [0.3, 0.4, 0.5]


def test_readers_who_listen_are_told_the_values(figure_page):
    page = figure_page([BlurringSlider()])
    sigma = page.get_by_role("slider", name="sigma B max")
    sigma.fill("0")
    assert sigma.get_attribute("aria-valuetext") == "0.0 px"
    assert page.get_by_role("slider").count() == 3
    assert page.get_by_role("combobox", name="blur schedule").count() == 1
    assert page.get_by_role("img", name="maximum blur 0.0 pixels").count() == 1
    assert page.get_by_role("img", name="blurred by 0.0 pixels").count() == 1
    assert page.get_by_role("img").count() == 5
    page.keyboard.press("Tab")
    for _ in range(5):
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", page.evaluate("document.activeElement.localName")
        page.keyboard.press("Tab")


def test_two_figures_hold_one_program_and_evaluate_it_once(figure_page):
    page = figure_page([BlurringSlider(), BlurringSlider()])
    assert page.locator('script[type="text/plain"]').count() == 1
    assert page.locator(".bdbook-widget").count() == 2
    assert page.evaluate("Object.keys(bdbookPrograms).length") == 1


def test_without_its_program_a_figure_says_so(tmp_path, open_page):
    widgets.new_page()
    BlurringSlider().static_html()
    (tmp_path / "index.html").write_text(HEAD + BlurringSlider().static_html(), encoding="utf-8")
    page = open_page(f"{tmp_path.as_uri()}/index.html")
    assert "run all cells again" in page.locator(".bdbook-figure").inner_text()
    widgets.new_page()


def test_the_same_module_lives_under_a_kernel(tmp_path, open_page):
    (tmp_path / "index.html").write_text(f"{HEAD}<style>{BlurringSlider._css}</style>", encoding="utf-8")
    page = open_page(f"{tmp_path.as_uri()}/index.html")
    sliders = [BlurringSlider(link="a"), BlurringSlider(link="a", t=0.9)]
    page.evaluate(LIVE, [str(BlurringSlider._esm), [slider.state() for slider in sliders]])
    page.locator(".bd-curves path.bd-f5[d]").nth(1).wait_for()
    assert [control(page, "t", i).input_value() for i in range(2)] == ["0.5", "0.5"]  # the newcomer follows

    control(page, "sigma_max").fill("12.5")
    assert page.evaluate("models[0].sent") == [["sigma_max", 12.5]]
    page.evaluate("models[0].set('sigma_max', 2)")  # as when Python assigns
    check_page(page, sliders[0], sigma_max=2.0)

    page.evaluate("models[0].set('t', 0.125)")
    assert control(page, "t", 1).input_value() == "0.125"
    assert page.evaluate("models[1].sent.at(-1)") == ["t", 0.125]

    page.evaluate("models[1].leave()")
    assert page.evaluate("models[1].listeners()") == 0
    page.evaluate("models[0].set('t', 0.75)")
    assert page.evaluate("models[1].get('t')") == 0.125
    page.evaluate("models[0].leave()")
    assert page.evaluate("bdbookGroups.size") == 0
    assert page.errors == []
