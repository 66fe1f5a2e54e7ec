"""The files of the live sampler by name: the runtime, the graph, and the networks that were recorded with weights.

onnxruntime.mjs, onnxruntime.wasm    ONNX Runtime Web, unpacked
graph                                the network's ONNX graph
weights-RECIPE                       its weights
walk-RECIPE                          what a walk needs besides, JSON
"""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from bdbook.errors import unknown
from bdbook.page import recorded

# What loads and exports networks is imported where that is done: the figures import this module for its names.
if TYPE_CHECKING:
    from torch import Tensor

    from bdbook.training.runs import Run

START = "start.safetensors"  # of a recorded run: centres and spread of `onnx.start`
RUNTIME = Path(__file__).parent / "js" / "vendor" / "onnxruntime-web"
# Label of each recipe, in the order of the page.
SYSTEMS = {
    "fashion-ddpm": "DDPM",
    "fashion-heat": "IHDM",
    "fashion-cosine": "blurring, 0 px",
    "fashion-blurring": "blurring, 5 px",
    "fashion-blur": "Lee's blur",
    "fashion-soft": "soft",
    "fashion-equal-snr": "equal SNR",
    "fashion-from-mean": "cold",
}


def names() -> list[str]:
    """Every file there is."""
    each = [f"{kind}-{recipe}" for recipe in SYSTEMS for kind in ("weights", "walk")]
    return ["onnxruntime.mjs", "onnxruntime.wasm", "graph", *each]


def read(name: str) -> bytes:
    """The contents of one."""
    if name not in names():
        raise unknown("file", name, names())
    if name == "onnxruntime.mjs":
        return (RUNTIME / "ort.wasm.bundle.min.mjs").read_bytes()
    if name == "onnxruntime.wasm":
        return gzip.decompress((RUNTIME / "ort-wasm-simd-threaded.wasm.gz").read_bytes())
    if name == "graph":
        return _graph()
    kind, _, recipe = name.partition("-")
    from bdbook.page import onnx

    run = run_of(recipe)
    return onnx.weights(onnx.net_of(run)) if kind == "weights" else json.dumps(onnx.walk(run, _begin(recipe))).encode()


def _begin(recipe: str) -> tuple[Tensor, Tensor] | None:
    """Where the walks of a recipe begin, if it was recorded: then the pictures that it learned from are not needed."""
    file = recorded.folder_of(recipe) / START
    if not file.is_file():
        return None
    from safetensors.torch import load

    found = load(file.read_bytes())
    return found["centres"], found["spread"]


@cache
def run_of(recipe: str) -> Run:
    """The recorded network of a recipe, of the CPU's runs."""
    from bdbook.training import runs

    return runs.load(recorded.folder_of(recipe) / "weights.safetensors")


@cache
def _graph() -> bytes:
    from bdbook.page import onnx

    run = run_of(next(iter(SYSTEMS)))
    return onnx.graph(onnx.net_of(run), run.recipe.channels, run.recipe.size)
