"""Generation, measured: one protocol, in one place, printed with every number.

Papers' numbers differ by how many samples, of which split, rounded how, by which weights: `Protocol` says all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bdbook import data, likelihood, samplers
from bdbook.evaluation import checks, fair, features, metrics, restoration
from bdbook.evaluation.checks import cell, or_words
from bdbook.likelihood import Bound
from bdbook.processes import Degradation, Process
from bdbook.recipes import Recipe
from bdbook.training.engine import SINGLE_PROCESS, Engine
from bdbook.training.loop import generator_for
from bdbook.training.runs import Run
from bdbook.transforms import unwrapped

BY_FEATURES = "Frechet and kernel distance, precision, recall, density, coverage"
# At how many times at once a schedule is looked at.
TIMES = 64


@dataclass(frozen=True)
class Protocol:
    """How samples are drawn and compared.

    Samples by rule in `steps` steps (None: the recipe's), with the averaged weights, against the images of the split,
    at most count. samples: how many, None for as many as images. Few samples scatter more than good models differ:
    359 training digits, drawn again and again, lie at Frechet distances from 11 to 23 of the test digits. order, clip:
    as in `samplers.sample`. data: compare with these images, a set's name or a folder, instead of the run's own.
    """

    count: int = 1024
    samples: int | None = None
    split: str = "test"
    rule: str | None = None
    steps: int | None = None
    order: int = 1
    clip: bool = False
    seed: int = 0
    data: str | None = None

    def __post_init__(self) -> None:
        data.check_request(1, self.count, self.split)
        checks.at_least_one(samples=self.samples, steps=self.steps)
        samplers.check_order(self.order)
        if self.rule is not None:
            samplers.rule(self.rule)

    def drawn(self, images: int) -> int:
        """How many samples, against so many images."""
        return images if self.samples is None else self.samples

    def words(self, run: Run) -> str:
        """The protocol of `compare` for a run, to print beside its numbers."""
        number = "as many" if self.samples is None else f"{self.samples}"
        source = "" if self.data is None else f" of {self.data}"
        images = f"images of the {self.split} split{source}, up to {self.count}"
        return (
            f"{run.recipe.name}: {number} samples ({self.walk(run)}) {'as' if self.samples is None else 'against'} "
            f"{images}; Frechet and kernel distance of embedded digit features, images clamped to [-1, 1] and rounded "
            f"to uint8; the others on images as they are; seed {self.seed}"
        )

    def fair_words(self, run: Run) -> str:
        """The protocol of `fairly` for a run, to print beside its numbers."""
        name, judge = run.record["data"], features.of(run.record["data"], unwrapped(run.recipe.size))
        by_features = f"{BY_FEATURES}{'' if judge.logits is None else ', score'}"
        return (
            f"{run.recipe.name}: {self.drawn(self.count)} samples ({self.walk(run)}) against {fair.REFERENCE} "
            f"training images of {name}, and against as many of the test split; floor: as many other training images, "
            f"of which nearest alone is of test images; {by_features} by {judge.words}, images clamped to [-1, 1] and "
            f"rounded to uint8; the others on images as they are; seed {self.seed}"
        )

    def walk(self, run: Run) -> str:
        """Rule, steps and weights, in words."""
        rule, steps = self.rule or run.recipe.rule, self.steps or run.recipe.sample_steps
        walk = f"{rule}, {'all' if steps is None else steps} steps" + (", second order" if self.order == 2 else "")
        return f"{walk}{', clipped' if self.clip else ''}; averaged weights of step {run.record['step']}"


def fitting(recipe: Recipe, process: Degradation) -> tuple[str, ...]:
    """Names of the rules that end in what a recipe's network learnt; the others walk through states it never saw.

    Without noise, those that add none. With noise, those that leave as much of it as there is at each time: momentum
    where it does not fall with t, ihdm where it is the same at all. A network that says the less blurred image knows no
    mean at t, which all but ihdm carry.
    """
    if not process.noisy:
        return ("naive", "tacos")
    if recipe.predicts == "less_blurred":
        return ("ihdm",)
    found = {"ancestral", "ddim", recipe.rule}
    if isinstance(process, Process):
        sigmas = torch.cat([process.sigma(some) for some in process.times().flip(0).split(TIMES)])
        changes = sigmas.diff(dim=0)
        if (changes >= 0).all():
            found.add("momentum")
        if (changes[1:] == 0).all():  # at t = 0, where the network is not asked, there may be none
            found.add("ihdm")
    return tuple(sorted(found & set(samplers.RULES)))


def check_rule(recipe: Recipe, process: Degradation, rule: str | None) -> None:
    """Raise unless a rule, by name, fits a recipe: `fitting`. None is the recipe's own."""
    if rule is None:
        return
    samplers.rule(rule)
    fit = fitting(recipe, process)
    if rule in fit:
        return
    if not process.noisy:
        reason = f"has no noise, which {rule} divides by or adds"
    elif recipe.predicts == "less_blurred":
        reason = "says the less blurred image, from which ihdm alone steps"
    else:
        reason = {
            "naive": "has noise at every time, and Algorithm 1 leaves none",
            "tacos": "has less and less noise, and TACoS carries all of it along",
            "ihdm": "has noise that depends on t, and ihdm adds the same at every step",
            "momentum": "has noise that falls with t, and momentum can only take it away",
        }.get(rule, "was not trained for it")
    raise ValueError(f"rule {rule!r} does not fit {recipe.name}, which {reason}; expected {' or '.join(fit)}")


def samples(
    run: Run, count: int, protocol: Protocol, engine: Engine = SINGLE_PROCESS, progress: bool = False
) -> Tensor:
    """count images, (count, C, H, W), as the protocol says."""
    p = protocol
    check_rule(run.recipe, run.denoiser.process, p.rule)
    return run.draw(count, p.seed, p.rule, p.steps, progress, p.order, p.clip, engine)


def measures(images: Tensor, pictures: Tensor, digits: bool = False) -> dict:
    """All the numbers of one set of samples against pictures; digits: the classifier's score too.

    frechet, kernel: distances of features. sliced_wasserstein: in units of a pixel. spectrum: of the variance by
    band, whose ratios are bands, the lowest first. count, pictures: how many there were. In place of a number that
    does not exist stand a few words, e.g. "too few: 2 of 33".
    """
    found: dict[str, Any] = {
        "frechet": or_words(metrics.frechet, images, pictures),
        "kernel": or_words(_kernel, images, pictures),
        "sliced_wasserstein": or_words(metrics.sliced_wasserstein, images, pictures),
        "spectrum": or_words(metrics.spectrum_distance, images, pictures),
        "bands": _bands(images, pictures),
        "count": len(images),
        "pictures": len(pictures),
    }
    return found | ({"score": or_words(metrics.inception_score, images)} if digits else {})


def _kernel(images: Tensor, pictures: Tensor) -> float:
    """`metrics.kernel_distance`, which a handful of images scatters over more than it can tell."""
    few = min(len(images), len(pictures))
    if few < fair.HANDFUL:
        words = f"too few: {few} of {fair.HANDFUL}"
        raise checks.Unmeasurable.because(f"{few} images tell no kernel distance", words)
    return metrics.kernel_distance(images, pictures)


def _bands(images: Tensor, pictures: Tensor, bands: int = 5) -> list[float | str]:
    """`metrics.band_ratio`, with words for the bands alone in which the pictures do not vary."""
    over, under = (or_words(metrics.band_variance, x, bands) for x in (images, pictures))
    for words in (over, under):
        if isinstance(words, str):
            return [words] * bands
    return [a / b if b > 0 else "constant" for a, b in zip(over.tolist(), under.tolist())]


def of_samples(run: Run, protocol: Protocol, engine: Engine = SINGLE_PROCESS, progress: bool = False) -> dict:
    """`measures` of the run's samples."""
    truth = restoration.held_out(run, _pictures(protocol))
    drawn = samples(run, protocol.drawn(len(truth)), protocol, engine, progress)
    return measures(drawn, truth, _digits(run, protocol))


def _pictures(protocol: Protocol, **changes: Any) -> restoration.Protocol:
    """How the images are chosen that samples are compared with."""
    chosen: dict[str, Any] = {"count": protocol.count, "split": protocol.split, "data": protocol.data}
    return restoration.Protocol(**chosen | changes)


def _digits(run: Run, protocol: Protocol) -> bool:
    return run.record["data"] == "digits" and protocol.data in (None, "digits")


def compare(
    run: Run, protocol: Protocol = Protocol(), engine: Engine = SINGLE_PROCESS, progress: bool = False
) -> dict[str, dict]:
    """`measures` of the run's samples, and of as many training images (or all): what a perfect sampler would have."""
    check_rule(run.recipe, run.denoiser.process, protocol.rule)
    truth = restoration.held_out(run, _pictures(protocol))
    count = protocol.drawn(len(truth))
    training = restoration.held_out(run, _pictures(protocol, split="train", count=count))[:count]
    return {
        "samples": of_samples(run, protocol, engine, progress),
        "training": measures(training, truth, _digits(run, protocol)),
    }


def is_fair(run: Run, protocol: Protocol) -> bool:
    """Whether `fairly` can measure the run: its data have features made for them, and no others were asked for."""
    return protocol.data is None and protocol.split == "test" and run.record["data"] in features.MADE_FOR


def fairly(
    run: Run, protocol: Protocol = Protocol(), engine: Engine = SINGLE_PROCESS, progress: bool = False
) -> dict[str, dict]:
    """The run's samples by every measure of `fair.Real.measures`, beside what real images get for the same.

    As many samples as the protocol says, or else as its count. The nearest is looked for among what the run was trained
    on. Raises ValueError where `is_fair` says no.
    """
    check_rule(run.recipe, run.denoiser.process, protocol.rule)
    if not is_fair(run, protocol):
        raise ValueError(
            f"{run.recipe.name} was trained on {run.record['data']}, and the protocol asked for split "
            f"{protocol.split!r} of {protocol.data or 'the same'}; expected data of {', '.join(features.MADE_FOR)}, "
            "whose test and training images both are compared with: use generation.compare(run, protocol) for others"
        )
    real = fair.real(run.record["data"], unwrapped(run.recipe.size), run.recipe.channels).trained_on(run.pixels())
    drawn = samples(run, protocol.drawn(protocol.count), protocol, engine, progress)
    return real.measures(drawn)


def bits(run: Run, images: Tensor, steps: int | None = None, seed: int = 0) -> Bound:
    """The bound of a run on images (B, C, *axes), bits per dimension: `likelihood.bound`.

    Where a process does not end in white noise, what it starts from is the Gaussian that the data become.
    """
    images = checks.images(images, least=1) if images.ndim == 4 else images
    process = run.denoiser.process
    prior = None
    if isinstance(process, Process) and process.start.kind != "noise":
        prior = run.spectrum.marginal(process, 1.0)
    random = generator_for(seed, "bits", device=run.device)
    return likelihood.bound(run.denoiser, images.to(run.device), random, steps, prior=prior)


def bits_in_words(bound: Bound) -> str:
    """The mean of a bound with its standard error, or of how many images it is no number; and how many there were."""
    count = len(bound.total_bits)
    broken = (~bound.total_bits.isfinite()).count_nonzero().item()
    if broken:
        return f"no number, the network rules {broken} of {count} images out"
    if count == 1:
        return f"{cell(bound.mean, '.3f')} (one image: no standard error)"
    return f"{cell(bound.mean, '.3f')} +- {cell(bound.standard_error, '.3f')} ({count} images)"


def table(rows: dict[str, dict]) -> str:
    """Rows of measures as text with aligned columns, and how many images there were: N, compared with how many."""
    columns = [
        ("frechet", "Frechet", 9, ".2f"),
        ("kernel", "kernel", 8, ".3f"),
        *([("score", "score", 6, ".2f")] if any("score" in m for m in rows.values()) else []),
        ("sliced_wasserstein", "sliced W2", 10, ".4f"),
        ("spectrum", "spectrum", 9, ".3f"),
        ("count", "N", 6, "d"),
        ("pictures", "images", 6, "d"),
    ]
    lines = checks.aligned(rows, columns)
    cells = [[cell(ratio, ".2f") for ratio in m["bands"]] for m in rows.values()]
    # What is said in words of all bands alike is said once.
    worded = [isinstance(m["bands"][0], str) and len(set(m["bands"])) == 1 for m in rows.values()]
    bands = [each[0] if once else " ".join(each) for each, once in zip(cells, worded)]
    ends = ["variance over the images', lowest band first", *bands]
    return "\n".join(f"{line}   {end}" for line, end in zip(lines, ends))
