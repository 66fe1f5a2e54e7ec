"""What `make` executes again: the chapters whose inputs have other contents, whatever the times of the files."""

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHOWS_NO_RESULTS, SHOWS_RESULTS = "01_a", "08_b"
LATER = time.time() + 1000


@pytest.fixture
def project(tmp_path):
    """The Makefile among a few small files, with a papermill that copies."""
    files = {
        "Makefile": (ROOT / "Makefile").read_text(),
        f"notebooks/{SHOWS_NO_RESULTS}.ipynb": "first",
        f"notebooks/{SHOWS_RESULTS}.ipynb": "second: recorded.read()",
        "_toc.yml": "root: book/index\nchapters:\n  - file: notebooks/01_a\n  - file: notebooks/08_b.ipynb\n",
        "bdbook/a.py": "a = 1",
        "results/a-cpu/metrics.json": "{}",
        "results/record.py": "",
        "requirements.txt": "",
        "pyproject.toml": "",
        "book/index.md": "",
        ".venv/bin/papermill": '#!/bin/sh\ncp "$1" "$2"\n',
        ".venv/.bdbook-installed": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / ".venv/bin/papermill").chmod(0o755)
    return tmp_path


def executed(project: Path, profile: str = "smoke") -> list[str]:
    """The chapters that make executes."""
    chapters = (SHOWS_NO_RESULTS, SHOWS_RESULTS)
    # Not what a make that runs these tests hands down.
    environment = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MFLAGS", "BUILD"}}
    targets = [f"_build/executed/{name}.ipynb" for name in chapters]
    done = subprocess.run(
        ["make", f"PROFILE={profile}", "VENV=.venv", "BUILD=_build", *targets],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return [name for name in chapters if any(line.startswith(name) for line in done.stdout.splitlines())]


def test_what_is_executed_again(project):
    both = [SHOWS_NO_RESULTS, SHOWS_RESULTS]
    assert executed(project) == both
    assert executed(project) == []
    (project / "bdbook/a.py").write_text("a = 2")
    assert executed(project) == both
    (project / "bdbook/b.py").write_text("")
    assert executed(project) == both
    (project / "bdbook/b.py").unlink()
    assert executed(project) == both
    (project / f"notebooks/{SHOWS_NO_RESULTS}.ipynb").write_text("changed")
    assert executed(project) == [SHOWS_NO_RESULTS]
    (project / "results/a-cpu/metrics.json").write_text("[]")
    assert executed(project) == [SHOWS_RESULTS]
    (project / "results/record.py").write_text("# what makes results is none")
    assert executed(project) == []
    assert executed(project, profile="cpu") == both


def test_a_restored_cache_serves_a_fresh_checkout(project):
    """All sources newer than what was made from them, as after a checkout; then one of them changed as well."""
    executed(project)
    for folder in ("notebooks", "bdbook", "results"):
        for path in (project / folder).rglob("*.*"):
            os.utime(path, (LATER, LATER))
    assert executed(project) == []
    (project / f"notebooks/{SHOWS_RESULTS}.ipynb").write_text("changed")
    assert executed(project) == [SHOWS_RESULTS]


def test_a_pdf_is_of_the_book_that_is_there(project):
    executed(project, "smoke")
    environment = {k: v for k, v in os.environ.items() if k not in {"MAKEFLAGS", "MFLAGS", "BUILD", "BDBOOK_PROFILE"}}

    def profile(goal: str) -> str:
        command = ["make", "--print-data-base", "--dry-run", "VENV=.venv", goal]
        told = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True).stdout
        return re.search(r"^PROFILE :?= ?(.*)$", told, re.MULTILINE)[1]

    assert profile("pdf") == "smoke"
    assert profile("book") in ("", "$(BDBOOK_PROFILE)")


def contents(project: Path) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MFLAGS", "BUILD"}}
    return subprocess.run(["make", "contents"], cwd=project, env=environment, capture_output=True, text=True)


def test_a_chapter_that_is_in_no_table_of_contents_stops_the_book_with_what_to_do(project):
    assert contents(project).returncode == 0
    (project / "notebooks/09_c.ipynb").write_text("third")
    done = contents(project)
    assert done.returncode != 0
    assert "notebooks/09_c.ipynb has no line in _toc.yml" in done.stdout
    assert 'Add "- file: notebooks/09_c"' in done.stdout
    rule = re.search(r"^\$\(LAUNCH\):.*$", (ROOT / "Makefile").read_text(), re.MULTILINE)[0]
    assert "contents" in rule, "it comes before the chapters"


def test_the_chapters_that_show_recorded_runs_are_those_that_read_them():
    done = subprocess.run(
        ["make", "-pn", "contents"], cwd=ROOT, capture_output=True, text=True, env=os.environ | {"MAKEFLAGS": ""}
    )
    shows = re.search(r"^SHOWS_RESULTS := (.*)$", done.stdout, re.MULTILINE)[1].split()
    reads = [path.stem for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")) if "recorded." in path.read_text()]
    assert shows == reads
    assert len(reads) >= 8
