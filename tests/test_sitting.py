"""A sitting at a GPU: what it does in which order, what it leaves out, stops and keeps; with parts that do nothing."""

import io
import json
import os
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
import sitting
import torch
from hypothesis import given
from hypothesis import strategies as st

from bdbook.data import fashion
from bdbook.page import recorded

ROOT = Path(__file__).resolve().parents[1]


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def part(name: str, code: str = "print('it went well')", least: float = 1, most: float = 60) -> sitting.Part:
    return sitting.Part(name, lambda allowed: [sys.executable, "-c", code], least, most)


def test_parts_run_in_turn_and_what_they_print_lands(tmp_path):
    parts = [part("first"), part("second", "import sys; print('so far'); sys.exit('it broke')"), part("third")]
    done = sitting.Sitting(600, tmp_path).sit(parts)
    assert [(o.part, o.status, o.says) for o in done] == [
        ("first", "done", "it went well"),
        ("second", "failed", "it broke"),
        ("third", "done", "it went well"),
    ]
    assert (tmp_path / "second.txt").read_text() == "so far\nit broke\n"
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [each["status"] for each in summary["parts"]] == ["done", "failed", "done"]
    assert summary["rehearsal"] is False
    assert "| second | failed |" in (tmp_path / "summary.md").read_text()


@given(
    seconds=st.floats(0, 800),
    needs=st.lists(st.tuples(st.floats(0, 300), st.floats(0, 300), st.floats(0, 400)), max_size=6),
)
def test_every_part_is_begun_with_the_time_it_needs_or_left_out_and_said(tmp_path_factory, seconds, needs):
    """needs: least, more up to most, and what it would take. No part gets more than is left, or less than it needs."""
    clock, given_to = Clock(), {}
    out = tmp_path_factory.mktemp("sitting")
    plan = sitting.Sitting(seconds, out, clock=clock)

    def run(part: sitting.Part, allowed: float) -> sitting.Outcome:
        given_to[part.name] = (allowed, plan.left())
        took = min(needs[int(part.name)][2], allowed)
        clock.now += took
        return sitting.Outcome(part.name, "done", took, "")

    plan._run = run
    done = plan.sit(
        [sitting.Part(str(at), lambda _: [], least, least + more) for at, (least, more, _) in enumerate(needs)]
    )
    assert [o.part for o in done] == [str(at) for at in range(len(needs))]
    left = seconds - sitting.CLOSING
    for outcome, (least, more, would_take) in zip(done, needs, strict=True):
        if outcome.status == "left out":
            assert left < least or left <= 0 or least == 0
            assert f"it needs {least:.0f} s" in outcome.says
            assert outcome.part not in given_to
            continue
        allowed, remaining = given_to[outcome.part]
        assert least <= allowed <= min(least + more, remaining)
        left -= min(would_take, allowed)
    assert clock.now - 100.0 <= max(seconds, 0)


def test_a_part_is_told_to_end_and_then_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(sitting, "GRACE", 1.0)
    polite = "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(print('saved')))\ntime.sleep(60)"
    deaf = (
        "import signal, subprocess, sys, time\nsignal.signal(15, signal.SIG_IGN)\n"
        "child = subprocess.Popen(['sleep', '61'])\nprint(child.pid, flush=True)\ntime.sleep(60)"
    )
    began = time.monotonic()
    done = sitting.Sitting(600, tmp_path).sit([part("polite", polite, most=6), part("deaf", deaf, most=6)])
    assert [o.status for o in done] == ["stopped", "stopped"]
    assert done[0].says == "saved"
    assert time.monotonic() - began < 30
    child = int(done[1].says)
    time.sleep(0.2)
    state = Path(f"/proc/{child}/stat")
    assert not state.exists() or ") Z " in state.read_text(), "what a part has started ends with it"


def test_a_rehearsal_says_so_in_every_file(tmp_path):
    sitting.Sitting(600, tmp_path, sitting.REHEARSAL).sit([part("first"), part("silent", "pass")])
    for name in ("first.txt", "silent.txt", "summary.md"):
        assert (tmp_path / name).read_text().startswith("REHEARSAL on the CPU"), name
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["rehearsal"] is True
    assert summary["parts"][1]["says"] == "it printed nothing"


