"""What a GPU makes of this library: a training step against diffusers' and the card's own ceiling, and sampling.

Run: python benchmarks/gpu.py [--out benchmarks.json]   (the part "benchmarks" of `make gpu`; --rehearse: on the CPU)

All numbers go into one file of JSON, rewritten after each measurement, with the device, the versions and the commit.
Times are medians of steps that are waited for, after a warm-up. Compiled networks come last: compiling takes long.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import sampling_loop
import torch
import training_share
import training_step

from bdbook.files import write_atomically
from bdbook.training import records
from bdbook.training.engine import PRECISIONS, Engine
from bdbook.unet import UNetConfig

REHEARSAL = "a rehearsal on the CPU: no number of it is a GPU's"
BOOK = UNetConfig(size=16, channels=32, multipliers=(1, 2, 2), blocks=1, attention=(4,))
MIDDLE = UNetConfig(size=32, channels=64, multipliers=(1, 2, 2, 2), blocks=2, attention=(4, 8))
LARGE = UNetConfig(size=32, channels=128, multipliers=(1, 2, 2, 2), blocks=2, attention=(4, 8))
STEPS = ((BOOK, 64), (MIDDLE, 128), (LARGE, 128))  # (network, batch)
COMPILED = ((MIDDLE, 128),)
SHARES = (("photos-blurring", 64), ("photos-blurring", 512), ("hs-cifar10", 128))  # (recipe, batch)
SIZES = (16, 32)
# What a rehearsal goes through.
TINY = UNetConfig(size=8, channels=8, multipliers=(1, 2), blocks=1, attention=(2,), head_dim=8)
COPIED = 2**30  # bytes


def copied(device: torch.device, count: int = COPIED) -> float:
    """Bytes a second that a large copy within the device's memory reads and writes."""
    source = torch.rand(count // 4, device=device)
    target = torch.empty_like(source)
    times = [training_share.seconds(lambda: target.copy_(source), device) for _ in range(10)]
    return 2 * count / statistics.median(times[3:])


def here(device: torch.device, precision: str, rehearsed: bool) -> dict:
    """What was measured on, when, by which code."""
    engine = Engine(device, PRECISIONS[precision])
    versions = {"torch": torch.__version__, "python": platform.python_version(), "cuda": torch.version.cuda}
    versions |= {"diffusers": version("diffusers") if find_spec("diffusers") else None}
    told = {"device": records.device(engine), "precision": precision, "versions": versions}
    told |= {"commit": records.commit(), "date": records.today(), "rehearsal": rehearsed}
    return told | ({"note": REHEARSAL} if rehearsed else {})


def measurements(device: torch.device, autocast: torch.dtype | None, rehearsed: bool):
    """(name, function that measures) one after another, what takes long at the end."""
    engine, dtype = Engine(device, autocast), autocast or torch.float32
    steps = ((TINY, 4),) if rehearsed else STEPS
    shares = (("photos-blurring", 4),) if rehearsed else SHARES
    top: list[float] = []

    def ceiling() -> dict:
        top.append(training_share.ceiling(device, dtype))
        return {"product_flops": top[0], "copied_bytes": copied(device, COPIED // 64 if rehearsed else COPIED)}

    def against_diffusers(cases, compiler: str | None) -> list[dict] | str:
        if not find_spec("diffusers"):
            return "not measured: diffusers is not installed"
        return [training_step.measured(c, batch, device, autocast, compiler) for c, batch in cases]

    yield "ceilings", ceiling
    yield "training_step", lambda: against_diffusers(steps, None)
    yield "training_share", lambda: [training_share.measured(name, batch, engine, top[0]) for name, batch in shares]
    yield (
        "sampling_loop",
        lambda: [sampling_loop.measured(size, device, autocast) for size in SIZES[: 1 + (not rehearsed)]],
    )
    yield (
        "training_step_compiled",
        lambda: against_diffusers(*((steps, "eager") if rehearsed else (COMPILED, "inductor"))),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks.json"))
    parser.add_argument("--rehearse", action="store_true", help="small networks on the CPU; no number is a GPU's")
    asked = parser.parse_args()
    if not asked.rehearse and not torch.cuda.is_available():
        raise SystemExit("no CUDA device was found; run this where there is one, or try it on the CPU: --rehearse")
    device = torch.device("cpu" if asked.rehearse else "cuda")
    precision = "bf16" if asked.rehearse or torch.cuda.is_bf16_supported() else "fp32"
    found = here(device, precision, asked.rehearse)
    print(", ".join(f"{found[key]}" for key in ("device", "precision", "commit")), flush=True)
    if asked.rehearse:
        print(REHEARSAL)
        training_step.REPEATS = training_share.REPEATS = 3
        sampling_loop.RUNS, sampling_loop.STEPS = 1, 3
    for name, measure in measurements(device, PRECISIONS[precision], asked.rehearse):
        began = time.monotonic()
        try:
            found[name] = measure()
        except (RuntimeError, ValueError) as error:  # one that fails should not cost the others
            found[name] = f"failed: {type(error).__name__}: {str(error).splitlines()[0]}"
        write_atomically(asked.out, json.dumps(found, indent=1))
        print(f"{name} ({time.monotonic() - began:.0f} s): {json.dumps(found[name])}", flush=True)
    failed = [name for name, value in found.items() if str(value).startswith("failed: ")]
    if failed:
        raise SystemExit(f"{len(failed)} of the measurements failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
