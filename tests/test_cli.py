"""The command line as a user meets it, in processes of its own."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

from bdbook.cli import main

TRAIN = ("--profile", "smoke", "--batch", "4", "--steps", "15", "--checkpoint-every", "3")


def start(*arguments):
    command = [sys.executable, "-m", "bdbook", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """PNGs of mixed sizes and modes, in folders."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    (folder / "deeper").mkdir()
    for index, (mode, size) in enumerate([("L", (30, 40)), ("RGB", (64, 20)), ("RGBA", (17, 23)), ("P", (40, 40))] * 3):
        pixels = random.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(folder / ("deeper" if index % 2 else ".") / f"{index}.png")
    return folder


def test_a_killed_run_on_a_folder_resumes_to_the_same_weights(tmp_path, pictures, capsys):
    data = ("--data", str(pictures))
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert main(["train", "--out", str(whole), *TRAIN, *data]) == 0

    process = start("train", "--out", broken, *TRAIN, *data)
    while not list(broken.glob("checkpoints/*.safetensors")):
        assert process.poll() is None, "the run ended without a checkpoint"
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"

    assert main(["train", "--out", str(broken), *TRAIN, *data]) == 2
    assert "already holds a run; add --resume" in capsys.readouterr().err
    assert main(["train", "--out", str(broken), *TRAIN, *data, "--resume"]) == 0

    expected, got = load_file(whole / "weights.safetensors"), load_file(broken / "weights.safetensors")
    assert expected.keys() == got.keys()
    assert all(expected[k].tobytes() == got[k].tobytes() for k in expected)
    assert (whole / "log.jsonl").read_text() == (broken / "log.jsonl").read_text()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    assert main(["train", "--out", str(folder), "--profile", "smoke", "--steps", "2", "--batch", "2"]) == 0
    return folder


def test_sample_writes_a_grid(trained, capsys):
    few_steps = ["--steps", "3", "--rule", "ddim", "--order", "2", "--clip"]
    assert main(["sample", "--run", str(trained), "--count", "9", *few_steps]) == 0
    with Image.open(trained / "samples.png") as picture:
        assert picture.size == ((8 * 17 - 1) * 4, (2 * 17 - 1) * 4)
    assert "samples.png" in capsys.readouterr().out


def test_doctor_names_versions_and_the_device(capsys):
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    for word in ("bdbook", "torch", "jupyter-book", "device:", "cores for this process", "Chromium"):
        assert word in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--recipe", "photo-ddpm", "--out", "x"], "did you mean 'photos-ddpm'"),
        (["train", "--data", "fotos", "--out", "x"], "did you mean 'photos'"),
        (["train", "--profile", "cup", "--out", "x"], "did you mean 'cpu'"),
        (["train", "--recipe", "photo-ddpm", "--out", "x"], "photos-ddpm-plain"),
        (["train", "--steps", "0", "--out", "x"], "steps was 0"),
        (["train", "--log-every", "0", "--out", "x"], "log-every 0"),
        (["train", "--batch", "0", "--out", "x"], "batch was 0"),
        (["train", "--batch", "6", "--accumulate", "4", "--out", "x"], "batch was 6, in 4 parts"),
        (["train", "--precision", "half", "--out", "x"], "unknown precision 'half'"),
        (["trian"], "unknown command 'trian': did you mean 'train'"),
        (["sample", "--run", "nowhere"], "nowhere does not exist"),
        (["train", "--learning-rate", "0", "--out", "x"], "learning_rate was 0.0; expected a number above 0"),
        (["train", "--seed", "-1", "--out", "x"], "seed was -1"),
        (["train", "--minutes", "nan", "--out", "x"], "minutes nan; expected"),
        (["train", "--recipe", "", "--out", "x"], "unknown recipe ''"),
        (["recipes", "digits-dpm"], "did you mean 'digits-ddpm'"),
        (["sweep", "."], ". is a folder; expected a YAML file"),
        (["sweep", ""], "is a folder; expected a YAML file"),
        (["sweep", "/"], "/ is a folder; expected a YAML file"),
        (["sample", "--run", "."], ". holds neither weights.safetensors nor checkpoints"),
        (["evaluate", "--run", ""], "holds neither weights.safetensors nor checkpoints"),
    ],
)
def test_mistakes_end_with_one_clear_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_and_an_unknown_rule(trained, tmp_path, capsys):
    assert main(["train", "--data", str(tmp_path), "--out", str(tmp_path / "run")]) == 2
    assert str(tmp_path) in capsys.readouterr().err
    assert main(["sample", "--run", str(trained), "--rule", "dim"]) == 2
    assert "unknown rule 'dim': did you mean 'ddim'" in capsys.readouterr().err


def test_finishing_a_finished_run_changes_nothing(trained, capsys):
    before = (trained / "weights.safetensors").read_bytes()
    again = ["train", "--out", str(trained), "--profile", "smoke", "--steps", "2", "--batch", "2", "--resume"]
    assert main(again) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert (trained / "weights.safetensors").read_bytes() == before


