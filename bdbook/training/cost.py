"""What a training would cost, before it is started: parameters, memory, arithmetic and time.

    print(report(budget(recipes.get("lee-lsun64"), "cpu")))

Parameters are counted exactly. Activations, arithmetic and time are measured on the device at hand, with steps of the
real training loop on a few random images, and extrapolated linearly to the batch: no data set is needed, and nothing is
said about a device that is not there.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from bdbook import recipes
from bdbook.errors import unknown
from bdbook.recipes import Recipe, papers
from bdbook.training.engine import Engine
from bdbook.training.loop import State, start, train
from bdbook.transforms import lengths
from bdbook.unet import UNet, UNetConfig

clock = time.perf_counter
# Images of the two probes that tell what grows with the batch from what does not.
PROBES = (1, 2)
# Steps whose median is taken; their images are doubled while a step takes less than half of PATIENCE seconds, and at
# most ROOM bytes on a CPU, half of what is free on a GPU.
TIMED, PATIENCE, ROOM = 3, 1.0, 4 * 2**30
# Copies of the weights that training holds: the weights, their gradients, Adam's two moments, the average.
COPIES = 5
DEVICES = ("cpu", "cuda")
AUTOCASTS = (None, torch.bfloat16)
# torch counts the attention of GPUs, but not the CPU's.
_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: (
        lambda q, k, v, *rest, out_shape=None, **named: sdpa_flop_count(q, k, v)
    ),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda grad, q, k, v, *rest, out_shape=None, **named: sdpa_backward_flop_count(grad, q, k, v)
    ),
}


@dataclass(frozen=True)
class Budget:
    """The cost of a training.

    batch: images an optimisation step, in `accumulate` parts. state_bytes: weights, gradients, Adam's moments and the
    average. activation_bytes: of one part, what its backward pass needs. flops: of a step, a multiply-add being two.
    probe, probe_seconds: images of the steps that were timed, and the median of their durations.
    """

    recipe: str
    device: str
    autocast: torch.dtype | None
    steps: int
    batch: int
    accumulate: int
    parameters: int
    state_bytes: int
    activation_bytes: int
    flops: int
    probe: int
    probe_seconds: float

    @property
    def memory_bytes(self) -> int:
        return self.state_bytes + self.activation_bytes

    @property
    def step_seconds(self) -> float:
        """An optimisation step, extrapolated from the timed ones in proportion to the images."""
        return self.probe_seconds * self.batch / self.probe

    @property
    def seconds(self) -> float:
        return self.steps * self.step_seconds


def budget(
    recipe: Recipe,
    device: torch.device | str = "cpu",
    autocast: torch.dtype | None = None,
    batch: int | None = None,
    steps: int | None = None,
) -> Budget:
    """Measure what training a recipe on a device would take. batch, steps: instead of the recipe's."""
    device = _device(device)
    if autocast not in AUTOCASTS:
        raise ValueError(f"autocast was {autocast}; expected None (float32) or torch.bfloat16")
    if batch is not None:
        if batch < 1:
            raise ValueError(f"batch was {batch}; expected at least 1 image an optimisation step")
        recipe = replace(recipe, batch=batch)
    profile = "gpu" if device.type == "cuda" else "cpu"
    steps = recipe.steps.get(profile) if steps is None else steps
    if steps is None or steps < 1:
        raise ValueError(f"steps was {steps}; expected at least 1 (recipe {recipe.name} has {dict(recipe.steps)})")
    part = recipe.batch // recipe.accumulate

    engine = Engine(device, autocast)
    images = _images(recipe, max(*PROBES, 16))
    state = start(recipe, images, engine=engine)
    with FlopCounterMode(display=False, custom_mapping=_ATTENTION) as counter:
        first = _activations(recipe, images, state, engine, PROBES[0])
    if device.type == "cuda":  # Adam's moments are there from the second step on
        first = _activations(recipe, images, state, engine, PROBES[0])
    slope = (_activations(recipe, images, state, engine, PROBES[1]) - first) / (PROBES[1] - PROBES[0])
    probe, duration = _probe(recipe, images, state, engine, part, slope)
    durations = [duration, *(_timed(recipe, images, state, engine, probe) for _ in range(TIMED - 1))]
    weights = sum(p.numel() * p.element_size() for p in state.net.parameters())
    return Budget(
        recipe=recipe.name,
        device=_name(device),
        autocast=autocast,
        steps=steps,
        batch=recipe.batch,
        accumulate=recipe.accumulate,
        parameters=sum(p.numel() for p in state.net.parameters()),
        state_bytes=COPIES * weights,
        activation_bytes=round(first + slope * (part - PROBES[0])),
        flops=counter.get_total_flops() * recipe.batch // PROBES[0],
        probe=probe,
        probe_seconds=statistics.median(durations),
    )


