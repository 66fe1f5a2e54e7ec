"""The table of a sweep: a row a point, as CSV and as text."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

DONE = "done"
WIDTH = 100  # columns of a printed line
STATE = 30  # of them, at most, that a state has for itself


def columns(rows: Sequence[dict]) -> list[str]:
    """The keys of all rows; a failed one lacks the measures. The state comes last."""
    keys = dict.fromkeys(key for row in sorted(rows, key=len, reverse=True) for key in row if key != "state")
    return [*keys, "state"]


def as_csv(rows: Sequence[dict]) -> str:
    """The rows, numbers to the last digit; words where there is none."""
    file = io.StringIO()
    writer = csv.DictWriter(file, columns(rows), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _number(value) for key, value in row.items()} for row in rows)
    return file.getvalue()


def place(rows: Sequence[dict], varied: Collection[str], out: Path) -> Path:
    """Where the rows of a sweep belong: out/table.csv, or table-failed.csv beside it.

    The latter where a point has failed that table.csv has as done: what was measured is not lost for a failure.
    """
    there = out / "table.csv"
    done: list[tuple] = []
    with suppress(OSError, ValueError, csv.Error):  # none, or one that cannot be read
        done = [_point(row, varied) for row in _read(there.read_text()) if row.get("state") == DONE]
    failed = [_point(row, varied) for row in _read(as_csv(rows)) if row["state"] != DONE]
    return out / "table-failed.csv" if {*failed} & {*done} else there


def table(rows: Sequence[dict], always: Collection[str] = ()) -> str:
    """The rows as text with aligned columns: the keys in `always`, and of the others the first that fit a line."""
    cells = {key: [key, *(_cell(row.get(key, "")) for row in rows)] for key in columns(rows)}
    state = cells.pop("state")
    room, shown = WIDTH - min(STATE, max(map(len, state))), []
    for key, column in cells.items():
        width = max(map(len, column))
        room -= width + 2
        if room < 0 and key not in always:
            break
        shown.append([f"{cell:>{width}}  " for cell in column])
    lines = ["".join(line) for line in zip(*shown, state)]
    return "\n".join(line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..." for line in lines)


def _read(text: str) -> list[dict]:
    return list(csv.DictReader(io.StringIO(text)))


def _point(row: dict, varied: Collection[str]) -> tuple:
    """What tells the point of a row that was read from others."""
    return tuple((key, row.get(key)) for key in sorted(varied))


def _cell(value: Any) -> str:
    value = _number(value)
    return f"{value:.4g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)


def _number(value: Any) -> Any:
    return "no number" if isinstance(value, float) and not math.isfinite(value) else value
