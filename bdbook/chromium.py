"""The Chromium that prints the book and tests its pages."""

from __future__ import annotations

import shutil
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
HOW_TO_GET = "apt-get install chromium on Debian, or .venv/bin/playwright install chromium"


def installed() -> str | None:
    """The path of the system's own, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def launch(playwright):
    """A headless browser of playwright's (sync API): the system's Chromium, or playwright's own.

    Raises FileNotFoundError, with what to do, where there is neither.
    """
    path = installed() or playwright.chromium.executable_path
    if not Path(path).exists():
        raise FileNotFoundError(f"there is no Chromium here; to get it: {HOW_TO_GET}")
    return playwright.chromium.launch(executable_path=path, args=list(FLAGS))
