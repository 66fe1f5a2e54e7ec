"""A sitting at a GPU: in so many minutes the tests that need one, the benchmarks, and as many recorded runs as fit.

    python results/sitting.py --minutes 12               # make gpu
    python results/sitting.py --profile smoke            # make gpu PROFILE=smoke: a rehearsal on the CPU
    python results/sitting.py --collect _build/gpu/carried    # make gpu-wheels

Four parts, one after another, each with a limit of its own and with less where the sitting ends before; one that would
not fit is left out, and the table at the end says so. What a part prints lies in the folder --out as it is printed, and
summary.md and summary.json after each part. Runs are recorded as results/record.py does, in results/ under names that
end in -gpu. runs.tar.gz holds them too, and the last checkpoint of what is not finished: unpacked in a checkout, it
goes on there.

A machine on which nothing can be fetched needs its own PyTorch with CUDA; what else it lacks is carried there in a
folder that --collect fills: wheels, which are unpacked and put on the path, and the files of Fashion-MNIST.

A rehearsal goes through all of it with little work, into a folder of its own. The tests marked gpu run on a pretended
device then (tests/pretended_cuda.py), and no number of it is a GPU's.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "_build" / "gpu"
REHEARSAL = "REHEARSAL on the CPU: nothing here was computed by a GPU, and no number is a GPU's."
# Of pure Python, and rarely where PyTorch is: the command's arguments, diffusers to compare with, shapes in the tests.
CARRIED = ("tyro", "docstring-parser", "typeguard", "diffusers", "importlib-metadata", "beartype")
SYSTEMS = ("equal-snr", "cosine", "blurring", "heat", "soft", "blur", "ddpm")
# Seconds for a part that was told to end (a training saves a checkpoint), and for the sitting's own end.
GRACE, CLOSING = 20.0, 10.0


@dataclass(frozen=True)
class Part:
    """What is run in a sitting. least, most: seconds below which it is not begun, and after which it is ended.

    command: of the seconds that it has.
    """

    name: str
    command: Callable[[float], list[str]]
    least: float
    most: float = math.inf


@dataclass(frozen=True)
class Outcome:
    """How a part went: done, failed, stopped (at its limit) or left out; in how many seconds; its last line."""

    part: str
    status: str
    seconds: float
    says: str


@dataclass
class Sitting:
    """Parts in so many seconds, what comes of them in a folder."""

    seconds: float
    out: Path
    heading: str = ""
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    clock: Callable[[], float] = time.monotonic
    outcomes: list[Outcome] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.began = self.clock()

    def left(self) -> float:
        return self.seconds - CLOSING - (self.clock() - self.began)

    def sit(self, parts: Iterable[Part]) -> list[Outcome]:
        """Run the parts in turn, each in the time that it may take."""
        self.out.mkdir(parents=True, exist_ok=True)
        for part in parts:
            allowed = min(part.most, self.left())
            if allowed < part.least:
                says = f"left out: it needs {part.least:.0f} s, and {max(0.0, self.left()):.0f} s are left"
                self.outcomes.append(Outcome(part.name, "left out", 0.0, says))
            else:
                self.outcomes.append(self._run(part, allowed))
            self._write()
        return self.outcomes

    def _run(self, part: Part, allowed: float) -> Outcome:
        began, told = self.clock(), self.out / f"{part.name}.txt"
        print(f"{part.name}: up to {allowed:.0f} s, into {told}", flush=True)
        with told.open("w", encoding="utf-8") as file:
            file.write(f"{self.heading}\n\n" if self.heading else "")
            file.flush()
            status = finished(part.command(allowed), file, allowed, self.environment)
        lines = [line for line in told.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        last = lines[-1].strip() if lines[bool(self.heading) :] else "it printed nothing"
        return Outcome(part.name, status, self.clock() - began, last)

    def _write(self) -> None:
        from bdbook.files import write_atomically

        head = {"rehearsal": bool(self.heading), "note": self.heading or None}
        parts = [asdict(outcome) for outcome in self.outcomes]
        write_atomically(self.out / "summary.json", json.dumps(head | {"parts": parts}, indent=1))
        write_atomically(self.out / "summary.md", self.table() + "\n")

    def table(self) -> str:
        """How each part went, as Markdown."""
        rows = [
            f"| {o.part} | {o.status} | {o.seconds:.0f} | {o.says[:160].replace('|', '/')} |" for o in self.outcomes
        ]
        head = [self.heading, ""] if self.heading else []
        return "\n".join([*head, "| part | | seconds | its last line |", "| --- | --- | --- | --- |", *rows])


def finished(command: list[str], output, allowed: float, environment: dict[str, str]) -> str:
    """Run a command with what it starts, for at most so many seconds: "done", "failed" or "stopped".

    Before they are over it is told to end (SIGTERM), on which a training saves a checkpoint.
    """
    grace = min(GRACE, allowed / 4)
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        code = process.wait(allowed - grace)
        return "done" if code == 0 else "failed"
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace)
        return "stopped"
    finally:
        with contextlib.suppress(ProcessLookupError):  # whatever of it is left
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


# --- the parts ------------------------------------------------------------------------------------------------


def parts(profile: str, names: list[str], out: Path, results: Path, runs: Path) -> list[Part]:
    """What a sitting is made of. names: of the runs; results, runs: where they are kept and trained."""
    python, rehearsed = sys.executable, profile != "gpu"
    marked = [str(path) for path in sorted((ROOT / "tests").glob("test_*.py")) if "mark.gpu" in path.read_text()]
    tests = [python, "-m", "pytest", "-m", "gpu", "-p", "no:cacheprovider", "-o", "addopts=--strict-markers", *marked]
    benchmarks = [python, "benchmarks/gpu.py", "--out", str(out / "benchmarks.json"), *(["--rehearse"] * rehearsed)]

    def record(allowed: float) -> list[str]:
        minutes = max(allowed - 3 * GRACE, 10.0) / 60  # the last run's measures take their time too
        where = ["--results", str(results), "--runs", str(runs)]
        how = ["--profile", profile, "--minutes", f"{minutes:.2f}"]
        return [python, "results/record.py", *how, *where, "--only", *names]

    return [
        Part("doctor", lambda _: [python, "-m", "bdbook", "doctor"], 5, 60),
        Part("tests", lambda _: tests, 30, 180 if not rehearsed else math.inf),
        Part("benchmarks", lambda _: benchmarks, 45, 240 if not rehearsed else math.inf),
        Part("runs", record, 60),
    ]


def default_runs(profile: str) -> tuple[list[str], str]:
    """The systems at 32 px by name, best first, and what is said of their data; of a rehearsal one."""
    from bdbook.data import fashion

    there = fashion.folder_of("train-images-idx3-ubyte") is not None
    words = "Fashion-MNIST" if there else "photographs, since Fashion-MNIST was not found"
    systems = SYSTEMS if profile == "gpu" else SYSTEMS[1:2]
    return [f"{'fashion' if there else 'photos'}-{name}-32px" for name in systems], words


def packed(names: list[str], profile: str, out: Path, results: Path, runs: Path) -> list[str]:
    """A line on each run; and runs.tar.gz with what is recorded and what is begun, as they lie in a checkout."""
    from bdbook.page import recorded

    lines, whole, begun = [], [], []
    for asked in names:
        name, _, seed = asked.partition("@")
        folder = recorded.folder_of(name, profile, int(seed or 0), results)
        metrics, work = folder / "metrics.json", runs / folder.name
        if metrics.exists():
            quality = json.loads(metrics.read_text()).get("quality", {}).get("samples", {})
            numbers = {key: value for key, value in quality.items() if isinstance(value, float)}
            told = ", ".join(f"{key} {value:.4g}" for key, value in list(numbers.items())[:3])
            lines.append(f"{folder.name}: recorded{'; ' + told if told else ''}")
            whole.append(folder)
        elif found := sorted((work / "checkpoints").glob("step-*.safetensors")):
            lines.append(f"{folder.name}: begun, {found[-1].stem}; it goes on")
            begun += [file for file in (work / "record.json", work / "log.jsonl", found[-1]) if file.exists()]
            begun += sorted((work / "milestones").glob("*.safetensors"))
        else:
            lines.append(f"{folder.name}: not begun")
    target = out / "runs.tar.gz"
    target.unlink(missing_ok=True)
    if whole or begun:
        with tarfile.open(target, "w:gz") as tar:
            for path in whole:
                tar.add(path, arcname=f"results/{path.relative_to(results)}")
            for path in begun:
                tar.add(path, arcname=f"runs/{path.relative_to(runs)}")
    return lines


# --- what is carried to a machine without a network ---------------------------------------------------------------


def collect(folder: Path) -> str:
    """Fill a folder with wheels of CARRIED, in the versions installed here, and with Fashion-MNIST; what it weighs."""
    from importlib.metadata import version

    from bdbook.data import fashion

    wheels, datasets = folder / "wheels", folder / "datasets" / fashion.ON_HUB
    for made in (wheels, datasets):
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
    wanted = [f"{name}=={version(name)}" for name in CARRIED]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--only-binary", ":all:", "--dest", str(wheels), *wanted], check=True)
    for wheel in wheels.glob("*.whl"):
        if not wheel.name.endswith("-none-any.whl"):
            raise ValueError(f"{wheel.name} is made for one kind of machine; carry packages of pure Python alone")
    for name in fashion.FILES:
        source = fashion.folder_of(name)
        if source is None:
            raise FileNotFoundError(f"{name} was not found. {fashion.how_to_have_it(hub=False)}")
        (file, *_) = sorted(source.glob(f"{name}*"))
        shutil.copyfile(file, datasets / file.name)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{folder}: {len(list(wheels.glob('*.whl')))} wheels and Fashion-MNIST, {size / 2**20:.0f} MiB"


def carried_along(folder: Path, unpacked: Path, environment: dict[str, str]) -> dict[str, str]:
    """The environment in which the carried wheels and data are found: wheels of pure Python need but unpacking."""
    shutil.rmtree(unpacked, ignore_errors=True)
    unpacked.mkdir(parents=True)
    for wheel in sorted((folder / "wheels").glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(unpacked)
    path = [str(ROOT), *filter(None, [environment.get("PYTHONPATH")]), str(unpacked)]
    found = environment | {"PYTHONPATH": os.pathsep.join(path)}
    if (folder / "datasets").is_dir():
        found.setdefault("BDBOOK_DATASETS", str(folder / "datasets"))
    return found


# --- the sitting ----------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--profile", default="gpu", help="gpu, or smoke for a rehearsal on the CPU")
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="runs to record, instead of all systems at 32 px")
    parser.add_argument("--out", type=Path, help="default: the variable OUT, else _build/gpu/out")
    parser.add_argument("--carried", type=Path, help="a folder that --collect filled")
    parser.add_argument("--collect", type=Path, metavar="FOLDER", help="fill a folder to carry, and no more")
    asked = parser.parse_args(arguments)
    if asked.collect:
        print(collect(asked.collect))
        return 0
    if asked.profile not in ("gpu", "smoke"):
        parser.error(f"profile was {asked.profile!r}; expected gpu, or smoke for a rehearsal on the CPU")
    if not 0 < asked.minutes < math.inf:
        parser.error(f"minutes was {asked.minutes}; expected a number above 0, such as 12")
    if asked.carried is not None:
        os.environ.update(carried_along(asked.carried, BUILD / "unpacked", dict(os.environ)))
    return sit(asked.profile, asked.minutes, asked.only, asked.out)


def sit(profile: str, minutes: float, only: list[str] | None, out: Path | None) -> int:
    """A sitting, or a rehearsal; 0 where no part failed."""
    import torch

    from bdbook.files import write_atomically

    rehearsed = profile == "smoke"
    if not rehearsed and not torch.cuda.is_available():
        print("no CUDA device was found: run this where there is one, or rehearse it: make gpu PROFILE=smoke")
        return 2
    out = out or Path(os.environ.get("OUT") or BUILD / "out")
    if rehearsed:  # never among the results of a GPU
        out = out / "rehearsal"
    results, runs = (out / "results", out / "runs") if rehearsed else (ROOT / "results", ROOT / "runs")
    names, words = (only, "as asked") if only else default_runs(profile)
    on = f"CPU, {platform.machine()}" if rehearsed else torch.cuda.get_device_name()
    print(f"{REHEARSAL if rehearsed else on}\n{minutes:g} minutes; runs ({words}): {' '.join(names)}", flush=True)
    sitting = Sitting(60 * minutes, out, REHEARSAL if rehearsed else "")
    outcomes = sitting.sit(parts(profile, names, out, results, runs))
    lines = packed(names, profile, out, results, runs)
    told = "\n".join([sitting.table(), "", *lines])
    write_atomically(out / "summary.md", told + "\n")
    print(f"\n{told}\n\n{sum(o.seconds for o in outcomes):.0f} s; all of it: {out}")
    return 1 if any(outcome.status == "failed" for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
