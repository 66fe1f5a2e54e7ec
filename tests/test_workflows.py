"""The workflows call make, and what they call is there."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
BROWSER = ".venv/bin/playwright install --with-deps chromium"


def commands(workflow: Path) -> list[str]:
    """Every line that a workflow runs."""
    jobs = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"].values()
    steps = [step for job in jobs for step in job["steps"]]
    return [line.strip() for step in steps for line in step.get("run", "").splitlines()]


def local() -> list[str]:
    """The lines of .ci/run that call make."""
    return [
        line for line in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines() if line.startswith("make ")
    ]


def targets(command: str) -> list[str]:
    """What a call of make asks for, settings aside."""
    program, *words = shlex.split(command)
    assert program == "make"
    return [word for word in words if "=" not in word]


def parts_of_test() -> set[str]:
    """The targets that `make test` consists of."""
    rule = re.search(r"^test:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    return set(re.findall(r"\$\(MAKE\) --no-print-directory (\S+)", rule[1]))


def test_there_is_a_workflow_for_each_purpose():
    assert [workflow.stem for workflow in WORKFLOWS] == ["book", "classroom", "gpu", "links", "mutants", "tests"]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_make_and_installs_a_browser_and_no_more(workflow):
    others = [line for line in commands(workflow) if not line.startswith("make ")]
    assert others in ([], [BROWSER])


CALLS = sorted({line for workflow in WORKFLOWS for line in commands(workflow) if line.startswith("make ")} | {*local()})


@pytest.mark.parametrize("call", CALLS)
def test_the_targets_exist(call):
    assert targets(call)
    # Not what a make that runs these tests hands down.
    environment = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MFLAGS"}}
    done = subprocess.run(
        [*shlex.split(call), "--dry-run"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_target_that_is_not_there_would_be_noticed():
    done = subprocess.run(["make", "--dry-run", "nowhere"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "No rule to make target 'nowhere'" in done.stderr


def test_the_workflow_of_the_tests_and_the_local_run_test_the_same():
    tested = {target for line in commands(ROOT / ".github" / "workflows" / "tests.yml") if line != BROWSER
              for target in targets(line)}  # fmt: skip
    assert tested == parts_of_test() == {"lint", "unit", "notebooks", "book", "browser"}
    assert ["test"] in map(targets, local())
