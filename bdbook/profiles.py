"""How much to compute: one word, read in one place.

smoke  every line runs, nothing is learnt; seconds
cpu    a laptop; the effect shows honestly; minutes
gpu    scaled-down but complete training
"""

from __future__ import annotations

import os

import torch

from bdbook.errors import unknown

PROFILES = ("smoke", "cpu", "gpu")
VARIABLE = "BDBOOK_PROFILE"


def resolve(profile: str | None = None) -> str:
    """The profile given, else that of the variable BDBOOK_PROFILE, else gpu where CUDA is there, else cpu."""
    chosen = profile or os.environ.get(VARIABLE) or ("gpu" if torch.cuda.is_available() else "cpu")
    if chosen not in PROFILES:
        raise unknown("profile", chosen, PROFILES)
    return chosen


def device(profile: str) -> torch.device:
    """The device of a profile: CUDA for gpu, the CPU for the others."""
    if profile == "gpu" and not torch.cuda.is_available():
        raise ValueError("profile gpu needs a CUDA device and none was found; use profile cpu, or see doctor")
    return torch.device("cuda" if profile == "gpu" else "cpu")
