"""bdbook sweep."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from bdbook import sweep


@dataclass(frozen=True)
class Sweep:
    """Train and evaluate, or execute a chapter, at every point of a grid, on this machine or a Ray cluster."""

    grid: tyro.conf.Positional[Path]
    """YAML file: a recipe or chapter, and what varies; results/grids has examples."""
    address: str | None = None
    """A Ray cluster, HOST:PORT, or auto for the one this machine belongs to; default: this machine alone."""
    out: Path | None = None
    """Folder to write to, which all machines see; default: sweeps/GRID."""
    cpus: int = 1
    """CPU cores that each point takes."""
    gpus: float | None = None
    """GPUs that each point takes, 0.5 for two on one; default: 1 under profile gpu, else none."""
    retries: int = 3
    """How often a point is taken up again whose machine or process was lost."""

    def run(self) -> None:
        if self.grid.is_dir():
            raise ValueError(f"{self.grid} is a folder; expected a YAML file, such as those in results/grids")
        points = sweep.read(self.grid)
        out = self.out or Path("sweeps") / self.grid.stem
        rows = sweep.run(points, out, self.address, self.cpus, self.gpus, self.retries)
        file = sweep.place(rows, points[0].varied, out)
        print(f"{sweep.table(rows, points[0].varied)}\nall of it: {file}")
        if file.name != "table.csv":
            print(f"{out / 'table.csv'} stays as it was: points are done there that failed this time")
        failed = [row for row in rows if row["state"] != sweep.DONE]
        if failed:
            raise ValueError(f"{len(failed)} of {len(rows)} points failed; the same command tries them again")
