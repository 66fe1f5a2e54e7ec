"""The Chromium that prints the book and tests its pages."""

from __future__ import annotations

from pathlib import Path

from bdbook.cli.doctor import HOW_TO_GET_CHROMIUM, chromium

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")


def launch(playwright):
    """A headless browser of playwright's (sync API): the system's Chromium, or playwright's own.

    Raises FileNotFoundError, with what to do, where there is neither.
    """
    path = chromium() or playwright.chromium.executable_path
    if not Path(path).exists():
        raise FileNotFoundError(f"there is no Chromium here; to get it: {HOW_TO_GET_CHROMIUM}")
    return playwright.chromium.launch(executable_path=path, args=list(FLAGS))
