"""The film of the six systems against the library's processes and the recorded films, and how it plays."""

import numpy as np
import pytest
import torch
from figures import (
    CALM,
    HEAD,
    IMPORT,
    IN_VIEW,
    LIVE,
    OUT_OF_VIEW,
    SIZE,
    control,
    frames,
    page_noise,
    photo_planes,
    pixels,
    shown_picture,
)
from pages import TYPESET
from PIL import Image

from bdbook import cold, processes
from bdbook.page import recorded
from bdbook.page.widgets import SystemsFilm
from bdbook.page.widgets.film import RUNS
from bdbook.transforms import DCT

pytestmark = pytest.mark.browser

NAMES = {"ddpm": "DDPM", "heat": "IHDM", "blurring": "blurring", "blur": "blur", "soft": "soft", "cold": "cold"}
SIDE, ACROSS = 16, 2
# Keeps (way, t) as each choice of a way leaves it, before the film goes on.
BEGUN = """(ways) => { window.begun = []; ways.addEventListener("input", ({ target }) =>
  begun.push([target.value, +document.querySelector("[name=t]").value])); }"""

# How far anything of the article was shifted, px; the theme's sidebar has its own shifts.
SHIFTS = """window.shifts = [0];
  new PerformanceObserver((list) => {
    for (const { sources } of list.getEntries())
      for (const { node, previousRect, currentRect } of sources)
        if (node?.parentElement?.closest("article")) shifts.push(Math.abs(currentRect.y - previousRect.y));
  }).observe({ type: "layout-shift", buffered: true });"""


def library() -> dict:
    """The processes at 64 pixels, with the papers' settings; cold diffusion as the book's, scaled up."""
    return {
        "ddpm": processes.ddpm(basis=DCT(SIZE)),
        "heat": processes.heat_dissipation(SIZE, sigma_max=32.0, sigma_min=0.5, steps=200, noise=0.02),
        "blurring": processes.blurring_diffusion(SIZE, sigma_max=20.0, d_min=1e-3),
        "blur": processes.blur_diffusion(SIZE, f_max=0.14, f_type="quartic", kernel_sigma=0.4, boundary="zero"),
        "soft": processes.soft_diffusion(SIZE, sigma_max=20.0, noise_min=0.01, noise_max=1.0),
        "cold": cold.blur(SIZE, steps=160, std=2.0, growth="constant", width=17, boundary="symmetric", to_mean=True),
    }


def film_page(figure_page, film, head=HEAD, **options):
    """The film once its recorded pictures are there."""
    page = figure_page([film], head=head, **options)
    page.wait_for_function("() => [...document.querySelectorAll('.bd-film canvas')].every((c) => c.width > 1)")
    return page


def shown_walk(page, name) -> np.ndarray:
    """(pictures, 16, 16) bytes of a canvas, and nothing between them."""
    side = ACROSS * (SIDE + 1) - 1
    picture = pixels(page.locator(f'canvas[data-name="{name}"]'))
    assert picture.shape == (side, side, 4)
    rows, columns = np.meshgrid(np.arange(ACROSS), np.arange(ACROSS), indexing="ij")
    tops, lefts = (17 * places.ravel() for places in (rows, columns))
    assert not picture[SIDE].any()
    assert not picture[:, SIDE].any()
    return np.stack([picture[y : y + SIDE, x : x + SIDE, 0] for y, x in zip(tops, lefts, strict=True)])


def now(page) -> tuple[str, float]:
    """(way, t) as the controls say."""
    return page.locator("input[type=radio]:checked").first.input_value(), float(control(page, "t").input_value())


def way(page, name):
    return page.get_by_role("radio", name=name)


def test_forward_is_the_librarys_with_the_same_noise(figure_page):
    film = SystemsFilm(playing=False)
    page = film_page(figure_page, film)
    noise = torch.from_numpy(page_noise(page, film))[None]
    photo = torch.from_numpy(photo_planes(film).copy())[None]
    for t in (0.0, 0.1, 0.5, 0.85, 1.0):
        control(page, "t").fill(str(t))
        for name, process in library().items():
            at = t if process.steps is None else np.floor(t * process.steps + 0.5) / process.steps
            expected = ((process.sample(photo, at, noise)[0] + 1) * 127.5).clamp(0, 255).numpy()
            assert np.abs(shown_picture(page, name) - expected).max() <= 0.51, (name, t)
            label = page.locator(f'canvas[data-name="{name}"]').get_attribute("aria-label")
            assert label.startswith(NAMES[name])
            assert f"the photograph at t = {t:.3f}" in label
    assert page.errors == []


