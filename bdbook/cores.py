"""The cores that this process may use, which OpenMP and torch have to be told before torch is imported.

OpenMP counts the cores that a process is bound to, and knows nothing of a container's quota: with 2 of 64 cores it
starts 64 threads. And threads that wait for each other do so at full speed, those of GNU's OpenMP (torch) and of
OpenBLAS (numpy, scipy): for so long that two trainings or two chapters on one machine take each other's cores, and are
several times slower than one after the other (benchmarks/sharing_cores.py).
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

# How often a waiting thread of GNU's OpenMP looks before it sleeps: some microseconds instead of milliseconds.
SPINS = "1000"
# How long one of OpenBLAS does, as a power of two of clock ticks: the least that it takes.
TIMEOUT = "4"
OF_PROCESS, MOUNTED = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def available() -> int:
    """Cores that this process may use, at least 1: those it is bound to, and no more than its containers' quota."""
    return max(1, int(min(_bound(), quota())))


def prepare() -> None:
    """Set what OpenMP and OpenBLAS read when they are loaded, where the user has not; limit a torch that is there."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", TIMEOUT)
    if "OMP_NUM_THREADS" not in os.environ and available() < _bound():
        os.environ["OMP_NUM_THREADS"] = str(available())
        limit()


def limit() -> None:
    """Have torch, where it is imported, use no more threads than there are cores; fewer stay fewer."""
    torch = sys.modules.get("torch")
    threads = getattr(torch, "get_num_threads", None)  # None while torch is being imported
    if torch is not None and threads is not None and threads() > available():
        torch.set_num_threads(available())


def quota() -> float:
    """Cores that the control groups of this process grant it in all, the least on the way up; inf without a limit."""
    return min(_quotas(), default=math.inf)


def _bound() -> int:
    """Cores that this process is bound to, as OpenMP counts them."""
    if hasattr(os, "sched_getaffinity"):  # on Linux alone
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas() -> Iterator[float]:
    """The limits of the groups of this process and of those around them, versions 1 and 2."""
    lines: list[str] = []
    with suppress(OSError):
        lines = OF_PROCESS.read_text().splitlines()
    for line in lines:
        _, controllers, inner = (*line.split(":", 2), "", "")[:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        mounts = [controllers, "cpu", "cpu,cpuacct"] if controllers else ["", "unified"]
        own = PurePosixPath("/", inner)
        for mount in mounts:
            # A container sees its own group at the top, and may be told a path that only its host has.
            for group in (own, *own.parents):
                folder = MOUNTED / mount / group.relative_to("/")
                yield from _limit_of(folder)


def _limit_of(folder: Path) -> Iterator[float]:
    with suppress(OSError, ValueError):  # no such file, or "max"
        granted, period = (folder / "cpu.max").read_text().split()
        yield _cores(granted, period)
    with suppress(OSError, ValueError):
        yield _cores(*((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")))


def _cores(granted: str, period: str) -> float:
    """Cores by a quota's microseconds and its period's; ValueError where there is none: "max", or -1."""
    if int(granted) <= 0 or int(period) <= 0:
        raise ValueError("no limit")
    return int(granted) / int(period)
