"""Pictures keep their pixels; listings are the source; profiles are chosen as said."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from bdbook import plots, profiles, schedules
from bdbook.listing import listing


def test_pixels_are_rounded_and_clamped():
    values = torch.tensor([-9.0, -1.0, 0.0, 1.0, 9.0]).reshape(1, 1, 1, 5)
    assert plots.to_pixels(values).flatten().tolist() == [0, 0, 128, 255, 255]


def test_a_grid_places_each_image_and_separates_them_with_white():
    images = torch.linspace(-1, 0, 5).reshape(5, 1, 1, 1).expand(5, 3, 4, 6)
    grid = plots.grid(images, columns=3, gap=2)
    assert grid.shape == (2 * 4 + 2, 3 * 6 + 2 * 2, 3)
    for index in range(5):
        top, left = (index // 3) * 6, (index % 3) * 8
        assert (grid[top : top + 4, left : left + 6] == plots.to_pixels(images)[index, 0, 0, 0]).all()
    assert (grid[4:6] == 255).all()
    assert (grid[:, 6:8] == 255).all()


def test_png_enlarges_pixels():
    images = torch.rand(3, 1, 5, 5) * 2 - 1
    decoded = np.asarray(Image.open(io.BytesIO(plots.png(images, columns=3, enlarge=4))))
    np.testing.assert_array_equal(decoded[::4, ::4], plots.grid(images, 3)[..., 0])


def test_a_listing_shows_the_source_itself():
    shown = listing(schedules.sin2_blur, schedules.sin_blur)
    assert shown._repr_markdown_().startswith("```python\ndef sin2_blur(")
    assert "HS Eq. 25" in repr(shown)
    assert "def sin_blur(" in repr(shown)


def test_profile_given_beats_the_variable_beats_the_machine(monkeypatch):
    monkeypatch.setenv(profiles.VARIABLE, "smoke")
    assert profiles.resolve("cpu") == "cpu"
    assert profiles.resolve() == "smoke"
    monkeypatch.delenv(profiles.VARIABLE)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert profiles.resolve() == "cpu"
    with pytest.raises(ValueError, match="needs a CUDA device and none was found"):
        profiles.device("gpu")
    with pytest.raises(ValueError, match="unknown profile 'smok': did you mean 'smoke'"):
        profiles.resolve("smok")


def test_rows_have_their_names_beside_them():
    picture = np.zeros((60, 100), np.uint8)
    figure = plots.named_rows(picture, ["a", "b", "c"])
    texts = figure.axes[0].texts
    assert [text.get_text() for text in texts] == ["a", "b", "c"]
    assert [text.get_position()[1] for text in texts] == [10, 30, 50]
    assert all(text.get_position()[0] < 0 for text in texts)