def test_a_run_stops_when_its_time_is_up_and_goes_on(tmp_path, capsys):
    out = ("--out", str(tmp_path / "run"))
    assert main(["train", *out, *TRAIN, "--minutes", "0"]) == 0
    told = capsys.readouterr().out
    assert "stopped at step 3 of 15; add --resume" in told
    assert not (tmp_path / "run" / "weights.safetensors").exists()
    assert main(["train", *out, *TRAIN, "--resume"]) == 0
    assert (tmp_path / "run" / "weights.safetensors").exists()


def test_the_log_has_a_line_every_so_often(tmp_path):
    assert main(["train", "--out", str(tmp_path), *TRAIN, "--log-every", "2"]) == 0
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert steps == [2, 3, 4, 6, 8, 9, 10, 12, 14, 15]


def test_a_dry_run_trains_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    recipe = ("--recipe", "digits-blurring", "--profile", "smoke", "--steps", "1000", "--batch", "8")
    assert main(["train", *recipe, "--dry-run"]) == 0
    told = capsys.readouterr().out
    for words in ("digits-blurring on the CPU", "1,000 steps of 8 images", "716,929", "time in all"):
        assert words in told
    assert list(tmp_path.iterdir()) == []


def test_a_run_has_a_folder_of_its_own_by_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--recipe", "digits-ddpm", *TRAIN[:4], "--steps", "2"]) == 0
    assert (tmp_path / "runs" / "digits-ddpm-smoke-seed0" / "weights.safetensors").is_file()


def test_a_loss_that_is_not_finite_names_the_last_checkpoint(tmp_path, monkeypatch, capsys):
    from bdbook.training import loop

    assert main(["train", "--out", str(tmp_path), *TRAIN[:4], "--steps", "3", "--checkpoint-every", "3"]) == 0
    monkeypatch.setitem(loop.LOSSES, "plain", lambda *a: torch.full((4,), float("nan"), requires_grad=True))
    capsys.readouterr()
    assert main(["train", "--out", str(tmp_path), *TRAIN, "--resume"]) == 2
    told = capsys.readouterr().err
    assert "not finite at step 3 (seed 0, its batch's" in told
    assert "The last checkpoint is" in told
    assert "--learning-rate 0.0001" in told
    assert "step-00000003.safetensors" in told
    assert json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])["step"] == 3


def test_bits_are_evaluated_where_there_is_a_bound(trained, capsys):
    few = ("--run", str(trained), "--count", "8", "--steps", "2")
    assert main(["evaluate", *few, "--bits"]) == 0
    told = capsys.readouterr().out
    assert "bits per dimension, at most:" in told
    assert "2 steps; averaged weights of step 2" in told


def test_samples_go_into_the_folder_where_one_is_and_not_to_nowhere(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    few = ("sample", "--run", str(trained), "--count", "1", "--steps", "1", "--out")
    assert main([*few, ""]) == 2
    assert "out was ''; give a name that ends in .png" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert main([*few, "."]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"00000.png", "samples.json"}


def run(*arguments: str, **settings) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "bdbook", *arguments], capture_output=True, text=True, **settings)


def test_the_version_and_the_help(capsys):
    for option in ("--version", "-V"):
        assert main([option]) == 0
        assert re.fullmatch(r"bdbook \d+\.\d+\.\d+\n", capsys.readouterr().out)
    for nothing in ([], ["--help"]):
        with pytest.raises(SystemExit) as ended:
            main(nothing)
        assert ended.value.code == 0
        told = capsys.readouterr().out
        assert all(command in told for command in ("train", "restore", "recipes", "doctor"))


@pytest.mark.parametrize("arguments", [("doctor",), ("--help",)])
def test_a_reader_that_has_read_enough_gets_no_traceback(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "bdbook", *arguments]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_names_that_a_terminal_cannot_show_are_told_with_escapes(tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = run("sample", "--run", str(tmp_path / "山"), env=environment)
    assert done.returncode == 2
    assert "\\u5c71 does not exist" in done.stderr


def test_what_torch_compile_and_a_full_gpu_say_is_a_line(capsys, monkeypatch):
    from torch._inductor.exc import CppCompileError

    def failing(error):
        def raises(self):
            raise error

        monkeypatch.setattr("bdbook.cli.doctor.Doctor.run", raises)
        return main(["doctor"])

    assert failing(CppCompileError(["g++", "-x"], "no header Python.h")) == 2
    assert "torch.compile failed: " in (told := capsys.readouterr().err)
    assert "leave out --compile" in told
    assert failing(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate\nmuch")) == 2
    assert "the GPU's memory is full (CUDA out of memory" in (told := capsys.readouterr().err)
    assert len(told.splitlines()) == 1
    assert failing(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "bdbook: interrupted\n"
    with pytest.raises(RuntimeError, match="a mistake of the library"):
        failing(RuntimeError("a mistake of the library"))
