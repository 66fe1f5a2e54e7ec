"""Working at the points of a grid on Ray, one folder a point.

    sigma_max=0.5,seed=0/            a run folder (bdbook.training.runs), or the executed chapter
    sigma_max=0.5,seed=0/row.json    what was asked and what was measured, written last
    sigma_max=0.5,seed=0/sittings.jsonl   each time it was taken up: node, host, process, the step it went on from
    table.csv                        a row a point; table-failed.csv where it has more than the last time gave

A point is finished where its row.json answers what is asked. Another is taken up where it stands, by the code of
`python -m bdbook train --resume`: a lost machine costs the steps since the last checkpoint, and changes no number.
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import torch
from tqdm import tqdm

from bdbook import files
from bdbook.sweep.points import Point, name_of, needed, positive, refusal
from bdbook.sweep.table import DONE, as_csv, place

SHOWN = 3  # points that an error names
STARTS = 3  # tries to start Ray on this machine
OBJECT_STORE = 100 * 2**20  # bytes; what goes through it here is a few numbers


def run(
    points: Sequence[Point],
    out: Path,
    address: str | None = None,
    cpus: int = 1,
    gpus: float | None = None,
    retries: int = 3,
) -> list[dict]:
    """Work at each point that is not finished; a row a point, in order, which out/table.csv has too.

    A row holds what varied, "step" and the measures, and last "state": "done", or why it failed. address: of a Ray
    cluster whose machines all see `out`, None for this machine alone. cpus, gpus: that a point takes; gpus None is 1
    under profile gpu. retries: after the loss of a machine or process; errors of the work itself are not retried.

    Raises ValueError, and changes nothing, where a folder has more steps than are asked for, or another training.
    Failures take no measure out of out/table.csv: then the rows are in table-failed.csv (bdbook.sweep.table.place).
    """
    positive("cpus", cpus)
    out = Path(out).absolute()
    there = {name_of(point): finished(point, out / name_of(point)) for point in points}
    found = {name: measured for name, measured in there.items() if measured is not None}
    left = [point for point in points if name_of(point) not in found]
    _require_same_trainings(left, out)
    ray = _ray(address) if left else None
    _require_writable(left, out)
    with tqdm(total=len(points), initial=len(points) - len(left), unit="point") as bar:
        for point, outcome in _on_ray(ray, left, out, address, cpus, gpus, retries) if ray else ():
            found[name_of(point)] = outcome
            bar.update()
    rows = []
    for point in points:
        # The taps of a kernel may vary, and a measure is called so too.
        outcome = {f"measured {k}" if k in point.varied else k: v for k, v in found[name_of(point)].items()}
        rows.append({**point.varied, **outcome, "state": outcome.get("state", DONE)})
    file = place(rows, points[0].varied if points else (), out)
    files.write_atomically(file, as_csv(rows))
    if file.name == "table.csv":
        (out / "table-failed.csv").unlink(missing_ok=True)
    return rows


def finished(point: Point, folder: Path) -> dict | None:
    """What was measured, where the folder has it for just this point."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        row = json.loads((folder / "row.json").read_text())
        if row["asked"] == json.loads(json.dumps(point.asked())):
            return row["measured"]
    return None


def run_point(point: Point, folder: Path, node: str = "") -> dict:
    """Take up a point where it stands and finish it; what was measured."""
    folder.mkdir(parents=True, exist_ok=True)
    sitting = {"node": node, "host": socket.gethostname(), "pid": os.getpid(), "from_step": point.reached(folder)}
    with (folder / "sittings.jsonl").open("a") as file:
        file.write(json.dumps(sitting) + "\n")
    measured = point.work(folder)
    files.write_atomically(folder / "row.json", json.dumps({"asked": point.asked(), "measured": measured}, indent=1))
    return measured


