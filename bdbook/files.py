"""Files that are whole or not there, and those that come with the library."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
IN_WHEEL = not (PACKAGE.parent / "pyproject.toml").is_file()  # beside which the library lies in a checkout


def shipped(name: str) -> Path:
    """The folder "results" (recorded runs) or "notebooks" (chapters): a wheel's own, from setup.py, or a checkout's."""
    return (PACKAGE / "shipped" if IN_WHEEL else PACKAGE.parent) / name


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a whole file or leave what was there."""
    if not path.name or path.is_dir():
        raise ValueError(f"{str(path)!r} is a folder; expected the name of a file to write")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:  # a full disk should not be left fuller
        temporary.unlink(missing_ok=True)
        raise OSError(
            error.errno, f"{error.strerror or error} while writing {path}; what was there before is whole"
        ) from error
