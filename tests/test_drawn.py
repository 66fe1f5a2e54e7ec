"""The numbers that a figure carries are those that it draws; for a dark page only its colours change."""

import base64
import csv
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

from bdbook.page import drawn, palette, plots


def rows(figure):
    """The CSV of a figure, a dictionary a row."""
    return list(csv.DictReader(io.StringIO(drawn.numbers(figure)[0])))


@pytest.fixture
def axes():
    figure, axes = plt.subplots(1, 2)
    yield axes
    plt.close(figure)


reals = st.floats(-1e6, 1e6, allow_nan=False, width=32)


@given(points=arrays(np.float64, st.tuples(st.integers(1, 30), st.just(2)), elements=reals))
def test_a_line_comes_back_in_seven_digits_under_the_names_of_the_axes(points):
    ax = Figure().subplots()
    ax.plot(*points.T, label="a, b")
    ax.set(xlabel="$t$", ylabel="KL, nats")
    found = rows(ax.figure)
    assert [row["series"] for row in found] == ["a, b"] * len(points)
    back = [[float(row["$t$"]), float(row["KL, nats"])] for row in found]
    np.testing.assert_allclose(back, points, rtol=1e-6)


def test_bars_points_errors_and_maps(axes):
    left, right = axes
    left.bar(["p", "q"], [1.5, 2.5], label="height")
    left.errorbar([0, 1], [3, 4], yerr=[0.5, 0.25], label="measured")
    left.scatter([0.5], [7], label="seen")
    left.axhline(2, label="limit")
    left.set(title="left", ylabel="v")
    right.pcolormesh([0, 1, 3], [0, 2], [[5, 6]])
    right.imshow(np.arange(6.0).reshape(2, 3), extent=(0, 3, 0, 2))
    found = rows(left.figure)
    of = {name: [row for row in found if row["series"] == name] for name in {row["series"] for row in found}}
    assert [(row["x"], float(row["v"])) for row in of["height"]] == [("p", 1.5), ("q", 2.5)]
    assert [float(row["v"]) for row in of["measured, error bars"]] == [2.5, 3.5, 3.75, 4.25]
    assert [(row["panel"], row["v"]) for row in of["seen"]] == [("left", "7.0")]
    assert [(row["x"], row["v"]) for row in of["limit"]] == [("", "2.0")]
    cells = [(float(row["x"]), float(row["y"]), float(row["value"])) for row in found if row["panel"] == "2"]
    assert cells[:2] == [(0.5, 1, 5), (2, 1, 6)]
    assert cells[2:] == [(x + 0.5, 1.5 - y, 3 * y + x) for y in range(2) for x in range(3)]  # the first row is on top


def test_pictures_are_no_numbers(axes):
    plots.show(axes[0], np.zeros((4, 4), np.uint8))
    axes[1].imshow(np.zeros((4, 4, 3)))
    assert drawn.numbers(axes[0].figure) == ("", [])


def test_what_does_not_fit_is_left_out_whole_and_named(axes):
    axes[0].plot(np.arange(drawn.LIMIT + 1), label="long")
    axes[0].plot([1, 2], label="short")
    axes[0].set_title("panel")
    text, left_out = drawn.numbers(axes[0].figure)
    assert left_out == ["panel: long"]
    assert text.count("short") == 2
    assert "long" not in text


def drawn_pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def test_a_figure_is_as_before_once_its_dark_picture_is_made_and_that_is_as_large(axes):
    left, right = axes
    left.plot([1, 2], color="navy", marker="o", mfc="white", label="a")
    left.legend()
    left.annotate("here", (0, 1), (0.5, 1.5), arrowprops={"arrowstyle": "->"})
    right.imshow(np.array([[0.0, 1.0]]), cmap="gray")
    figure = left.figure
    figure.canvas.draw()
    before = bytes(figure.canvas.buffer_rgba())
    light = io.BytesIO()
    figure.savefig(light, format="png", bbox_inches="tight", dpi=figure.dpi)
    dark = drawn_pixels(base64.b64decode(drawn.carried(figure)["dark"]))
    assert dark.shape == drawn_pixels(light.getvalue()).shape
    figure.canvas.draw()
    assert bytes(figure.canvas.buffer_rgba()) == before
    assert dark[0, 0].tolist() == [int(drawn.GROUND[i : i + 2], 16) for i in (1, 3, 5)]
    # The map keeps its black and its white; of what is drawn beside it nothing is left of white paper.
    assert {0, 255} <= set(dark[:, dark.shape[1] // 2 :].ravel().tolist())
    assert (dark[:, : dark.shape[1] // 2].min(-1) >= 250).mean() < 0.001


channel = st.integers(0, 255)


@given(colour=st.tuples(channel, channel, channel), ratio=st.sampled_from([3.0, 4.5]))
def test_a_colour_stands_out_from_the_dark_ground_as_it_did_from_the_light_one(colour, ratio):
    given_colour = tuple(c / 255 for c in colour)
    dark = drawn.darkened(given_colour, ratio)
    if max(colour) - min(colour) <= 10:  # a grey: it changes places
        level = colour[0] / 255
        lower, upper = drawn.darkened("white")[0], drawn.darkened("black")[0]
        assert dark[0] == pytest.approx(upper + level * (lower - upper), abs=1e-6)
    else:
        assert drawn.contrast(dark, drawn.GROUND) >= ratio - 1e-6
    assert dark[3] == 1


def test_words_and_marks_of_the_style_can_be_read_on_both_grounds():
    for ground, convert in (("#ffffff", lambda c: c), (drawn.GROUND, lambda c: drawn.darkened(c, 4.5))):
        assert drawn.contrast(convert("black"), ground) >= 4.5
        for colour in palette.PALETTE.values():
            assert drawn.contrast(convert(colour.mark), ground) >= 3


def test_a_session_shows_figures_with_what_they_carry_after_matplotlib_chose_its_formats(axes):
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.core.pylabtools import select_figure_formats

    had = InteractiveShell._instance
    shell = InteractiveShell.instance()
    try:
        drawn.attach()
        select_figure_formats(shell, {"png"})  # as when the first figure is made
        axes[0].plot([1, 2])
        shown, _ = shell.display_formatter.format(axes[0].figure)
        assert {"image/png", drawn.MIME} <= shown.keys()
        assert shown[drawn.MIME]["csv"].startswith("panel,series,x,y\n")
    finally:
        if had is None:
            InteractiveShell.clear_instance()
