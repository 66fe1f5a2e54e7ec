"""Compare runs that were measured just now with the recorded ones; exit 1 when one of them got worse.

    python results/record.py --profile gpu --only fashion-blurring --results fresh --runs fresh-runs
    python results/compare.py --fresh fresh

Worse is told from what another seed gives as well. A measure of which less is better (MEASURES) may exceed the largest
of the recorded seeds by their range, the largest less the smallest, and no more. Were the fresh run of yet another
seed, and the seeds scattered like a normal variable, one measure in fifteen would exceed that by chance; the
runs that record.py makes have a recorded seed, and differ by what changed and by rounding. With two seeds it would be
one in six, so three are asked for.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

from bdbook.page import recorded
from bdbook.page.recorded import Recorded

HERE = Path(__file__).parent
ENOUGH_SEEDS = 3
# What restores or generates; the other rows of those tables hold what nobody trained.
TRAINED = ("direct", "naive", "tacos", "estimated noise", "perfect symmetry")
# Of each table, the measures of which less is better.
MEASURES = ("frechet", "sliced_wasserstein", "rmse")


class IncomparableError(ValueError):
    """There is nothing to compare a run with; the message says what to do."""


@dataclass(frozen=True)
class Row:
    """One measure of one run, beside the recorded seeds."""

    run: str
    measure: str
    least: float
    most: float
    fresh: float

    @property
    def limit(self) -> float:
        return self.most + (self.most - self.least)

    @property
    def worse(self) -> bool:
        return not self.fresh <= self.limit  # so that NaN is worse

    def __str__(self) -> str:
        return f"{self.run}, {self.measure}: {self.fresh:.4g}, above {self.limit:.4g}"


def measures(metrics: dict) -> dict[str, float]:
    """Name -> value, of all in a metrics.json that is compared; NaN for words in place of a number."""
    tables = {"samples": metrics.get("quality", {}).get("samples", {})}
    for part in ("restoration", "generation"):
        tables |= {f"{part}, {way}": row for way, row in metrics.get(part, {}).items() if way in TRAINED}
    found = {f"{name}, {key}": row[key] for name, row in tables.items() for key in MEASURES if key in row}
    if metrics.get("bits"):
        found["bits per dimension"] = metrics["bits"]["mean"]
    return {name: math.nan if isinstance(value, str) else value for name, value in found.items()}


def protocol(metrics: dict) -> tuple:
    """What two runs must share to be compared: how long they trained, how they were measured, the seed apart."""
    words = (metrics.get("sample_protocol"), metrics.get("protocol", {}).get("in words"))
    return metrics["step"], metrics.get("count"), *(text and text.rpartition("; seed ")[0] for text in words)


def compare(fresh: Recorded, results: Path) -> list[Row]:
    """The fresh run's measures beside those of the recorded seeds of its recipe and profile."""
    name, profile = fresh.record["recipe"]["name"], fresh.record["profile"]
    known = recorded.present(name, profile, results)
    if len(known) < ENOUGH_SEEDS:
        asked = " ".join(f"{name}{f'@{seed}' if seed else ''}" for seed in recorded.SEEDS)
        raise IncomparableError(
            f"{fresh.folder.name}: {len(known)} of {ENOUGH_SEEDS} seeds are recorded in {results}, too few to know "
            f"their scatter. To record them: python results/record.py --profile {profile} --only {asked}"
        )
    for run in known:
        if protocol(run.metrics) != protocol(fresh.metrics):
            raise IncomparableError(
                f"{fresh.folder.name} was trained or measured otherwise than the recorded {run.folder.name}: "
                f"{protocol(fresh.metrics)}, not {protocol(run.metrics)}. Record the recipe again, or undo the change"
            )
    each = [measures(run.metrics) for run in known]
    common = [measure for measure in each[0] if all(measure in one for one in each)]
    if not common:
        raise IncomparableError(f"{fresh.folder.name}: its recorded runs hold no measure that is compared")
    now = measures(fresh.metrics)
    values = {measure: [one[measure] for one in each] for measure in common}
    return [
        Row(fresh.folder.name, measure, min(found), max(found), now.get(measure, math.nan))
        for measure, found in values.items()
    ]


def table(rows: list[Row]) -> str:
    lines = [("run", "measure", "recorded", "limit", "fresh", "")]
    for row in rows:
        span = f"{row.least:.4g} to {row.most:.4g}"
        lines.append((row.run, row.measure, span, f"{row.limit:.4g}", f"{row.fresh:.4g}", "WORSE" if row.worse else ""))
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def main(fresh: Path, results: Path = HERE) -> int:
    """Compare every run in a folder of runs with the recorded ones.

    Args:
        fresh: A folder of runs that results/record.py measured just now.
        results: Where the recorded runs are.
    """
    folders = sorted(path.parent for path in fresh.glob("*/metrics.json"))
    if not folders:
        print(f"There is no measured run in {fresh}. To make some: python results/record.py --results {fresh}")
        return 1
    rows, incomparable = [], []
    for folder in folders:
        metrics, record = (json.loads((folder / f"{what}.json").read_text()) for what in ("metrics", "record"))
        try:
            rows += compare(Recorded(folder, metrics, record), results)
        except IncomparableError as error:
            incomparable.append(str(error))
    if rows:
        print(table(rows))
    worse = [str(row) for row in rows if row.worse]
    if worse:
        print(f"Worse than recorded, beyond what the seeds scatter: {'; '.join(worse)}.")
    for reason in incomparable:
        print(f"Not compared: {reason}.")
    if not (worse or incomparable):
        print(f"As recorded: {len(rows)} measures of {len(folders)} runs lie within the scatter of the seeds.")
    return 1 if worse or incomparable else 0


if __name__ == "__main__":
    import tyro

    sys.exit(tyro.cli(main))
