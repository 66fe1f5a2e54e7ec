"""Any commands in any order, some of them killed: what was there stays, and what ends with 0 did what it said.

`BDBOOK_FUZZ=50 pytest tests/test_fuzz.py` tries fifty such stories; a few are enough to notice a mistake.
"""

import json
import os
import re
import shutil
import signal
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from forked import Server, Told
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from PIL import Image

from bdbook.training import checkpoints, folders

STORIES = int(os.environ.get("BDBOOK_FUZZ", "3"))
RUNS = ("a", "b", "c")
RECIPES = {"a": "digits-ddpm", "b": "digits-deblur", "c": "digits-ddpm"}
TARGETS = (None, "grid.png", "a/drawn.jpg", "drawn/", "drawn.npz", "drawn.doc", "a/weights.safetensors")
FEW = ("--steps", "2", "--profile", "cpu")
# Of somebody, in places that commands write to as well.
THEIRS = (
    "a/notes.txt",
    "a/samples.png",
    "a/weights.safetensors",
    "b/record.json",
    "b/log.jsonl",
    "pictures/restored/one-tacos.png",
    "pictures/inner/one.png",
    "drawn/00000.png",
    "grid.png",
)
# What a run rewrites when it is gone on with, and what commands keep about their own outputs.
GROWS = re.compile(
    r"(.*/)?(\.lock|running\.json|record\.json|log\.jsonl|weights\.safetensors|samples-\d+\.png|restored\.json"
    r"|checkpoints/step-\d+\.safetensors)"
)
TIMES = st.one_of(st.none(), st.none(), st.none(), st.floats(0.0, 2.0))


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


