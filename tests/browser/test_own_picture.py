"""The reader's own picture: every way to hand it over, every kind of file, and what is said of it.

What each figure then makes of the picture is tested with the figure.
"""

import io

import numpy as np
import pytest
from figures import HEAD, LIVE, OWN, SIZE, control, encoded, hand_over, said, shown_picture
from PIL import Image, ImageOps

from bdbook.page.widgets import BlurDiffusionSlider, BlurringSlider, CarrySlider, RestorationSlider, SeveritySlider

pytestmark = pytest.mark.browser

FIGURES = [BlurringSlider, BlurDiffusionSlider, CarrySlider, RestorationSlider, SeveritySlider]
RNG = np.random.default_rng(0)


def means(pixels, size=SIZE):
    """Means over the areas of size x size equal parts of the central square, from integrals: (3, size, size)."""
    height, width, _ = pixels.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    image = pixels[top : top + side, left : left + side].astype(float)
    edges = np.arange(size + 1) * side / size
    for axis in (0, 1):
        sums = np.insert(np.cumsum(image, axis), 0, 0, axis)
        integral = np.apply_along_axis(lambda v: np.interp(edges, np.arange(side + 1), v), axis, sums)
        image = np.diff(integral, axis=axis) * size / side
    return image.transpose(2, 0, 1)


def noise(height, width, channels=3):
    return RNG.integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize("scheme", ["file", "http"])
@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_picture_is_dropped_or_pasted_and_reset_takes_it_away(figure_page, scheme, way):
    page = figure_page([BlurringSlider()], scheme)
    books = shown_picture(page, "photo")
    hand_over(page, encoded(OWN), "mine.png", way)
    assert said(page, "Shown") == "Shown: the middle of mine.png, 64 × 64 px."
    np.testing.assert_array_equal(shown_picture(page, "photo"), OWN.transpose(2, 0, 1))
    control(page, "t").press("ArrowRight")  # another control leaves it
    np.testing.assert_array_equal(shown_picture(page, "photo"), OWN.transpose(2, 0, 1))
    assert said(page, "Shown")
    page.get_by_role("button", name="Reset").click()
    np.testing.assert_array_equal(shown_picture(page, "photo"), books)
    assert page.locator(".bd-status").inner_text() == ""
    assert page.errors == []
    assert page.external == []


@pytest.mark.parametrize("scheme", ["file", "http"])
@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.__name__)
def test_a_file_is_chosen_by_mouse_and_by_keyboard(figure_page, tmp_path, figure, scheme):
    page = figure_page([figure()], scheme)
    for name, open_chooser in [
        ("a.png", lambda: page.get_by_text("Your picture", exact=True).click()),
        ("b.png", lambda: page.get_by_label("Your picture").press("Enter")),
        ("b.png", lambda: page.get_by_label("Your picture").press("Space")),  # the same file once more
    ]:
        (tmp_path / name).write_bytes(encoded(OWN))
        with page.expect_file_chooser() as chooser:
            open_chooser()
        assert chooser.value.element.get_attribute("accept") == "image/*"
        chooser.value.set_files(tmp_path / name)
        said(page, f"the middle of {name}")
        page.get_by_role("button", name="Reset").click()
        page.locator(".bd-status").filter(has_not_text="Shown").wait_for(state="attached")
    assert "It never leaves this machine." in page.locator(".bd-own-picture").inner_text()
    assert page.errors == []
    assert page.external == []


@pytest.mark.parametrize(
    ("height", "width"), [(16, 16), (40, 64), (64, 64), (100, 100), (300, 451), (640, 130), (24, 10_000), (1500, 1000)]
)
def test_every_pixel_is_the_mean_of_its_area(figure_page, height, width):
    pixels = noise(height, width)
    page = figure_page([BlurringSlider()])
    hand_over(page, encoded(pixels))
    assert said(page, "Shown").endswith(f"{width} × {height} px.")
    assert np.abs(shown_picture(page, "photo") - means(pixels)).max() <= 0.5 + 1e-6


