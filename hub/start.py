"""The first thing a student's server runs: the chapters go into the home folder, then the command given takes over.

    python hub/start.py jupyterhub-singleuser ...

The image of hub/Dockerfile has it as its entry point, so Docker and Kubernetes run it, and so does a local hub.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def chapters(root: Path) -> Iterator[Path]:
    """Each notebook and each file of the recorded runs, relative to the book's folder."""
    for pattern in ("notebooks/*.ipynb", "results/**/*"):
        for path in sorted(root.glob(pattern)):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(root)


def hand_out(root: Path, home: Path) -> list[Path]:
    """Copy what is missing in `home`, and return it; what is there is the student's and stays as it is."""
    copied = []
    for name in chapters(root):
        target = home / name
        if os.path.lexists(target):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        # Moved in when complete: half a copy would count as the student's own.
        partial = target.with_name(f".{target.name}.partial")
        shutil.copyfile(root / name, partial)
        partial.replace(target)
        copied.append(name)
    return copied


def main(command: list[str]) -> None:
    """Hand out, and become the command. A full disk must not lock a student out."""
    home = Path.home()
    try:
        print(f"{len(hand_out(ROOT, home))} files of the book copied to {home}", file=sys.stderr, flush=True)
    except OSError as error:
        print(f"the book could not be copied to {home}: {error}", file=sys.stderr, flush=True)
    os.execvp(command[0], command)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(f"usage: {sys.argv[0]} COMMAND ...")
    main(sys.argv[1:])
