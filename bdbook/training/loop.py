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

from bdbook.denoiser import Denoiser
from bdbook.losses import LOSSES
from bdbook.oracle import Gaussian
from bdbook.pixels import as_float, subsample_evenly
from bdbook.processes import Degradation
from bdbook.recipes import Recipe
from bdbook.training.engine import SINGLE_PROCESS, Engine
from bdbook.transforms import lengths
from bdbook.unet import LAYOUTS

# The spectrum of a data set is estimated from about so many of its images.
FITTED = 20000


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


def start(recipe: Recipe, images: Tensor, seed: int = 0, engine: Engine = SINGLE_PROCESS) -> State:
    """The state before the first step, on the engine's device. images: (N, C, *axes), uint8 or float in [-1, 1]."""
    recipe.check_images(images)
    with torch.random.fork_rng():
        torch.manual_seed(generator_for(seed, "weights").initial_seed())
        net = recipe.build_net().to(engine.device)
    if engine.device.type == "cuda":  # the layout in which its convolutions are fast
        layout = LAYOUTS[len(lengths(recipe.size))]
        net = net.to(memory_format=layout)  # type: ignore[call-overload]  # torch's types know it not
    spectrum = Gaussian.fit(recipe.outline().basis, as_float(subsample_evenly(images, FITTED)))
    process = recipe.build_process(spectrum)
    denoiser = Denoiser(net, process, recipe.build_prediction(spectrum), engine.autocast)
    optimizer = torch.optim.Adam(net.parameters(), lr=recipe.learning_rate, fused=True)
    return State(0, net, copy.deepcopy(net).eval().requires_grad_(False), optimizer, spectrum, denoiser)


def train(
    recipe: Recipe, images: Tensor, state: State, seed: int = 0, engine: Engine = SINGLE_PROCESS
) -> Iterator[State]:
    """Optimise for ever, yielding the state after each step; the caller logs, saves and stops.

    The state is updated in place, and equal on all processes. Raises FloatingPointError at a loss that is not finite,
    before the weights see it.
    """
    loss_of, share = LOSSES[recipe.loss], _share(recipe, engine)
    net = engine.wrap(state.net)
    state.net.train()
    while True:
        batch = draw_batch(recipe, images, state, seed, engine.device)
        state.optimizer.zero_grad(set_to_none=True)
        losses = []
        for part in range(recipe.accumulate):
            first = (engine.rank * recipe.accumulate + part) * share
            x0, t, noise, process = batch.rows(slice(first, first + share))
            denoiser = replace(state.denoiser, net=net, process=process)
            with engine.accumulating(net, part + 1 < recipe.accumulate):
                with torch.random.fork_rng(enabled=recipe.has_dropout):
                    if recipe.has_dropout:  # the one thing that draws from the global generator
                        torch.manual_seed(batch.seed + first)
                    loss = loss_of(denoiser, x0, t, noise)
                (loss.mean() / recipe.accumulate).backward()
            losses.append(loss.detach())
        loss = engine.gather(torch.cat(losses))
        if not loss.isfinite().all():
            worst = batch.t[~loss.isfinite()][0].item()
            raise FloatingPointError(
                f"the loss is not finite at step {state.step} (seed {seed}, its batch's {batch.seed}, first at t = "
                f"{worst:.4f}); the weights are those before this step"
            )
        clip_grad_norm_(state.net.parameters(), recipe.clip)
        for group in state.optimizer.param_groups:
            group["lr"] = recipe.learning_rate * min(1.0, (state.step + 1) / max(1, recipe.warmup))
        state.optimizer.step()
        update_ema(state.ema, state.net, min(recipe.ema, (1 + state.step) / (10 + state.step)))
        state.step, state.loss, state.t = state.step + 1, loss, batch.t
        yield state


def _share(recipe: Recipe, engine: Engine) -> int:
    """Images of a part of a batch."""
    parts = engine.processes * recipe.accumulate
    if recipe.batch % parts:
        raise ValueError(
            f"a batch of {recipe.batch} images cannot be shared by {engine.processes} process(es) in "
            f"{recipe.accumulate} part(s) each; choose a multiple of {parts}"
        )
    return recipe.batch // parts


@dataclass(frozen=True)
class Batch:
    """All that is random in a step, for the images of all processes; seed: of the generator that drew it."""

    x0: Tensor
    t: Tensor
    noise: Tensor
    process: Degradation
    seed: int

    def rows(self, chosen: slice) -> tuple[Tensor, Tensor, Tensor, Degradation]:
        """(x0, t, noise, process) of some of the images."""
        if chosen == slice(0, len(self.x0)):
            return self.x0, self.t, self.noise, self.process
        return self.x0[chosen], self.t[chosen], self.noise[chosen], self.process.rows(chosen)


def draw_batch(recipe: Recipe, images: Tensor, state: State, seed: int, device: torch.device) -> Batch:
    """The batch of the step that comes next: the same wherever and by however many it is drawn."""
    random = generator_for(seed, "batch", state.step, device=device)
    chosen = torch.randint(len(images), (recipe.batch,), generator=random, device=device)
    x0 = as_float(images[chosen.to(images.device)].to(device))
    t = draw_times(state.denoiser.process, recipe.batch, random)
    noise = torch.randn(x0.shape, generator=random, device=device)
    process = state.denoiser.process.draw(len(x0), random)
    if recipe.flip:
        mirrored = torch.rand(len(x0), *[1] * (x0.ndim - 1), generator=random, device=device) < 0.5
        x0 = torch.where(mirrored, x0.flip(-1), x0)
    return Batch(x0, t, noise, process, random.initial_seed())


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
    averages: list[Tensor] = list(ema.parameters())
    weights: list[Tensor] = list(net.parameters())
    torch._foreach_lerp_(averages, weights, 1 - decay)
