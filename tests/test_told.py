"""How chapters read the recorded runs, and that no number of a run is typed in their prose: code tells it to them."""

import ast
import json
import re
import sys
from pathlib import Path

import pytest
import torch
from myst_nb.ext import glue

from bdbook import data
from bdbook.evaluation import generation, metrics
from bdbook.page import recorded

ROOT = Path(__file__).resolve().parents[1]


# --- how chapters read them ----------------------------------------------------------------------------------


@pytest.fixture
def shelf(tmp_path):
    """Two seeds of one run."""
    for seed, distance in ((0, 4.0), (2, 7.0)):
        folder = tmp_path / f"a-cpu{'-seed2' if seed else ''}"
        folder.mkdir()
        record = {"identity": {"seed": seed}, "wall_s": 9.6, "device": "CPU, threads: 1", "date": "2026-01-01"}
        (folder / "metrics.json").write_text(json.dumps({"step": 30, "distance": distance}))
        (folder / "record.json").write_text(json.dumps(record | ({"commit": "abc"} if seed else {})))
        (folder / "log.jsonl").write_text('{"step": 10, "loss": 0.5}\n{"step": 30, "loss": 0.25}\n')
    return tmp_path


def test_a_recorded_run_is_read_whole(shelf):
    run = recorded.read("a", seed=2, results=shelf)
    assert run.metrics["distance"] == 7.0
    assert run.losses() == ([10, 30], [0.5, 0.25])
    assert str(run) == "a-cpu-seed2: seed 2, 30 steps in 10 s, CPU, threads: 1, 2026-01-01, commit abc"
    assert str(recorded.read("a", results=shelf)).endswith("commit unknown")


def test_seeds_that_there_are(shelf):
    found = recorded.seeds("a", results=shelf)
    assert [run.metrics["distance"] for run in found] == [4.0, 7.0]
    mean, half, each_of = recorded.over_seeds(found, lambda m: m["distance"])
    assert (mean, half, each_of) == (5.5, 1.5, [4.0, 7.0])


def test_a_run_that_is_not_recorded_says_how_to_record_it(shelf):
    with pytest.raises(ValueError, match=r"recorded are a-cpu, a-cpu-seed2\. .*--profile gpu --only b@1"):
        recorded.read("b", "gpu", 1, shelf)
    with pytest.raises(ValueError, match="is not recorded"):
        recorded.seeds("b", results=shelf)


def test_a_range_is_told_to_its_digits():
    assert recorded.from_to([14.06, 13.14, 13.5]) == "13.1 to 14.1"
    assert recorded.from_to(iter([23.2, 28.8]), digits=0) == "23 to 29"
    assert recorded.from_to([2.19, 2.2]) == "2.2"


def test_what_is_told_is_glued_and_nothing_shown(monkeypatch):
    ours, theirs = [], []
    monkeypatch.setattr("IPython.display.display", lambda data, **how: ours.append((data, how)))
    monkeypatch.setattr(glue, "ipy_display", lambda data, **how: theirs.append((data, how)))
    recorded.tell(lead="1.1 to 2.5", runs=6)
    for name, word in {"lead": "1.1 to 2.5", "runs": "6"}.items():
        glue.glue(name, word, display=False)
    assert ours == theirs
    assert len(ours) == 2


def test_without_the_pages_builder_nothing_is_told(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "myst_nb", None)
    recorded.tell(lead="1.1 to 2.5")
    assert capsys.readouterr().out == ""


# --- the prose -----------------------------------------------------------------------------------------------

CHAPTERS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
# Numbers that the prose of the chapters on recorded runs may type: how things were set and counted, and the papers'.
SETTINGS = {
    "08_cold_diffusion": "0 1 1500",
    "09_tacos": "1 3 6 16",
    "10_cold_generation": "0 0.002 1.70 1.96 8",
    "13_training": "0 1 2 3 4 20 150 250 1500",
    "14_head_to_head": "0 1 5 16 40 64 100 128 512 1024 1500 10,000 60,000",
    "15_ablations": "0 0.5 1 5 10 16 20 32 100 250 500 1024 1500 6000 60,000 3.17 23.9",
    "16_live_sampler": "0 1 2 5",
    "19_learning_under_blur": "0 0.5 1 2 3 5 10 16 20 32 250 500 1000 200,000",
    "20_beyond_pictures": "0 1 32",
    "21_how_sure": "3 39 50 80 95",
}
PLACE = r"[A-Z]?\.?\d[\d.]*"
MARKUP = re.compile(
    r"\$\$.*?\$\$|\$[^$]*\$|\{[\w:]+\}`[^`]*`|`[^`]*`|\]\([^)]*\)|^\(.*\)=$"  # formulas, roles, code, links, anchors
    r"|(?:[Ss]ection|sec\.|app\.|appendix|Tables?|Fig\.|Eqs?\.|[Cc]hapter|Algorithms?) "  # places in sources
    rf"{PLACE}(?:(?: and| to) {PLACE}|, \d(?![\d.]|,\d))*|\bin A\.\d|CIFAR-10|float32|L1|\bW2\b",
    re.MULTILINE | re.DOTALL,
)