def _ray(address: str | None) -> ModuleType:
    """Ray, for this machine alone or a cluster that answers."""
    if address is None:  # nothing leaves this machine, nor can be reached from another; Ray reads both when imported
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    else:
        _require_answer(address)
    return needed("ray")


def _on_ray(
    ray: ModuleType,
    points: Sequence[Point],
    out: Path,
    address: str | None,
    cpus: int,
    gpus: float | None,
    retries: int,
) -> Iterator[tuple[Point, dict]]:
    """Each point and what came of it, in the order in which they end."""

    # As many threads wherever it runs: sums depend on them.
    @ray.remote(num_cpus=cpus, max_retries=retries)
    def work(point: Point, folder: Path) -> dict:
        torch.set_num_threads(cpus)
        os.environ["OMP_NUM_THREADS"] = str(cpus)  # in the kernel of a chapter
        return run_point(point, folder, ray.get_runtime_context().get_node_id())

    _start(ray, address)
    try:
        takes = [(point, (point.profile == "gpu") if gpus is None else gpus) for point in points]
        _require_room(ray, cpus, max(number for _, number in takes))
        waiting = {
            work.options(num_gpus=number, name=name_of(point)).remote(point, out / name_of(point)): point
            for point, number in takes
        }
        while waiting:
            (ended,), _ = ray.wait(list(waiting))
            point = waiting.pop(ended)
            try:
                yield point, ray.get(ended)
            except ray.exceptions.RayError as error:
                yield point, {"state": _why(error)}
    finally:
        ray.shutdown()


def _require_same_trainings(points: Sequence[Point], out: Path) -> None:
    """Raise unless each point can be taken up where it stands."""
    refused = [f"{name_of(point)} {why}" for point in points if (why := refusal(point, out / name_of(point)))]
    if refused:
        more = f", and {len(refused) - SHOWN} more" if len(refused) > SHOWN else ""
        raise ValueError(
            f"nothing was changed in {out}, where other trainings are than those asked for: "
            f"{'; '.join(refused[:SHOWN])}{more}. Ask for the same training_steps and settings, or choose another --out"
        )


def _require_writable(points: Sequence[Point], out: Path) -> None:
    """Raise unless the folders can be written: no training should find out at its first checkpoint."""
    for folder in [out, *(out / name_of(point) for point in points)]:
        try:
            if folder == out:
                folder.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(folder):
                tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise ValueError(f"{folder} cannot be written ({error.strerror}); choose another --out") from error


def _require_answer(address: str) -> None:
    """Raise unless something listens at HOST:PORT: Ray would try for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or "/" in host:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise ValueError(
            f"no Ray cluster answers at {address} ({error}); `ray start --head` prints its address"
        ) from error


def _start(ray: ModuleType, address: str | None) -> None:
    """Join the cluster at this address, or start one here, for which a busy machine may need more than one try."""
    alone = {} if address else {"include_dashboard": False, "object_store_memory": OBJECT_STORE}
    for left in reversed(range(1 if address else STARTS)):
        try:
            ray.init(address or "local", log_to_driver=False, logging_level="error", **alone)
            return
        except Exception as error:  # plain ones, where a busy machine takes too long
            ray.shutdown()
            if not left:
                raise OSError(
                    f"Ray did not start ({error}); the same command tries again, when the machine is less busy"
                ) from error


def _require_room(ray: ModuleType, cpus: int, gpus: float) -> None:
    """Raise unless some node can take a point: Ray would wait for one for ever."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
        have = "; ".join(f"{node.get('CPU', 0):g} CPUs, {node.get('GPU', 0):g} GPUs" for node in nodes)
        raise ValueError(f"a point takes {cpus} CPUs and {gpus:g} GPUs, but the nodes have {have}; ask for less")


def _why(error: Exception) -> str:
    """One line: the error that the work raised, or what Ray lost."""
    cause = getattr(error, "cause", None) or error
    return f"failed: {type(cause).__name__}: " + (str(cause).strip().splitlines() or [""])[0]
