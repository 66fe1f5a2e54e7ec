"""Generation, measured: one protocol, in one place, printed with every number.

Papers' numbers differ by how many samples, of which split, rounded how, by which weights: `Protocol` says all of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from bdbook import likelihood
from bdbook.evaluation import metrics, restoration
from bdbook.likelihood import Bound
from bdbook.processes import Process
from bdbook.training.engine import SINGLE_PROCESS, Engine
from bdbook.training.loop import generator_for
from bdbook.training.runs import Run


@dataclass(frozen=True)
class Protocol:
    """How samples are drawn and compared.

    Samples by rule in `steps` steps (None: the recipe's), with the averaged weights, against the images of the split,
    at most count. samples: how many, None for as many as images. Few samples scatter more than good models differ:
    359 training digits, drawn again and again, lie at Frechet distances from 11 to 23 of the test digits. order, clip:
    as in `samplers.sample`.
    """

    count: int = 1024
    samples: int | None = None
    split: str = "test"
    rule: str | None = None
    steps: int | None = None
    order: int = 1
    clip: bool = False
    seed: int = 0

    def drawn(self, images: int) -> int:
        """How many samples, against so many images."""
        return images if self.samples is None else self.samples

    def words(self, run: Run) -> str:
        """The protocol for a run, to print beside its numbers."""
        rule, steps = self.rule or run.recipe.rule, self.steps or run.recipe.sample_steps
        walk = f"{rule}, {'all' if steps is None else steps} steps" + (", second order" if self.order == 2 else "")
        number = "as many" if self.samples is None else f"{self.samples}"
        images = f"images of the {self.split} split, up to {self.count}"
        return (
            f"{run.recipe.name}: {number} samples ({walk}{', clipped' if self.clip else ''}; averaged weights of step "
            f"{run.record['step']}) {'as' if self.samples is None else 'against'} {images}; Frechet and kernel "
            "distance of embedded digit features, images clamped to [-1, 1] and rounded to uint8; the others on images "
            f"as they are; seed {self.seed}"
        )


def samples(
    run: Run, count: int, protocol: Protocol, engine: Engine = SINGLE_PROCESS, progress: bool = False
) -> Tensor:
    """count images, (count, C, H, W), as the protocol says."""
    p = protocol
    return run.draw(count, p.seed, p.rule, p.steps, progress, p.order, p.clip, engine)


def measures(images: Tensor, pictures: Tensor, digits: bool = False) -> dict:
    """All the numbers of one set of samples against pictures; digits: the classifier's score too.

    frechet, kernel: distances of features. sliced_wasserstein: in units of a pixel. spectrum: of the variance by
    band, whose ratios are bands, the lowest first.
    """
    found = {
        "frechet": metrics.frechet(images, pictures),
        "kernel": metrics.kernel_distance(images, pictures),
        "sliced_wasserstein": metrics.sliced_wasserstein(images, pictures),
        "spectrum": metrics.spectrum_distance(images, pictures),
        "bands": metrics.band_ratio(images, pictures).tolist(),
    }
    return found | ({"score": metrics.inception_score(images)} if digits else {})


def of_samples(run: Run, protocol: Protocol, engine: Engine = SINGLE_PROCESS, progress: bool = False) -> dict:
    """`measures` of the run's samples."""
    truth = restoration.held_out(run, restoration.Protocol(protocol.count, protocol.split))
    drawn = samples(run, protocol.drawn(len(truth)), protocol, engine, progress)
    return measures(drawn, truth, run.record["data"] == "digits")


def compare(
    run: Run, protocol: Protocol = Protocol(), engine: Engine = SINGLE_PROCESS, progress: bool = False
) -> dict[str, dict]:
    """`measures` of the run's samples, and of as many training images (or all): what a perfect sampler would have."""
    split = restoration.Protocol(protocol.count, protocol.split)
    truth = restoration.held_out(run, split)
    count = protocol.drawn(len(truth))
    training = restoration.held_out(run, replace(split, split="train", count=count))[:count]
    return {
        "samples": of_samples(run, protocol, engine, progress),
        "training": measures(training, truth, run.record["data"] == "digits"),
    }


def bits(run: Run, images: Tensor, steps: int | None = None, seed: int = 0) -> Bound:
    """The bound of a run on images (B, C, H, W), bits per dimension: `likelihood.bound`.

    Where a process does not end in white noise, what it starts from is the Gaussian that the data become.
    """
    process = run.denoiser.process
    prior = None
    if isinstance(process, Process) and process.start.kind != "noise":
        prior = run.spectrum.marginal(process, 1.0)
    random = generator_for(seed, "bits", device=run.device)
    return likelihood.bound(run.denoiser, images.to(run.device), random, steps, prior=prior)


def table(rows: dict[str, dict]) -> str:
    """Rows of measures as text with aligned columns."""
    score = any("score" in m for m in rows.values())
    head = f"{'Frechet':>9} {'kernel':>8}" + (f" {'score':>6}" if score else "") + f" {'sliced W2':>10} {'spectrum':>9}"
    lines = [f"{'':10} {head}   variance over the images', lowest band first"]
    for name, m in rows.items():
        scored = f" {m['score']:6.2f}" if score else ""
        lines.append(
            f"{name:10} {m['frechet']:9.2f} {m['kernel']:8.3f}{scored} {m['sliced_wasserstein']:10.4f} "
            f"{m['spectrum']:9.3f}   {' '.join(f'{ratio:.2f}' for ratio in m['bands'])}"
        )
    return "\n".join(lines)
