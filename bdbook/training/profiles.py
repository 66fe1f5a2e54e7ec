"""How much to compute: one word, read in one place.

smoke  every line runs, nothing is learnt; seconds
cpu    a laptop; the effect shows honestly; minutes
gpu    scaled-down but complete training

Several people may share one GPU. A kernel takes it only while there is room, and with BDBOOK_GPU_SHARE no more than
that part of its memory, so that the next one finds room too.
"""

from __future__ import annotations

import os
import warnings

import torch

from bdbook.errors import unknown

PROFILES = ("smoke", "cpu", "gpu")
VARIABLE = "BDBOOK_PROFILE"
SHARE = "BDBOOK_GPU_SHARE"
ROOM = 2.0  # GiB of GPU memory that the chapters' trainings want, with PyTorch's own


def resolve(profile: str | None = None) -> str:
    """The profile given, else that of the variable BDBOOK_PROFILE, else gpu where a GPU has room, else cpu."""
    chosen = profile or os.environ.get(VARIABLE) or _automatic()
    if chosen not in PROFILES:
        raise unknown("profile", chosen, PROFILES)
    return chosen


def device(profile: str) -> torch.device:
    """The device of a profile: CUDA for gpu, the CPU for the others. ValueError where there is none, or no room."""
    if profile != "gpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ValueError("profile gpu needs a CUDA device and none was found; use profile cpu, or see bdbook doctor")
    share = _share()
    if full := _full():
        raise ValueError(f"{full}; use profile cpu, or wait until somebody has finished")
    if share is not None:
        torch.cuda.set_per_process_memory_fraction(share, _index())
    return torch.device("cuda")


def _automatic() -> str:
    if not torch.cuda.is_available():
        return "cpu"
    if full := _full():
        warnings.warn(f'{full}; this runs under profile cpu. For the GPU, later: profile = "gpu"', stacklevel=3)
        return "cpu"
    return "gpu"


def _index() -> int:
    """Which GPU is this process's: of several that were launched together each has its own."""
    return int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count()


def _full() -> str:
    """What is wrong where the GPU has too little room for this process, else nothing."""
    index = _index()
    free, total = torch.cuda.mem_get_info(index)
    own = torch.cuda.memory_reserved(index)  # by an earlier training of this very process
    if (free + own) / 2**30 >= ROOM:
        return ""
    left = f"{torch.cuda.get_device_name(index)} has {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
    return f"profile gpu wants {ROOM:g} GiB of GPU memory, and {left}: others are using it"


def _share() -> float | None:
    told = os.environ.get(SHARE)
    if not told:
        return None
    try:
        share = float(told)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise ValueError(f"{SHARE} was {told!r}; expected a part of the GPU's memory in (0, 1], such as 0.25")
    return share
