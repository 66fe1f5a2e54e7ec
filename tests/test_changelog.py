"""The table of names that moved: the new ones are there, and the old ones are gone."""

import pkgutil
import re
from pathlib import Path

import pytest

import bdbook

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
ROWS = [
    [re.findall(r"`([\w.]+)`", column) for column in line.split("|")[1:3]]
    for line in TEXT.splitlines()
    if line.startswith("| `")
]


def is_there(name: str) -> bool:
    try:
        pkgutil.resolve_name(name)
    except (AttributeError, ImportError):
        return False
    return True


@pytest.mark.parametrize(("old", "new"), ROWS, ids=[row[0][0] for row in ROWS])
def test_names_moved(old, new):
    assert [name for name in new if not is_there(name)] == []
    # `import bdbook` lends some modules under the names that they had.
    gone = [name for name in old if name not in ("bdbook.metrics", "bdbook.plots", "bdbook.widgets")]
    assert [name for name in gone if is_there(name)] == []


def test_what_was_removed_is_gone():
    removed = re.findall(r"`(bdbook\.[\w.]+)`", TEXT.partition("### Removed")[2])
    assert len(removed) == 5
    assert [name for name in removed if is_there(name)] == []


def test_the_newest_version_is_the_projects():
    assert re.findall(r"^## ([\d.]+)", TEXT, re.MULTILINE)[0] == bdbook.__version__