def cells(chapter: str, kind: str) -> list[str]:
    """Sources of a kind of cells, less the table that is made from the ledger and the records."""
    every = json.loads((ROOT / "notebooks" / f"{chapter}.ipynb").read_text(encoding="utf-8"))["cells"]
    written = [cell for cell in every if "claims" not in cell["metadata"].get("tags", [])]
    return ["".join(cell["source"]) for cell in written if cell["cell_type"] == kind]


def told(chapter: str) -> list[str]:
    """The names that a chapter's code tells to its prose."""
    calls = (
        node for source in cells(chapter, "code") for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)
    )
    return [word.arg for call in calls if ast.unparse(call.func) == "recorded.tell" for word in call.keywords]


def unfenced(source: str) -> str:
    """The lines of a cell but those of displayed formulas and code, and the options of directives."""
    fences, lines = [], []
    for line in source.splitlines():
        if fence := re.match("`{3,}", line):
            if fences and line == fences[-1][0]:
                fences.pop()
            else:
                fences.append((fence[0], line.removeprefix(fence[0])))
        elif all(kind.startswith("{prf:") for _, kind in fences):  # what exercises say the next cell computes
            lines.append("" if fences and line.startswith(":") else line)
    assert not fences
    return "\n".join(lines)


def typed(source: str) -> set[str]:
    """The numbers in digits that prose types, less those of formulas, code, links and places in sources."""
    return set(re.findall(r"\d(?:[\d,.]*\d)?", MARKUP.sub(" ", unfenced(source))))


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_what_code_tells_is_what_prose_asks_for(chapter):
    asked = [name for prose in cells(chapter, "markdown") for name in re.findall(r"\{glue:text\}`(\w+)`", prose)]
    assert not [prose for prose in cells(chapter, "markdown") if "{glue:" in re.sub(r"\{glue:text\}`\w+`", "", prose)]
    assert len(told(chapter)) == len(set(told(chapter)))
    assert set(told(chapter)) == set(asked)


def test_chapters_do_tell():
    tellers = {"08", "10", "14", "15", "16", "19", "20", "21"}
    assert {chapter[:2] for chapter in CHAPTERS if told(chapter)} == tellers


def test_chapters_on_recorded_runs_are_those_whose_prose_is_watched():
    reads = re.compile(r"\brecorded\.(?:read|seeds|tell)\(|metrics\.json")
    assert {chapter for chapter in CHAPTERS if any(map(reads.search, cells(chapter, "code")))} == SETTINGS.keys()


def settings(chapter: str) -> set[str]:
    return set(SETTINGS[chapter].split())


@pytest.mark.parametrize("chapter", SETTINGS)
def test_prose_on_recorded_runs_types_no_number_but_settings(chapter):
    """Numbers in words are not seen here: what they say is compared with the records above."""
    assert set().union(*map(typed, cells(chapter, "markdown"))) <= settings(chapter)


def test_settings_in_the_prose_are_those_of_the_runs():
    """How long was trained, on and by how many images the systems were judged."""
    runs = [run for name in ("fashion-ddpm", "fashion-blurring", "fashion-heat") for run in recorded.seeds(name)]
    (step,) = {str(run.metrics["step"]) for run in runs}
    (samples,) = {re.search(r"(\d+) samples \(", run.metrics["sample_protocol"])[1] for run in runs}
    (reference,) = {f"{run.metrics['quality']['samples']['pictures']:,}" for run in runs}
    (learnt,) = {f"{run.record['identity']['count']:,}" for run in runs}
    assert {step, samples, reference, learnt} <= settings("14_head_to_head")
    assert {row.split(", ")[2] for row in recorded.laboratory("floors") if "16 px" in row} <= settings(
        "14_head_to_head"
    )
    assert {step, samples} <= settings("15_ablations")
    (step,) = {str(run.metrics["step"]) for run in recorded.seeds("digits-deblur")}
    assert step in settings("08_cold_diffusion") & settings("13_training")


def test_a_typed_number_is_seen():
    prose = "From 13.1 to 14.1, by {glue:text}`lead`; $x=3$, `seed 4`, sec. 2.1, 4, 7.5 and Tables 3 and 4; [b](15_b)."
    block = "```{prf:proof}\n:label: p-1\nIn 1,500 steps.\n```\n```\n--steps 20\n```\n```{math}\nx=30\n```\n40"
    assert typed(prose) == {"13.1", "14.1", "7.5"}
    assert typed(block) == {"1,500", "40"}


# --- how many samples make a number --------------------------------------------------------------------------


def test_a_few_hundred_images_are_too_few_to_tell():
    """What `generation.Protocol` says of 359 training digits, and what 1024 of them would say."""
    digits = {split: data.load("digits", 16, split=split) for split in ("train", "test")}
    random = torch.Generator().manual_seed(0)
    found = {}
    for count in (100, 359, 1024):
        orders = [torch.randperm(len(digits["train"]), generator=random)[:count] for _ in range(6)]
        found[count] = [metrics.frechet(digits["train"][order], digits["test"]) for order in orders]
    said = " ".join(generation.Protocol.__doc__.split())
    assert f"distances from {min(found[359]):.0f} to {max(found[359]):.0f} of" in said
    assert max(found[359]) - min(found[359]) > 10
    assert max(found[1024]) - min(found[1024]) < 2