def test_stripes_finer_than_a_pixel_become_grey(figure_page):
    stripes = np.broadcast_to(np.where(np.arange(960) % 2, 255, 0)[:, None], (960, 960, 3)).astype(np.uint8)
    page = figure_page([BlurringSlider()])
    hand_over(page, encoded(stripes[:, :950]))  # 14.8 of them to a pixel
    said(page, "Shown")
    shown = shown_picture(page, "photo")
    assert np.abs(shown - 127.5).max() < 255 / 14  # what a part of a stripe may add
    assert np.ptp(shown, axis=1).max() == 0  # the stripes stand


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_stands_as_the_camera_was_held(figure_page, orientation):
    corners = np.array([[[250, 20, 20], [20, 250, 20]], [[20, 20, 250], [240, 240, 240]]], np.uint8)
    image = Image.fromarray(corners.repeat(128, 0).repeat(80, 1))  # a portrait
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(image, "JPEG", quality=100, subsampling=0, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    page = figure_page([BlurringSlider()])
    hand_over(page, content, "photo.jpg")
    assert said(page, "Shown").endswith(f"{upright.width} × {upright.height} px.")
    assert np.abs(shown_picture(page, "photo") - means(np.asarray(upright))).max() <= 2


def test_what_is_transparent_is_white(figure_page):
    pixels = noise(128, 128, 4)
    pixels[:32, :, 3] = 0
    pixels[96:, :, 3] = 255
    page = figure_page([BlurringSlider()])
    hand_over(page, encoded(pixels))
    said(page, "Shown")
    shown = shown_picture(page, "photo")
    assert shown[:, :16].min() == 255
    opacity = pixels[..., 3:] / 255
    expected = means(opacity * pixels[..., :3] + (1 - opacity) * 255)
    assert np.abs(shown - expected).max() <= 1.5  # the canvas rounds each pixel


@pytest.mark.parametrize("kind", ["JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_other_kinds_of_files(figure_page, kind):
    ramp = np.broadcast_to(np.linspace(0, 255, SIZE).astype(np.uint8)[:, None, None], (SIZE, SIZE, 3))
    page = figure_page([BlurringSlider()])
    books = shown_picture(page, "photo")
    hand_over(page, encoded(ramp, kind), f"x.{kind.lower()}")
    if kind == "TIFF":  # which Chromium does not read
        said(page, "x.tiff cannot be read")
        np.testing.assert_array_equal(shown_picture(page, "photo"), books)
    else:
        said(page, "Shown")
        assert np.abs(shown_picture(page, "photo") - ramp.transpose(2, 0, 1)).max() <= 6


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
@pytest.mark.parametrize("count", [1, 3])
def test_of_an_animation_the_first_picture_is_shown_and_it_is_said(figure_page, kind, count):
    ramp = np.broadcast_to(np.linspace(0, 255, SIZE).astype(np.uint8)[:, None, None], (SIZE, SIZE, 3))
    later = [Image.fromarray(np.ascontiguousarray(ramp[::-1])), Image.fromarray(np.ascontiguousarray(255 - ramp // 2))]
    content = encoded(ramp, kind, save_all=True, append_images=later[: count - 1])
    page = figure_page([BlurringSlider()])
    hand_over(page, content, f"x.{kind.lower()}")
    first = "the first picture of " if count > 1 else ""
    assert said(page, "Shown") == f"Shown: the middle of {first}x.{kind.lower()}, 64 × 64 px."
    assert np.abs(shown_picture(page, "photo") - ramp.transpose(2, 0, 1)).max() <= 8


def test_a_drawing_is_shown(figure_page):
    page = figure_page([BlurringSlider()])
    halves = '<rect width="4" height="4" fill="#fff"/><rect width="2" height="4" fill="#0000ff"/>'
    hand_over(page, f'<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4">{halves}</svg>'.encode(), "x.svg")
    assert said(page, "Shown") == "Shown: the middle of x.svg, 1024 × 1024 px."
    shown = shown_picture(page, "photo")
    np.testing.assert_array_equal(shown[:, 0, :31], np.array([0, 0, 255])[:, None].repeat(31, 1))
    assert shown[:, :, 33:].min() == 255


BROKEN = {"notes.txt": b"not a picture", "empty.png": b"", "broken.png": encoded(OWN)[:60], "page.svg": b"<svg/>"}


@pytest.mark.parametrize("way", ["drop", "paste", "choose"])
@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_picture_is_refused_in_words_and_changes_nothing(figure_page, tmp_path, name, way):
    page = figure_page([BlurringSlider()])
    hand_over(page, encoded(OWN))
    said(page, "Shown")
    if way == "choose":
        (tmp_path / name).write_bytes(BROKEN[name])
        page.get_by_label("Your picture").set_input_files(tmp_path / name)
    else:
        hand_over(page, BROKEN[name], name, way)
    assert said(page, "cannot") == (
        f"{name} cannot be read as a picture; the figure stays as it was. Try a PNG, JPEG, WebP or SVG file."
    )
    np.testing.assert_array_equal(shown_picture(page, "photo"), OWN.transpose(2, 0, 1))
    assert page.errors == []


# The first picture is ready when the test says so; `done` counts those that the figure has done with.
LATE = """() => {
  const read = window.createImageBitmap.bind(window), late = new Promise((ready) => { window.ready = ready; });
  let begun = 0;
  window.done = 0;
  window.createImageBitmap = async (...given) => {
    const mine = ++begun, bitmap = await read(...given), close = bitmap.close.bind(bitmap);
    bitmap.close = () => { close(); window.done += 1; };
    if (mine === 1) await late;
    return bitmap;
  }; }"""


def test_of_two_pictures_the_later_stays(figure_page):
    page = figure_page([BlurringSlider()])
    page.evaluate(LATE)
    hand_over(page, encoded(np.full((500, 500, 3), 255, np.uint8)), "large.png")
    hand_over(page, encoded(OWN), "small.png")
    said(page, "small.png")
    page.evaluate("ready()")
    page.wait_for_function("done === 2")
    assert "small.png" in page.locator(".bd-status").inner_text()
    np.testing.assert_array_equal(shown_picture(page, "photo"), OWN.transpose(2, 0, 1))


def test_linked_figures_keep_their_own_pictures(figure_page):
    page = figure_page([BlurringSlider(link="a"), BlurringSlider(link="a")])
    books = shown_picture(page, "photo", 0)
    hand_over(page, encoded(OWN), nth=1)
    said(page, "Shown", 1)
    np.testing.assert_array_equal(shown_picture(page, "photo", 0), books)
    np.testing.assert_array_equal(shown_picture(page, "photo", 1), OWN.transpose(2, 0, 1))
    assert page.locator(".bd-status").first.inner_text() == ""


def test_the_figure_shows_that_a_file_may_be_dropped_and_leaves_other_drags_alone(figure_page):
    page = figure_page([BlurringSlider()])
    drag = """(figure, [type, file]) => {
      const data = new DataTransfer();
      if (file) data.items.add(new File(["x"], "x.png")); else data.setData("text/plain", "x");
      return !figure.dispatchEvent(new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true })); }"""
    figure = page.locator(".bdbook-widget")
    assert page.locator(".bd-status").get_attribute("role") == "status"
    outline = "figure => getComputedStyle(figure).outlineStyle"
    assert figure.evaluate(drag, ["dragover", True])  # prevented: a drop is welcome
    assert figure.evaluate(outline) == "dashed"
    figure.evaluate(drag, ["dragleave", True])
    assert figure.evaluate(outline) == "none"
    for kind in ("dragover", "drop"):
        assert not figure.evaluate(drag, [kind, False])
    assert page.locator(".bd-status").inner_text() == ""


def test_a_click_on_the_figure_lets_it_take_what_is_pasted(figure_page):
    page = figure_page([BlurringSlider()])
    page.locator("canvas").last.click()
    assert page.evaluate("document.activeElement.className") == "bdbook-widget"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "sigma_max"


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.__name__)
def test_python_gets_the_picture_that_is_shown(tmp_path, open_page, figure):
    (tmp_path / "index.html").write_text(f"{HEAD}<style>{figure._css}</style>", encoding="utf-8")
    page = open_page(f"{tmp_path.as_uri()}/index.html")
    slider = figure()
    page.evaluate(LIVE, [str(figure._esm), [slider.state()]])
    hand_over(page, encoded(OWN))
    said(page, "Shown")
    (sent,) = page.evaluate("models[0].sent")
    setattr(slider, *sent)
    np.testing.assert_array_equal(((slider.photo + 1) * 127.5).round().numpy(), OWN.transpose(2, 0, 1))
    assert page.errors == []
