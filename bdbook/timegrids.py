"""Time grids: where a sampler should take its steps when there are few of them.

Each returns 1 = t_0 > ... > t_steps = 0, float64, for a process that is continuous in t (a tabulated one goes
by its table: `process.times`).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bdbook.oracle import Gaussian
from bdbook.processes import Process, check_count
from bdbook.samplers import Rule, ddim
from bdbook.shapes import Grid

# Points at which a density of steps is evaluated.
RESOLUTION = 2000
# Halvings of [0, 1] after which a time is as exact as float64.
BISECTIONS = 60


def by_density(density: Tensor, steps: int) -> Grid:
    """A grid with equally much of a density between neighbours; density: positive, at equally spaced times 0 to 1."""
    if steps < 1:
        raise ValueError(f"steps was {steps}; expected at least 1")
    if not (torch.isfinite(density) & (density > 0)).all():
        raise ValueError(f"the density of steps had the value {density.min():g}; expected positive numbers")
    share = torch.cat([torch.zeros(1), ((density[1:] + density[:-1]) / 2).cumsum(0)]).double().numpy()
    times = np.interp(np.linspace(share[-1], 0, steps + 1), share, np.linspace(0, 1, len(share)))
    times[[0, -1]] = 1.0, 0.0
    return torch.from_numpy(times)


def log_snr(process: Process, steps: int) -> Grid:
    """Equal steps of the log-SNR of the frequency that has the most of it: the usual grid of fast samplers."""
    _require_continuous(process)
    level = torch.log(process.snr(torch.linspace(0, 1, RESOLUTION + 1))).flatten(1).amax(1)
    return by_density(torch.gradient(level)[0].abs(), steps)


def spectral(process: Process, data: Gaussian, steps: int, order: int = 2, floor: float = 0.0) -> Grid:
    """Short steps where the guesses of many frequencies are changing fast.

    With l the half log-SNR of a frequency and w = snr v / (1 + snr v) the share of its signal that is known, the
    density is (sum of w (1 - w) |dl/dt|^p)^(1/p), p = order + 1: what a step of that order gets wrong, spread evenly.
    floor: a part of a uniform density added to it, in units of its mean.
    """
    _require_continuous(process)
    times = torch.linspace(0, 1, RESOLUTION + 1, dtype=torch.float64)
    snr = process.snr(times)
    known = snr * data.variance / (1 + snr * data.variance)
    speed = torch.gradient(torch.log(snr) / 2, spacing=(times,), dim=0)[0].abs()
    density = (known * (1 - known) * speed ** (order + 1)).flatten(1).mean(1) ** (1 / (order + 1))
    return by_density(density + floor * density.mean(), steps)


def equal_angle(process: Process, data: Gaussian, steps: int) -> Grid:
    """Equal steps of the mean clock phi: the data's `Gaussian.clock`, averaged over frequencies and channels.

    Every coefficient counts once, so the many high frequencies have their say; where all clocks run together
    (`processes.EqualSNR`) it is the grid of DDIM's floor, `oracle.ddim_floor`. Found by bisection, as exact as float64.
    """
    _require_continuous(process)
    check_count(steps)

    def mean_clock(times: Tensor) -> Tensor:
        return data.clock(process, times).flatten(1).mean(1)

    last, first = mean_clock(torch.tensor([1.0, 0.0])).tolist()
    if not last > first:
        raise ValueError(f"the mean clock of {process.name} stands still at {last:.3g}; no step turns it")
    wanted = torch.linspace(last, first, steps + 1, dtype=torch.float64)
    early, late = torch.zeros_like(wanted), torch.ones_like(wanted)
    for _ in range(BISECTIONS):
        middle = (early + late) / 2
        before = mean_clock(middle) < wanted
        early, late = torch.where(before, middle, early), torch.where(before, late, middle)
    late[[0, -1]] = torch.tensor([1.0, 0.0], dtype=torch.float64)
    return late


def tuned(
    process: Process, data: Gaussian, start: Grid, rule: Rule | str = ddim, order: int = 2, iterations: int = 200
) -> Grid:
    """The grid that minimises the laboratory's KL, by gradient descent on the steps' sizes from the grid `start`."""
    _require_continuous(process)
    sizes = torch.log(-start.double().diff()).requires_grad_()
    descent = torch.optim.Adam([sizes], lr=0.05)
    best, lowest = start.double(), torch.inf
    for _ in range(iterations):
        inner = 1 - torch.softmax(sizes, 0)[:-1].cumsum(0)
        grid = torch.cat([torch.ones(1), inner, torch.zeros(1)])
        kl = data.walk(process, grid, rule, order=order).kl.sum()
        if kl < lowest:
            best, lowest = grid.detach(), kl.item()
        descent.zero_grad()
        torch.log(kl).backward()
        descent.step()
    return best


def _require_continuous(process: Process) -> None:
    if process.steps is not None:
        raise ValueError(
            f"{process.name} is tabulated at N = {process.steps} steps and exists only there; use process.times(steps)"
        )
