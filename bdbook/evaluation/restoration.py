"""Restoration, measured: one protocol, in one place, printed with every number.

Bansal's Tables 1, 2, 3, 5 and 6 compare degraded images, one restoration ("direct") and the two samplers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from bdbook import data, priors, samplers
from bdbook.degradations import Blend
from bdbook.denoiser import Denoiser
from bdbook.evaluation import checks, metrics
from bdbook.evaluation.checks import or_words
from bdbook.training.engine import SINGLE_PROCESS, Engine
from bdbook.training.loop import generator_for
from bdbook.training.runs import GIVEN, Run
from bdbook.transforms import unwrapped

WAYS = ("degraded", "direct", "naive", "tacos")
# The upper three of five frequency bands: where a blurred picture lacks something.
FINE = slice(2, None)


@dataclass(frozen=True)
class Protocol:
    """How images are chosen and compared.

    count images of the split (all where there are fewer), degraded to t = 1 and restored in `steps` steps (None: all
    of the table), compared after clamping to [-1, 1] and rounding to uint8. Frechet distances are to the same images
    undegraded. data: take these images, by the name of a set or a folder, instead of the run's own.
    """

    count: int = 1024
    split: str = "test"
    steps: int | None = None
    seed: int = 0
    data: str | None = None

    def __post_init__(self) -> None:
        data.check_request(1, self.count, self.split)
        checks.at_least_one(steps=self.steps)

    def __str__(self) -> str:
        steps = "all steps" if self.steps is None else f"{self.steps} steps"
        source = "" if self.data is None else f" of {self.data}"
        return (
            f"up to {self.count} images of the {self.split} split{source}, degraded to t = 1, {steps}; clamped to "
            "[-1, 1], rounded to uint8; Frechet distance of embedded digit features to the same images; "
            f"seed {self.seed}"
        )


@torch.no_grad()
def restorations(
    denoiser: Denoiser,
    x_t: Tensor,
    steps: int | None = None,
    t: float = 1.0,
    progress: bool = False,
    rules: tuple[str, ...] = ("naive", "tacos"),
) -> dict[str, Tensor]:
    """What becomes of x_t = D(x, t), (B, C, H, W): itself, one restoration, and each rule's walk, each (B, C, H, W).

    steps: of the walk from t to 0, None for all of the table's (of a continuous degradation, 50).
    """
    times = walk_times(denoiser, steps, t)
    found = {"degraded": x_t, "direct": denoiser(x_t, times[0].item())}
    for name in rules:
        walk = samplers.sample(denoiser, x_t, times, samplers.rule(name))
        bar = tqdm(walk, total=len(times) - 1, desc=name, unit="step", disable=None if progress else True)
        found[name] = samplers.last(bar).x
    return found


def walk_times(denoiser: Denoiser, steps: int | None, t: float = 1.0) -> Tensor:
    """A uniform grid from t to 0 on the degradation's table, with at most `steps` steps."""
    table = denoiser.process.steps
    denoiser.process.check(t)
    if t <= 0:
        raise ValueError(f"t was {t:g}; expected a severity in (0, 1]: at 0 there is nothing to restore")
    available = 50 if table is None else round(t * table)
    wanted = available if steps is None else steps
    if wanted < 1 or (table is not None and wanted > available):
        raise ValueError(f"steps was {wanted}; from t = {t:g} there are 1 to {available} steps")
    grid = torch.linspace(t, 0.0, wanted + 1, dtype=torch.float64)
    return grid if table is None else torch.round(grid * table) / table


def evaluate(run: Run, protocol: Protocol = Protocol(), engine: Engine = SINGLE_PROCESS) -> dict[str, dict[str, Any]]:
    """`measures` of each way; detail is the variance in the finer bands over the truth's."""
    truth = held_out(run, protocol)
    return {name: measures(images, truth) for name, images in restored_images(run, truth, protocol, engine).items()}


def restored_images(
    run: Run, truth: Tensor, protocol: Protocol = Protocol(), engine: Engine = SINGLE_PROCESS
) -> dict[str, Tensor]:
    """`restorations` of truth (B, C, H, W), degraded to t = 1 as the protocol says; on the CPU."""
    if run.denoiser.process.noisy:
        raise ValueError(f"{run.recipe.name} generates from noise; only degradations of bdbook.cold are restored")
    random = generator_for(protocol.seed, "evaluate", device=run.device)
    process = run.denoiser.process.draw(len(truth), random)

    def work(_: int, rows: slice) -> Tensor:
        drawn = replace(run.denoiser, process=process.rows(rows))
        ways = restorations(drawn, drawn.process.mean(truth[rows].to(run.device), 1.0), protocol.steps)
        return torch.stack([ways[name] for name in WAYS], dim=1)

    return dict(zip(WAYS, engine.in_chunks(len(truth), work).unbind(1)))