def report(found: Budget) -> str:
    """The budget as a short text, which says what was measured and what computed from it."""
    part = found.batch // found.accumulate
    precision = "float32" if found.autocast is None else str(found.autocast).removeprefix("torch.")
    split = f" in {found.accumulate} parts" if found.accumulate > 1 else ""
    rows = [
        ("parameters", f"{found.parameters:,}", "counted"),
        ("training state", _bytes(found.state_bytes), f"computed: weights, gradients, Adam's, average: x {COPIES}"),
        ("activations", _bytes(found.activation_bytes), f"measured at {PROBES[0]} and {PROBES[1]} images, for {part}"),
        ("memory", _bytes(found.memory_bytes), "sum of the two, without what single operations borrow"),
        ("work a step", _scaled(found.flops, "FLOP"), f"counted at {PROBES[0]} image, times {found.batch}"),
        ("a timed step", _duration(found.probe_seconds), f"measured: median of {TIMED} of {_images_of(found.probe)}"),
        ("speed", _scaled(found.flops / found.step_seconds, "FLOP/s"), "computed: work over time"),
        ("time a step", _duration(found.step_seconds), f"computed: a timed step, times {found.batch / found.probe:g}"),
        ("time in all", _duration(found.seconds), f"computed: {found.steps:,} steps"),
    ]
    label, value = (max(len(row[column]) for row in rows) for column in (0, 1))
    head = f"{found.recipe} on {found.device}, {precision}: {found.steps:,} steps of {_images_of(found.batch)}{split}"
    lines = [f"  {a:{label}}  {b:>{value}}  {c}" for a, b, c in rows]
    foot = (
        "What is computed grows in proportion to the images. What a step costs whatever its images is counted with\n"
        "each of them, so the time is an upper estimate where few images were timed."
    )
    return "\n".join([head, *lines, *([foot] if found.probe < found.batch else [])])


def listing(containing: str, profile: str, engine: Engine) -> str:
    """The recipes whose name has a word in it, in groups: images, parameters, steps of the profile, time on the device.

    The time is a rough estimate: arithmetic is counted for each network, and its speed taken from a timed step of the
    book's. `budget` measures.
    """
    groups = {
        "the book's": {name: recipe for name, recipe in recipes.BOOK.items() if not recipe.is_cold},
        "the book's restorers": {name: recipe for name, recipe in recipes.BOOK.items() if recipe.is_cold},
        "one thing changed": recipes.ABLATIONS,
        "the papers', at their size": recipes.PAPERS,
    }
    shown = {
        head: {name: recipe for name, recipe in group.items() if containing in name} for head, group in groups.items()
    }
    if not any(shown.values()):
        raise unknown("recipe with", containing, recipes.RECIPES)
    speed = _speed(engine)
    width = max(len(name) for group in shown.values() for name in group)
    lines = []
    for head, group in shown.items():
        lines += [f"{head}:"] if group else []
        for name, recipe in group.items():
            images = " x ".join(map(str, (recipe.channels, *lengths(recipe.size))))
            seconds = recipe.steps[profile] * recipe.batch * _flops(recipe) / speed
            lines.append(
                f"  {name:{width}}  {images:>13}  {papers.parameters(recipe) / 1e6:7.2f} M  "
                f"{recipe.steps[profile]:>9,} steps  about {_duration(seconds)}"
            )
    return "\n".join(
        [*lines, "", f"profile {profile}, on {_name(engine.device)}; measured: bdbook train --dry-run --recipe NAME"]
    )


def _flops(recipe: Recipe) -> float:
    """Floating-point operations of training on one image: three times those of the network's answer."""
    assert recipe.unet is not None  # a recipe by name has one
    return 3 * _flops_of_answer(recipe.unet)


@lru_cache
def _flops_of_answer(unet: UNetConfig) -> int:
    """Counted without memory for numbers."""
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False, custom_mapping=_ATTENTION) as counter:
        UNet(unet)(torch.empty(1, unet.in_channels, *lengths(unet.size)), torch.empty(1))
    return counter.get_total_flops()


