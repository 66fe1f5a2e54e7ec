"""Trainings that are killed again and again, while they compute and while they write, end in the same weights.

`BDBOOK_KILLS=20 pytest tests/test_faults.py` kills twenty times; two are enough to notice a mistake.
"""

import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bdbook.cli import main

KILLS = int(os.environ.get("BDBOOK_KILLS", "2"))
TRAIN = ("train", "--profile", "smoke", "--batch", "2", "--checkpoint-every", "1", "--resume-or-begin")


def start(out: Path, steps: int, **options) -> subprocess.Popen:
    command = [sys.executable, "-m", "bdbook", *TRAIN, "--out", str(out), "--steps", str(steps)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, **options)


def wait_for(process: subprocess.Popen, happened) -> bool:
    """Whether it happened before the process ended."""
    while process.poll() is None:
        if happened():
            return True
        time.sleep(0.0005)
    return False


@pytest.mark.slow
def test_kills_at_any_moment_change_nothing(tmp_path):
    steps, whole, broken = 3 * KILLS + 2, tmp_path / "whole", tmp_path / "broken"
    assert main([*TRAIN, "--out", str(whole), "--steps", str(steps)]) == 0

    dice, while_writing = random.Random(0), 0
    for kill in range(KILLS):
        process = start(broken, steps, stderr=subprocess.DEVNULL)
        before = set(broken.glob("checkpoints/step-*"))
        if kill % 2:  # while a checkpoint is being written
            assert wait_for(process, lambda: list(broken.glob("checkpoints/.*.tmp")))
        else:  # anywhere in the steps after one
            assert wait_for(process, lambda seen=before: set(broken.glob("checkpoints/step-*")) - seen)
            time.sleep(dice.uniform(0, 0.2))
        process.kill()
        assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
        while_writing += bool(list(broken.glob("checkpoints/.*.tmp")))
        for debris in broken.glob("checkpoints/.*.tmp"):
            debris.unlink()  # so that the next one is seen
    assert while_writing >= KILLS // 4, "no kill fell into a write"

    assert main([*TRAIN, "--out", str(broken), "--steps", str(steps)]) == 0
    for name in ("weights.safetensors", "log.jsonl"):
        ours, theirs = (_without_clock((folder / name).read_bytes()) for folder in (whole, broken))
        assert ours == theirs, name


@pytest.mark.slow
def test_two_processes_that_fight_over_a_folder_and_are_killed_lose_nothing(tmp_path):
    """One trains, the other is kept out; the one that trains is killed, and whoever comes next takes over."""
    steps, whole, fought = 3 * KILLS + 2, tmp_path / "whole", tmp_path / "fought"
    mine = tmp_path / "fought" / "notes.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    assert main([*TRAIN, "--out", str(whole), "--steps", str(steps)]) == 0

    dice, kept_out = random.Random(1), 0
    for _ in range(KILLS):
        before = set(fought.glob("checkpoints/step-*"))
        fighters = [start(fought, steps, stderr=subprocess.PIPE) for _ in range(2)]
        while not set(fought.glob("checkpoints/step-*")) - before:
            assert any(each.poll() is None for each in fighters), [each.stderr.read() for each in fighters]
            time.sleep(0.0005)
        time.sleep(dice.uniform(0, 0.2))
        for each in fighters:
            each.kill()
        told = [each.communicate()[1].decode() for each in fighters]
        for each, words in zip(fighters, told, strict=True):
            assert each.returncode in (-signal.SIGKILL, 2), words
            kept_out += "is in use: process" in words
        assert -signal.SIGKILL in [each.returncode for each in fighters], "the run ended before it could be killed"
        assert mine.read_text() == "mine"
    assert kept_out >= KILLS / 2, "they hardly ever met"

    assert main([*TRAIN, "--out", str(fought), "--steps", str(steps)]) == 0
    for name in ("weights.safetensors", "log.jsonl"):
        ours, theirs = (_without_clock((folder / name).read_bytes()) for folder in (whole, fought))
        assert ours == theirs, name


def _without_clock(content: bytes) -> bytes:
    """Weights without their header, which says how long it took."""
    if content[8:9] != b"{":
        return content
    return content[8 + int.from_bytes(content[:8], "little") :]


def test_a_full_disk_is_an_error_and_loses_nothing(tmp_path):
    assert main([*TRAIN, "--out", str(tmp_path), "--steps", "2"]) == 0
    before = {p: p.read_bytes() for p in tmp_path.glob("checkpoints/*")}

    def limit():  # no file may be larger: what a full disk is to a program
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))

    process = start(tmp_path, 4, stderr=subprocess.PIPE, preexec_fn=limit)
    told = process.communicate()[1].decode()
    assert process.returncode == 2, told
    assert "bdbook: " in told
    assert "while writing" in told
    assert "what was there before is whole" in told
    assert {p: p.read_bytes() for p in tmp_path.glob("checkpoints/*")} == before
    assert not list(tmp_path.rglob(".*.tmp"))
    assert main([*TRAIN, "--out", str(tmp_path), "--steps", "4"]) == 0
