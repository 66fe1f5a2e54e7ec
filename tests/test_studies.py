"""The programs that study trained networks: what they measure, of which pictures, and that a stop loses nothing."""

import json
import math
from dataclasses import replace

import fashion_few_calls
import floors
import pytest
import regularise
import torch
import your_data
from fashion_few_calls import CALLS, RULES, drawn, walks
from regularise import losses

from bdbook import data, recipes, spectra, training
from bdbook.evaluation import fair
from bdbook.page import recorded
from bdbook.training import loop, runs
from bdbook.training.engine import SINGLE_PROCESS
from bdbook.training.runs import Run
from bdbook.unet import UNetConfig

SMALL = UNetConfig(size=16, channels=8, multipliers=(1, 2), attention=(), head_dim=8)


def pictures(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 1, 16, 16, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def untrained(name: str, count: int = 300) -> Run:
    """A network that says nothing yet: preconditioned, the Wiener filter of its pictures."""
    recipe, images = replace(recipes.get(name), unet=SMALL), pictures(count)
    state = loop.start(recipe, images)
    return Run.of_state(recipe, {"identity": {"seed": 0}, "data": "given"}, state, SINGLE_PROCESS, images)


class Counted:
    """In place of real images: measures how many there are and the first of their pixels."""

    def __init__(self):
        self.spare, self.asked = pictures(4000), []

    def trained_on(self, images):
        self.near = len(images)
        return self

    def measures(self, images):
        self.asked.append(len(images))
        row = {"frechet": images.flatten()[0].item(), "count": len(images)}
        return {"samples": row, "floor": row, "test": {"samples": row, "floor": row}}


@pytest.fixture
def real(monkeypatch):
    found = Counted()
    monkeypatch.setattr(fair, "real", lambda *_: found)
    return found


@pytest.mark.parametrize("name", ["fashion-cosine", "fashion-blurring", "fashion-equal-snr"])
def test_the_loss_of_a_network_that_says_nothing_is_one(monkeypatch, name):
    """The target of spectral preconditioning has variance 1; and pictures of one law have one loss."""
    monkeypatch.setattr(data, "load", lambda *_, count, **__: pictures(count, seed=1))
    found = losses(untrained(name), pictures(300))
    for split in ("trained", "test"):
        assert abs(found[split] - 1) < 5 * found[f"{split}_error"] + 0.02
        assert 0 < found[f"{split}_error"] < 0.02


def test_few_calls_are_counted_and_begin_alike(monkeypatch):
    monkeypatch.setattr(fashion_few_calls, "COUNT", 3)
    run = untrained("fashion-cosine")
    # Of a Wiener filter the flow rule makes no error in any number of steps, DDIM does.
    ends = {rule: [drawn(run, rule, calls) for calls in (2, 20)] for rule in RULES}
    torch.testing.assert_close(*ends["flow"], atol=1e-4, rtol=0)
    assert (ends["ddim"][0] - ends["ddim"][1]).abs().max() > 0.01
    assert walks(run) == [(rule, calls) for calls in CALLS for rule in RULES] + [
        ("ancestral", 250),
        ("ancestral", 1000),
    ]
    assert walks(untrained("fashion-heat"))[-1] == ("flow, order 2", 100), "a table of a hundred steps has no more"


def test_the_record_of_few_calls_is_what_the_program_makes():
    """Network after network; and what both rules draw with many calls is nearly the same."""
    study = recorded.laboratory("fashion_few_calls")
    assert (study["count"], study["seed"]) == (fashion_few_calls.COUNT, fashion_few_calls.SEED)
    networks = list(study["rows"])
    assert networks == list(fashion_few_calls.NETWORKS)[: len(networks)]
    for network, rows in study["rows"].items():
        run = runs.load(recorded.folder_of(network) / "weights.safetensors")
        assert list(rows) == [f"{rule}, {calls}" for rule, calls in walks(run)][: len(rows)]
        assert {(row["count"], row["pictures"]) for row in rows.values()} == {(study["count"], fair.REFERENCE)}
        assert {f"{network}, {key}" for key in rows} <= study["about"].keys()
        ends = [rows[f"{rule}, {max(CALLS)}"]["frechet"] for rule in RULES if f"{rule}, {max(CALLS)}" in rows]
        assert not ends or max(ends) < 1.1 * min(ends), network


def test_floors_measure_sets_that_share_no_picture(tmp_path, monkeypatch, real):
    monkeypatch.setattr(floors, "SETS", (("fashion", 16),))
    monkeypatch.setattr(floors, "COUNTS", (3, 5))
    floors.main(tmp_path / "floors.json")
    found = json.loads((tmp_path / "floors.json").read_text())
    for count in (3, 5):
        firsts = [row["frechet"] for row in found[f"fashion, 16 px, {count}"]["training"]]
        assert firsts == real.spare[: 10 * count : count].flatten(1)[:, 0].tolist()
    asked = len(real.asked)
    floors.main(tmp_path / "floors.json")
    assert len(real.asked) == asked, "what is there is kept"


def test_small_data_are_the_first_pictures_and_a_stop_loses_nothing(tmp_path, monkeypatch, real):
    monkeypatch.setattr(data, "load", lambda *_, count=None, **__: pictures(count or 400))
    monkeypatch.setattr(regularise, "STEPS", (1, 2))
    monkeypatch.setattr(regularise, "COUNT", 2)
    monkeypatch.setattr(regularise, "WALK", 2)
    small = {"unet": SMALL, "batch": 4, "sample_steps": 2}
    monkeypatch.setitem(recipes.RECIPES, "fashion-cosine", replace(recipes.get("fashion-cosine"), **small))
    file = tmp_path / "regularise.json"
    regularise.main(("cosine",), (300,), file, tmp_path / "runs")
    whole = json.loads(file.read_text())
    assert list(whole) == ["cosine, 300, 1", "cosine, 300, 2"]
    assert real.near == 300
    assert all(math.isfinite(row["loss"]["trained"]) for row in whole.values())
    file.write_text(json.dumps({"cosine, 300, 1": whole["cosine, 300, 1"]}))
    regularise.main(("cosine",), (300,), file, tmp_path / "others")
    again = json.loads(file.read_text())
    assert again["cosine, 300, 2"]["loss"] == whole["cosine, 300, 2"]["loss"]
    images = training.runs.load(tmp_path / "runs" / "regularise-cosine-300", images=pictures(400)[:300]).images()
    assert torch.equal(images, pictures(400)[:300])


def test_the_record_of_few_pictures_is_what_the_program_makes():
    study = recorded.laboratory("regularise")
    stops = {key.rpartition(", ")[2] for key in study}
    assert stops == {str(stop) for stop in regularise.STEPS}
    assert all(row["quality"]["count"] == regularise.COUNT for row in study.values())
    for system in ("cosine", "blurring"):
        for stop in regularise.STEPS:
            assert recorded.few_pictures(system, recorded.WHOLE, stop).metrics["quality"]["samples"]["gap"] == 0
            row = study[f"{system}, 250, {stop}"]
            few = recorded.few_pictures(system, 250, stop).metrics["quality"]["samples"]
            assert few["gap"] > 0, "those were seen a hundred times"
            assert (few["frechet"], few["nearest"]) == (row["test"]["frechet"], row["quality"]["nearest"])


def test_the_gap_is_of_losses_over_those_of_the_whole(tmp_path):
    (tmp_path / "laboratory").mkdir()
    row = {"quality": {"nearest": 0.9}, "test": {"frechet": 3.0}, "about": {"date": "2026-11-28"}}
    few, whole = (row | {"loss": {"trained": trained, "test": test}} for trained, test in ((0.5, 0.9), (1.0, 1.2)))
    study = {"heat, 250, 10": few, "heat, 60000, 10": whole, "soft, 250, 10": few}
    (tmp_path / "laboratory" / "regularise.json").write_text(json.dumps(study))
    found = recorded.few_pictures("heat", 250, 10, tmp_path).metrics["quality"]["samples"]
    assert found == {"frechet": 3.0, "nearest": 0.9, "gap": pytest.approx(0.5)}
    told = "soft after 10 steps on 250 and on 60000 pictures: not both are recorded; there are heat, 250, heat, 60000, "
    with pytest.raises(recorded.NotRecordedError, match=told):
        recorded.few_pictures("soft", 250, 10, tmp_path)


def test_the_advice_is_compared_with_every_system_from_equal_starts(tmp_path, monkeypatch):
    """The field's volumes: their spectrum is the one that is named, and what is recorded is kept."""
    for name, value in {"COUNT": 30, "LEARNT": 200, "COMPONENTS": 2, "SEEDS": (0,)}.items():
        monkeypatch.setattr(your_data, name, value)
    monkeypatch.setattr("bdbook.spectra.advice.STEPS", (10,))
    your_data.main(("field",), tmp_path / "a.json")
    rows = json.loads((tmp_path / "a.json").read_text())
    assert len(rows) == 1 + 2 * 5
    (first,) = (row for key, row in rows.items() if ", advice, " in key)
    assert {"sliced_w2", "energy", "shares", "device", "commit"} <= first.keys()
    (tmp_path / "b.json").write_text(json.dumps({key: row for key, row in rows.items() if row is not first}))
    your_data.main(("field",), tmp_path / "b.json")
    again = json.loads((tmp_path / "b.json").read_text())
    measured = [{k: row[k] for k in your_data.MEASURES} for row in (again["field, advice, seed 0"], first)]
    assert measured[0] == measured[1]
    calm = your_data.field(400) / your_data.field(400).std((1, 2, 3, 4), keepdims=True)
    assert abs(spectra.of(calm, "NCXXX").slope - (5 / 3 + 2)) < 0.3
