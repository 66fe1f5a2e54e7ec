"""Pictures keep their pixels; listings are the source; profiles are chosen as said."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from bdbook import pixels, schedules
from bdbook.page import palette, plots
from bdbook.page.listing import listing


def test_pixels_are_rounded_and_clamped():
    values = torch.tensor([-9.0, -1.0, 0.0, 1.0, 9.0]).reshape(1, 1, 1, 5)
    assert pixels.to_pixels(values).flatten().tolist() == [0, 0, 128, 255, 255]


def test_a_grid_places_each_image_and_separates_them_with_white():
    images = torch.linspace(-1, 0, 5).reshape(5, 1, 1, 1).expand(5, 3, 4, 6)
    grid = pixels.grid(images, columns=3, gap=2)
    assert grid.shape == (2 * 4 + 2, 3 * 6 + 2 * 2, 3)
    for index in range(5):
        top, left = (index // 3) * 6, (index % 3) * 8
        assert (grid[top : top + 4, left : left + 6] == pixels.to_pixels(images)[index, 0, 0, 0]).all()
    assert (grid[4:6] == 255).all()
    assert (grid[:, 6:8] == 255).all()


def test_png_enlarges_pixels():
    images = torch.rand(3, 1, 5, 5) * 2 - 1
    decoded = np.asarray(Image.open(io.BytesIO(pixels.png(images, columns=3, enlarge=4))))
    np.testing.assert_array_equal(decoded[::4, ::4], pixels.grid(images, 3)[..., 0])


def test_a_listing_shows_the_source_itself():
    shown = listing(schedules.sin2_blur, schedules.sin_blur)
    assert shown._repr_markdown_().startswith("```python\ndef sin2_blur(")
    assert "HS Eq. 25" in repr(shown)
    assert "def sin_blur(" in repr(shown)


def test_rows_have_their_names_beside_them():
    picture = np.zeros((60, 100), np.uint8)
    figure = plots.named_rows(picture, ["a", "b", "c"])
    texts = figure.axes[0].texts
    assert [text.get_text() for text in texts] == ["a", "b", "c"]
    assert [text.get_position()[1] for text in texts] == [10, 30, 50]
    assert all(text.get_position()[0] < 0 for text in texts)


def contrast(one: str, other: str) -> float:
    """WCAG's ratio of two hexadecimal colours."""

    def luminance(colour: str) -> float:
        levels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("name", palette.PALETTE)
def test_a_systems_colour_is_legible_as_text_on_light_and_dark(name):
    colour = palette.PALETTE[name]
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast(colour.mark, "#ffffff") >= 3
    assert contrast(colour.light, "#ffffff") >= 4.5
    for ground in ("#121212", "#14181e"):  # of the book, and of the theme under it
        assert contrast(colour.dark, ground) >= 4.5
    assert plots.COLOURS[name] == colour.mark
    assert f"--{name}: light-dark({colour.light}, {colour.dark});" in palette.css()
