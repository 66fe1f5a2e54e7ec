"""Training: a loop that reads from top to bottom, and a run folder that survives being killed.

Every random number of step k is drawn from a generator seeded by (seed, k). Nothing else is random, so a run that
was killed at any moment and resumed ends in the same weights, bit for bit, as one that was not.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from bdbook.degradations import Degradation
from bdbook.denoiser import LOSSES, Denoiser
from bdbook.oracle import Gaussian
from bdbook.recipes import Recipe


@dataclass
class State:
    """What a training is after `step` optimisation steps. loss, t: (B,), of the last batch."""

    step: int
    net: nn.Module
    ema: nn.Module
    optimizer: torch.optim.Optimizer
    spectrum: Gaussian
    denoiser: Denoiser
    loss: Tensor | None = None
    t: Tensor | None = None

    def ema_denoiser(self) -> Denoiser:
        """The denoiser with averaged weights, for sampling."""
        return Denoiser(self.ema, self.denoiser.process, self.denoiser.predicts, self.denoiser.autocast)


def generator_for(seed: int, *path: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator that depends on (seed, path) alone, e.g. (seed, "batch", step)."""
    digest = hashlib.sha256("/".join(map(str, (seed, *path))).encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def start(recipe: Recipe, images: Tensor, seed: int = 0, autocast: torch.dtype | None = None) -> State:
    """The state before the first step, on images' device. images: (N, C, H, W) in [-1, 1]."""
    recipe.check_images(images)
    with torch.random.fork_rng():
        torch.manual_seed(generator_for(seed, "weights").initial_seed())
        net = recipe.build_net().to(images.device)
    process = recipe.build_process()
    spectrum = Gaussian.fit(process.basis, images)
    denoiser = Denoiser(net, process, recipe.build_prediction(spectrum), autocast)
    optimizer = torch.optim.Adam(net.parameters(), lr=recipe.learning_rate, fused=True)
    return State(0, net, copy.deepcopy(net).eval().requires_grad_(False), optimizer, spectrum, denoiser)


def train(recipe: Recipe, images: Tensor, state: State, seed: int = 0) -> Iterator[State]:
    """Optimise for ever, yielding the state after each step; the caller logs, saves and stops.

    The state is updated in place. Raises FloatingPointError at a loss that is not finite, before the weights see it.
    """
    loss_of = LOSSES[recipe.loss]
    state.net.train()
    while True:
        random = generator_for(seed, "batch", state.step, device=images.device)
        x0 = images[torch.randint(len(images), (recipe.batch,), generator=random, device=images.device)]
        t = draw_times(state.denoiser.process, recipe.batch, random)
        noise = torch.randn(x0.shape, generator=random, device=images.device)
        denoiser = replace(state.denoiser, process=state.denoiser.process.draw(len(x0), random))
        with torch.random.fork_rng(enabled=recipe.unet.dropout > 0):
            if recipe.unet.dropout:  # the one thing that draws from the global generator
                torch.manual_seed(random.initial_seed())
            loss = loss_of(denoiser, x0, t, noise)
        if not loss.isfinite().all():
            worst = t[~loss.isfinite()][0].item()
            raise FloatingPointError(
                f"the loss is not finite at step {state.step} (seed {seed}, first at t = {worst:.4f}); the weights "
                f"are those before this step. Lower the learning rate ({recipe.learning_rate}), or resume"
            )
        state.optimizer.zero_grad(set_to_none=True)
        loss.mean().backward()
        clip_grad_norm_(state.net.parameters(), recipe.clip)
        for group in state.optimizer.param_groups:
            group["lr"] = recipe.learning_rate * min(1.0, (state.step + 1) / max(1, recipe.warmup))
        state.optimizer.step()
        update_ema(state.ema, state.net, min(recipe.ema, (1 + state.step) / (10 + state.step)))
        state.step, state.loss, state.t = state.step + 1, loss.detach(), t
        yield state


def draw_times(process: Degradation, count: int, random: torch.Generator) -> Tensor:
    """count times, each uniform on (0, 1] (on the table of a tabulated process), spread evenly over the batch.

    One time in each of count equal intervals: the same expectation as independent draws, with less variance
    (Kingma et al. 2021, app. I.1).
    """
    offset = torch.rand(count, generator=random, device=random.device, dtype=torch.float64)
    t = (torch.arange(1, count + 1, device=random.device) - offset) / count
    return t if process.steps is None else torch.ceil(t * process.steps) / process.steps


@torch.no_grad()
def update_ema(ema: nn.Module, net: nn.Module, decay: float) -> None:
    """ema <- decay ema + (1 - decay) net. The decay warms up, so that early averages forget the initialisation."""
    averages, weights = list(ema.parameters()), list(net.parameters())
    torch._foreach_lerp_(averages, weights, 1 - decay)
