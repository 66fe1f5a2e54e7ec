"""A wheel of the working tree, installed far from it: everything works there that needs no checkout."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import handout
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
CLASSES = {name: thing for name in widgets.__all__ if isinstance(thing := getattr(widgets, name), type)}
FIGURES = [name for name, kind in CLASSES.items() if issubclass(kind, widgets.Slider) and kind is not widgets.Slider]
FILES = live.names()
# Of each chapter that needs recorded runs: its first cell, which imports, and the sources of those that read them.
READS = re.compile(r"recorded\.(RESULTS|read|present|seeds|folder_of|laboratory|mixture)|live\.run_of")
CODE = {
    path.name: [
        "".join(cell["source"])
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
        if cell["cell_type"] == "code" and "parameters" not in cell["metadata"].get("tags", [])
    ]
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
}
READERS = {name: [all_of[0], *filter(READS.search, all_of[1:])] for name, all_of in CODE.items()}
READERS = {name: cells for name, cells in READERS.items() if READS.search("".join(cells))}
# Which chapters are executed whole: all with BDBOOK_CLASSROOM (make classroom).
ALONE = [("committed", "09_tacos.ipynb", True)]
if os.environ.get("BDBOOK_CLASSROOM"):
    ALONE = [(kind, name, True) for kind in ("committed", "handout") for name in CODE]
    ALONE += [("handout", "00_start_here.ipynb", True), *(("handout", name, False) for name in READERS)]


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


def install(wheel: Path, tmp_path_factory) -> Away:
    """An environment of its own with the wheel."""
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


@pytest.fixture(scope="session")
def away(wheel, tmp_path_factory) -> Away:
    return install(wheel, tmp_path_factory)


@pytest.fixture(scope="session")
def bare(wheel, tmp_path_factory) -> Away:
    """The same without recorded runs, as a wheel has none that was not built in the book's folder."""
    bare = install(wheel, tmp_path_factory)
    (shipped,) = bare.environment.glob("lib/python*/site-packages/bdbook/shipped")
    shutil.rmtree(shipped / "results")
    return bare


