"""The cells that read a chapter's main slider: Python computes what the figure says."""

import io
import json
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
# Chapter: where its sliders were dragged to; the words of the figure, and of the cell, that have the numbers at each #.
CELLS = {
    "05": ({"sigma_max": 7.3, "t": 0.35, "schedule": "sin"}, "# of # frequencies", ": # of # frequencies"),
    "06": (
        {"f_max": 0.3, "t": 0.36, "kernel_sigma": 0.5, "f_type": "quartic", "steps": 250},
        "Σf = # of .*?blur # px",
        "sum to #: # px",
    ),
    "08": ({"sigma_max": 5.0, "t": 0.35}, "RMSE #", "RMSE #"),
    "09": ({"sigma_max": 7.3, "epsilon": 0.01, "steps": 25}, "TACoS #", "TACoS in 25 steps: RMSE #"),
    "11": ({"rho": 0.25, "t": 0.35, "steps": 40}, "c = #τ = #", "carry #, .* #$"),
    "12": (
        {"sigma_max": 7.3, "d_min": 0.01, "process": "blurring_sin", "steps": 40, "rule": "ddim", "order": 2},
        "KL # nats",
        "KL # nats",
    ),
}


def numbers(words: str, text: str) -> tuple[str, ...]:
    """The numbers at each # of the words, where the text has them."""
    return re.search(words.replace("#", r"(\d+(?:\.\d+)?)"), text).groups()


def test_every_chapter_whose_slider_has_a_name_is_here():
    named = {file.name[:2] for file in NOTEBOOKS.glob("*.ipynb") if '"read-slider"' in file.read_text()}
    assert named == set(CELLS)


@pytest.mark.parametrize("chapter", CELLS)
def test_a_cell_says_what_its_figure_shows(chapter, figure_page, monkeypatch):
    monkeypatch.setenv("BDBOOK_PROFILE", "smoke")
    dragged, in_figure, in_cell = CELLS[chapter]
    (file,) = NOTEBOOKS.glob(f"{chapter}_*.ipynb")
    cells = [cell for cell in json.loads(file.read_text())["cells"] if cell["cell_type"] == "code"]
    names: dict = {}
    for cell in cells[: [cell["id"] for cell in cells].index("read-slider") + 1]:
        if cell["id"] == "read-slider":
            for name, value in dragged.items():
                setattr(names["slider"], name, value)
        with redirect_stdout(io.StringIO()) as told:
            exec("".join(cell["source"]), names)
    page = figure_page([names["slider"]])
    shown = page.locator(".bdbook-widget").text_content()
    assert numbers(in_cell, told.getvalue().strip()) == numbers(in_figure, shown)
