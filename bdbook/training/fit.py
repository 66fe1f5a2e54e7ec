"""Train into a run folder: the one way, for Python, the command line, sweeps and the recorded runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from bdbook import data, pixels, processes, recipes
from bdbook.errors import unknown
from bdbook.files import write_atomically
from bdbook.processes import Degradation
from bdbook.recipes import Recipe
from bdbook.training import checkpoints, profiles, records
from bdbook.training.engine import Engine, current_engine
from bdbook.training.loop import State, train
from bdbook.training.runs import GIVEN, Run
from bdbook.transforms import Rotation2D, height_width

# Images of the grid that is drawn at each checkpoint.
DRAWN = 16


def fit(
    recipe: Recipe | Degradation | str,
    images: Tensor | str | Path | None = None,
    folder: str | Path | None = None,
    *,
    net: nn.Module | None = None,
    seed: int = 0,
    steps: int | None = None,
    profile: str | None = None,
    engine: Engine | None = None,
    checkpoint_every: int = 500,
    log_every: int = 50,
    minutes: float | None = None,
    resume: bool = False,
    tell: Callable[[str], None] | None = None,
    on_checkpoint: Callable[[Run], None] | None = None,
    **changes: Any,
) -> Run:
    """Train, leaving a run folder that a kill at any moment does not harm; the trained model.

        run = bdbook.fit("photos-blurring", folder="runs/a")
        run = bdbook.fit(processes.blurring_diffusion(32, sigma_max=5.0), my_images, "runs/b", steps=3000, batch=32)
        run = bdbook.fit(my_process, my_images, "runs/c", net=my_network)

    recipe: a recipe or its name; or a process, one of your own too, or its name. images: (N, C, H, W), uint8 or in
    [-1, 1]; or what `data.load` knows by name, or a folder of pictures; None for the recipe's. folder: None for
    runs/RECIPE-PROFILE. net: a network of your own, (x_t, t) -> (B, C, H, W), with a process. profile: smoke, cpu or
    gpu, which decides `steps` where they are None, and the device where `engine` is. minutes: stop at the first
    checkpoint after so many; run.record["step"] says how far it came. resume: go on from the last checkpoint, if there
    is one. tell: is given lines of text about the progress, and a bar is shown; None for silence. on_checkpoint: is
    called with the model as it is after each. changes: fields of the recipe that shall differ, e.g. batch=32.

    Raises ValueError where the folder holds a run and resume is False, or a run of another configuration;
    FloatingPointError at a loss that is not finite. Resumed runs end in the same weights, bit for bit.
    """
    profile = profiles.resolve(profile)
    recipe, source = _recipe(recipe, images, net, changes)
    if profile == "smoke":  # pictures of nothing learnt
        table = recipe.build_process().steps
        recipe = replace(recipe, sample_steps=min(recipes.SMOKE_SAMPLE_STEPS, table or recipes.SMOKE_SAMPLE_STEPS))
    folder = Path("runs") / f"{recipe.name}-{profile}" if folder is None else Path(folder)
    steps = recipe.steps[profile] if steps is None else steps
    if min(steps, checkpoint_every, log_every) < 1:
        raise ValueError(
            f"steps was {steps}, checkpoint-every {checkpoint_every} and log-every {log_every}; "
            "expected at least 1 of each"
        )
    if checkpoints.found(folder) and not resume:
        raise ValueError(f"{folder} already holds a run; add --resume to go on with it, or choose another --out")
    engine = current_engine(profile) if engine is None else engine
    if not isinstance(images, Tensor):
        with engine.main_first():
            pictures = data.load_pixels(source, recipe.size, recipe.channels, seed=seed)
    else:
        pictures = images
    given = images if isinstance(images, Tensor) else None
    pictures = engine.place(pictures)
    state, record, log = checkpoints.resume(folder, recipe, pictures, seed, engine)
    if record is None:
        record = records.new(recipe, seed, pictures, source, profile, engine)
    say = tell if tell is not None and engine.is_main else _silence
    done = state.step >= steps
    if not done:
        parameters = sum(p.numel() for p in state.net.parameters())
        on = record["device"] + (f", {engine.processes} processes" if engine.processes > 1 else "")
        say(f"{recipe.name}: {parameters:,} parameters, {len(pictures)} images, {on}, to step {steps}")
        clock, began, losses = records.Clock(record), time.monotonic(), []
        trained = _advancing(train(recipe, pictures, state, seed, engine), folder)
        with tqdm(total=steps, initial=state.step, unit="step", disable=None if say is tell else True) as bar:
            while state.step < steps:
                next(trained)  # updates state in place
                losses.append(_loss(state))
                bar.update()
                checkpoint = state.step % checkpoint_every == 0 or state.step == steps
                if checkpoint or state.step % log_every == 0:
                    log.append({"step": state.step, "loss": torch.stack(losses).mean().item()})
                    losses = []
                if not checkpoint:
                    continue
                if engine.is_main:
                    if say is tell:
                        bar.write(f"step {state.step}: loss {log[-1]['loss']:.4f}, {clock.read():.0f} s")
                    record["wall_s"] = clock.read()
                    checkpoints.save(folder, state, record, log)
                    run = Run.of_state(recipe, record, state, engine, given)
                    write_atomically(folder / f"samples-{state.step:08d}.png", pixels.png(run.draw(DRAWN, seed), 8))
                    if on_checkpoint is not None:
                        on_checkpoint(run)
                if minutes is not None and _seconds_since(began, engine) >= 60 * minutes:
                    break
    run = Run.of_state(recipe, record, state, engine, given)
    if state.step < steps:
        say(f"stopped at step {state.step} of {steps}; add --resume to go on")
        return run
    if done:
        say(f"{folder} already has {state.step} of {steps} steps; nothing to do")
    if engine.is_main:
        checkpoints.save_weights(folder / "weights.safetensors", state, record)
    say(f"weights: {folder / 'weights.safetensors'}\nsample:  bdbook sample --run {folder}")
    return run


def _recipe(
    asked: Recipe | Degradation | str,
    images: Tensor | str | Path | None,
    net: nn.Module | None,
    changes: dict[str, Any],
) -> tuple[Recipe, str]:
    """The recipe of whatever was asked for, and the name of its data."""
    source = GIVEN if isinstance(images, Tensor) else None if images is None else str(images)
    if isinstance(asked, str) and asked not in recipes.RECIPES and asked in processes.PROCESSES:
        shape = _shape(images, None)
        settings = {"size": shape[1:]} if processes.has_size(asked) else {}
        asked = processes.process(asked, **settings)
    if isinstance(asked, str):
        if asked not in recipes.RECIPES:
            raise unknown("recipe", asked, [*recipes.RECIPES, *processes.PROCESSES])
        asked = recipes.get(asked)
    if isinstance(asked, Recipe):
        if net is not None:
            raise ValueError(f"recipe {asked.name} has a network; give a process with net, recipe.build_process() too")
        return replace(asked, **changes), source or asked.data
    if source is None:
        raise ValueError(f"{asked.name} is a process and names no data; give images")
    return recipes.of_process(asked, _shape(images, asked), net, source, **changes), source


def _shape(images: Tensor | str | Path | None, process: Degradation | None) -> tuple[int, int, int]:
    """(C, H, W) of images; of a data set by name, grey and of the process's size."""
    if isinstance(images, Tensor):
        if images.ndim != 4:
            raise ValueError(f"images had shape {tuple(images.shape)}; expected (N, C, H, W)")
        _, channels, height, width = images.shape
        return channels, height, width
    if process is None or not isinstance(process.basis, Rotation2D):
        raise ValueError(
            f"images were {images!r}, and nothing says their size; give them as a tensor (N, C, H, W), "
            "e.g. data.load(name, 32)"
        )
    return (1, *height_width(process.basis.size))


def _advancing(trained: Iterator[State], folder: Path) -> Iterator[State]:
    """The same steps; an error says which checkpoint there is to go back to."""
    try:
        yield from trained
    except FloatingPointError as error:
        kept = checkpoints.found(folder)
        whole = f"the last checkpoint is {kept[-1]}" if kept else "there is no checkpoint yet"
        raise FloatingPointError(f"{error}; {whole}") from error


def _loss(state: State) -> Tensor:
    assert state.loss is not None  # after a step
    return state.loss.mean()


def _seconds_since(began: float, engine: Engine) -> float:
    """By the clock of the first process: one that stopped alone would leave the others waiting."""
    elapsed = torch.tensor([time.monotonic() - began], device=engine.device)
    return engine.gather(elapsed)[0].item()


def _silence(_: str) -> None:
    pass
