"""What must hold of the files themselves: clean notebooks, one table of contents, honest pins, no stray paths."""

import ast
import hashlib
import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))


def cells(name: str) -> list[dict]:
    return json.loads((ROOT / "notebooks" / name).read_text())["cells"]


def toc_files() -> list[str]:
    """Every file of the table of contents, as it is written there."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    return [toc["root"]] + [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]


def test_what_the_readme_links_to_is_there():
    text = (ROOT / "README.md").read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert len(links) > 10
    assert [name for name in links if not (ROOT / name).exists()] == []


def test_each_notebook_is_in_the_contents_once_and_the_reverse():
    listed = [file.removeprefix("notebooks/") + ".ipynb" for file in toc_files() if file.startswith("notebooks/")]
    assert NOTEBOOKS
    assert sorted(listed) == NOTEBOOKS


def test_each_page_of_the_contents_exists_once_and_each_page_is_listed():
    listed = sorted(file for file in toc_files() if file.startswith("book/"))
    pages = [path.stem for path in (ROOT / "book").glob("*.md")]
    made = ["claims", "equations", "errata", "api"]  # by book/ledgers.py and book/api.py, while staging
    assert listed == sorted(f"book/{page}" for page in pages + made)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_is_committed_without_what_running_it_leaves(name):
    for number, cell in enumerate(cells(name)):
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], f"cell {number} has outputs"
            assert cell["execution_count"] is None, f"cell {number} has an execution count"
        left = {"execution", "papermill", "ExecuteTime"} & cell["metadata"].keys()
        assert not left, f"cell {number} has the metadata {left}"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_metadata_names_the_kernel_that_the_build_uses(name):
    metadata = json.loads((ROOT / "notebooks" / name).read_text())["metadata"]
    assert metadata["kernelspec"]["name"] == "python3"
    assert not {"widgets", "papermill"} & metadata.keys()


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_has_one_parameters_cell(name):
    tagged = [cell for cell in cells(name) if "parameters" in cell["metadata"].get("tags", [])]
    assert len(tagged) == 1
    assigned = {}
    for statement in ast.parse("".join(tagged[0]["source"])).body:
        assert isinstance(statement, ast.Assign), f"only assignments belong there, not {ast.unparse(statement)}"
        assigned[statement.targets[0].id] = ast.literal_eval(statement.value)
    assert assigned == {"profile": None, "seed": 0}


def requirements() -> dict[str, Requirement]:
    """Name -> what requirements.txt says of it."""
    lines = (line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines())
    return {canonicalize_name(found.name): found for found in map(Requirement, filter(None, lines))}


def test_each_requirement_is_pinned_to_one_version():
    for requirement in requirements().values():
        assert [spec.operator for spec in requirement.specifier] == ["=="], str(requirement)


def test_pins_lie_within_the_ranges_that_the_package_declares():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins, extras = requirements(), project["optional-dependencies"]
    for line in project["dependencies"] + [x for key in ("test", "sweep") for x in extras[key]]:
        declared = Requirement(line)
        assert canonicalize_name(declared.name) in pins, f"{declared.name} is not in requirements.txt"
        pin = next(iter(pins[canonicalize_name(declared.name)].specifier)).version
        assert declared.specifier.contains(pin), f"{declared} does not admit the pinned {pin}"


def test_jupyter_book_is_the_line_that_reads_config_and_toc():
    assert str(requirements()["jupyter-book"].specifier).startswith("==1.")


def committed_text() -> dict[str, str]:
    """Path -> contents, for each text file that git tracks or would add, vendored ones aside."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    texts = {}
    for name in filter(None, listing.stdout.split("\0")):
        path = ROOT / name
        if not path.is_file() or "vendor" in path.parts:
            continue
        try:
            texts[name] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # an image or weights
    return texts


# An absolute path below a folder that is somebody's own. A container image made here may have its own such
# paths, so those files (hub/) are left out; a URL's path has a host or a word before it.
OWN_FOLDERS = ("tmp", "root", "home", "work", "Users", "mnt")
MACHINE_PATH = re.compile(r"(?<![\w.~:/<}\])-])/(?:" + "|".join(OWN_FOLDERS) + r")/[\w.]")


def test_the_pattern_for_machine_paths_tells_them_from_others():
    slash = "/"
    assert MACHINE_PATH.search(f'open("{slash}tmp{slash}a.png")')
    assert MACHINE_PATH.search(f"cd {slash}home{slash}ann{slash}bdbook")
    assert not MACHINE_PATH.search("https://example.org/home/page")
    assert not MACHINE_PATH.search("runs/tmp/a")


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_no_file_mentions_a_path_of_somebodys_machine():
    found = [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in committed_text().items()
        if not name.startswith("hub/")
        for number, line in enumerate(text.splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    assert found == []


def test_vendored_files_are_those_that_their_list_records():
    vendor = ROOT / "book/assets/vendor"
    rows = re.findall(r"^\| (\S+) \|.*\| ([0-9a-f]{64}) \|$", (vendor / "README.md").read_text(), re.MULTILINE)

    present = {
        path.relative_to(vendor).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in vendor.rglob("*")
        if path.is_file() and path.name != "README.md"
    }
    assert dict(rows) == present
