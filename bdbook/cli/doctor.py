"""bdbook doctor: what is installed, what is missing, and how to get it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from dataclasses import dataclass

import torch

from bdbook import cores
from bdbook.files import IN_WHEEL
from bdbook.page import recorded

CHROMIUM = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")  # the lightest first
HOW_TO_GET_CHROMIUM = "apt-get install chromium on Debian, or .venv/bin/playwright install chromium"
NEEDED = {
    "the library": (
        "torch",
        "numpy",
        "scipy",
        "matplotlib",
        "scikit-learn",
        "scikit-image",
        "safetensors",
        "tyro",
        "torchmetrics",
        "accelerate",
    ),
    "live sliders": ("ipywidgets", "anywidget", "jupyterlab"),
    "executing chapters": ("papermill", "ipykernel", "sympy"),
    "sweeps": ("ray", "pyyaml"),
    "building the book": ("jupyter-book", "sphinx-proof", "sphinx-exercise", "sphinxcontrib-bibtex"),
    "the tests": ("pytest", "nbmake", "hypothesis", "ruff", "playwright", "datasets"),
}
IN_CHECKOUT = ("building the book", "the tests")  # a wheel has neither, nor a use for Chromium


@dataclass(frozen=True)
class Doctor:
    """Say what is installed, what is missing and how to get it."""

    def run(self) -> None:
        print(report())


def report() -> str:
    """A readable account of this machine."""
    lines = [f"bdbook {_version('bdbook')}, Python {platform.python_version()}, {platform.system()}"]
    missing = []
    for purpose, packages in NEEDED.items():
        if IN_WHEEL and purpose in IN_CHECKOUT:
            continue
        lines.append(f"{purpose}:")
        for package in packages:
            version = _version(package)
            lines.append(f"  {package:22} {version or 'missing'}")
            missing += [package] if version is None else []
    runs = len(list(recorded.RESULTS.glob("*/metrics.json")))
    lines.append(f"recorded runs: {runs or 'missing'}")
    lines.append(_devices())
    browser = chromium()
    if not IN_WHEEL:
        lines.append(f"Chromium (browser tests, PDF): {browser or 'missing'}")
    if missing:
        pinned = f"-r requirements.txt   ({', '.join(missing)})"
        lines.append(f"to get what is missing: pip install {' '.join(missing) if IN_WHEEL else pinned}")
    if not runs:
        how = recorded.HOW_TO_GET_THEM if IN_WHEEL else "git checkout results, or record them anew: make results"
        lines.append(f"to get recorded runs: {how}")
    if not (browser or IN_WHEEL):
        lines.append(f"to get Chromium: {HOW_TO_GET_CHROMIUM}")
    lines.append("everything needed is here" if runs and not missing and (browser or IN_WHEEL) else "")
    return "\n".join(lines).rstrip()


def chromium() -> str | None:
    """The path of the system's Chromium, or None."""
    return next(filter(None, map(shutil.which, CHROMIUM)), None)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices() -> str:
    if not torch.cuda.is_available():
        cores.limit()
        at_work = f"{torch.get_num_threads()} threads, {cores.available()} of {os.cpu_count()} cores for this process"
        return f"device: CPU, {at_work} (no CUDA: profile cpu; gpu recipes need one)"
    free, total = torch.cuda.mem_get_info()
    return f"device: {torch.cuda.get_device_name()}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free (profile gpu)"
