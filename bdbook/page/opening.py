"""Walks as the live sampler would take them, taken by PyTorch: what the figure shows before a network is loaded.

The noise is the page's own (bdbook/page/js/core.js, `normals`, and walk.js), so that the reader who asks for the same
setting and seed gets the same pictures.
"""

from __future__ import annotations

import base64
import json

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from bdbook import samplers
from bdbook.page import live, recorded
from bdbook.training.runs import Run

COUNT = 4
FILE = "opening.safetensors"  # of a recorded run
TURNS = 31  # frames of a way there, and of a way back
MOST_STEPS = 100
BOTH_WAYS = "there_and_back.png"  # of a recorded run
FRAMES = 7  # of a walk that are kept, its two ends among them


def uniform(seed: int, count: int) -> np.ndarray:
    """(count,) in [0, 1): mulberry32, in steps of one constant, so that all are had at once."""
    with np.errstate(over="ignore"):
        state = np.uint32(seed) + np.uint32(0x6D2B79F5) * np.arange(1, count + 1, dtype=np.uint32)
        z = (state ^ (state >> 15)) * (state | 1)
        z ^= z + (z ^ (z >> 7)) * (z | 61)
    return (z ^ (z >> 14)) / 2**32


def noise(seed: int, step: int, size: int, count: int = COUNT) -> Tensor:
    """Standard normal (count, 1, size, size), float64, of the step that begins at number `step`; 0 is that of x_T."""
    planes = []
    for image in range(count):
        numbers = uniform((seed * 0x9E3779B1 + image * 0x85EBCA6B + step * 0xC2B2AE35) % 2**32, 2 * size**2)
        one, other = numbers.reshape(-1, 2).T
        planes.append(np.sqrt(-2 * np.log(1 - one)) * np.cos(2 * np.pi * other))
    return torch.from_numpy(np.stack(planes)).reshape(count, 1, size, size)


def start(run: Run, told: dict, seed: int) -> Tensor:
    """x_T, (COUNT, 1, size, size): one of the centres and noise of the spread, as `walks.walk` tells them."""
    size, basis = told["size"], run.denoiser.process.basis
    centres, spread = (
        torch.tensor(np.frombuffer(base64.b64decode(told[key]), "<f4")).double().reshape(-1, 1, size, size)
        for key in ("centres", "spread")
    )
    picked = [int(number * len(centres)) for number in uniform(seed, COUNT)]
    return (centres[picked] + basis.inverse(basis.forward(noise(seed, 0, size)) * spread)).float()


@torch.no_grad()
def walked(run: Run, x: Tensor, setting: dict, seed: int) -> list[tuple[float, Tensor, Tensor]]:
    """(t, state, guess) from x on, of a setting of `LiveSampler`; the first guess stands for none."""
    denoiser, size = run.denoiser, x.shape[-1]
    name, order = setting["rule"], setting["order"]
    rule = run.flow() if name == "flow" else samplers.partial_carry(setting["rho"]) if name == "carry" else name
    frames, before = [(1.0, x, torch.zeros_like(x))], None
    for number, (t, s) in enumerate(samplers.pairs(denoiser.process.times(setting["steps"])), 1):
        now = denoiser.estimate(x, t)
        chosen = samplers.rule_of(rule)
        guess = samplers.guess_of(now, before if order == 2 else None, t, s, chosen)
        x = samplers.step(guess, t, s, chosen, noise(seed, number, size, len(x)).to(x))
        frames.append((s, x, now.x0_hat))
        before = now
    return frames


def record(run: Run, told: dict, setting: dict, seed: int) -> bytes:
    """A safetensors file of FRAMES frames of a walk in half precision, and the setting and seed that were asked."""
    frames = walked(run, start(run, told, seed), setting, seed)
    times, states, seen = zip(*(frames[i] for i in np.linspace(0, len(frames) - 1, FRAMES).round().astype(int)))
    kept = {"x": torch.stack(states).half(), "guess": torch.stack(seen).half(), "t": torch.tensor(times).double()}
    return save(kept, {"asked": _asked(setting, seed)})


def opening(setting: dict, seed: int) -> dict | None:
    """What js/sampler.js shows of a side before anything is drawn: the system, and the frames that were recorded.

    None where none were, or with another setting.
    """
    recipe = setting["recipe"]
    file = recorded.folder_of(recipe) / FILE
    if not file.is_file():
        return None
    with safe_open(file, "pt") as found:
        if found.metadata()["asked"] != _asked(setting, seed):
            return None
        frames = {name: _base64(found.get_tensor(name)) for name in ("x", "guess")}
        frames["t"] = found.get_tensor("t").tolist()
    return {"told": json.loads(live.read(f"walk-{recipe}")) | {"centres": ""}, "frames": frames}  # for other starts


def there_and_back(run: Run, picture: Tensor) -> Tensor:
    """One picture destroyed, then walked back by the network from that very end: (2 TURNS - 1, 1, size, size).

    picture: (1, 1, size, size). The first is the picture, the middle one the end, the last what the network made of it;
    the times of the way back are those of the way there. The noise is that of the first picture of seed 0.
    """
    process, size = run.denoiser.process, picture.shape[-1]
    times = process.times(min(process.steps or MOST_STEPS, MOST_STEPS))
    columns = [int(i) for i in torch.linspace(0, len(times) - 1, TURNS).round()]
    white = noise(0, 0, size, 1).to(picture)
    there = [process.sample(picture, times[i].item(), white) for i in columns]
    setting = {"rule": run.recipe.rule, "order": 1, "steps": len(times) - 1}
    back = walked(run, there[0], setting, 0)
    return torch.cat([*reversed(there), *(back[i][1] for i in columns[1:])])


def _asked(setting: dict, seed: int) -> str:
    return json.dumps({**setting, "seed": seed}, sort_keys=True)


def _base64(frames: Tensor) -> str:
    return base64.b64encode(frames.numpy().astype("<f2").tobytes()).decode()
