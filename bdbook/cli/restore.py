"""bdbook restore."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro

from bdbook.cli.telling import tell
from bdbook.errors import PartlyDone
from bdbook.evaluation import metrics, pictures, possible, restored, tiling
from bdbook.files import write_atomically
from bdbook.page import possible_page, recorded
from bdbook.training import engine, profiles, runs
from bdbook.training.runs import Run

DEFAULT, GENERATES = "photos-sharpen", "photos-ddpm"


@dataclass(frozen=True)
class Restore:
    """Restore your own pictures: before, one restoration, and TACoS side by side; or draw what may lie behind one.

    photo.jpg becomes photo-direct.jpg, photo-tacos.jpg and photo-compared.jpg; of a folder, the folders in it are kept.
    A second run of the same command does what is not done yet. Where pictures of a folder fail, the others are restored
    all the same, and the exit status is 10 + how many failed (at most 110); 2 is for a command that could not begin.

    With --samples 16 --width 1.5 (or --kernel k.npy) a network that generates draws pictures that the blur given makes
    that one of, with --noise: photo-mean.jpg, photo-spread.jpg (black 0), photo-sample-01.jpg, ..., and
    photo-samples.html to compare them. Real blur is seldom the one assumed; what to do, the page says.
    """

    image: Path
    """A picture, or a folder of pictures."""
    run_folder: Annotated[Path | None, tyro.conf.arg(name="run", aliases=["-r"])] = None
    """Run folder of a restorer, or its weights file; default: the recorded photos-sharpen, for samples photos-ddpm."""
    degrade: bool = False
    """The picture is clean: degrade it first, and say how close the restorations come."""
    severity: float = 1.0
    """How far it is degraded, in (0, 1]: 1 is the end of what was trained."""
    steps: int | None = None
    """Steps of TACoS, at most, by default 5: more bring back more contrast, and come less close. Of samples, 12."""
    colour: Literal["brightness", "each"] = "brightness"
    """What TACoS walks of a colour picture if the network is grey: its brightness, or each channel (up to 3 times as
    long)."""
    degradation: str | None = None
    """Refuse to run unless the weights were trained for this one."""
    samples: int | None = None
    """Draw so many pictures that may lie behind this one, by a network that generates; needs --width or --kernel."""
    width: float | None = None
    """Of samples: the blur that the picture has, as the standard deviation of a Gaussian in pixels."""
    kernel: Path | None = None
    """Of samples: the blur's kernel, a .npy of odd sides, of sum 1, the same read from either end of each axis."""
    noise: float = 0.02
    """Of samples: the noise that the picture has, its standard deviation in a pixel of [-1, 1]."""
    seed: int = 0
    """Decides what a degradation, and samples, draw."""
    profile: str | None = None
    """cpu or gpu: where to run."""
    out: Path | None = None
    """Folder to write to; default: restored, beside the picture."""
    overwrite: bool = False
    """Replace restored pictures that are there already, whatever they were made of."""

    def run(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps was {self.steps}; expected at least 1")
        if not self.image.exists():
            raise ValueError(f"{self.image} does not exist; expected a picture or a folder of pictures")
        if self.samples is not None:
            self._draw(self.samples)
            return
        if self.width is not None or self.kernel is not None:
            raise ValueError("--width and --kernel are the blur of samples; say how many to draw: --samples 16")
        run = runs.load(self.run_folder or _recorded(), engine.current_engine(profiles.resolve(self.profile)))
        tiling.require_degradation(run, self.degradation)
        tiling.check_run(run, self.severity, self.degrade)
        is_folder = self.image.is_dir()
        out = self.out or (self.image if is_folder else self.image.parent) / "restored"
        tasks = restored.tasks(restored.sources(self.image), self.image, out)
        weights, known = restored.fingerprint(run), restored.read(out)
        left = [
            task
            for task in tasks
            if self.overwrite or not restored.is_done(task, out, known, self._settings(), weights)
        ]
        restored.check_writable(out)
        if len(left) < len(tasks):
            tell(f"{len(tasks) - len(left)} already restored")
        failed: list[tuple[Path, Exception]] = []
        for task in left:
            try:
                self._one(run, task, out, weights)
            except (ValueError, OSError, MemoryError) as error:
                if not is_folder:
                    raise
                failed.append((task.source, error))
        if failed:
            reasons = ((str(path), str(error) or type(error).__name__) for path, error in failed)
            told = "\n".join(f"  {why}" if path in why else f"  {path}: {why}" for path, why in reasons)
            raise PartlyDone(f"{len(failed)} of {len(tasks)} pictures could not be restored:\n{told}", len(failed))

    def _settings(self) -> dict[str, Any]:
        """What decides how a picture comes out, beside the weights."""
        told = {name: getattr(self, name) for name in ("degrade", "severity", "steps", "colour", "seed")}
        return told | {"steps": self._steps}

    @property
    def _steps(self) -> int:
        return tiling.STEPS if self.steps is None else self.steps

    def _one(self, run: Run, task: restored.Task, out: Path, weights: str) -> None:
        picture = pictures.read(task.source)
        height, width = picture.pixels.shape[1:]
        done = tiling.restore(
            run, picture.pixels, self.severity, self._steps, self.degrade, self.seed, progress=True, colour=self.colour
        )
        files = {way: pictures.encoded(done.ways[way], picture, task.outputs[way].name) for way in ("direct", "tacos")}
        shown = tiling.side_by_side(done)
        files["compared"] = pictures.compared(shown, picture, task.outputs["compared"].name)
        # The manifest first: whatever is interrupted after it is known by its contents, and the run goes on.
        made = restored.entry(task, out, self._settings(), weights, files)
        restored.write(out, restored.read(out) | {task.name: made})
        for way, content in files.items():
            write_atomically(task.outputs[way], content)
        tell(f"{task.name}: {width}x{height}, restored {done.how}")
        if self.degrade:
            truth = done.ways["truth"][None]
            for name in ("degraded", "direct", "tacos"):
                m = metrics.fidelity(done.ways[name][None], truth)
                tell(f"  {name:9} PSNR {m['psnr']:.2f} dB, SSIM {m['ssim']:.3f}")
        tell(f"  {task.outputs['compared']}")

    def _draw(self, count: int) -> None:
        """Samples of what may lie behind one picture, their mean and spread, and a page of them."""
        if count < 1:
            raise ValueError(
                f"samples was {count}; expected at least 1, and 16 or more for a spread that means something"
            )
        if (self.width is None) == (self.kernel is None):
            given = "both" if self.kernel else "neither"
            raise ValueError(
                f"--samples needs the blur of the picture, by one of --width and --kernel, and {given} was given: "
                "--width 1.5 for a Gaussian of 1.5 px, --kernel k.npy for one that was measured"
            )
        if self.severity != 1.0 or self.degradation is not None:
            raise ValueError(
                "--severity and --degradation are of restorers; samples take --width or --kernel, and --noise"
            )
        if self.image.is_dir():
            raise ValueError(f"{self.image} is a folder; samples are drawn for one picture at a time: give its file")
        kernel = None if self.kernel is None else possible.read_kernel(self.kernel)
        folder = self.run_folder or _recorded(GENERATES)
        run = runs.load(folder, engine.current_engine(profiles.resolve(self.profile)))
        out = self.out or self.image.parent / "restored"
        digits = len(str(count))
        ways = ["mean", "spread", *(f"sample-{number + 1:0{digits}}" for number in range(count))]
        outputs = {way: out / pictures.name_of(self.image, way) for way in ways}
        outputs["page"] = out / f"{self.image.stem}-samples.html"
        task = restored.Task(self.image, f"{self.image.name}, samples", outputs)
        weights, settings = restored.fingerprint(run), self._of_samples(kernel)
        restored.check_writable(out)
        if not self.overwrite and restored.is_done(task, out, restored.read(out), settings, weights):
            tell("1 already restored")
            return
        picture = pictures.read(self.image)
        found = possible.draw(
            run, picture.pixels, self.noise, self.width, kernel, count, settings["steps"], self.degrade, self.seed, True
        )
        shown = {"mean": found.mean, "spread": possible_page.spread_picture(found)} | dict(zip(ways[2:], found.drawn))
        files = {way: pictures.encoded(x, picture, outputs[way].name) for way, x in shown.items()}
        blur = f"a Gaussian blur of {self.width:g} px" if self.kernel is None else f"the kernel {self.kernel.name}"
        files["page"] = possible_page.html(self.image.name, found, blur, self.noise).encode()
        made = restored.entry(task, out, settings, weights, files)
        restored.write(out, restored.read(out) | {task.name: made})
        for way, content in files.items():
            write_atomically(outputs[way], content)
        height, across = picture.pixels.shape[1:]
        tell(f"{self.image.name}: {across}x{height}, {count} samples through {blur}, {found.how}")
        tell(f"  spread: {found.spread.mean():.3f} on average, at most {found.spread.max():.3f}, in [-1, 1]")
        if found.truth is not None:
            for name, x in (("seen", found.seen), ("mean", found.mean), ("a sample", found.drawn[0])):
                tell(f"  {name:9} PSNR {metrics.fidelity(x[None], found.truth[None])['psnr']:.2f} dB")
        tell("  real blur is seldom the one assumed, and the spread does not know: see the page")
        tell(f"  {outputs['page']}")

    def _of_samples(self, kernel: torch.Tensor | None) -> dict[str, Any]:
        """What decides how samples come out, beside the weights."""
        told = {name: getattr(self, name) for name in ("samples", "width", "noise", "degrade", "seed")}
        shape = None if kernel is None else restored.sha256(kernel.numpy().tobytes())
        return told | {"steps": possible.STEPS if self.steps is None else self.steps, "kernel": shape}


def _recorded(name: str = DEFAULT) -> Path:
    """The folder of the recorded restorer. Raises ValueError, with how else to get one."""
    try:
        folder = recorded.folder_of(name)
    except recorded.NotRecordedError as error:
        raise recorded.NotRecordedError(f"{error}; {_of_ones_own(name)}") from error
    if not (folder / "weights.safetensors").is_file():
        raise ValueError(
            f"{folder} holds no weights.safetensors of the recorded {name}; restore it, {_of_ones_own(name)}"
        )
    return folder


def _of_ones_own(name: str) -> str:
    """How to get a network where none is recorded."""
    short = name.rpartition("-")[2]
    return f"or train one, python -m bdbook train --recipe {name} --out {short}, and give it: --run {short}"
