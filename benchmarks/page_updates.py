"""How long does a figure take to follow a slider? Each range input of each figure, beside plain arithmetic.

Run: python benchmarks/page_updates.py   (needs Chromium; prints a Markdown table)

The peer is a unit of work timed in the same page between the passes: 100,000 exponentials of logarithms, about 0.8 ms
on a laptop. An update under 20 units is under a frame (16 ms) there. At each of the places of a slider the fastest of
the passes counts: other programs can make slow what is fast, and nothing makes fast what is slow.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from bdbook.page import widgets

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book"))
import chromium

HEAD = '<!doctype html><meta charset="utf-8"><title>x</title>'
OPTIONS = {
    "BlurDiffusionSlider": {"overlay": True},
    "LaboratorySlider": {"order": 2},
    "SystemsFilm": {"playing": False},
}
PLACES, PASSES = 31, 5
PASS = """(input, count) => {
  const clock = (work) => { const start = performance.now(); work(); return performance.now() - start; };
  let sum = 0;
  const ten = () => { for (let i = 0; i < 1000000; i++) sum += Math.exp(Math.log(1 + i % 100000) * 1e-3); };
  const unit = Math.min(clock(ten), clock(ten)) / 10;
  const times = Array.from({ length: count }, (_, i) => {
    input.value = +input.min + (input.max - input.min) * i / (count - 1);
    return clock(() => input.dispatchEvent(new Event("input")));
  });
  input.dataset.sum = sum; // so that nothing is optimised away
  return [times, unit]; }"""


def updates(page: Page, name: str) -> tuple[float, float]:
    """The median over a slider's places of what an update takes, and the unit of work, in ms."""
    slider = page.locator(f'[name="{name}"]').first
    passes = [slider.evaluate(PASS, PLACES) for _ in range(PASSES)]
    times = [min(at) for at in zip(*(times for times, _ in passes), strict=True)]
    return statistics.median(times), min(unit for _, unit in passes)


def main() -> None:
    print("| figure | slider | median ms | units of work |\n| --- | --- | --- | --- |")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = chromium.launch(playwright)
        file = Path(folder, "index.html")
        for kind in ("BlurringSlider", "BlurDiffusionSlider", "LaboratorySlider", "CarrySlider", "RestorationSlider",
                     "SeveritySlider", "SystemsFilm"):  # fmt: skip
            widgets.new_page()
            file.write_text(HEAD + getattr(widgets, kind)(**OPTIONS.get(kind, {})).static_html(), encoding="utf-8")
            page = browser.new_page()
            page.goto(file.as_uri())
            ranges = page.locator(".bdbook-widget input[type=range]:enabled")
            ranges.first.wait_for()
            for name in ranges.evaluate_all("inputs => inputs.map((input) => input.name)"):
                median, unit = updates(page, name)
                print(f"| {kind} | {name} | {median:.1f} | {median / unit:.1f} |", flush=True)
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
