"""A wheel of the working tree, installed far from it: everything works there that needs no checkout."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from PIL import Image

import bdbook
from bdbook.page import live, recorded, widgets

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")

# Where the packages are that are installed here. The environment of the wheel sees them too, after its own.
PACKAGES = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
# Read where Python starts there: nothing may be opened in the checkout but the packages that may lie in it.
GUARD = """
import sys

def guard(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and arguments[0].startswith({checkout!r}):
        if not arguments[0].startswith({packages!r}):
            raise PermissionError(f"{{arguments[0]}} lies in the checkout")

sys.addaudithook(guard)
"""
FIGURES = [name for name in widgets.__all__ if isinstance(getattr(widgets, name), type) and name != "Slider"]
LIVE = [name for name in live.names() if name != "graph" or find_spec("onnxscript")]


def run(*command: object, cwd: Path) -> str:
    """What it prints; it must succeed."""
    own = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "BDBOOK", "PYTEST"))}
    own |= {"BDBOOK_PROFILE": "smoke", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=own, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="session")
def tree(tmp_path_factory) -> Path:
    """A copy of the working tree, as building leaves folders: what git tracks or would add."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    copy = tmp_path_factory.mktemp("tree")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, copy / name)
    return copy


def build(source: Path, folder: Path) -> Path:
    """The wheel of a tree or an sdist, built without a network."""
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder)
    run(sys.executable, "-m", "pip", "wheel", source, *options, cwd=folder)
    (wheel,) = folder.glob("bdbook-*.whl")
    return wheel


@pytest.fixture(scope="session")
def wheel(tree, tmp_path_factory) -> Path:
    return build(tree, tmp_path_factory.mktemp("wheel"))


@dataclass(frozen=True)
class Away:
    """An environment with the wheel in it, and a folder that was empty."""

    environment: Path
    folder: Path

    def python(self, program: str) -> str:
        return run(self.environment / "bin/python", "-c", program, cwd=self.folder)

    def bdbook(self, *arguments: object) -> str:
        return run(self.environment / "bin/bdbook", *arguments, cwd=self.folder)


@pytest.fixture(scope="session")
def away(wheel, tmp_path_factory) -> Away:
    away = Away(tmp_path_factory.mktemp("environment"), tmp_path_factory.mktemp("away"))
    venv.create(away.environment, with_pip=False, symlinks=True)
    options = ("--python", away.environment / "bin/python")
    run(sys.executable, "-m", "pip", *options, "install", "--no-deps", "--no-index", wheel, cwd=away.folder)
    (own,) = away.environment.glob("lib/python*/site-packages")
    allowed = tuple(f"{path}{os.sep}" for path in PACKAGES)
    (own / "far_from_the_checkout.py").write_text(GUARD.format(checkout=f"{ROOT}{os.sep}", packages=allowed))
    # Of a folder that is named here no .pth file is read, so an editable installation of the checkout stays out.
    (own / "far_from_the_checkout.pth").write_text("\n".join(["import far_from_the_checkout", *PACKAGES]) + "\n")
    return away