class Commands(RuleBasedStateMachine):
    server: Server

    @initialize()
    def begin(self):
        self.folder = Path(tempfile.mkdtemp())
        self.theirs: dict[str, bytes] = {}
        for number, name in enumerate(("one.png", "two.jpg", "inner/two.png")):
            self.put_picture(f"pictures/{name}", number)
        for run in ("a", "b"):
            self.train(run, "right", 2, None, None, signal.SIGKILL)

    def teardown(self):
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    def put_picture(self, name: str, seed: int) -> None:
        picture(self.folder / name, seed)
        self.theirs[name] = (self.folder / name).read_bytes()

    def contents(self) -> dict[str, bytes]:
        files = (path for path in self.folder.rglob("*") if path.is_file())
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}

    def step(self, run: str) -> int:
        """The last step that the run in a folder has kept, -1 if none."""
        kept = [int(path.stem.removeprefix("step-")) for path in checkpoints.found(self.folder / run)]
        return max(kept, default=-1)

    def ask(self, *arguments: str, after: float | None = None, number: int = signal.SIGKILL) -> Told:
        before, steps = self.contents(), {run: self.step(run) for run in RUNS}
        told = self.server.run(list(arguments), self.folder, after, number)
        now = self.contents()
        assert "Traceback" not in told.text, told.text
        assert told.status in (0, 2, *range(11, 111), 130, -signal.SIGTERM, -signal.SIGKILL), told
        for name, content in before.items():
            if name in self.theirs:
                assert now.get(name) == content, f"{name} was somebody's: {arguments}, {told}"
            elif not GROWS.fullmatch(name):
                assert now.get(name) == content, f"{name} was there: {arguments}, {told}"
            elif "checkpoints/" not in name and not name.endswith(("running.json", ".lock")):
                assert name in now, f"{name} is lost: {arguments}, {told}"
        assert all(self.step(run) >= steps[run] for run in RUNS), "a run went back"
        if arguments[0] != "train":
            assert all(now[name] == before[name] for name in before if name.split("/")[0] in RUNS and name in now)
        if told.status == 2:
            new = {name for name in now if name not in before and not name.endswith(".lock")}
            assert not new, f"{arguments} was refused and left {new}: {told}"
        return told

    @rule(name=st.sampled_from(THEIRS), seed=st.integers(0, 3))
    def put(self, name, seed):
        """Somebody puts a file where nothing is, and not into a run as if it were its own."""
        folder = self.folder / name.split("/")[0]
        if not (self.folder / name).exists() and not (GROWS.fullmatch(name) and folders.written(folder)):
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            if name.endswith(".png"):
                self.put_picture(name, seed)
            else:
                (self.folder / name).write_bytes(b"somebody's")
                self.theirs[name] = b"somebody's"

    @rule(
        out=st.sampled_from(RUNS),
        which=st.sampled_from(("right", "right", "right", "right", "recipe", "seed")),
        steps=st.integers(0, 8),
        how=st.sampled_from((None, "--resume", "--resume", "--resume-or-begin", "--resume-or-begin")),
        after=TIMES,
        number=st.sampled_from((signal.SIGKILL, signal.SIGTERM, signal.SIGINT)),
    )
    def train(self, out, which, steps, how, after, number):
        """Train; which: as the run in the folder is, or something else than that."""
        recipe, seed = "digits-cosine" if which == "recipe" else RECIPES[out], int(which == "seed")
        asked = ["--recipe", recipe, "--out", out, "--seed", str(seed), "--steps", str(steps), *([how] if how else [])]
        few = ["--profile", "smoke", "--batch", "2", "--checkpoint-every", "2"]
        held, went = folders.written(self.folder / out), self.step(out)
        told = self.ask("train", *asked, *few, after=after, number=number)
        if told.status == 0:
            assert steps > 0
            assert not held or how
            assert self.step(out) == max(steps, went)
            record = json.loads((self.folder / out / "record.json").read_text())
            assert (record["recipe"]["name"], record["identity"]["seed"]) == (recipe, seed)
            assert "weights: " in told.text
            assert ("going on from step" in told.text) == (0 <= went < steps)

    @precondition(lambda self: any(self.step(run) > 0 for run in RUNS))
    @rule(
        run=st.sampled_from(RUNS),
        out=st.sampled_from(TARGETS),
        count=st.integers(0, 3),
        after=TIMES,
    )
    def sample(self, run, out, count, after):
        before = set(self.contents())
        to = ["--out", out] if out else []
        told = self.ask(
            "sample", "--run", run, "--count", str(count), "--steps", "2", "--profile", "cpu", *to, after=after
        )
        if told.status == 0:
            assert count > 0
            made = set(self.contents()) - before
            if out == "drawn/":
                assert sum(name.startswith("drawn/") and name.endswith(".png") for name in made) == count
            elif out == "drawn.npz":
                assert len(np.load(self.folder / out)["arr_0"]) == count
            else:
                assert made == {out} if out else re.fullmatch(rf"{run}/samples(-\d+)?\.png", *made)

    @precondition(lambda self: any(self.step(run) > 0 for run in RUNS))
    @rule(run=st.sampled_from(RUNS[:2]), count=st.sampled_from((0, 2, 40)), after=TIMES)
    def evaluate(self, run, count, after):
        told = self.ask("evaluate", "--run", run, "--count", str(count), *FEW, after=after)
        if told.status == 0:
            assert count > 0
            assert not re.search(r"\b(inf|nan)\b", told.text.lower()), told.text

    @precondition(lambda self: any(self.step(run) > 0 for run in RUNS))
    @rule(
        run=st.sampled_from(RUNS),
        image=st.sampled_from(("pictures", "pictures/one.png", "pictures/inner", "nothing.png")),
        out=st.sampled_from((None, "pictures/better", "a", "pictures")),
        after=TIMES,
    )
    def restore(self, run, image, out, after):
        to = ["--out", out] if out else []
        told = self.ask("restore", "--image", image, "--run", run, *FEW, *to, after=after)
        if told.status == 0:
            base = Path(image) if (self.folder / image).is_dir() else Path(image).parent
            target = self.folder / (out or base / "restored")
            mine = [name for name in self.theirs if name == image or name.startswith(f"{image}/")]
            for name in mine:
                inside = Path(name).relative_to(base)
                if "restored" not in inside.parts:
                    made = target / inside.with_name(f"{inside.stem}-tacos{inside.suffix}")
                    assert made.is_file(), f"{made} is not there: {told}"


@pytest.mark.slow
def test_nothing_is_lost_whatever_is_asked_in_whatever_order(tmp_path):
    Commands.server = Server(tmp_path)
    try:
        run_state_machine_as_test(
            Commands,
            settings=settings(
                max_examples=STORIES,
                stateful_step_count=8,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                print_blob=True,
            ),
        )
    finally:
        Commands.server.close()
