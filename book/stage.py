"""Keep two folders alike, touching only what changed.

    python book/stage.py source STAGE OUTPUT LIVE LAUNCH NOTEBOOK...   what jupyter-book reads, into STAGE
    python book/stage.py mirror FROM HANDOUT TO                        FROM into TO, and what readers may download

Sphinx compares modification times, so an untouched page must keep its own. It does not notice everything that a page
is made of, though: when the settings, the contents, the bibliography or an asset change, what it has built so far,
OUTPUT, is dropped. LIVE holds what the live sampler loads, LAUNCH the options of the theme for launch buttons
(launch.py). Run from the repository root. On the way the ledgers (book/*.yml) and the library's docstrings become
pages, the figures of the landing page HTML, the font of MathJax two parts, and executed notebooks get their chapter's
number and lose what a page has no use for: all that is made beside STAGE, and copied into it only where it says
something new.
"""

import filecmp
import json
import shutil
import sys
from pathlib import Path

import api
import chapters
import five_calls
import glyphs
import ledgers
import yaml

from bdbook.page import drawn
from bdbook.page.widgets import ThereAndBack

PAGES = {".md", ".ipynb"}
MAKERS = {".py", ".yml", ".ipynb"}  # in book/: what pages are made from, the template of a chapter, and no page


def sync(files: dict[Path, Path], target: Path) -> set[Path]:
    """Make `target` hold just `files` (path inside it -> source); return the paths that changed or went."""
    changed = set()
    present = {path.relative_to(target) for path in target.rglob("*") if path.is_file()}
    for path in present - files.keys():
        (target / path).unlink()
        changed.add(path)
    for path, source in files.items():
        copy = target / path
        if path not in present or not filecmp.cmp(source, copy, shallow=False):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy)
            changed.add(path)
    return changed


def files_below(folder: Path) -> list[Path]:
    """Every file below `folder`, bytecode aside."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]


def write_landing(folder: Path) -> list[Path]:
    """The figures of the landing page, as HTML."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.html"):  # of an earlier page
        old.unlink()
    (folder / "there_and_back.html").write_text(ThereAndBack().static_html(), encoding="utf-8")
    (folder / "five_calls.html").write_text(five_calls.figure(), encoding="utf-8")
    return files_below(folder)


def write_lean(folder: Path, notebooks: list[Path]) -> list[Path]:
    """Copies of `notebooks` in `folder` for Sphinx: numbered titles, no state of widgets, for figures hold their own.

    What a still figure carries (bdbook/page/drawn.py) goes where extensions/figures.py finds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    copies = []
    for path in notebooks:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        notebook["metadata"].pop("widgets", None)
        for output in [output for cell in notebook["cells"] for output in cell.get("outputs", [])]:
            if drawn.MIME in output.get("data", {}):  # of which MyST-NB knows nothing
                output["metadata"][drawn.MIME] = output["data"].pop(drawn.MIME)
        chapters.with_number(path.name, notebook)
        copies.append(folder / path.name)
        copies[-1].write_text(json.dumps(notebook), encoding="utf-8")
    return copies


def write_config(folder: Path, options: dict, original: Path = Path("_config.yml")) -> Path:
    """_config.yml with more options of the theme: a copy in `folder`, or the file itself where there are none."""
    if not options:
        return original
    config = yaml.safe_load(original.read_text(encoding="utf-8"))
    config["sphinx"]["config"]["html_theme_options"] |= options
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / original.name
    copy.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return copy


def read_at(options: dict) -> str:
    """The address below which the files of the repository can be read, from the theme's options; "" without one."""
    if not options:
        return ""
    blob = "-/blob" if options["repository_provider"] == "gitlab" else "blob"
    return f"{options['repository_url']}/{blob}/{options['repository_branch']}"


def stage_source(stage: Path, output: Path, live: Path, launch: Path, notebooks: list[Path]) -> None:
    """Fill `stage` with what jupyter-book reads; drop `output` when more than pages changed."""
    prose = [path for path in files_below(Path("book")) if path.parent != Path("book") or path.suffix not in MAKERS]
    files = {path: path for path in [Path("_toc.yml"), Path("docutils.conf"), Path("CITATION.cff"), *prose]}
    options = json.loads(launch.read_text(encoding="utf-8"))
    files[Path("_config.yml")] = write_config(stage.with_name("config"), options)
    lean = write_lean(stage.with_name("lean"), notebooks)
    files |= {Path("notebooks") / path.name: path for path in lean}
    made = [
        *ledgers.write(stage.with_name("ledgers"), repository=read_at(options)).values(),
        api.write(stage.with_name("api")),
    ]
    files |= {Path("book") / path.name: path for path in made}
    files |= {Path("book/assets/live") / path.name: path for path in files_below(live)}
    files |= {Path("book") / path.name: path for path in write_landing(stage.with_name("landing"))}
    files |= glyphs.write(stage.with_name("glyphs"))
    changed = sync(files, stage)
    if any(path.suffix not in PAGES for path in changed):
        shutil.rmtree(output, ignore_errors=True)


def published(pages: Path, handout: Path) -> dict[Path, Path]:
    """Path in the book -> file: the pages, and where they offer a chapter's source the notebook to run (handout.py)."""
    files = {path.relative_to(pages): path for path in files_below(pages)}
    files |= {Path("_sources/notebooks") / path.name: path for path in sorted(handout.glob("notebooks/*.ipynb"))}
    return files | {Path("handout") / path.name: path for path in sorted(handout.glob("*.zip"))}


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["source", stage, output, live, launch, *notebooks]:
            stage_source(Path(stage), Path(output), Path(live), Path(launch), [Path(path) for path in notebooks])
        case ["mirror", source, handout, target]:
            sync(published(Path(source), Path(handout)), Path(target))
        case _:
            sys.exit(__doc__)
