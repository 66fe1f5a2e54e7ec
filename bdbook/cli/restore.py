"""bdbook restore."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from bdbook.cli.telling import tell
from bdbook.errors import PartlyDone
from bdbook.evaluation import metrics, pictures, restored, tiling
from bdbook.files import write_atomically
from bdbook.page import recorded
from bdbook.training import engine, profiles, runs
from bdbook.training.runs import Run

DEFAULT = "photos-sharpen"
OF_ONES_OWN = f"or train one, python -m bdbook train --recipe {DEFAULT} --out sharpen, and give it: --run sharpen"


@dataclass(frozen=True)
class Restore:
    """Restore your own pictures: before, one restoration, and TACoS side by side.

    photo.jpg becomes photo-direct.jpg, photo-tacos.jpg and photo-compared.jpg; of a folder, the folders in it are kept.
    A second run of the same command does what is not done yet. Where pictures of a folder fail, the others are restored
    all the same, and the exit status is 10 + how many failed (at most 110); 2 is for a command that could not begin.
    """

    image: Path
    """A picture, or a folder of pictures."""
    run_folder: Annotated[Path | None, tyro.conf.arg(name="run", aliases=["-r"])] = None
    """Run folder of a restorer, or its weights file; default: the recorded photos-sharpen."""
    degrade: bool = False
    """The picture is clean: degrade it first, and say how close the restorations come."""
    severity: float = 1.0
    """How far it is degraded, in (0, 1]: 1 is the end of what was trained."""
    steps: int = tiling.STEPS
    """Steps of TACoS, at most: more bring back more contrast, and come less close."""
    colour: Literal["brightness", "each"] = "brightness"
    """What TACoS walks of a colour picture if the network is grey: its brightness, or each channel (up to 3 times as
    long)."""
    degradation: str | None = None
    """Refuse to run unless the weights were trained for this one."""
    seed: int = 0
    """Decides what a degradation draws."""
    profile: str | None = None
    """cpu or gpu: where to run."""
    out: Path | None = None
    """Folder to write to; default: restored, beside the picture."""
    overwrite: bool = False
    """Replace restored pictures that are there already, whatever they were made of."""

    def run(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps was {self.steps}; expected at least 1")
        if not self.image.exists():
            raise ValueError(f"{self.image} does not exist; expected a picture or a folder of pictures")
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
        return {name: getattr(self, name) for name in ("degrade", "severity", "steps", "colour", "seed")}

    def _one(self, run: Run, task: restored.Task, out: Path, weights: str) -> None:
        picture = pictures.read(task.source)
        height, width = picture.pixels.shape[1:]
        done = tiling.restore(
            run, picture.pixels, self.severity, self.steps, self.degrade, self.seed, progress=True, colour=self.colour
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


def _recorded() -> Path:
    """The folder of the recorded restorer. Raises ValueError, with how else to get one."""
    try:
        folder = recorded.folder_of(DEFAULT)
    except recorded.NotRecordedError as error:
        raise recorded.NotRecordedError(f"{error}; {OF_ONES_OWN}") from error
    if not (folder / "weights.safetensors").is_file():
        raise ValueError(f"{folder} holds no weights.safetensors of the recorded {DEFAULT}; restore it, {OF_ONES_OWN}")
    return folder
