"""Owning a run folder: one process at a time writes to it, and to no run but its own.

.lock          held by the process that trains; the operating system lets go of it when a process dies
running.json   who that is; it outlives a process that was killed, whose folder the next one takes over, and says so
"""

from __future__ import annotations

import difflib
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from bdbook.files import write_atomically
from bdbook.training import checkpoints

LOCK, OWNER = ".lock", "running.json"
# What a training writes. One of these makes a folder a run, whatever else it lacks.
WRITTEN = ("record.json", "log.jsonl", "metrics.json", "weights.safetensors", "checkpoints/step-*", "samples-*.png")


class Busy(ValueError):
    """Another process trains in the folder."""


@contextmanager
def claimed(folder: Path, wait: float = 0.0, say: Callable[[str], None] = print) -> Iterator[None]:
    """A context in which this process alone may write to the folder, which is made if it is not there.

    wait: seconds to wait for another process that has it. Raises Busy while one has it, OSError where nothing can be
    written.
    """
    folder = Path(folder)
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK, timeout=wait)
        lock.acquire()
    except Timeout:
        raise Busy(
            f"{folder} is in use: {_who(folder) or 'another process'} trains there. Wait for it or stop it, or choose "
            "another --out"
        ) from None
    except FileExistsError as error:
        raise NotADirectoryError(f"{folder} is a file; expected a folder to write the run to, as --out") from error
    except OSError as error:
        raise OSError(
            error.errno, f"{error.strerror or error} in {folder}; choose an --out that can be written"
        ) from error
    try:
        if before := _who(folder):
            say(f"{folder}: taking over from {before}, which ended without a word")
        told = {"pid": os.getpid(), "host": socket.gethostname(), "since": datetime.now().isoformat(" ", "seconds")}
        write_atomically(folder / OWNER, json.dumps(told))
        yield
    finally:
        with suppress(OSError):
            (folder / OWNER).unlink(missing_ok=True)
            if made and not written(folder):  # a mistake was found before anything was trained: leave no trace
                (folder / LOCK).unlink()
                for each in made:
                    each.rmdir()
        lock.release()


def require(folder: Path, resume: bool) -> None:
    """Raise unless the folder is what is asked for: one with a checkpoint to go on from, or one without a run."""
    there = written(folder)
    if resume and not checkpoints.found(folder):
        raise ValueError(f"{folder} has no checkpoint to go on from: {_what_instead(folder, there)}")
    if there and not resume:
        on = "add --resume to go on with it, or " if checkpoints.found(folder) else ""
        raise ValueError(f"{folder} already holds a run; {on}choose another --out. It holds {_listed(there)}")


def written(folder: Path) -> list[str]:
    """What makes the folder a run: names of files that a training wrote there, or would overwrite."""
    return sorted(str(path.relative_to(folder)) for pattern in WRITTEN for path in Path(folder).glob(pattern))


def _what_instead(folder: Path, there: list[str]) -> str:
    if there:
        return (
            f"it holds {_listed(there)}. That cannot be taken up; to train anew, leave out --resume and choose "
            "another --out"
        )
    beside = {path.name: path for path in folder.parent.glob("*") if path != folder and checkpoints.found(path)}
    near = difflib.get_close_matches(folder.name, beside, n=1, cutoff=0.5)
    meant = f" Did you mean {beside[near[0]]}?" if near else ""
    return f"it holds no run.{meant} To begin one there, leave out --resume"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _who(folder: Path) -> str:
    """The process that running.json names; nothing where there is none."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        told = json.loads((folder / OWNER).read_text())
        return f"process {told['pid']} on {told['host']}, since {told['since']}"
    return ""
