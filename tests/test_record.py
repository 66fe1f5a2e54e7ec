"""The script that records runs: what it trains and measures, in pieces, under the smoke profile."""

import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import record
import safetensors.torch
import torch

from bdbook import pixels
from bdbook.data import fashion
from bdbook.page import opening, recorded
from bdbook.training import runs


def frames(folder: Path) -> np.ndarray:
    """The film of a run: (pictures, times, 16, 16) bytes."""
    return pixels.read_png(folder / "film.png").reshape(9, 16, 31, 16).transpose(0, 2, 1, 3)


def test_every_run_to_record_has_a_recipe():
    for asked in record.Record().only:
        name, _, seed = asked.partition("@")
        assert record.recipe_of(name).name == name
        assert seed in ("", "1", "2")
    assert set(record.WATCHED) <= set(record.Record().only)
    assert len(record.FASHION) == 48, "eight systems, two parametrisations, three seeds"
    assert len(record.EVERY) == len(set(record.EVERY))


def test_a_name_may_end_in_a_size():
    recipe = record.recipe_of("fashion-blurring-10px-32px")
    assert (recipe.name, recipe.size, recipe.settings["sigma_max"]) == ("fashion-blurring-10px-32px", 32, 10.0)
    assert record.recipe_of("fashion-blurring-10px").size == 16
    with pytest.raises(ValueError, match="unknown recipe 'fashion-blurrig'"):
        record.recipe_of("fashion-blurrig-32px")


def test_a_watched_run_is_recorded_whole_and_once(tmp_path, capsys, monkeypatch):
    # As clothes are, on digits, which take a moment: of both what is kept, and how.
    monkeypatch.setattr(record, "WATCHED", ("digits-blurring",))
    monkeypatch.setattr(record, "KEEP_WEIGHTS", ("digits-blurring",))
    asked = record.Record("smoke", ("digits-blurring",), results=tmp_path / "results", runs=tmp_path / "runs")
    asked.run()
    run = recorded.read("digits-blurring", "smoke", results=tmp_path / "results")
    assert run.metrics["step"] == 20
    assert list(run.metrics["on_the_way"]) == ["3", "7", "13"]
    assert set(run.metrics["quality"]) == {"samples", "training"}
    assert run.metrics["count"] == 40
    assert run.metrics["bits"]["standard_error"] > 0
    assert "ancestral, 3 steps; averaged weights of step 20" in run.metrics["sample_protocol"]
    assert (run.folder / "weights.safetensors").is_file()
    assert run.record["commit"]
    assert run.losses()[0][-1] == 20
    before = (run.folder / "metrics.json").read_bytes()
    capsys.readouterr()
    asked.run()
    assert "digits-blurring-smoke: recorded already" in capsys.readouterr().out
    assert (run.folder / "metrics.json").read_bytes() == before


def test_pieces_end_where_the_time_does_and_go_on(tmp_path, capsys):
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


def with_pictures(name: str) -> runs.Run:
    """A recorded run on clothes, whose walks begin at its training pictures or at Gaussians fitted to them."""
    if name in ("heat", "from-mean") and not fashion.DEBIAN.is_dir() and os.environ.get("CI") != "true":
        pytest.skip("needs the package dataset-fashion-mnist")
    return runs.load(recorded.read(f"fashion-{name}").folder / "weights.safetensors")


@pytest.mark.parametrize("name", ["ddpm", "cosine", "heat", "blurring", "blur", "soft", "equal-snr", "from-mean"])
def test_the_recorded_film_ends_in_what_the_network_draws(name):
    """The same 9 pictures as `Run.draw`'s, in grey levels: another machine's arithmetic may round a few otherwise."""
    run, folder = with_pictures(name), recorded.read(f"fashion-{name}").folder
    drawn = pixels.to_pixels(run.draw(9, seed=0, steps=None if run.recipe.sample_steps is None else 100))[..., 0]
    film = frames(folder).astype(int)
    assert np.abs(film[:, -1] - drawn).max() <= 2
    assert np.abs(film[:, 0] - drawn).mean() > 20, "it begins elsewhere"


def test_ddpm_and_lees_blur_end_in_the_same_clothes():
    """As chapter 14 says of their films, and not of another pair's."""
    ends = {
        name: frames(recorded.read(f"fashion-{name}").folder)[:, -1].reshape(9, -1).astype(float)
        for name in ("ddpm", "blur", "blurring")
    }

    def least_alike(one: str, other: str) -> float:
        return min(np.corrcoef(a, b)[0, 1] for a, b in zip(ends[one], ends[other]))

    print(least_alike("ddpm", "blur"), least_alike("ddpm", "blurring"))
    assert least_alike("ddpm", "blur") > 0.9
    assert least_alike("ddpm", "blurring") < 0.6


def test_the_frames_of_a_film_are_spread_over_the_walk(monkeypatch, tmp_path):
    """Cold diffusion's 40 steps: frame k is step round(40 k / 30) of a walk of which every picture is one grey."""
    run = with_pictures("from-mean")
    walk = [torch.full((9, 1, 16, 16), step / 127.5 - 1) for step in range(41)]
    monkeypatch.setattr(record, "walked", lambda *_: walk)
    record.keep_film(run, tmp_path, record.SCALES["cpu"])
    expected = np.round(40 * np.arange(31) / 30)
    np.testing.assert_array_equal(frames(tmp_path), np.broadcast_to(expected[:, None, None], (9, 31, 16, 16)))


def test_films_are_drawn_again_without_training(tmp_path):
    target = tmp_path / "fashion-cosine-cpu"
    shutil.copytree(recorded.read("fashion-cosine").folder, target)
    stored = frames(target).astype(int)
    (target / "film.png").unlink()
    kept = {name: (target / name).read_bytes() for name in (opening.FILE, opening.BOTH_WAYS)}
    for name in kept:
        (target / name).unlink()
    record.Record("cpu", ("fashion-cosine",), results=tmp_path, runs=tmp_path / "runs", films=True).run()
    assert np.abs(frames(target) - stored).max() <= 2
    found, before = map(safetensors.torch.load, ((target / opening.FILE).read_bytes(), kept[opening.FILE]))
    torch.testing.assert_close(found, before, atol=2e-3, rtol=2e-3)
    now, then = map(pixels.read_png, (target / opening.BOTH_WAYS, io.BytesIO(kept[opening.BOTH_WAYS])))
    assert np.abs(now.astype(int) - then).max() <= 2
    assert not (tmp_path / "runs").exists()
