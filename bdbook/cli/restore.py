"""bdbook restore."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from bdbook import data, pixels
from bdbook.evaluation import metrics, tiling
from bdbook.files import write_atomically
from bdbook.page import recorded
from bdbook.training import engine, profiles, runs
from bdbook.training.runs import Run


@dataclass(frozen=True)
class Restore:
    """Restore your own pictures: before, one restoration, and TACoS side by side."""

    image: Path
    """A picture, or a folder of pictures."""
    run_folder: Annotated[Path | None, tyro.conf.arg(name="run", aliases=["-r"])] = None
    """Run folder of a restorer, or its weights file; default: the recorded photos-sharpen."""
    degrade: bool = False
    """The picture is clean: degrade it first, and say how close the restorations come."""
    severity: float = 1.0
    """How far it is degraded, in (0, 1]: 1 is the end of what was trained."""
    steps: int = 10
    """Steps of TACoS, at most."""
    degradation: str | None = None
    """Refuse to run unless the weights were trained for this one."""
    seed: int = 0
    """Decides what a degradation draws."""
    profile: str | None = None
    """cpu or gpu: where to run."""
    out: Path | None = None
    """Folder to write to; default: restored, beside the picture."""

    def run(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps was {self.steps}; expected at least 1")
        if not self.image.exists():
            raise ValueError(f"{self.image} does not exist; expected a picture or a folder of pictures")
        weights = self.run_folder or recorded.folder_of("photos-sharpen")
        run = runs.load(weights, engine.current_engine(profiles.resolve(self.profile)))
        tiling.require_degradation(run, self.degradation)
        files = data.image_files(self.image) if self.image.is_dir() else [self.image]
        folder = self.out or (self.image if self.image.is_dir() else self.image.parent) / "restored"
        for file in files:
            self._one(run, file, folder)

    def _one(self, run: Run, file: Path, folder: Path) -> None:
        picture = tiling.read_picture(file)
        done = tiling.restore(run, picture, self.severity, self.steps, self.degrade, self.seed, progress=True)
        print(f"{file.name}: {picture.shape[2]}x{picture.shape[1]}, restored {done.how}")
        if self.degrade:
            truth = done.ways["truth"][None]
            for name in ("degraded", "direct", "tacos"):
                m = metrics.fidelity(done.ways[name][None], truth)
                print(f"  {name:9} PSNR {m['psnr']:.2f} dB, SSIM {m['ssim']:.3f}")
        for name in ("direct", "tacos"):
            write_atomically(folder / f"{file.stem}-{name}.png", pixels.png(done.ways[name][None], 1, enlarge=1))
        compared = folder / f"{file.stem}-compared.png"
        pictures = tiling.side_by_side(done)
        write_atomically(compared, pixels.png(pictures, len(pictures), enlarge=1, gap=6))
        print(f"  {compared}")
