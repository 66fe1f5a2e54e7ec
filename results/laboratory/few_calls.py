"""Few calls of an exact denoiser: every rule on every process, the data one of three mixtures.

    python results/laboratory/few_calls.py

A block is one mixture, one process, one grid and one seed; what is in few_calls.json already is kept, so that an
interrupted run goes on. Each walk begins at exact draws of z_1 and is measured against the law of z_0,
`mixture.marginal(process, 0.0)`, so that the error is the sampler's alone; all rules and numbers of calls have the same
start and the same data. Blur diffusion (Lee) is left out: it is diagonal in another basis than the mixtures are. All
blocks together take a quarter of an hour of one quiet core.

Each coefficient of the cosine basis is blurred, noised and denoised by numbers of its own. So the coefficients are
taken for pictures in the basis of pixels: the same numbers, without a transform in each step.
"""

from __future__ import annotations

import itertools
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from bdbook import processes, samplers, timegrids
from bdbook.denoiser import X0, Denoiser, wiener
from bdbook.evaluation import joint
from bdbook.evaluation.checks import DoubtfulWarning
from bdbook.files import write_atomically
from bdbook.mixtures import Mixture
from bdbook.oracle import Gaussian
from bdbook.processes import Process
from bdbook.training import records
from bdbook.transforms import DCT, Pixel

HERE = Path(__file__).parent
FILE = HERE / "few_calls.json"
MIXTURES = ("fashion", "photos", "leaves")
CALLS = (5, 10, 20, 50)
# Samples of a walk, and those of them that the classifier sees, which is by far the slowest measure.
COUNT, CLASSIFIED = 500, 200
REPEATS = 5
BASIS = DCT(16)
# Coefficients that no picture has, and how near a walk must come to the library's own.
BEYOND, CLOSE = 1e6, 1e-7
PROCESSES: dict[str, Callable[[Gaussian], Process]] = {
    "DDPM": lambda spectrum: processes.ddpm(basis=BASIS),
    "cosine": lambda spectrum: processes.cosine_diffusion(BASIS),
    "IHDM": lambda spectrum: processes.heat_dissipation(16),
    "HS, 5 px": lambda spectrum: processes.blurring_diffusion(16, 5.0),
    "HS, 20 px": lambda spectrum: processes.blurring_diffusion(16, 20.0),
    "soft": lambda spectrum: processes.soft_diffusion(16),
    "equal SNR": processes.equal_snr,
}
# Grid and seed -> rule -> at most so many calls. The second seed says how much of the first is chance.
FIRST, MORE = ("DDIM", "DDIM, order 2", "Heun", "flow", "flow, order 2"), ("matched", "ancestral")
RULES = {
    ("uniform", 0): dict.fromkeys(FIRST, 50) | dict.fromkeys(MORE, 20),
    ("log-SNR", 0): dict.fromkeys(FIRST, 20),
    ("uniform", 1): dict.fromkeys((rule for rule in FIRST if rule != "Heun"), 20),
}
MEASURES = ("sliced_w2", "energy", "two_sample", "negative_log_density", "shares")


def untransformed(mixture: Mixture) -> Mixture:
    """The mixture of pictures whose pixels are the coefficients of this one's."""
    return Mixture(Pixel(), mixture.weights, mixture.means, mixture.variances)