def held_out(run: Run, protocol: Protocol) -> Tensor:
    """The images of the protocol's split, (N, C, H, W); all there are where there are fewer than its count.

    Raises ValueError where the run's folder no longer holds what it held when the run was trained, and where its images
    were handed over in Python: the protocol's data are then what to compare with.
    """
    size, channels, seed = unwrapped(run.recipe.size), run.recipe.channels, run.record["identity"]["seed"]
    source = _recorded(run, protocol.split) if protocol.data is None else data.source(protocol.data)
    if isinstance(source, data.Folder):
        count = min(protocol.count, len(source.part(protocol.split)))
        return data.load(source, size, channels, count, protocol.split, seed)
    name = data.recorded(source)
    try:
        return data.load(name, size, channels, protocol.count, protocol.split, seed)
    except ValueError:  # finite sets say how many they have
        return data.load(name, size, channels, None, protocol.split, seed)


def _recorded(run: Run, split: str) -> str | data.Folder:
    """The run's own data, a set by name or a folder; of a folder it is seen to that it holds what it held."""
    if run.record["data"] == GIVEN:
        raise ValueError(
            f"{run.recipe.name} was trained on images that were handed over in Python, and none are known to be held "
            "out; say what to compare with: Protocol(data=FOLDER), bdbook evaluate --data FOLDER"
        )
    source = run.source()
    if not isinstance(source, data.Folder):
        return run.record["data"]
    if "pictures" not in run.record:  # an older record knows only what was trained on
        run.pixels()
    elif source.fingerprints[split] != run.record["pictures"]["fingerprints"][split]:
        raise run.others(split, run.record["pictures"][split], len(source.part(split)))
    return source


def measures(images: Tensor, truth: Tensor) -> dict[str, Any]:
    """All the numbers of one set of images against the truth, and count, how many there were.

    In place of a number that does not exist stand a few words: "too few: 2 of 33", "identical", "constant".
    """
    close = or_words(metrics.fidelity, images, truth)
    if isinstance(close, str):
        close = dict.fromkeys(("rmse", "psnr", "ssim"), close)
    elif math.isinf(close["psnr"]):
        close["psnr"] = "identical"
    return {
        "frechet": or_words(metrics.frechet, images, truth),
        **close,
        "detail": or_words(_detail, images, truth),
        "count": len(images),
    }


def _detail(images: Tensor, truth: Tensor) -> float:
    return _share(images, truth, FINE, "finer bands")


def _share(images: Tensor, pictures: Tensor, bands: slice, words: str) -> float:
    """Variance in some of five bands over the pictures'."""
    images, pictures = checks.pair(images, pictures, ("images", "pictures"), 2, metrics.TWO)
    over, under = (metrics.band_variance(x)[bands].sum() for x in (images, pictures))
    if under == 0:
        raise checks.Unmeasurable.because(
            f"pictures do not vary in {words}: they are constant or the same, and a ratio of variances says nothing; "
            "give pictures that differ",
            "constant",
        )
    return (over / under).item()


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Rows of measures as text with aligned columns; N: how many images."""
    columns = [
        ("frechet", "Frechet", 9, ".2f"),
        ("ssim", "SSIM", 7, ".3f"),
        ("rmse", "RMSE", 7, ".4f"),
        ("psnr", "PSNR", 7, ".2f"),
        ("detail", "detail", 7, ".2f"),
        ("count", "N", 6, "d"),
    ]
    return "\n".join(checks.aligned(rows, columns))


# --- generation -----------------------------------------------------------------------------------------------


@torch.no_grad()
def generations(run: Run, count: int, seed: int = 0) -> dict[str, Tensor]:
    """What a cold restorer makes of a start that holds no picture, by each way that Bansal sec. 5 compares.

    "tacos", "naive", "direct" begin at the run's own prior; pixelation at a Gaussian over its blocks. Blur to the
    mean adds "perfect symmetry", the flat start without noise. Noise adds "estimated noise", which is ddim: the same
    network, its noise estimated at each step instead of kept.
    """
    recipe = run.recipe
    random = generator_for(seed, "generate", device=run.device)
    process = run.denoiser.process.draw(count, random)
    denoiser = replace(run.denoiser, process=process)
    start = recipe.build_prior(process, run.spectrum, run.images)(count, random)
    found = {"start": start, **restorations(denoiser, start)}
    del found["degraded"]
    if process.to_mean:
        flat = priors.fitted(process, run.images())(count, random)
        found["perfect symmetry"] = _end(denoiser, flat, samplers.tacos)
    if isinstance(process, Blend) and isinstance(process.draw_z, priors.Normal):
        hot = replace(run.denoiser, process=process.process)
        # At t = 1 nothing of a picture is left, and the noise is x_t itself.
        found["estimated noise"] = _end(hot, start, samplers.ddim)
    return found


def _end(denoiser: Denoiser, start: Tensor, rule: samplers.Rule) -> Tensor:
    return samplers.last(samplers.sample(denoiser, start, walk_times(denoiser, None), rule)).x


def novelty(images: Tensor, pictures: Tensor) -> dict[str, Any]:
    """frechet to the pictures, and the variance between images over that between pictures, all frequencies.

    In place of a number that does not exist stand a few words, as in `measures`.
    """
    return {"frechet": or_words(metrics.frechet, images, pictures), "variance": or_words(_spread, images, pictures)}


def _spread(images: Tensor, pictures: Tensor) -> float:
    return _share(images, pictures, slice(None), "any band")
