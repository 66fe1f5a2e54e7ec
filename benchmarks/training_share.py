"""Where does a training step go? The transforms' share of it, and how near it comes to the machine's own ceiling.

Run: python benchmarks/training_share.py [--device cuda] [--precision bf16]   (prints a Markdown table)

A step is the library's: batch, degradation, network, loss, gradients, clipping, Adam, average. The transforms' share is
the time of as many DCTs of a batch, forward and back, as the step makes, over that of the step, in turns; the target
is under 2 %. The ceiling is the best of a few square matrix products at the same precision, measured in the same run;
the share of it counts the step's arithmetic (torch's FLOP counter, attention of the CPU added) over its time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from unittest.mock import patch

import torch

from bdbook import recipes
from bdbook.training import cost
from bdbook.training.engine import PRECISIONS, Engine
from bdbook.training.loop import start, train
from bdbook.transforms import DCT

REPEATS = 15
CASES = [("photos-blurring", 64), ("photos-blurring-plain", 64), ("hs-cifar10", 2)]
# Sides of the matrices whose product is the ceiling: on a GPU such that they fill it.
PRODUCTS = {"cpu": (512, 1024, 2048), "cuda": (2048, 4096, 8192)}


def seconds(call: Callable, device: torch.device) -> float:
    begin = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begin


def ceiling(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of the fastest matrix product."""
    best = 0.0
    for n in PRODUCTS[device.type]:
        a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
        times = [seconds(lambda a=a, b=b: a @ b, device) for _ in range(10)]
        best = max(best, 2 * n**3 / statistics.median(times[3:]))
    return best


def transforms_of(recipe: recipes.Recipe, images: torch.Tensor, engine: Engine) -> int:
    """DCTs of a whole batch in one training step."""
    state = start(recipe, images, engine=engine)
    with (
        patch.object(DCT, "forward", autospec=True, side_effect=DCT.forward) as there,
        patch.object(DCT, "inverse", autospec=True, side_effect=DCT.inverse) as back,
    ):
        next(train(recipe, images, state, engine=engine))
    return there.call_count + back.call_count


def there_and_back(basis: DCT, x: torch.Tensor) -> None:
    for _ in range(10):
        basis.inverse(basis.forward(x))


def measured(name: str, batch: int, engine: Engine, top: float) -> dict:
    """Seconds of a step and of a DCT, DCTs a step, the transforms' share of it, and the share of the ceiling `top`."""
    recipe = replace(recipes.get(name), batch=batch, warmup=1)
    height = recipe.size
    images = torch.rand(max(batch, 16), recipe.channels, height, height) * 2 - 1
    images = images.to(engine.device)
    state = start(recipe, images, engine=engine)
    loop, basis, x = train(recipe, images, state, engine=engine), DCT(height), images[:batch]
    calls = transforms_of(recipe, images, engine)
    for _ in range(2):
        next(loop)
    steps, single = [], []
    for _ in range(REPEATS if recipe.size <= 16 or engine.device.type == "cuda" else 3):
        steps.append(seconds(lambda: next(loop), engine.device))
        single.append(seconds(lambda: there_and_back(basis, x), engine.device) / 20)
    step, one = statistics.median(steps), statistics.median(single)
    work = cost.flops_of_step(recipe, images, state, engine)
    return {
        "recipe": name,
        "batch": batch,
        "seconds": step,
        "transforms": calls,
        "transform_seconds": one,
        "transforms_share": calls * one / step,
        "ceiling_share": work / step / top,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32", choices=PRECISIONS)
    asked = parser.parse_args()
    device, autocast = torch.device(asked.device), PRECISIONS[asked.precision]
    engine = Engine(device, autocast)
    top = ceiling(device, autocast or torch.float32)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} thread(s)"
    print(f"torch {torch.__version__}, {name}, {asked.precision}; ceiling {top / 1e9:.0f} GFLOP/s\n")
    print("| recipe | batch | step, ms | DCTs a step | one DCT, ms | transforms' share | share of the ceiling |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for recipe, batch in CASES:
        row = measured(recipe, batch, engine, top)
        print(
            f"| {recipe} | {batch} | {1000 * row['seconds']:.1f} | {row['transforms']} | "
            f"{1000 * row['transform_seconds']:.3f} | {row['transforms_share']:.1%} | {row['ceiling_share']:.0%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