def test_the_readers_photograph_is_shown(figure_page):
    photo = np.random.default_rng(0).uniform(-1, 1, (3, SIZE, SIZE))
    film = SystemsFilm(photo, playing=False)
    page = film_page(figure_page, film)
    assert np.abs(shown_picture(page, "cold") - (photo + 1) * 127.5).max() <= 1


def test_backward_is_the_recorded_film_column_by_column(figure_page):
    film = SystemsFilm(t=1.0, way="backward", playing=False)
    page = film_page(figure_page, film)
    for t, column in [(1.0, 0), (0.9, 3), (0.5, 15), (0.26, 22), (0.0, 30)]:
        control(page, "t").fill(str(t))
        for name in RUNS:
            stored = np.asarray(Image.open(recorded.folder_of(RUNS[name]) / "film.png"))
            expected = stored.reshape(9, SIDE, 31, SIDE)[:4, :, column] & 0xFC
            np.testing.assert_array_equal(shown_walk(page, name), expected, err_msg=f"{name} {t}")
    assert page.errors == []


def test_it_plays_forward_and_then_backward_until_the_reader_pauses(figure_page):
    page = film_page(figure_page, SystemsFilm(t=0.97))
    page.wait_for_function("() => document.querySelector('input[value=backward]').checked")
    page.wait_for_function("() => document.querySelector('[name=t]').value < 0.99")
    page.get_by_role("button", name="Pause").click()
    stopped = now(page)
    assert stopped[0] == "backward"
    frames(page)
    assert now(page) == stopped
    page.get_by_role("button", name="Play").click()
    page.wait_for_function(f"() => document.querySelector('[name=t]').value < {stopped[1]}")
    control(page, "t").fill("0.4")  # the reader's hand stops it
    frames(page)
    assert now(page) == ("backward", 0.4)
    assert page.errors == []


def test_the_loop_begins_again_after_the_drawings_have_stood(figure_page):
    film = SystemsFilm(playing=False)
    page = film_page(figure_page, film)
    at = "async ([source, seconds]) => seconds.map((await (IMPORT)(source)).scene)".replace("IMPORT", IMPORT)
    seconds = [0, 1, 5, 8.9, 9, 9.1, 13, 17, 19.4, 19.6, 24.5]
    shown = page.evaluate(at, [str(film._esm), seconds])
    ways = ["forward"] * 4 + ["backward"] * 5 + ["forward"] * 2
    times = [0, 0, 0.5, 0.99, 1, 0.99, 0.5, 0, 0, 0, 0.5]
    assert [scene["way"] for scene in shown] == ways
    np.testing.assert_allclose([scene["t"] for scene in shown], times, atol=0.0051)


def test_a_choice_of_way_starts_it_from_there_and_keeps_the_time_of_a_standing_film(figure_page):
    page = film_page(figure_page, SystemsFilm(t=0.3, playing=False))
    way(page, "backward").check()
    assert now(page) == ("backward", 0.3)
    page.locator(".bd-pictures").evaluate(IN_VIEW)  # or it would not play yet
    page.get_by_role("button", name="Play").click()
    page.locator("fieldset").evaluate(BEGUN)
    way(page, "forward").check()
    page.wait_for_function(
        "() => document.querySelector('[value=forward]').checked && document.querySelector('[name=t]').value > 0.01"
    )
    way(page, "backward").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowRight")
    assert now(page)[0] == "backward"
    assert page.evaluate("begun") == [["forward", 0], ["backward", 1]]


def test_it_plays_only_in_view(figure_page):
    head = HEAD + "<div style='height: 3000px'></div>"
    page = figure_page([SystemsFilm(t=0.3)], head=head)
    page.locator(".bd-pictures").evaluate(OUT_OF_VIEW)
    frames(page)
    assert now(page) == ("forward", 0.3)
    page.locator(".bd-pictures").scroll_into_view_if_needed()
    page.wait_for_function("() => document.querySelector('[name=t]').value > 0.3")
    page.evaluate("scrollTo(0, 0)")
    page.locator(".bd-pictures").evaluate(OUT_OF_VIEW)
    left = now(page)
    frames(page)
    assert now(page) == left


def test_readers_who_asked_for_less_motion_step(figure_page):
    page = film_page(figure_page, SystemsFilm(t=0.85), head=f"{HEAD}<script>{CALM}</script>")
    page.locator(".bd-pictures").evaluate(IN_VIEW)
    frames(page)
    assert now(page) == ("forward", 0.85)
    step = page.get_by_role("button", name="Step")
    seen = []
    for _ in range(4):
        step.click()
        seen.append(now(page))
    assert seen == [("forward", 0.95), ("backward", 0.95), ("backward", 0.85), ("backward", 0.75)]
    control(page, "t").fill("0")
    step.click()
    assert now(page) == ("forward", 0.0)
    step.click()
    assert now(page) == ("forward", 0.1)


