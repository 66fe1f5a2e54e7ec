"""Train into a run folder: the one way, for Python, the command line, sweeps and the recorded runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
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
from bdbook.training import checkpoints, folders, profiles, records, stopping
from bdbook.training.engine import Engine, current_engine
from bdbook.training.loop import State, start, train
from bdbook.training.runs import GIVEN, Run
from bdbook.transforms import LETTERS, Pixel, Rotation, Size, height_width, lengths, shape_in_words, unwrapped

# Images of the grid that is drawn at each checkpoint.
DRAWN = 16


def fit(
    recipe: Recipe | Degradation | str,
    images: Tensor | str | Path | None = None,
    folder: str | Path | None = None,
    *,
    net: nn.Module | None = None,
    size: Size | None = None,
    channels: int | None = None,
    unbounded: bool = False,
    rate: int | None = None,
    seed: int = 0,
    steps: int | None = None,
    profile: str | None = None,
    engine: Engine | None = None,
    checkpoint_every: int = 500,
    log_every: int = 50,
    minutes: float | None = None,
    resume: bool | None = False,
    wait: float = 0.0,
    tell: Callable[[str], None] | None = None,
    on_checkpoint: Callable[[Run], None] | None = None,
    **changes: Any,
) -> Run:
    """Train, leaving a run folder that a kill at any moment does not harm; the trained model.

        run = bdbook.fit("photos-blurring", folder="runs/a")
        run = bdbook.fit(processes.blurring_diffusion(32, sigma_max=5.0), my_images, "runs/b", steps=3000, batch=32)
        run = bdbook.fit(my_process, my_images, "runs/c", net=my_network)

    recipe: a recipe or its name; or a process, one of your own too, or its name. images: (N, C, H, W), uint8 or in
    [-1, 1], or series (N, C, L), or volumes (N, C, D, H, W), for a process of that size; or what `data.load` knows by
    name, or a folder of pictures; None for the recipe's. folder: None for runs/RECIPE-PROFILE-seedSEED. net: a network
    of your own, (x_t, t) -> (B, C, *axes), with a process. size, channels: of the pictures, a side or (height, width),
    and 1 for grey or 3 for colour, to which the recipe is `resized`; None for the recipe's. unbounded: images beyond
    [-1, 1] are meant, real-valued fields. rate: samples a second, of series that are sounds; `bdbook sample` writes
    sounds then. profile: smoke, cpu or gpu, which decides `steps` where they are None, and
    the device where `engine` is. minutes: stop at the first checkpoint after so many; run.record["step"] says how far
    it came. resume: go on from the last checkpoint; None: if there is one, else begin. wait: seconds to wait for
    another process that trains in the folder. tell: is given lines of text about the progress, and a bar is shown; None
    for silence. on_checkpoint: is called with the model as it is after each. changes: fields of the recipe that shall
    differ, e.g. batch=32.

    Ctrl-C and SIGTERM save a checkpoint first; a second one stops at once. Resumed runs end in the same weights, bit
    for bit. Raises ValueError where the folder holds a run and resume is False, no checkpoint and resume is True, or a
    run of another configuration; folders.Busy where another process trains there; FloatingPointError at a loss that is
    not finite or has run away.
    """
    profile = profiles.resolve(profile)
    source = _source(images)
    recipe, source = _recipe(recipe, images, source, net, size, channels, changes)
    if profile == "smoke":  # pictures of nothing learnt
        table = recipe.outline().steps
        recipe = replace(recipe, sample_steps=min(recipes.SMOKE_SAMPLE_STEPS, table or recipes.SMOKE_SAMPLE_STEPS))
    folder = Path("runs") / f"{recipe.name}-{profile}-seed{seed}" if folder is None else Path(folder)
    steps = recipe.steps[profile] if steps is None else steps
    if min(steps, checkpoint_every, log_every) < 1:
        raise ValueError(
            f"steps was {steps}, checkpoint-every {checkpoint_every} and log-every {log_every}; "
            "expected at least 1 of each"
        )
    engine = current_engine(profile) if engine is None else engine
    say = tell if tell is not None and engine.is_main else _silence
    with folders.claimed(folder, wait, say) if engine.is_main else nullcontext():
        resume = bool(checkpoints.found(folder)) if resume is None else resume
        if engine.is_main:
            folders.require(folder, resume)
        if not isinstance(images, Tensor):
            with engine.main_first():
                known = source if isinstance(source, data.Folder) else data.recorded(source)
                pictures = data.load_pixels(known, unwrapped(recipe.size), recipe.channels, seed=seed)
        else:
            pictures = images
        if not unbounded and source != "gaussian":
            pixels.check_range(pictures)
        if isinstance(source, data.Folder):
            source = source.unreadable(len(source.train) - len(pictures))
        say(_of_data(source, pictures))
        pictures = engine.place(pictures)
        if resume:
            state, record, log = checkpoints.resume(folder, recipe, pictures, seed, engine)
        else:
            state, log = start(recipe, pictures, seed, engine), []
            record = records.new(recipe, seed, pictures, str(source), profile, engine)
            record |= {} if rate is None else {"rate": rate}
            if isinstance(source, data.Folder):
                record |= {"data": str(source.path), "pictures": source.as_dict(len(pictures))}
        given = images if isinstance(images, Tensor) else None
        training = _Training(folder, recipe, pictures, given, seed, steps, engine, state, record, log)
        how = _How(checkpoint_every, log_every, minutes, say, tell is say, on_checkpoint)
        asked = training.run(how, resume)
    stopping.obey(asked)
    return training.as_run()


@dataclass(frozen=True)
class _How:
    """What is said, logged and saved on the way, and when."""

    checkpoint_every: int
    log_every: int
    minutes: float | None
    say: Callable[[str], None]
    shows: bool
    on_checkpoint: Callable[[Run], None] | None


@dataclass
class _Training:
    """A training in a folder that is its own."""

    folder: Path
    recipe: Recipe
    pictures: Tensor
    given: Tensor | None
    seed: int
    steps: int
    engine: Engine
    state: State
    record: dict[str, Any]
    log: list[dict[str, Any]]

    def as_run(self) -> Run:
        """The model as it stands."""
        return Run.of_state(self.recipe, self.record, self.state, self.engine, self.given)

    def run(self, how: _How, resumed: bool) -> stopping.Asked:
        """Train to the last step, or until time is up or a signal asks for an end; which signal."""
        asked, done = stopping.Asked(), self.state.step
        if done < self.steps:
            how.say(self._in_words(resumed))
            if resumed:
                self._sit_down(how)
            elif self.engine.is_main:  # what cannot be written is noticed now, and a kill at any moment finds a run
                checkpoints.save(self.folder, self.state, self.record, self.log)
            with stopping.listening(how.shows, deaf=not self.engine.is_main) as asked:
                self._advance(how, asked)
        elif done == self.steps:
            how.say(f"{self.folder} already has {done} of {self.steps} steps; nothing to do")
        else:
            how.say(f"{self.folder} already has {done} steps, more than the {self.steps} asked for; nothing to do")
        if self.state.step < self.steps:
            by = f" by {asked.by.name}" if asked.by else ""
            kept = f"; {checkpoints.path_of(self.folder, self.state.step)} is saved" if asked.by else ""
            how.say(f"stopped{by} at step {self.state.step} of {self.steps}{kept}; add --resume to go on")
            return asked
        weights = self.folder / "weights.safetensors"
        if self.engine.is_main:
            checkpoints.save_weights(weights, self.state, self.record)
        how.say(f"weights: {weights}\nsample:  bdbook sample --run {self.folder}")
        return asked

    def _in_words(self, resumed: bool) -> str:
        parameters = sum(p.numel() for p in self.state.net.parameters())
        on = records.device(self.engine) + (f", {self.engine.processes} processes" if self.engine.processes > 1 else "")
        told = f"{self.recipe.name}: {parameters:,} parameters, {len(self.pictures)} images, {on}"
        if not resumed:
            return f"{told}, to step {self.steps}"
        return f"{told}\ngoing on from step {self.state.step} of {self.steps}"

    def _sit_down(self, how: _How) -> None:
        """Note in the record that the training is taken up, where and how; say what is not as it was."""
        now = records.where(self.engine)
        last = (self.record.get("sittings") or [self.record])[-1]
        told = ("device", "processes", "precision")
        changed = [f"{key} was {last[key]}, is {now[key]}" for key in told if last[key] != now[key]]
        self.record.setdefault("sittings", []).append({"from": self.state.step, **now, "date": records.today()})
        if changed:
            how.say(f"otherwise than before: {'; '.join(changed)}")

    def _advance(self, how: _How, asked: stopping.Asked) -> None:
        clock, began, losses = records.Clock(self.record), time.monotonic(), []
        watch = stopping.Watch([line["loss"] for line in self.log])
        trained = train(self.recipe, self.pictures, self.state, self.seed, self.engine)
        hidden = None if how.shows else True
        with tqdm(total=self.steps, initial=self.state.step, unit="step", disable=hidden) as bar:
            while self.state.step < self.steps:
                with self._blaming():
                    state = next(trained)  # updates state in place
                    losses.append(_loss(state))
                    watch.look(state.step, losses[-1].item())
                bar.update()
                due = state.step % how.checkpoint_every == 0 or state.step == self.steps
                if due or asked.by or state.step % how.log_every == 0:
                    self.log.append({"step": state.step, "loss": torch.stack(losses).mean().item()})
                    losses = []
                if self.engine.is_main and (due or asked.by):
                    if how.shows:
                        bar.write(f"step {state.step}: loss {self.log[-1]['loss']:.4f}, {clock.read():.0f} s")
                    self.record["wall_s"] = clock.read()
                    checkpoints.save(self.folder, state, self.record, self.log)
                if asked.by:
                    break
                if not due:
                    continue
                if self.engine.is_main:
                    self._show(how)
                if how.minutes is not None and _seconds_since(began, self.engine) >= 60 * how.minutes:
                    break

    def _show(self, how: _How) -> None:
        """A grid of samples, where they are pictures, and the model for who asked for it."""
        run = self.as_run()
        if len(lengths(self.recipe.size)) == 2:
            name = f"samples-{self.state.step:08d}.png"
            write_atomically(self.folder / name, pixels.png(run.draw(DRAWN, self.seed), 8))
        if how.on_checkpoint is not None:
            how.on_checkpoint(run)

    @contextmanager
    def _blaming(self) -> Iterator[None]:
        """An error says what can be done: the same steps from a checkpoint would end in it again."""
        try:
            yield
        except FloatingPointError as error:
            kept = next(reversed(checkpoints.found(self.folder)), "of another process")
            lower = self.recipe.learning_rate / 10
            raise FloatingPointError(
                f"{error}. The last checkpoint is {kept}; going on from it would repeat this, bit for bit. Train anew "
                f"with a lower learning rate (--learning-rate {lower:g}) into another --out"
            ) from error


def _source(images: Tensor | str | Path | None) -> str | data.Folder | None:
    """What the images are: a set's name, a folder, GIVEN; None for the recipe's."""
    return GIVEN if isinstance(images, Tensor) else None if images is None else data.source(images)


def _of_data(source: str | data.Folder, pictures: Tensor) -> str:
    """What is trained on, in a line."""
    count, channels, *sides = pictures.shape
    told = source.words(count) if isinstance(source, data.Folder) else f"{source}: {count} images"
    return f"{told}; {'x'.join(map(str, sides))}, {recipes.COLOURS.get(channels, f'{channels} channels')}"


def _recipe(
    asked: Recipe | Degradation | str,
    images: Tensor | str | Path | None,
    source: str | data.Folder | None,
    net: nn.Module | None,
    size: Size | None,
    channels: int | None,
    changes: dict[str, Any],
) -> tuple[Recipe, str | data.Folder]:
    """The recipe of whatever was asked for, and its data: a folder, or a name as it stands in a recipe."""
    if isinstance(asked, str) and asked not in recipes.RECIPES and asked in processes.PROCESSES:
        shape = _shape(images, None, size, channels)
        settings = {"size": shape[1:]} if processes.has_size(asked) else {"basis": Pixel(len(shape) - 1)}
        asked = processes.process(asked, **settings)
    if isinstance(asked, str):
        if asked not in recipes.RECIPES:
            raise unknown("recipe", asked, [*recipes.RECIPES, *processes.PROCESSES])
        asked = recipes.get(asked)
    if isinstance(asked, Recipe):
        if net is not None:
            raise ValueError(f"recipe {asked.name} has a network; give a process with net, recipe.build_process() too")
        return replace(asked, **changes).resized(size, channels), source or _named(asked.data)
    if source is None:
        raise ValueError(f"{asked.name} is a process and names no data; give images")
    shape = _shape(images, asked, size, channels)
    place = source if isinstance(source, str) else str(source.path)
    return recipes.of_process(asked, shape, net, place, **changes), source


def _named(name: str) -> str | data.Folder:
    """The data that a recipe names: a set whatever folders there are, or a folder."""
    return data.source(data.recorded(name))


def _shape(
    images: Tensor | str | Path | None, process: Degradation | None, size: Size | None, channels: int | None
) -> tuple[int, ...]:
    """(C, *axes) of images; of a data set by name as asked for, else grey and of the process's size."""
    if isinstance(images, Tensor):
        dims = images.ndim - 2 if process is None else process.basis.dims
        if dims not in LETTERS or images.ndim != dims + 2:
            expected = shape_in_words(dims if dims in LETTERS else 2, "N")
            raise ValueError(f"images had shape {tuple(images.shape)}; expected {expected}")
        _, *shape = images.shape
        asked = (channels or shape[0], *lengths(size or tuple(shape[1:])))
        if list(asked) != shape:
            axes = ", ".join(("depth", "height", "width")[-dims:]) if dims > 1 else "length"
            raise ValueError(f"images were of {tuple(shape)}, (channels, {axes}), but {asked} was asked for")
        return asked
    if size is not None:
        return (channels or 1, *height_width(size))
    if process is None or not isinstance(process.basis, Rotation):
        raise ValueError(
            f"images were {images!r}, and nothing says their size; give them as a tensor (N, C, H, W), "
            "e.g. data.load(name, 32), or size=32"
        )
    return (channels or 1, *lengths(process.basis.size))


def _loss(state: State) -> Tensor:
    assert state.loss is not None  # after a step
    return state.loss.mean()


def _seconds_since(began: float, engine: Engine) -> float:
    """By the clock of the first process: one that stopped alone would leave the others waiting."""
    elapsed = torch.tensor([time.monotonic() - began], device=engine.device)
    return engine.gather(elapsed)[0].item()


def _silence(_: str) -> None:
    pass
