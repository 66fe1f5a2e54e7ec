"""The launch buttons, on a book of one chapter that is built strictly with the settings: where they lead and fit."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

import pytest
from bs4 import BeautifulSoup

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parents[2]
CHAPTER = "notebooks/05_blurring_diffusion"
SETTINGS = {"REPO_URL": "https://github.com/you/bdbook", "HUB_URL": "https://hub.example.org", "REPO_BRANCH": "draft"}
PAGES = {
    "_toc.yml": "format: jb-book\nroot: book/index\nchapters:\n  - file: book/notation\n  - file: " + CHAPTER,
    "book/index.md": "# A book\n",
    "book/notation.md": "# Notation\n\nAll there is.\n",
    f"{CHAPTER}.ipynb": json.dumps(
        {
            "cells": [{"cell_type": "markdown", "id": "a", "metadata": {}, "source": "# A chapter"}],
            "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
    ),
}


def stage() -> ModuleType:
    """book/stage.py, which imports from its own folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "book")
        return importlib.import_module("stage")


def build(folder: Path, settings: dict[str, str]) -> Path:
    """The pages of a small book with the configuration that make would stage; a warning is an error."""
    for name, text in PAGES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    for name in ("assets", "extensions", "templates", "references.bib"):
        (folder / "book" / name).symlink_to(ROOT / "book" / name)
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS} | settings
    file = folder / "launch.json"
    subprocess.run([sys.executable, ROOT / "book" / "launch.py", file], check=True, env=environment)
    config = stage().write_config(folder / "config", json.loads(file.read_text()), ROOT / "_config.yml")
    shutil.copyfile(config, folder / "_config.yml")
    command = [Path(sys.executable).with_name("jupyter-book"), "build", folder, "--path-output", folder, "-W", "-n"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder / "_build" / "html"


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    return build(tmp_path_factory.mktemp("launched"), SETTINGS)


def outside(page: Path) -> dict[str, str]:
    """Where the links of a page lead, of those that leave the book."""
    links = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser").select("a[href]")
    return {link.get_text(strip=True): link["href"] for link in links if urlsplit(link["href"]).netloc}


def test_each_button_opens_the_chapters_notebook(launched):
    found = outside(launched / f"{CHAPTER}.html")
    hub = urlsplit(found.pop("JupyterHub"))
    assert (hub.scheme, hub.netloc) == ("https", "hub.example.org")
    assert (hub.path, hub.query) == (f"/hub/user-redirect/lab/tree/{CHAPTER}.ipynb", "")
    assert found == {
        "Binder": f"https://mybinder.org/v2/gh/you/bdbook/draft?urlpath=lab/tree/_build/handout/{CHAPTER}.ipynb",
        "Colab": f"https://colab.research.google.com/github/you/bdbook/blob/handout/{CHAPTER}.ipynb",
        "": SETTINGS["REPO_URL"],  # an icon
    }


def test_a_page_that_is_no_notebook_links_the_repository_alone(launched):
    assert outside(launched / "book/notation.html") == {"": SETTINGS["REPO_URL"]}


def test_without_the_settings_no_page_names_an_address_outside(tmp_path):
    pages = build(tmp_path, {})
    for name in (CHAPTER, "book/index", "book/notation"):
        assert outside(pages / f"{name}.html") == {}, name
        text = (pages / f"{name}.html").read_text(encoding="utf-8")
        assert not any(host in text for host in ("mybinder", "colab", "github.com/you", "fa-rocket")), name


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("dark", [False, True])
def test_the_buttons_fit_in_one_line_open_and_load_nothing_from_outside(launched, open_page, width, dark):
    page = open_page((launched / f"{CHAPTER}.html").as_uri(), width=width, height=740, dark=dark)
    page.locator(".bd-notation-button").wait_for()
    bar = page.locator(".article-header-buttons")
    shown = [part.bounding_box() for part in bar.locator("> *:visible, > .dropdown > button:visible").all()]
    middles = [box["y"] + box["height"] / 2 for box in shown]
    assert len(shown) > 4
    assert max(middles) - min(middles) < 12
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= width for box in shown)
    for icon in bar.locator(".fa-rocket, .fab").all():
        assert icon.evaluate("icon => getComputedStyle(icon).maskImage").startswith("url(")
    page.locator(".dropdown-launch-buttons > button").click()
    for name in ("Binder", "JupyterHub", "Colab"):
        item = page.locator(".dropdown-launch-buttons .dropdown-menu").get_by_role("link", name=name)
        item.wait_for()
        box = item.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert item.locator("img").evaluate("image => image.naturalWidth") > 0
    assert page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    assert page.external == []
    assert page.errors == []
