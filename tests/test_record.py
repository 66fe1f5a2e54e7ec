"""The script that records runs: what it trains and measures, in pieces, under the smoke profile."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from bdbook import recipes, recorded

SCRIPT = Path(__file__).resolve().parents[1] / "results" / "record.py"


@pytest.fixture(scope="module")
def record():
    spec = importlib.util.spec_from_file_location("record", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["record"] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    yield module
    del sys.modules["record"]


def test_every_run_to_record_has_a_recipe(record):
    for asked in record.Record().only:
        name, _, seed = asked.partition("@")
        assert name in recipes.RECIPES
        assert seed in ("", "1", "2")
    assert set(record.WATCHED) <= set(record.Record().only)
    assert len(record.CHAPTER_14) == 36, "six systems, two parametrisations, three seeds"


def test_a_watched_run_is_recorded_whole_and_once(record, tmp_path, capsys):
    asked = record.Record("smoke", ("digits-blurring",), results=tmp_path / "results", runs=tmp_path / "runs")
    asked.run()
    run = recorded.read("digits-blurring", "smoke", results=tmp_path / "results")
    assert run.metrics["step"] == 20
    assert list(run.metrics["on_the_way"]) == ["3", "7", "13"]
    assert set(run.metrics["quality"]) == {"samples", "training"}
    assert run.metrics["count"] == 40
    assert run.metrics["bits"]["standard_error"] > 0
    assert "ancestral, 3 steps; averaged weights of step 20" in run.metrics["sample_protocol"]
    assert [key.rpartition(", ")[2] for key in run.metrics["walks"]] == ["2 steps"] * 3 + ["4 steps"]
    assert (run.folder / "weights.safetensors").is_file()
    assert run.record["commit"]
    assert run.losses()[0][-1] == 20
    before = (run.folder / "metrics.json").read_bytes()
    capsys.readouterr()
    asked.run()
    assert "digits-blurring-smoke: recorded already" in capsys.readouterr().out
    assert (run.folder / "metrics.json").read_bytes() == before


def test_pieces_end_where_the_time_does_and_go_on(record, tmp_path, capsys):
    two = ("digits-cosine-x0@1", "digits-ddpm@1")
    where = {"results": tmp_path / "results", "runs": tmp_path / "runs"}
    record.Record("smoke", two, minutes=0.0, **where).run()
    assert "time is up; 2 of 2 left" in capsys.readouterr().out
    assert not (tmp_path / "results").exists()
    record.Record("smoke", two[:1], minutes=10.0, **where).run()
    found = json.loads((tmp_path / "results" / "digits-cosine-x0-smoke-seed1" / "metrics.json").read_text())
    assert found["step"] == 20
    assert "on_the_way" not in found
    assert not list((tmp_path / "results").glob("*/weights.safetensors")), "kept for the first seed of a few"
