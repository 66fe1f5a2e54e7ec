"""Times: 0 is data, 1 is the end, and here alone they are given image axes."""

from __future__ import annotations

import torch
from torch import Tensor

from bdbook.shapes import Expanded, Grid

Time = float | Tensor
# What float32 arithmetic may miss a time by.
ROUNDING = 1e-6


def expand(t: Time, dims: int = 2) -> Expanded:
    """t as float64 (B, 1, ...), with a 1 for each of the images' axes: (B, 1, 1, 1) for pictures."""
    t = torch.as_tensor(t, dtype=torch.float64)
    if t.ndim > 1:
        raise ValueError(f"t had shape {tuple(t.shape)}; expected a number or one time per image, (B,)")
    return t.reshape(-1, 1, *[1] * dims)


def check_times(t: Time, steps: int | None, name: str, dims: int = 2) -> Expanded:
    """t as float64 (B, 1, ...), as `expand`; raises where it lies outside [0, 1] or off the table of `steps` steps.

    A rounding beyond an end is that end: in float32, 0.1 and 0.9 and such may sum to 1.0000001.
    """
    t = expand(t, dims)
    if not ((t >= -ROUNDING) & (t <= 1 + ROUNDING)).all():
        raise ValueError(f"t was {show(t)}; expected times in [0, 1], 0 = data")
    t = t.clamp(0, 1)
    if steps is not None and ((t * steps - torch.round(t * steps)).abs() > ROUNDING * steps).any():
        raise ValueError(
            f"t was {show(t)}; {name} is tabulated and exists only at t = i / {steps}, i = 0..{steps} "
            "(process.times(n) gives a grid of n steps)"
        )
    return t


def check_earlier(t: Time, s: Time) -> None:
    """Raise unless s < t."""
    if (torch.as_tensor(s, dtype=torch.float64) >= torch.as_tensor(t, dtype=torch.float64)).any():
        raise ValueError(f"s was {show(s)} and t was {show(t)}; expected s < t (time runs from data at 0)")


def check_steps(steps: int | None) -> None:
    """Raise unless steps are at least 1, or None."""
    if steps is not None and steps < 1:
        raise ValueError(f"steps was {steps}; expected at least 1, or None for any t")


def uniform(steps: int | None, table: int | None, name: str) -> Grid:
    """A uniform grid 1 = t_0 > ... > t_steps = 0, float64; where there is a table of steps, a subset of it."""
    if steps is None:
        steps = table or 1000
    if steps < 1:
        raise ValueError(f"steps was {steps}; expected at least 1")
    grid = torch.linspace(1.0, 0.0, steps + 1, dtype=torch.float64)
    if table is None:
        return grid
    if steps > table:
        raise ValueError(f"{name} is tabulated at N = {table} steps, but {steps} were asked for")
    return torch.round(grid * table) / table


def show(t: Time) -> str:
    """Times in words, for an error: with all digits that tell them from others."""
    values = torch.as_tensor(t, dtype=torch.float64).reshape(-1).tolist()
    short = [f"{v:g}" if float(f"{v:g}") == v else repr(v) for v in values[:4]]
    return ", ".join(short) + (", ..." if len(values) > 4 else "")
