"""Threads follow the cores that a process may use: those it is bound to, and its container's quota."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from bdbook import cores
from bdbook.training import engine

ROOT = Path(__file__).resolve().parents[1]
OURS = ("GOMP_SPINCOUNT", "OPENBLAS_THREAD_TIMEOUT", "OMP_NUM_THREADS", "OMP_WAIT_POLICY")


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Writes /proc/self/cgroup and files below /sys/fs/cgroup, of a pretended machine; sixteen cores."""
    monkeypatch.setattr(cores, "OF_PROCESS", tmp_path / "self")
    monkeypatch.setattr(cores, "MOUNTED", tmp_path / "groups")
    monkeypatch.setattr(cores, "_bound", lambda: 16)

    def write(own: str, **files: str) -> None:
        (tmp_path / "self").write_text(own)
        for name, content in files.items():
            path = tmp_path / "groups" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    return write


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("", {}, math.inf),
        ("0::/\n", {"cpu.max": "max 100000\n"}, math.inf),
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2.0),
        # On the way up the least holds, and a missing file says nothing.
        ("0::/a/b/c\n", {"a/b/cpu.max": "600000 100000\n", "a/cpu.max": "150000 100000\n"}, 1.5),
        ("0::/a\n", {"a/cpu.max": "max 100000\n", "cpu.max": "50000 100000\n"}, 0.5),
        # A container that is told its host's path sees its own group at the top.
        ("0::/docker/abc\n", {"cpu.max": "400000 100000\n"}, 4.0),
        ("4:memory:/x\n0::/x\n", {"unified/x/cpu.max": "300000 100000\n"}, 3.0),
        # Version 1, under either name of its mount; -1 is no limit.
        ("2:cpu,cpuacct:/a\n", {"cpu,cpuacct/a/cpu.cfs_quota_us": "250000\n"}, math.inf),
        (
            "2:cpu,cpuacct:/a\n",
            {"cpu,cpuacct/a/cpu.cfs_quota_us": "250000\n", "cpu,cpuacct/a/cpu.cfs_period_us": "100000\n"},
            2.5,
        ),
        ("3:cpuacct,cpu:/\n", {"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "50000\n"}, 2.0),
        ("3:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, math.inf),
        ("9:cpuset:/\n", {"cpuset/cpu.cfs_quota_us": "1\n", "cpuset/cpu.cfs_period_us": "1\n"}, math.inf),
        # Nothing of what cannot be read may keep the library from being imported.
        ("nonsense\n0::/\n", {"cpu.max": "many few\n"}, math.inf),
        ("0::/\n", {"cpu.max": "0 0\n"}, math.inf),
        ("0::/../..\n", {"cpu.max": "100000 100000\n"}, 1.0),
    ],
)
def test_the_quota_of_control_groups(groups, own, files, expected):
    groups(own, **files)
    assert cores.quota() == expected
    assert cores.available() == (16 if expected > 16 else max(1, int(expected)))


def test_what_is_set_before_torch_is_imported(groups, monkeypatch):
    for name in OURS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cores, "limit", lambda: None)
    groups("0::/\n")
    cores.prepare()
    assert os.environ["GOMP_SPINCOUNT"] == cores.SPINS
    assert os.environ["OPENBLAS_THREAD_TIMEOUT"] == cores.TIMEOUT
    assert "OMP_NUM_THREADS" not in os.environ, "without a quota OpenMP counts right"
    groups("0::/\n", **{"cpu.max": "300000 100000"})
    cores.prepare()
    assert os.environ["OMP_NUM_THREADS"] == "3"


def test_what_a_user_set_stays(groups, monkeypatch):
    groups("0::/\n", **{"cpu.max": "300000 100000"})
    given = {"GOMP_SPINCOUNT": "7", "OPENBLAS_THREAD_TIMEOUT": "9", "OMP_NUM_THREADS": "12"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    cores.prepare()
    assert {name: os.environ[name] for name in given} == given
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    cores.prepare()
    assert "GOMP_SPINCOUNT" not in os.environ, "it would outdo the policy"


def test_threads_are_never_more_than_cores_and_fewer_stay(monkeypatch):
    before = torch.get_num_threads()
    try:
        for cores_there, threads, expected in ((2, 5, 2), (4, 3, 3), (1, 2, 1)):
            monkeypatch.setattr(cores, "available", lambda there=cores_there: there)
            torch.set_num_threads(threads)
            engine.current_engine("cpu")
            assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)