def test_versions_agree(wheel):
    with zipfile.ZipFile(wheel) as inside:
        (name,) = (name for name in inside.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = inside.read(name).decode()
    assert re.search(r"^Version: (.+)$", metadata, re.MULTILINE).group(1) == bdbook.__version__
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == bdbook.__version__


def test_the_wheel_holds_the_library_the_records_and_the_chapters_and_nothing_else(tree, wheel):
    library = [path for path in (tree / "bdbook").rglob("*") if path.is_file() and path.name != "README.md"]
    expected = {path.relative_to(tree).as_posix(): path for path in library}
    shown = [*tree.glob("notebooks/*.ipynb"), *tree.glob("results/*.json")]
    shown += [path for path in tree.glob("results/*/*") if path.is_file() and path.suffix != ".py"]
    expected |= {f"bdbook/shipped/{path.relative_to(tree).as_posix()}": path for path in shown}
    assert {"bdbook/py.typed", "bdbook/__init__.pyi", "bdbook/page/js/core.js"} < expected.keys()
    with zipfile.ZipFile(wheel) as inside:
        held = [name for name in inside.namelist() if ".dist-info/" not in name and not name.endswith("/")]
        assert sorted(held) == sorted(expected)
        assert [name for name, path in expected.items() if inside.read(name) != path.read_bytes()] == []


def test_the_sdist_holds_what_its_wheel_needs(tree, wheel, tmp_path):
    """Every file that the wheel has from the tree, and what builds it."""
    program = f"from setuptools import build_meta; build_meta.build_sdist({str(tmp_path)!r})"
    run(sys.executable, "-c", program, cwd=tree)
    with zipfile.ZipFile(wheel) as inside:
        held = {name.removeprefix("bdbook/shipped/") for name in inside.namelist() if ".dist-info/" not in name}
    with tarfile.open(*tmp_path.glob("bdbook-*.tar.gz")) as sdist:
        found = {}
        for member in filter(tarfile.TarInfo.isfile, sdist):  # one after another: a seek begins anew
            found[member.name.partition("/")[2]] = sdist.extractfile(member).read()
    needed = held | {"pyproject.toml", "setup.py", "README.md", "LICENSE"}
    assert needed <= found.keys()
    assert [name for name in needed if found[name] != (tree / name).read_bytes()] == []


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


@pytest.fixture(scope="session")
def trained(away) -> str:
    """A run, by the console script."""
    options = "--recipe digits-blurring --profile smoke --steps 3 --batch 4 --out a"
    assert "sample:" in away.bdbook("train", *options.split())
    return "a"


def test_the_commands_work_on_a_run_and_restore_has_its_restorer(away, trained):
    Image.new("RGB", (48, 40), "teal").save(away.folder / "some.png")
    commands = (
        f"sample --run {trained} --steps 2 --count 4",
        f"evaluate --run {trained} --steps 2 --count 8 --samples 8",
        "restore --image some.png --steps 2",
        "doctor",
    )
    told = away.python(
        "from bdbook.cli import main\n"
        f"for command in {commands}:\n"
        "    print('> ', command)\n"
        "    assert main(command.split()) == 0"
    )
    sampled, evaluated, restored, doctored = told.split("> ")[1:]
    assert "samples.png" in sampled
    assert (away.folder / trained / "samples.png").is_file()
    assert "digits-blurring: 8 samples" in evaluated
    assert "some.png: 48x40, restored" in restored
    with Image.open(away.folder / "restored/some-tacos.png") as picture:
        assert picture.size == (48, 40)
    assert f"bdbook {bdbook.__version__}," in doctored
    assert f"recorded runs: {len(list(recorded.RESULTS.glob('*/metrics.json')))}\n" in doctored
    for word in ("requirements.txt", "Chromium", "building the book"):
        assert word not in doctored


@pytest.fixture(scope="session")
def seen(away) -> dict:
    """What one process there makes of the figures, the live sampler's files and a grid."""
    told = away.python(
        "import hashlib, json, torch\n"
        "from bdbook import samplers\n"
        "from bdbook.page import live, widgets\n"
        "from bdbook.sweep import points\n"
        f"made = {{name: getattr(widgets, name)().static_html().encode() for name in {FIGURES}}}\n"
        f"made |= {{name: live.read(name) for name in {FILES}}}\n"
        "blank = torch.zeros(1, 1, 8, 8)\n"
        "steps = [samplers.Step(1.0, blank, None), samplers.Step(0.0, blank, blank)]\n"
        "print(json.dumps({\n"
        "    'sums': {name: hashlib.sha256(content).hexdigest() for name, content in made.items()},\n"
        "    'resampler': widgets.Resampler(lambda: iter(steps)).state,\n"
        "    'chapters': [[str(point.notebook), point.asked()['source']] for point in\n"
        "                 points.points({'chapter': '09_tacos', 'vary': {'seed': [0]}})],\n"
        "}))"
    )
    return json.loads(told)


def test_each_figure_and_each_file_of_the_live_sampler_is_that_of_the_checkout(seen):
    widgets.new_page()
    made = {name: getattr(widgets, name)().static_html().encode() for name in FIGURES}
    made |= {name: live.read(name) for name in FILES}
    assert seen["sums"] == {name: hashlib.sha256(content).hexdigest() for name, content in made.items()}
    assert seen["resampler"] == "done"


def test_a_sweep_finds_the_chapters(seen):
    ((notebook, source),) = seen["chapters"]
    assert "shipped" in Path(notebook).parts
    assert source == hashlib.sha256((ROOT / "notebooks/09_tacos.ipynb").read_bytes()).hexdigest()[:16]


@pytest.mark.parametrize(("kind", "chapter", "records"), ALONE)
def test_a_chapter_copied_alone_runs_to_its_end(away, bare, tree, tmp_path, kind, chapter, records):
    if kind == "handout":
        handout.write(tree, tmp_path)
    (tmp_path / "empty").mkdir()
    shutil.copyfile((tmp_path if kind == "handout" else tree) / "notebooks" / chapter, tmp_path / "empty" / chapter)
    python = (away if records else bare).environment / "bin/python"
    run(python, "-m", "papermill", chapter, "done.ipynb", "-k", "python3", cwd=tmp_path / "empty")
    cells = json.loads((tmp_path / "empty/done.ipynb").read_text())["cells"]
    printed = "".join("".join(out.get("text", "")) for cell in cells for out in cell.get("outputs", []))
    assert ("Left out: " in printed) != records
    if chapter == "09_tacos.ipynb" and records:
        assert f"half their range; {recorded.read('digits-deblur').record['device']}" in printed


# In a shell of IPython, like a kernel's: the cells of a chapter that need recorded runs, each chapter in a process of
# its own. Of each cell: whether one below would run, and what it showed.
TELL = """
import json, os, sys
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

shell = InteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
import torch, matplotlib, scipy.stats, sklearn.mixture, bdbook.page.widgets  # once for all
for name, cells in json.load(open("cells.json")).items():
    if os.fork() == 0:
        shell.run_cell("profile, seed, count = 'smoke', 0, 4")
        for cell in cells:
            with capture_output() as said:
                done = shell.run_cell(cell)
            lost = done.error_in_exec.name if isinstance(done.error_in_exec, NameError) else None
            print(json.dumps([name, done.success, lost, said.stdout + said.stderr]), flush=True)
        os._exit(0)
    os.wait()
"""


def test_without_recorded_runs_each_cell_that_needs_them_says_so_in_a_sentence_and_the_chapter_goes_on(bare):
    """Derived from the chapters: every one that reads a record, and every cell in it that does."""
    (bare.folder / "cells.json").write_text(json.dumps(READERS))
    told = [json.loads(line) for line in bare.python(TELL).splitlines()]
    assert [name for name, *_ in told] == [name for name, cells in READERS.items() for _ in cells]
    sentence = r"Left out: [\w./-]+ is a recorded run, of which this installation has none; install .*FOLDER"
    for name, goes_on, lost, shown in told:
        # It may stop for a name from a cell that is not run here; not for one from a cell that is.
        elsewhere = lost and not any(re.search(rf"^(def )?{lost}\b", cell, re.MULTILINE) for cell in READERS[name])
        assert elsewhere or (goes_on and "Traceback" not in shown), f"{name}: {shown}"
        for line in shown.splitlines():
            assert re.fullmatch(sentence, line) or "Left out" not in line, f"{name}: {line}"
    assert {name for name, goes_on, _, shown in told if goes_on and "Left out" in shown} == READERS.keys()


def test_without_recorded_runs_the_commands_say_so(bare):
    Image.new("RGB", (48, 40), "teal").save(bare.folder / "some.png")
    said = bare.python(
        "import sys\n"
        "from bdbook.cli import main\n"
        "sys.stderr = sys.stdout\n"
        "print(main(['restore', '--image', 'some.png']))"
    )
    assert re.fullmatch(r"bdbook: photos-sharpen is a recorded run, of which .*: pip install .*\n2\n", said)
    doctored = bare.bdbook("doctor")
    assert "recorded runs: missing" in doctored
    assert "to get recorded runs: " in doctored
    assert "everything needed is here" not in doctored