@pytest.mark.parametrize("width", [360, 700, 1280])
def test_nothing_overflows_or_shifts(figure_page, width):
    page = film_page(
        figure_page, SystemsFilm(playing=False), width=width, head=f"{HEAD}<style>body {{ margin: 16px; }}</style>"
    )
    root = page.locator(".bdbook-widget")
    before = root.bounding_box()
    for name in ("forward", "backward"):
        way(page, name).check()
        for key in ("Home", "End"):
            control(page, "t").press(key)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert root.bounding_box() == before
        texts = page.locator(".bd-film :is(.bd-label, .bd-caption, .bd-hint, label, button)")
        cut = "els => els.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.outerHTML)"
        assert texts.evaluate_all(cut) == []
        lines = texts.evaluate_all("els => els.filter(e => e.matches('.bd-caption') && e.clientHeight > 24).length")
        assert lines == 0, "a caption of two lines"
    tops = page.locator(".bd-film canvas").evaluate_all("els => els.map(e => e.getBoundingClientRect().top)")
    assert len(set(tops)) == (2 if width == 360 else 1)


def contrast(one, other) -> float:
    def luminance(colour):
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in np.array(colour) / 255]
        return np.dot(linear, [0.2126, 0.7152, 0.0722])

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_names_are_legible_in_their_own_colours(figure_page, dark):
    page = film_page(figure_page, SystemsFilm(playing=False), dark=dark)
    of = "e => getComputedStyle(e).KEY.match(/\\d+/g).slice(0, 3).map(Number)"
    ground = page.locator(".bdbook-widget").evaluate(of.replace("KEY", "backgroundColor"))
    assert (sum(ground) < 150) == dark
    colours = [name.evaluate(of.replace("KEY", "color")) for name in page.locator(".bd-film .bd-symbol").all()[1:]]
    assert len({tuple(colour) for colour in colours}) == 6
    for colour in colours:
        assert contrast(colour, ground) >= 4.5


def test_readers_who_listen_have_a_name_for_everything(figure_page):
    page = film_page(figure_page, SystemsFilm(playing=False))
    assert page.get_by_role("slider", name="t, time").get_attribute("aria-valuetext") == "0.000"
    assert page.get_by_role("group", name="way").get_by_role("radio").count() == 2
    assert page.get_by_role("img").count() == 6
    stops = []
    for _ in range(3):
        page.keyboard.press("Tab")
        stops.append(page.evaluate("document.activeElement.type"))
        outlined = "e => getComputedStyle(e.type === 'radio' ? e.parentElement : e).outlineStyle"
        assert page.evaluate(f"({outlined})(document.activeElement)") == "solid"
    assert stops == ["radio", "range", "button"]


def test_python_hears_of_pauses_and_the_group_follows(tmp_path, open_page):
    (tmp_path / "index.html").write_text(f"{HEAD}<style>{SystemsFilm._css}</style>", encoding="utf-8")
    page = open_page(f"{tmp_path.as_uri()}/index.html")
    film = SystemsFilm(link="a", t=0.2)
    page.evaluate(LIVE, [str(film._esm), [film.state(), film.state() | {"playing": False}]])
    page.wait_for_function("() => models[0].get('t') > 0.22")
    assert page.evaluate("models[0].sent") == []
    assert page.evaluate("models[1].get('t')") > 0.2
    page.get_by_role("button", name="Pause").click()
    sent = dict(page.evaluate("models[0].sent"))
    assert sent == {"playing": False, "t": page.evaluate("models[0].get('t')")}
    page.evaluate("models[0].set('way', 'backward'); models[0].set('t', 0)")  # as when Python assigns
    assert now(page) == ("backward", 0.0)
    page.evaluate("models.forEach((model) => model.leave())")
    assert page.evaluate("models.map((model) => model.listeners())") == [0, 0]
    assert page.errors == []


def test_the_landing_page_is_light_and_keeps_still(book, open_page):
    source = book / "book" / "index.html"
    assert source.stat().st_size < 1_000_000
    for width, most in [(1280, 5), (360, 15)]:
        page = open_page("about:blank", width=width, own=True)
        page.add_init_script(SHIFTS)
        page.goto(source.as_uri())
        page.evaluate(TYPESET)
        page.wait_for_function("() => document.querySelector('[name=place]')?.value > 0")
        frames(page)  # after which a shift has been told
        assert page.evaluate("Math.max(...shifts)") <= most, width
        assert page.external == []
        assert page.errors == []