def test_what_a_sitting_is_made_of(tmp_path):
    names = ["photos-ddpm-32px", "photos-blurring-32px@1"]
    made = sitting.parts("gpu", names, tmp_path, ROOT / "results", ROOT / "runs")
    assert [each.name for each in made] == ["doctor", "tests", "benchmarks", "runs"]
    assert sum(each.most for each in made[:3]) <= 12 * 60 - 4 * 60, "four minutes are left for the runs"
    _, tests, benchmarks, runs = (each.command(300.0) for each in made)
    marked = {path.name for path in (ROOT / "tests").glob("test_*.py") if "pytest.mark.gpu" in path.read_text()}
    assert {"test_gpu.py", "test_degradations.py"} <= marked - {"test_sitting.py"}
    assert {Path(word).name for word in tests if word.endswith(".py")} >= marked - {"test_sitting.py"}
    assert "--rehearse" not in benchmarks
    minutes = float(runs[runs.index("--minutes") + 1])
    assert 3 < minutes < 5
    assert runs[runs.index("--only") + 1 :] == names
    assert runs[runs.index("--results") + 1] == str(ROOT / "results")
    rehearsed = [
        each.command(300.0) for each in sitting.parts("smoke", names, tmp_path, tmp_path / "r", tmp_path / "w")
    ]
    assert "--rehearse" in rehearsed[2]
    assert rehearsed[3][rehearsed[3].index("--profile") + 1] == "smoke"


@pytest.fixture
def faked(monkeypatch, tmp_path):
    """A sitting of which each part notes where it would write."""
    asked = {}

    def parts(profile, names, out, results, runs):
        asked.update(profile=profile, names=names, out=out, results=results, runs=runs)
        return [part("only one")]

    monkeypatch.setattr(sitting, "parts", parts)
    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    return asked


def test_a_rehearsal_has_a_folder_of_its_own_and_a_gpus_name_never(faked, tmp_path, capsys):
    assert sitting.main(["--profile", "smoke", "--minutes", "1"]) == 0
    own = tmp_path / "out" / "rehearsal"
    assert faked["out"] == own
    assert own in faked["results"].parents
    assert own in faked["runs"].parents
    assert faked["profile"] == "smoke"
    told = capsys.readouterr().out
    assert told.startswith("REHEARSAL on the CPU")
    assert "-gpu" not in "".join(recorded.folder_of(n, faked["profile"], 0, own).name for n in faked["names"])


def test_with_a_gpu_it_records_beside_the_other_runs(faked, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    assert sitting.main(["--only", "photos-ddpm-32px@1"]) == 0
    assert faked["results"] == ROOT / "results"
    assert faked["names"] == ["photos-ddpm-32px@1"]
    told = capsys.readouterr().out
    assert told.startswith("a GPU\n12 minutes; runs (as asked): photos-ddpm-32px@1")
    assert "photos-ddpm-32px-gpu-seed1: not begun" in told
    assert "REHEARSAL" not in (tmp_path / "out" / "summary.md").read_text()


def test_without_a_gpu_it_says_how_to_rehearse(faked, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert sitting.main([]) == 2
    assert "rehearse it: make gpu PROFILE=smoke" in capsys.readouterr().out
    assert faked == {}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--profile", "cpu"], "profile was 'cpu'; expected gpu, or smoke"),
        (["--minutes", "0"], "minutes was 0.0; expected a number above 0"),
        (["--minutes", "nan"], "minutes was nan; expected a number above 0"),
    ],
)
def test_arguments_that_make_no_sense(faked, arguments, told, capsys):
    with pytest.raises(SystemExit):
        sitting.main(arguments)
    assert told in capsys.readouterr().err
    assert faked == {}


def test_the_default_runs_are_recipes(monkeypatch):
    import record

    for there in (Path("somewhere"), None):
        monkeypatch.setattr(fashion, "folder_of", lambda name, there=there: there)
        for profile, count in (("gpu", 7), ("smoke", 1)):
            names, _ = sitting.default_runs(profile)
            assert len(names) == count
            for name in names:
                assert record.recipe_of(name).size == 32
                assert name.startswith("fashion" if there else "photos")