def told(code: str, *, before: str = "", **environment: str) -> list[str]:
    """What a Python prints that runs the code, after `before`, without what this one was told about threads."""
    clean = {name: value for name, value in os.environ.items() if name not in OURS}
    done = subprocess.run(
        [sys.executable, "-c", before + code],
        env=clean | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux binds a process to cores")
def test_a_process_bound_to_one_core_has_one_thread():
    bind = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code = "import bdbook, torch, os; from bdbook import cores\nprint(torch.get_num_threads(), cores.available())"
    assert told(code, before=bind) == ["1", "1"]
    # Bound after torch has counted, as a job that is moved.
    late = "import torch\ntorch.set_num_threads(2)\n" + bind + "from bdbook.training import engine\n"
    assert told("engine.current_engine('cpu'); print(torch.get_num_threads())", before=late) == ["1"]


QUOTA = """
import pathlib, tempfile
from bdbook import cores
folder = pathlib.Path(tempfile.mkdtemp())
(folder / "self").write_text("0::/")
(folder / "cpu.max").write_text("100000 100000")
cores.OF_PROCESS, cores.MOUNTED, cores._bound = folder / "self", folder, lambda: 64
"""


def test_a_quota_bounds_threads_whichever_is_imported_first():
    after = QUOTA + "cores.prepare(); import torch; print(torch.get_num_threads(), os.environ['OMP_NUM_THREADS'])"
    assert told(after, before="import os") == ["1", "1"]
    first = "import os, torch\ntorch.set_num_threads(2)" + QUOTA + "cores.prepare(); print(torch.get_num_threads())"
    assert told(first) == ["1"]


def test_import_bdbook_says_how_threads_wait():
    code = "import bdbook, os, sys; print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    assert told(code) == [cores.SPINS, "False"]
    assert told(code, GOMP_SPINCOUNT="5") == ["5", "False"]
    assert told(code, OMP_WAIT_POLICY="passive") == ["None", "False"]


def test_make_and_the_hub_say_the_same():
    clean = {name: value for name, value in os.environ.items() if name not in OURS and name != "MAKEFLAGS"}

    def made(name: str = "GOMP_SPINCOUNT", **environment: str) -> str:
        rule = f"--eval=said: ; @echo $${{{name}-}}."
        command = ["make", "--no-print-directory", rule, "said"]
        return subprocess.run(
            command, cwd=ROOT, env=clean | environment, capture_output=True, text=True, check=True
        ).stdout.strip()

    assert made() == f"{cores.SPINS}."
    assert made(GOMP_SPINCOUNT="5") == "5."
    assert made(OMP_WAIT_POLICY="passive") == "."
    assert made("OPENBLAS_THREAD_TIMEOUT", OMP_WAIT_POLICY="passive") == f"{cores.TIMEOUT}."
    assert f"ENV GOMP_SPINCOUNT={cores.SPINS}\n" in (ROOT / "hub/Dockerfile").read_text()
    assert f"ENV OPENBLAS_THREAD_TIMEOUT={cores.TIMEOUT}\n" in (ROOT / "hub/Dockerfile").read_text()
    values = yaml.safe_load((ROOT / "hub/z2jh-values.yaml").read_text())
    assert values["singleuser"]["extraEnv"]["GOMP_SPINCOUNT"] == cores.SPINS
    assert values["singleuser"]["extraEnv"]["OPENBLAS_THREAD_TIMEOUT"] == cores.TIMEOUT
    assert f"OPENBLAS_THREAD_TIMEOUT={cores.TIMEOUT}" in (ROOT / "book/how_to_run.md").read_text()
    assert f"GOMP_SPINCOUNT={cores.SPINS}" in (ROOT / "book/how_to_run.md").read_text()