def quick(mixture: Mixture, process: Process) -> Denoiser:
    """`mixture.denoiser(process)` as products of matrices, several times as fast; `check` compares the two."""
    weights, means, variances = mixture.weights, mixture.means.flatten(1), mixture.variances.flatten(1)

    def net(x_t: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = process.alpha(float(t[0])), process.sigma(float(t[0]))
        gain = wiener(alpha, sigma, mixture.variances)[0].flatten(1)
        alpha, spread = (m.expand(1, 1, 16, 16).flatten(1) for m in (alpha, sigma**2))
        centre, width, rows = alpha * means, alpha**2 * variances + spread, x_t.flatten(1)
        squares = torch.cat([rows**2, rows], 1) @ torch.cat([1 / width, -2 * centre / width], 1).T
        shares = (weights.log() - 0.5 * (squares + (width.log() + centre**2 / width).sum(1))).softmax(1)
        return torch.addcmul(shares @ (means - gain * centre), shares @ gain, rows).reshape(x_t.shape)

    return Denoiser(net, process, X0)


def heun(model: Denoiser, x_T: Tensor, process: Process, grid: str, calls: int) -> Tensor | None:
    """Heun's method on dy/dnu = eps_hat, y = u / alpha, nu = sigma / alpha, in at most so many calls.

    Two calls a step; the last step has one where there is no noise left to estimate, and where the number of calls is
    odd. None where alpha_1 is 0: there is no y. Source: Karras et al. 2022 Algorithm 1.
    """
    if process.alpha(1.0).min() == 0:
        return None
    u, left = x_T, calls

    def eps_hat(u: Tensor, t: float) -> Tensor:
        return (u - model.estimate(u, t).mean(t)) / process.sigma(t)

    for t, s in samplers.pairs(times_of(process, grid, (calls + 1) // 2)):
        alpha_t, sigma_t, alpha_s, sigma_s = process.coefficients(t, s)
        slope, length = eps_hat(u, t), sigma_s / alpha_s - sigma_t / alpha_t
        ahead = alpha_s * (u / alpha_t + length * slope)
        left -= 2
        if left >= 0 and sigma_s.min() > 0:
            ahead = alpha_s * (u / alpha_t + length * (slope + eps_hat(ahead, s)) / 2)
        u = ahead
    return u


def times_of(process: Process, grid: str, steps: int) -> Tensor:
    """The grid of this name."""
    return process.times(steps) if grid == "uniform" else timegrids.log_snr(process, steps)


def end_of(
    rule: str, model: Denoiser, x_T: Tensor, process: Process, grid: str, calls: int, spectrum: Gaussian, seed: int
) -> Tensor | None:
    """Where a walk ends; process: the one in the cosine basis, which knows its grids."""
    if rule == "Heun":
        return heun(model, x_T, process, grid, calls)
    name, _, order = rule.partition(", order ")
    made = {"flow": samplers.flow(spectrum), "matched": samplers.matched(spectrum.variance)}.get(name, name.lower())
    random = torch.Generator().manual_seed(1000 + seed)
    times = times_of(process, grid, calls)
    return samplers.last(samplers.sample(model, x_T, times, made, random, int(order or 1))).x


def measured(x: Tensor | None, truth: Tensor, target: Mixture) -> list[float] | None:
    """MEASURES in their order, to six digits; None where there is no walk or it has left the numbers."""
    if x is None or not x.isfinite().all() or x.abs().max() > BEYOND:
        return None
    spectrum = target.gaussian()
    found = (
        joint.sliced_wasserstein(x, truth, spectrum),
        joint.energy_distance(x, truth, spectrum),
        joint.two_sample_accuracy(x[:CLASSIFIED], truth[:CLASSIFIED], spectrum),
        joint.negative_log_density(x, target),
        joint.share_distance(x, target),
    )
    return [float(f"{value:.6g}") for value in found]


def block(mixture: Mixture, process: Process, grid: str, seed: int) -> dict:
    """Every rule and number of calls: rule -> calls -> measures."""
    spectrum, plain = mixture.gaussian(), plain_of(process)
    model, target = quick(mixture, plain), mixture.marginal(plain, 0.0)
    random = torch.Generator().manual_seed(seed)
    clean = mixture.sample(COUNT, random)
    x_T = plain.sample(clean, 1.0, torch.randn(clean.shape, generator=random, dtype=torch.float64))
    truth = target.sample(COUNT, random)
    found: dict[str, dict[str, list[float] | None]] = {}
    for (rule, most), calls in itertools.product(RULES[grid, seed].items(), CALLS):
        if calls > most:
            continue
        end = end_of(rule, model, x_T, process, grid, calls, spectrum, seed)
        found.setdefault(rule, {})[str(calls)] = measured(end, truth, target)
    return found


def plain_of(process: Process) -> Process:
    """The process whose pixels are the coefficients of this one."""
    return Process(Pixel(), lambda t: process.alpha(t.flatten()), lambda t: process.sigma(t.flatten()))


def floors(mixture: Mixture, process: Process) -> dict:
    """(mean, deviation of one value) of each measure for true samples against true samples, by its name."""
    target = mixture.marginal(plain_of(process), 0.0)
    random = torch.Generator().manual_seed(100)
    pairs = [(target.sample(COUNT, random), target.sample(COUNT, random)) for _ in range(REPEATS)]
    rows = zip(*(measured(*pair, target) or () for pair in pairs))
    found = {name: joint.Floor.of(values) for name, values in zip(MEASURES, rows)}
    return {name: [floor.mean, floor.deviation] for name, floor in found.items()}


def check(mixture: Mixture, process: Process) -> None:
    """Stop where a walk here does not end where the library's own does, with pictures, transforms and its denoiser."""
    ours, random = untransformed(mixture), torch.Generator().manual_seed(0)
    clean, noise = mixture.sample(20, random), torch.randn(20, 1, 16, 16, generator=random, dtype=torch.float64)
    x_T = process.sample(clean, 1.0, noise)
    model, spectrum = mixture.denoiser(process), mixture.gaussian()
    right = samplers.last(samplers.sample(model, x_T, process.times(5), samplers.flow(spectrum), order=2)).x
    quick_model = quick(ours, plain_of(process))
    end = end_of("flow, order 2", quick_model, BASIS.forward(x_T), process, "uniform", 5, ours.gaussian(), 0)
    if end is None or not (off := (end - BASIS.forward(right)).abs().max()) < CLOSE:
        raise ValueError(f"under {process.name} the walk ends {off:.1e} from the library's; expected less than {CLOSE}")


def main() -> None:
    """Add what is missing to the file, one block after the other."""
    warnings.simplefilter("ignore", DoubtfulWarning)  # coefficients do not lie in [-1, 1] as pixels do
    found = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    mixtures = {name: Mixture.load(HERE / f"{name}.safetensors") for name in MIXTURES}
    made = {(name, system): make(mixtures[name].gaussian()) for system, make in PROCESSES.items() for name in MIXTURES}
    jobs: dict[str, tuple] = {f"{name}, {system}, floors": (name, process) for (name, system), process in made.items()}
    for (grid, seed), (name, system) in itertools.product(RULES, made):
        if grid == "uniform" or made[name, system].steps is None:  # a tabulated process goes by its table
            jobs[f"{name}, {system}, {grid}, seed {seed}"] = (name, made[name, system], grid, seed)
    for name, system in made:
        check(mixtures[name], made[name, system])
    for key, (name, process, *settings) in tqdm({k: v for k, v in jobs.items() if k not in found}.items(), "blocks"):
        began = time.monotonic()
        numbers = (block if settings else floors)(untransformed(mixtures[name]), process, *settings)
        found[key] = {
            "measured": numbers,
            "measures": list(MEASURES),
            "count": COUNT,
            "classified": CLASSIFIED,
            "seed": settings[1] if settings else None,
            "seconds": round(time.monotonic() - began),
        } | records.made_here()
        lines = (f"{json.dumps(each)}: {json.dumps(what)}" for each, what in found.items())
        write_atomically(FILE, "{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