def test_versions_agree(wheel):
    with zipfile.ZipFile(wheel) as inside:
        (name,) = (name for name in inside.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = inside.read(name).decode()
    assert re.search(r"^Version: (.+)$", metadata, re.MULTILINE).group(1) == bdbook.__version__
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == bdbook.__version__


def test_the_wheel_holds_the_library_the_records_and_the_chapters_and_nothing_else(tree, wheel):
    library = [path for path in (tree / "bdbook").rglob("*") if path.is_file() and path.name != "README.md"]
    expected = {path.relative_to(tree).as_posix(): path for path in library}
    shown = [*tree.glob("notebooks/*.ipynb"), *(path for path in tree.glob("results/*/*") if path.is_file())]
    expected |= {f"bdbook/shipped/{path.relative_to(tree).as_posix()}": path for path in shown}
    assert {"bdbook/py.typed", "bdbook/__init__.pyi", "bdbook/page/js/core.js"} < expected.keys()
    with zipfile.ZipFile(wheel) as inside:
        held = [name for name in inside.namelist() if ".dist-info/" not in name and not name.endswith("/")]
        assert sorted(held) == sorted(expected)
        assert [name for name, path in expected.items() if inside.read(name) != path.read_bytes()] == []


def test_a_wheel_built_from_the_sdist_is_the_same(tree, wheel, tmp_path):
    program = f"from setuptools import build_meta; build_meta.build_sdist({str(tmp_path)!r})"
    run(sys.executable, "-c", program, cwd=tree)
    (sdist,) = tmp_path.glob("bdbook-*.tar.gz")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(build(sdist, tmp_path)) as other:
        # RECORD has a digest of every file.
        (record,) = (name for name in one.namelist() if name.endswith(".dist-info/RECORD"))
        assert sorted(other.read(record).splitlines()) == sorted(one.read(record).splitlines())


def test_the_library_there_is_the_wheels_and_the_checkout_is_out_of_reach(away):
    told = json.loads(
        away.python(
            "import importlib.metadata, json, sys, bdbook\n"
            "from bdbook.page import recorded\n"
            "try:\n"
            f"    open({str(ROOT / 'pyproject.toml')!r})\n"
            "except PermissionError as error:\n"
            "    kept = str(error)\n"
            "print(json.dumps([bdbook.__file__, str(recorded.RESULTS), importlib.metadata.version('bdbook'), kept]))"
        )
    )
    assert [Path(path).is_relative_to(away.environment) for path in told[:2]] == [True, True]
    assert told[2:] == [bdbook.__version__, f"{ROOT / 'pyproject.toml'} lies in the checkout"]


def test_the_command_trains(away):
    told = away.bdbook("--help")
    assert all(command in told for command in ("train", "sample", "evaluate", "restore", "sweep", "doctor"))
    away.bdbook("train", "--recipe", "digits-blurring", "--profile", "smoke", "--steps", 3, "--batch", 4, "--out", "a")
    assert len((away.folder / "a/weights.safetensors").read_bytes()) > 10**6


def test_the_command_samples_evaluates_restores_and_says_what_there_is(away):
    Image.new("RGB", (48, 40), "teal").save(away.folder / "some.png")
    commands = (
        "train --recipe digits-blurring --profile smoke --steps 1 --batch 4 --out b",
        "sample --run b --steps 2 --count 4 --out drawn.png",
        "evaluate --run b --steps 2 --count 8 --samples 8",
        "restore --image some.png --steps 2",
        "doctor",
    )
    program = (
        "from bdbook.cli import main\nfor command in {}:\n    print('>', command)\n    assert not main(command.split())"
    )
    told = away.python(program.format(commands))
    evaluated, restored, doctored = told.split("> ")[3:]
    assert (away.folder / "drawn.png").stat().st_size > 100
    assert re.search(r"frechet|Frechet", evaluated)
    assert "some.png: 48x40, restored" in restored
    with Image.open(away.folder / "restored/some-tacos.png") as picture:
        assert picture.size == (48, 40)
    assert f"bdbook {bdbook.__version__}," in doctored
    for word in ("requirements.txt", "Chromium", "building the book"):
        assert word not in doctored


def test_each_figure_and_each_file_of_the_live_sampler_is_that_of_the_checkout(away):
    told = json.loads(
        away.python(
            "import hashlib, json\n"
            "from bdbook.page import live, widgets\n"
            f"told = {{name: getattr(widgets, name)().static_html().encode() for name in {FIGURES}}}\n"
            f"told |= {{name: live.read(name) for name in {LIVE}}}\n"
            "print(json.dumps({name: hashlib.sha256(text).hexdigest() for name, text in told.items()}))"
        )
    )
    widgets.new_page()
    here = {name: getattr(widgets, name)().static_html().encode() for name in FIGURES}
    here |= {name: live.read(name) for name in LIVE}
    assert told == {name: hashlib.sha256(text).hexdigest() for name, text in here.items()}


def test_a_chapter_copied_alone_runs_and_shows_what_is_recorded(away):
    chapter = "09_tacos.ipynb"
    shutil.copyfile(ROOT / "notebooks" / chapter, away.folder / chapter)
    run(away.environment / "bin/python", "-m", "papermill", chapter, "done.ipynb", "-k", "python3", cwd=away.folder)
    cells = json.loads((away.folder / "done.ipynb").read_text())["cells"]
    printed = "".join("".join(out.get("text", "")) for cell in cells for out in cell.get("outputs", []))
    assert f"half their range; {recorded.read('digits-deblur').record['device']}" in printed


def test_a_sweep_finds_the_chapters(away):
    grid = {"chapter": "09_tacos", "vary": {"seed": [0, 1]}}
    told = away.python(
        "from bdbook import sweep\n"
        f"for point in sweep.points.points({grid}):\n"
        "    print(point.notebook, point.asked()['source'])"
    )
    source = hashlib.sha256((ROOT / "notebooks/09_tacos.ipynb").read_bytes()).hexdigest()[:16]
    lines = [line.split() for line in told.splitlines()]
    assert [Path(path).is_relative_to(away.environment) and found == source for path, found in lines] == [True, True]
