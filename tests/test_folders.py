"""A run folder has one owner, and nothing of another run in it is ever overwritten."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import bdbook
from bdbook.cli import main
from bdbook.training import checkpoints, folders, runs, stopping

FEW = ("--recipe", "digits-ddpm", "--profile", "smoke", "--batch", "2", "--checkpoint-every", "2")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def train(out: Path, *more: str) -> int:
    return main(["train", "--out", str(out), *FEW, *more])


@pytest.fixture(scope="module")
def once(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("once") / "run"
    assert train(folder, "--steps", "4") == 0
    return folder


@pytest.fixture
def run(once, tmp_path) -> Path:
    return shutil.copytree(once, tmp_path / "run")


# --- whose it is ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "left",
    ["record.json", "log.jsonl", "metrics.json", "weights.safetensors", "samples-00000004.png", "checkpoints/step-1.x"],
)
def test_each_file_of_a_run_makes_its_folder_one(left, tmp_path, capsys):
    (tmp_path / left).parent.mkdir(exist_ok=True)
    (tmp_path / left).write_bytes(b"somebody's")
    assert train(tmp_path, "--steps", "2") == 2
    told = capsys.readouterr().err
    assert "already holds a run; choose another --out. It holds " + left in told
    assert contents(tmp_path) == {left: b"somebody's", ".lock": b""}


def test_a_run_with_checkpoints_can_be_gone_on_with_and_says_so(run, capsys):
    before = contents(run)
    assert train(run, "--steps", "6") == 2
    assert "already holds a run; add --resume to go on with it, or choose another --out" in capsys.readouterr().err
    assert contents(run) == before
    assert train(run, "--steps", "6", "--resume") == 0
    assert "going on from step 4 of 6" in capsys.readouterr().out


def test_other_files_in_a_folder_stay(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert train(tmp_path, "--steps", "2") == 0
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_run_without_checkpoints_cannot_be_gone_on_with(run, capsys):
    shutil.rmtree(run / "checkpoints")
    before = contents(run)
    assert train(run, "--steps", "6", "--resume") == 2
    told = capsys.readouterr().err
    assert "has no checkpoint to go on from: it holds log.jsonl, record.json, samples-" in told
    assert "leave out --resume and choose another --out" in told
    assert contents(run) == before


def test_a_mistyped_folder_is_not_begun_in(run, capsys):
    wrong = run.with_name("rum")
    assert train(wrong, "--steps", "6", "--resume") == 2
    assert f"Did you mean {run}? To begin one there, leave out --resume" in capsys.readouterr().err
    assert not wrong.exists()


def test_a_job_that_is_started_again_begins_and_goes_on(tmp_path, capsys):
    asked = (tmp_path / "run", "--resume-or-begin")
    assert train(*asked, "--steps", "2") == 0
    assert "going on" not in capsys.readouterr().out
    assert train(*asked, "--steps", "4") == 0
    assert "going on from step 2 of 4" in capsys.readouterr().out


def test_more_steps_than_asked_are_kept(run, capsys):
    before = load_file(run / "weights.safetensors")
    assert train(run, "--steps", "2", "--resume") == 0
    assert "already has 4 steps, more than the 2 asked for; nothing to do" in capsys.readouterr().out
    assert all(torch.equal(before[k], v) for k, v in load_file(run / "weights.safetensors").items())


def test_the_default_folder_tells_recipe_profile_and_seed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed in ("0", "1"):
        assert main(["train", *FEW, "--steps", "2", "--seed", seed]) == 0
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {f"digits-ddpm-smoke-seed{s}" for s in (0, 1)}


def test_the_record_is_there_before_the_first_step(tmp_path, monkeypatch):
    def stop(*_):
        assert json.loads((tmp_path / "record.json").read_text())["recipe"]["name"] == "digits-ddpm"
        assert [path.name for path in checkpoints.found(tmp_path)] == ["step-00000000.safetensors"]
        raise RuntimeError("as far as this test wants")
        yield

    monkeypatch.setattr(sys.modules["bdbook.training.fit"], "train", stop)
    with pytest.raises(RuntimeError, match="as far as"):
        train(tmp_path, "--steps", "2")
    with pytest.raises(ValueError, match=r"step-00000000\.safetensors is of step 0: nothing is learnt yet"):
        runs.load(tmp_path)
    monkeypatch.undo()
    assert train(tmp_path, "--steps", "2", "--resume") == 0, "a run that was killed before its first step goes on"


# --- one process at a time --------------------------------------------------------------------------------------


def test_a_second_process_is_kept_out(tmp_path, capsys):
    with folders.claimed(tmp_path):
        assert train(tmp_path, "--steps", "2") == 2
    told = capsys.readouterr().err
    assert f"is in use: process {os.getpid()} on " in told
    assert contents(tmp_path) == {".lock": b""}
    assert train(tmp_path, "--steps", "2") == 0


def test_one_may_wait_for_the_other(tmp_path):
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from bdbook.training import folders\n"
            "with folders.claimed(sys.argv[1]): print('has it', flush=True); time.sleep(1)",
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
    )
    assert holder.stdout.readline() == b"has it\n"
    with pytest.raises(folders.Busy), folders.claimed(tmp_path):
        pass
    with folders.claimed(tmp_path, wait=60):
        pass
    assert holder.wait() == 0


def test_what_a_dead_process_held_is_taken_over_and_said(tmp_path):
    code = (
        "import sys, time; from bdbook.training import folders\n"
        "with folders.claimed(sys.argv[1]): print('has it', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"has it\n"
    holder.kill()
    holder.wait()
    told = []
    with folders.claimed(tmp_path, say=told.append):
        assert json.loads((tmp_path / "running.json").read_text())["pid"] == os.getpid()
    assert len(told) == 1
    assert f"taking over from process {holder.pid} on " in told[0]
    assert not (tmp_path / "running.json").exists()


def test_a_file_is_no_folder(tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    assert train(tmp_path / "out", "--steps", "2") == 2
    assert "out is a file; expected a folder to write the run to" in capsys.readouterr().err
    assert train(tmp_path / "out" / "deeper", "--steps", "2") == 2
    assert "choose an --out that can be written" in capsys.readouterr().err
    assert contents(tmp_path) == {"out": b"mine"}


def test_what_cannot_be_written_is_noticed_before_the_data_are_read(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("bdbook.training.folders.write_atomically", refuse)
    monkeypatch.setattr("bdbook.data.load_pixels", lambda *_, **__: pytest.fail("data were read"))
    assert train(tmp_path / "run", "--steps", "2") == 2
    assert not (tmp_path / "run").exists()


@pytest.fixture(autouse=True)
def ctrl_c_is_heard():
    """What is started in the background of a shell ignores it."""
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, usual)


# --- stopping ---------------------------------------------------------------------------------------------------


def begun(out: Path, steps: int, *more: str) -> subprocess.Popen:
    """A training in a process of its own, some steps after its beginning."""
    command = [sys.executable, "-m", "bdbook", "train", "--out", str(out), *FEW[:-1], "100000", "--steps", str(steps)]
    process = subprocess.Popen([*command, "--log-every", "1", *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not list(out.glob("record.json")):
        assert process.poll() is None, process.stderr.read().decode()
        time.sleep(0.01)
    time.sleep(0.5)
    return process


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_signal_saves_a_checkpoint_and_the_run_ends_in_the_same_bits(number, status, tmp_path):
    process = begun(tmp_path / "run", 400)
    process.send_signal(number)
    out, err = (stream.decode() for stream in process.communicate(timeout=60))
    assert process.returncode == status, err
    (step,) = {int(path.stem[5:]) for path in checkpoints.found(tmp_path / "run")} - {0}
    assert f"stopped by {number.name} at step {step} of 400; " in out
    assert f"step-{step:08d}.safetensors is saved; add --resume to go on" in out
    assert "once more stops at once" in err
    assert "Traceback" not in err
    assert not (tmp_path / "run" / "running.json").exists()
    assert train(tmp_path / "run", "--steps", str(step + 2), "--resume") == 0
    assert train(tmp_path / "whole", "--steps", str(step + 2)) == 0
    ours, theirs = (load_file(tmp_path / name / "weights.safetensors") for name in ("run", "whole"))
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_a_second_signal_stops_at_once(monkeypatch):
    heard = []
    monkeypatch.setattr(os, "write", lambda _, words: heard.append(words))
    with stopping.listening(aloud=True) as asked:
        signal.raise_signal(signal.SIGINT)
        assert asked.by is signal.SIGINT
        assert len(heard) == 1
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        stopping.obey(asked)
    with stopping.listening(deaf=True) as asked:
        signal.raise_signal(signal.SIGINT)
    assert asked.by is None
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_changed_at_a_resumption_is_in_the_record(run, capsys):
    assert train(run, "--steps", "6", "--resume", "--precision", "bf16") == 0
    assert "otherwise than before: precision was fp32, is bfloat16" in capsys.readouterr().out
    record = json.loads((run / "record.json").read_text())
    assert record["precision"] == "fp32"
    (sitting,) = record["sittings"]
    assert (sitting["from"], sitting["precision"]) == (4, "bfloat16")
    assert train(run, "--steps", "8", "--resume") == 0
    assert [each["from"] for each in json.loads((run / "record.json").read_text())["sittings"]] == [4, 6]
    assert "precision was bfloat16, is fp32" in capsys.readouterr().out


def test_a_loss_that_runs_away_stops_the_run(tmp_path, capsys):
    assert train(tmp_path / "a", "--steps", "400", "--learning-rate", "1e3", "--checkpoint-every", "1000") == 2
    told = capsys.readouterr().err
    assert "the loss diverges: its mean over 20 steps is" in told or "the loss is not finite" in told
    assert "with a lower learning rate (--learning-rate 100) into another --out" in told


def test_a_loss_is_compared_with_its_own_history():
    watch = stopping.Watch()
    for step in range(100):
        watch.look(step, 1.0 if step < 30 else 0.01)
    for step in range(19):  # a bad batch or a jump back to where it began is no divergence
        watch.look(step, 5.0)
    with pytest.raises(
        FloatingPointError, match=r"its mean over 20 steps is 1e\+18 at step 7, after it had been 0\.01"
    ):
        watch.look(7, 2e19)
    early, later = stopping.Watch(), stopping.Watch([1.0, 0.5])
    for step in range(19):
        early.look(step, 10.0**step)
        later.look(step, 60.0)
    with pytest.raises(FloatingPointError, match="diverges"):
        early.look(19, 1e19)
    with pytest.raises(FloatingPointError, match=r"after it had been 0\.5"):
        later.look(19, 60.0)


def test_an_interrupted_run_in_python_raises_and_can_be_gone_on_with(tmp_path):
    calls = []

    def interrupt(run):
        calls.append(run.record["step"])
        signal.raise_signal(signal.SIGINT)

    asked = {"steps": 6, "profile": "smoke", "batch": 2, "checkpoint_every": 2}
    with pytest.raises(KeyboardInterrupt):
        bdbook.fit("digits-ddpm", folder=tmp_path, on_checkpoint=interrupt, **asked)
    assert calls == [2]
    assert [path.name for path in checkpoints.found(tmp_path)] == [
        "step-00000002.safetensors",
        "step-00000003.safetensors",
    ]
    assert bdbook.fit("digits-ddpm", folder=tmp_path, resume=True, **asked).record["step"] == 6
