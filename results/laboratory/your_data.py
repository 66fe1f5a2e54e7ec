"""Does what `spectra.advise` says beat the papers' own samplers, on data that are not Gaussian?

    python results/laboratory/your_data.py

Each set of data is measured as a reader's would be, and a mixture of Gaussians is fitted to it, whose best denoiser is
known. Then CALLS calls of it are taken by the advice and by each system with the rule of its paper and with DDIM, in
equal steps of time, from exact draws at t = 1; and samples are measured against the mixture at t = 0. A set takes some
minutes of a core.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import torch
import tyro

from bdbook import data, files, samplers, spectra
from bdbook.evaluation import joint
from bdbook.evaluation.checks import DoubtfulWarning
from bdbook.mixtures import Mixture
from bdbook.oracle import Gaussian
from bdbook.processes import Process
from bdbook.samplers import Rule
from bdbook.spectra.advice import systems
from bdbook.training import records
from bdbook.transforms import DCT, Pixel

FILE = Path(__file__).with_suffix(".json")
CALLS, COUNT, SEEDS, COMPONENTS, LEARNT = 10, 500, (0, 1), 20, 4000
# The rule of each system's paper; DDPM, cosine and blurring diffusion draw from the posterior.
RULES: dict[str, Rule | str] = {"IHDM": samplers.ihdm(), "soft": "momentum"}
MEASURES = ("sliced_w2", "energy", "shares")  # of components


def tones(count: int, length: int = 128) -> np.ndarray:
    """Stereo sounds (count, 2, length): a few decaying tones at chance pitches, on two tracks, in faint brown noise."""
    random, time = np.random.default_rng(0), np.arange(length) / length
    sounds = 0.02 * random.standard_normal((count, 2, length)).cumsum(-1)
    for _ in range(3):
        pitch, phase, fade = random.uniform(2, 40, (count, 1, 1)), random.uniform(0, 2 * np.pi, (count, 1, 1)), 3.0
        loud = random.exponential(1.0, (count, 2, 1))
        sounds += loud * np.exp(-fade * time) * np.sin(2 * np.pi * pitch * time + phase)
    return sounds


def field(count: int, side: int = 8) -> np.ndarray:
    """Volumes (count, 1, side, side, side) with turbulence's spectrum, f^(-5/3 - 2), now calm, now not."""
    basis = DCT((side, side, side))
    lowest = basis.freq2[basis.freq2 > 0].min()
    law = Gaussian(basis, basis.freq2.clamp_min(lowest) ** (-(5 / 3 + 2) / 2))
    random = torch.Generator().manual_seed(0)
    strength = torch.empty(count, 1, 1, 1, 1, dtype=torch.float64).log_normal_(0, 0.7, generator=random)
    return (strength * law.sample(count, random)).numpy()


SETS = {
    "fashion": ("NCXX", lambda: data.load("fashion", 16, count=LEARNT).numpy()),
    "photos": ("NCXX", lambda: data.load("photos", 16, count=LEARNT).numpy()),
    "tones": ("NCX", lambda: tones(LEARNT)),
    "field": ("NCXXX", lambda: field(LEARNT)),
}


def walks(found: spectra.Spectrum) -> dict[str, tuple[Process, Rule | str, int]]:
    """What is compared: name -> process, rule, order."""
    advised = spectra.advise(found, CALLS)
    compared: dict[str, tuple[Process, Rule | str, int]] = {"advice": (advised.process, advised.rule, advised.order)}
    for name, process in systems(found.basis.size).items():
        compared[f"{name}, its paper's"] = process, RULES.get(name, "ancestral"), 1
        compared[f"{name}, DDIM"] = process, "ddim", 1
    return compared


def in_a_row(mixture: Mixture) -> Mixture:
    """The law of the coefficients as of pictures (1, 1, D), which is what is measured, whatever the axes were."""
    means, variances = (each.reshape(len(each), 1, 1, -1) for each in (mixture.means, mixture.variances))
    return Mixture(Pixel(), mixture.weights, means, variances)


def measured(mixture: Mixture, process: Process, rule: Rule | str, order: int, seed: int) -> list[float]:
    """MEASURES of COUNT samples."""
    random = torch.Generator().manual_seed(seed)
    clean = mixture.sample(COUNT, random)
    start = process.sample(clean, 1.0, torch.randn(clean.shape, generator=random, dtype=torch.float64))
    walk = samplers.sample(mixture.denoiser(process), start, process.times(CALLS), rule, random, order)
    target = in_a_row(mixture.marginal(process, 0.0))
    drawn = mixture.basis.forward(samplers.last(walk).x).reshape(COUNT, 1, 1, -1)
    truth, spectrum = target.sample(COUNT, random), target.gaussian()
    each = (
        joint.sliced_wasserstein(drawn, truth, spectrum),
        joint.energy_distance(drawn, truth, spectrum),
        joint.share_distance(drawn, target),
    )
    return [float(f"{value:.6g}") for value in each]


def main(only: tuple[str, ...] = tuple(SETS), file: Path = FILE) -> None:
    """Measure what is missing.

    Args:
        only: Names of SETS.
        file: Where to keep what is found.
    """
    warnings.simplefilter("ignore", DoubtfulWarning)  # these data do not lie in [-1, 1]
    rows = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for name in only:
        layout, make = SETS[name]
        array = make()
        found = spectra.of(array, layout)
        scaled = torch.from_numpy((array - found.offset) * found.factor)
        mixture = Mixture.fit(found.basis, scaled, COMPONENTS)
        for (way, asked), seed in ((item, seed) for item in walks(found).items() for seed in SEEDS):
            if (key := f"{name}, {way}, seed {seed}") not in rows:
                rows[key] = (
                    dict(zip(MEASURES, measured(mixture, *asked, seed))) | {"count": COUNT} | records.made_here()
                )
                files.write_atomically(file, json.dumps(rows, indent=1) + "\n")
                print(key, rows[key], flush=True)


if __name__ == "__main__":
    tyro.cli(main)