def _speed(engine: Engine) -> float:
    """Floating-point operations a second in a training step of the book's network."""
    recipe = recipes.get("digits-ddpm")
    images = _images(recipe, recipe.batch)
    state = start(recipe, images, engine=engine)
    _step(recipe, images, state, engine, recipe.batch)
    seconds = min(_timed(recipe, images, state, engine, recipe.batch) for _ in range(TIMED))
    return recipe.batch * _flops(recipe) / seconds


def flops_of_step(recipe: Recipe, images: Tensor, state: State, engine: Engine) -> int:
    """Floating-point operations of one optimisation step, which is made; a multiply-add is two."""
    with FlopCounterMode(display=False, custom_mapping=_ATTENTION) as counter:
        next(train(recipe, images, state, engine=engine))
    return counter.get_total_flops()


@contextmanager
def saved_for_backward(net: nn.Module) -> Iterator[dict[int, int]]:
    """Bytes of each storage that is saved for the backward pass inside the context, by address, but for net's own."""
    own = {p.untyped_storage().data_ptr() for p in net.parameters()}
    found: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        # What is saved stays alive until the backward pass, so no address is used twice.
        storage = x.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
        return x.detach()  # x itself could hold on to its own past

    with saved_tensors_hooks(pack, lambda x: x):
        yield found


def _device(device: torch.device | str) -> torch.device:
    if str(device).partition(":")[0] not in DEVICES:
        raise unknown("device", str(device), DEVICES)
    try:
        device = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device was {device!r}; expected cpu, cuda or cuda:0") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device was {device} and {torch.cuda.device_count()} CUDA devices were found; use cpu")
    return device


def _images(recipe: Recipe, count: int) -> Tensor:
    """White noise in [-1, 1]: their spectrum is flat, and what they show costs nothing."""
    noise = torch.rand(count, recipe.channels, *lengths(recipe.size), generator=torch.Generator().manual_seed(0))
    return 2 * noise - 1


def _step(recipe: Recipe, images: Tensor, state: State, engine: Engine, count: int) -> None:
    """One optimisation step of the training loop, on `count` images at once."""
    next(train(replace(recipe, batch=count, accumulate=1), images, state, engine=engine))


def _activations(recipe: Recipe, images: Tensor, state: State, engine: Engine, count: int) -> int:
    """Bytes that a step of `count` images needs besides the training state."""
    if engine.device.type != "cuda":
        with saved_for_backward(state.net) as found:
            _step(recipe, images, state, engine, count)
        return sum(found.values())
    state.optimizer.zero_grad(set_to_none=True)
    torch.cuda.reset_peak_memory_stats(engine.device)
    before = torch.cuda.memory_allocated(engine.device)
    _step(recipe, images, state, engine, count)
    # Gradients come as activations go: the peak is nearly that of the activations.
    return torch.cuda.max_memory_allocated(engine.device) - before


def _probe(
    recipe: Recipe, images: Tensor, state: State, engine: Engine, part: int, bytes_each: float
) -> tuple[int, float]:
    """Images that a timed step shall have, at most a part of a batch, and the seconds that one took."""
    room = torch.cuda.mem_get_info(engine.device)[0] / 2 if engine.device.type == "cuda" else ROOM
    most = max(1, min(part, int(room / max(bytes_each, 1))))
    count, duration = 1, _timed(recipe, images, state, engine, 1)
    while count < most and duration < PATIENCE / 2:
        count = min(2 * count, most)
        duration = _timed(recipe, images, state, engine, count)
    return count, duration


def _timed(recipe: Recipe, images: Tensor, state: State, engine: Engine, count: int) -> float:
    """Seconds that a step of `count` images takes."""
    _wait(engine.device)
    begin = clock()
    _step(recipe, images, state, engine, count)
    _wait(engine.device)
    return clock() - begin


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"the CPU ({torch.get_num_threads()} threads)"


def _images_of(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def _bytes(count: float) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 / 10 else f"{count / 2**20:.2f} MiB"


def _scaled(count: float, unit: str) -> str:
    for prefix, size in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {prefix}{unit}"
    return f"{count:.0f} {unit}"


def _duration(seconds: float) -> str:
    for size, unit in ((365.25 * 86400, "years"), (86400, "days"), (3600, "hours"), (60, "minutes"), (1, "s")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{1000 * seconds:.0f} ms"
