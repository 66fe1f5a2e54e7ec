"""The first thing a student's server runs: the chapters go into the home folder, then the command given takes over.

    python hub/start.py jupyterhub-singleuser ...

The image of hub/Dockerfile has it as its entry point, so Docker and Kubernetes run it, and so does a local hub. The
notebooks come from the folder that BDBOOK_HANDOUT names (book/handout.py writes it). What was handed out is remembered
by its hash, in .bdbook/handed_out.json of the home: so a chapter that the student left alone follows the book, and one
that she changed stays, with the new one beside it.
"""

import hashlib
import itertools
import json
import os
import sys
from datetime import date
from pathlib import Path

from bdbook.files import write_atomically  # half a copy would count as the student's own

FOLDER = Path(__file__).resolve().parents[1] / "_build/handout"  # where `make handout` writes
MEMORY = ".bdbook/handed_out.json"
REPLACED = ".bdbook/replaced"


def work_of(path: Path) -> str:
    """The hash of what a person wrote: of a notebook its cells, and neither outputs nor counters nor what is folded."""
    content = path.read_bytes()
    if path.suffix == ".ipynb":
        try:
            cells = json.loads(content)["cells"]
            content = json.dumps([[cell["cell_type"], "".join(cell["source"])] for cell in cells]).encode()
        except (ValueError, KeyError, TypeError):
            pass  # no notebook any more: then every byte counts
    return hashlib.sha256(content).hexdigest()


def beside(home: Path, name: str, known: dict[str, str]) -> str:
    """Where the new version of a changed file goes: 05_x.new.ipynb, or 05_x.new-2.ipynb where that was changed too."""
    path = Path(name)
    endings = (".new" if count == 1 else f".new-{count}" for count in itertools.count(1))
    offers = (path.with_name(f"{path.stem}{ending}{path.suffix}").as_posix() for ending in endings)
    return next(o for o in offers if not os.path.lexists(home / o) or work_of(home / o) == known.get(o))


def remembered(home: Path) -> dict[str, str]:
    """Name of a file -> hash of what was handed out last; nothing where the file cannot be read."""
    try:
        known = json.loads((home / MEMORY).read_text())
        return {str(name): str(value) for name, value in known.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def hand_out(folder: Path, home: Path) -> dict[str, list[str]]:
    """Bring the notebooks of `folder` into `home`; what was "new", "updated", and put "beside" a changed one.

    A file that is missing comes (again). One that is as it was handed out is replaced by the book's version, and what
    it had printed is kept in .bdbook/replaced. One that was changed stays; the new version is put beside it, once.
    """
    known, done = remembered(home), {"new": [], "updated": [], "beside": []}
    for source in sorted(folder.glob("notebooks/*.ipynb")):
        name = source.relative_to(folder).as_posix()
        target, now = home / name, work_of(source)
        if not os.path.lexists(target):
            write_atomically(target, source.read_bytes())
            done["new"].append(name)
        elif target.is_file():
            theirs = work_of(target)
            if theirs != now and theirs == known.get(name):
                write_atomically(home / REPLACED / date.today().isoformat() / name, target.read_bytes())
                write_atomically(target, source.read_bytes())
                done["updated"].append(name)
            elif theirs != now and known.get(name) != now:
                offer = beside(home, name, known)
                write_atomically(home / offer, source.read_bytes())
                known[offer] = now
                done["beside"].append(offer)
        known[name] = now
    write_atomically(home / MEMORY, json.dumps(known, indent=1, sort_keys=True))
    return done


def lay_out_course(source: Path, home: Path) -> list[str]:
    """Copy the assignments that course/source of a lecturer's home lacks; their names.

    One that is there is never changed: it may have been released.
    """
    missing = [folder for folder in sorted(source.iterdir()) if not (home / "course/source" / folder.name).exists()]
    for file in (file for folder in missing for file in sorted(folder.glob("*.ipynb"))):
        write_atomically(home / "course" / "source" / file.parent.name / file.name, file.read_bytes())
    return [folder.name for folder in missing]


def main(command: list[str]) -> None:
    """Hand out, and become the command. A full disk must not lock a student out."""
    home, folder = Path.home(), Path(os.environ.get("BDBOOK_HANDOUT") or FOLDER)
    try:
        if not folder.is_dir():
            raise FileNotFoundError(f"there is no {folder}; make handout writes it, or BDBOOK_HANDOUT names another")
        done = hand_out(folder, home)
        told = ", ".join(f"{len(names)} {what}" for what, names in done.items())
        print(f"The notebooks in {home}: {told}", file=sys.stderr, flush=True)
        for name in done["beside"]:
            print(f"changed by its owner, so the new version is {name}", file=sys.stderr, flush=True)
        if os.environ.get("BDBOOK_COURSE"):  # hub/hub_course.py
            laid_out = lay_out_course(Path(os.environ["BDBOOK_COURSE"]), home)
            print(f"Assignments new in {home}/course: {', '.join(laid_out) or 'none'}", file=sys.stderr, flush=True)
    except OSError as error:
        print(f"The notebooks could not be brought to {home}: {error}", file=sys.stderr, flush=True)
    os.execvp(command[0], command)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(f"usage: {sys.argv[0]} COMMAND ...")
    main(sys.argv[1:])