def test_what_is_recorded_and_what_is_begun_is_packed(tmp_path):
    results, runs, out = (tmp_path / name for name in ("results", "runs", "out"))
    out.mkdir()
    files = {
        results / "a-gpu" / "metrics.json": json.dumps({"quality": {"samples": {"frechet": 1.25, "count": 3}}}),
        results / "a-gpu" / "samples.png": "picture",
        runs / "a-gpu" / "checkpoints" / "step-00000009.safetensors": "not needed any more",
        runs / "b-gpu-seed1" / "checkpoints" / "step-00000500.safetensors": "older",
        runs / "b-gpu-seed1" / "checkpoints" / "step-00001000.safetensors": "newer",
        runs / "b-gpu-seed1" / "record.json": "{}",
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    lines = sitting.packed(["a", "b@1", "c"], "gpu", out, results, runs)
    assert lines == [
        "a-gpu: recorded; frechet 1.25",
        "b-gpu-seed1: begun, step-00001000; it goes on",
        "c-gpu: not begun",
    ]
    with tarfile.open(out / "runs.tar.gz") as tar:
        assert {each.name for each in tar if each.isfile()} == {
            "results/a-gpu/metrics.json",
            "results/a-gpu/samples.png",
            "runs/b-gpu-seed1/record.json",
            "runs/b-gpu-seed1/checkpoints/step-00001000.safetensors",
        }


def wheel(folder: Path, name: str, code: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(f"{name}/__init__.py", code)
        archive.writestr(f"{name}-1.5.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
    (folder / f"{name}-1.5-py3-none-any.whl").write_bytes(content.getvalue())


def test_carried_wheels_and_data_are_found(tmp_path):
    carried = tmp_path / "carried"
    wheel(carried / "wheels", "carried_for_a_test", "there = 7")
    (carried / "datasets").mkdir()
    environment = sitting.carried_along(carried, tmp_path / "unpacked", dict(os.environ))
    code = (
        "import bdbook, carried_for_a_test as c, importlib.metadata as m, os;"
        "print(c.there, m.version('carried_for_a_test'), os.environ['BDBOOK_DATASETS'])"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert told.split() == ["7", "1.5", str(carried / "datasets")]
    # What the machine has itself comes first only by its own path; the checkout before both.
    assert environment["PYTHONPATH"].split(os.pathsep)[0] == str(ROOT)
    again = sitting.carried_along(carried, tmp_path / "unpacked", environment | {"BDBOOK_DATASETS": "mine"})
    assert again["BDBOOK_DATASETS"] == "mine"


def test_only_pure_python_is_carried(tmp_path, monkeypatch):
    def download(command, check):
        assert check
        folder = Path(command[command.index("--dest") + 1])
        (folder / "a-1-cp311-cp311-manylinux_2_28_x86_64.whl").write_bytes(b"")

    monkeypatch.setattr(sitting.subprocess, "run", download)
    with pytest.raises(ValueError, match="is made for one kind of machine; carry packages of pure Python alone"):
        sitting.collect(tmp_path)


@pytest.mark.parametrize("installed", [True, False])
@pytest.mark.parametrize("has_wheels", [True, False])
def test_make_takes_the_machines_own_python_only_with_what_was_carried(tmp_path, installed, has_wheels):
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    for name in ("requirements.txt", "pyproject.toml", *([".venv/.bdbook-installed"] if installed else [])):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    if has_wheels:
        (tmp_path / "_build" / "gpu" / "carried" / "wheels").mkdir(parents=True)
    # Not what a make that runs these tests hands down.
    told = {
        "MAKEFLAGS",
        "MFLAGS",
        "MAKELEVEL",
        "BUILD",
        "VENV",
        "PROFILE",
        "BDBOOK_PROFILE",
        "MINUTES",
        "ONLY",
        "PYTHON",
    }
    environment = {name: value for name, value in os.environ.items() if name not in told}
    asked = ["gpu", "PROFILE=smoke", "MINUTES=3", "ONLY=photos-ddpm-32px photos-heat-32px"]
    done = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", *asked],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    last = done.stdout.strip().splitlines()[-1]
    said = "results/sitting.py --profile smoke --minutes 3 --only photos-ddpm-32px photos-heat-32px"
    if has_wheels and not installed:
        assert last == f"PYTHONPATH={tmp_path} python3 {said} --carried _build/gpu/carried"
        assert "pip install" not in done.stdout
    else:
        assert last == f".venv/bin/python {said}"
        assert ("pip install" in done.stdout) is (not installed)
