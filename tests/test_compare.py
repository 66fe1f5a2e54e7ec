"""Fresh runs beside the recorded ones: what counts as worse, and what is said where nothing can be compared."""

import json
from pathlib import Path

import compare
import numpy as np
import pytest

FRECHET = {0: 11.0, 1: 12.0, 2: 13.0}  # a range of 2: the limit is 15


def write(shelf: Path, seed: int, frechet: float, bits: float | None = 2.5, name: str = "a", **other) -> Path:
    """A run of a recipe under gpu, measured."""
    folder = shelf / f"{name}-gpu{f'-seed{seed}' if seed else ''}"
    folder.mkdir(parents=True)
    metrics = {
        "step": 30,
        "count": 40,
        "sample_protocol": f"{name}: 48 samples; seed {seed}",
        "quality": {"samples": {"frechet": frechet, "score": 7.0}, "training": {"frechet": 0.1 * seed}},
        "bits": None if bits is None else {"mean": bits + 0.1 * seed},
    }
    record = {"recipe": {"name": name}, "profile": "gpu", "identity": {"seed": seed}}
    (folder / "metrics.json").write_text(json.dumps(metrics | other))
    (folder / "record.json").write_text(json.dumps(record))
    return folder


@pytest.fixture
def shelves(tmp_path):
    """A folder for fresh runs, and one with three recorded seeds of a recipe."""
    for seed, frechet in FRECHET.items():
        write(tmp_path / "results", seed, frechet)
    return tmp_path / "fresh", tmp_path / "results"


def test_a_run_within_the_range_above_the_largest_seed_is_as_recorded(shelves, capsys):
    fresh, results = shelves
    write(fresh, 0, 14.99)
    assert compare.main(fresh, results) == 0
    said = capsys.readouterr().out
    assert "11 to 13" in said
    assert "As recorded: 2 measures of 1 runs" in said


def test_a_run_beyond_it_is_worse_and_named(shelves, capsys):
    fresh, results = shelves
    write(fresh, 1, 15.01)
    assert compare.main(fresh, results) == 1
    said = capsys.readouterr().out
    assert "beyond what the seeds scatter: a-gpu-seed1, samples, frechet: 15.01, above 15." in said
    assert said.count("WORSE") == 1


@pytest.mark.parametrize(("frechet", "bits"), [(float("nan"), 2.5), (12.0, None), ("too few: 2 of 33", 2.5)])
def test_a_measure_that_is_no_number_any_more_is_worse(shelves, frechet, bits):
    fresh, results = shelves
    write(fresh, 0, frechet, bits)
    assert compare.main(fresh, results) == 1


def test_a_better_run_passes(shelves):
    fresh, results = shelves
    write(fresh, 0, 1.0, bits=0.5)
    assert compare.main(fresh, results) == 0


def test_too_few_recorded_seeds_are_named_with_the_command_that_records_them(shelves, capsys):
    fresh, results = shelves
    write(fresh, 0, 12.0, name="b")
    assert compare.main(fresh, results) == 1
    said = capsys.readouterr().out
    assert "Not compared: b-gpu: 0 of 3 seeds are recorded" in said
    assert "python results/record.py --profile gpu --only b b@1 b@2." in said
    (results / "a-gpu-seed2" / "metrics.json").unlink()
    write(fresh, 0, 12.0)
    assert compare.main(fresh, results) == 1
    assert "a-gpu: 2 of 3 seeds" in capsys.readouterr().out


@pytest.mark.parametrize("other", [{"step": 31}, {"count": 41}, {"sample_protocol": "a: 49 samples; seed 0"}])
def test_a_run_that_was_measured_otherwise_is_not_compared(shelves, capsys, other):
    fresh, results = shelves
    write(fresh, 0, 12.0, **other)
    assert compare.main(fresh, results) == 1
    assert "trained or measured otherwise than the recorded a-gpu" in capsys.readouterr().out


def test_a_folder_without_runs_is_no_success(tmp_path, capsys):
    assert compare.main(tmp_path) == 1
    assert "There is no measured run" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["fashion-blurring-cpu", "digits-deblur-cpu-seed2", "digits-from-mean-cpu-seed1"])
def test_every_recorded_seed_is_as_recorded(tmp_path, name):
    (tmp_path / name).symlink_to(compare.HERE / name)
    assert compare.main(tmp_path) == 0


def test_what_is_compared_of_a_run_is_what_was_trained():
    def of(name: str) -> set[str]:
        return set(compare.measures(json.loads((compare.HERE / name / "metrics.json").read_text())))

    assert of("fashion-blurring-cpu") == {"samples, frechet", "samples, sliced_wasserstein", "bits per dimension"}
    assert "generation, perfect symmetry, frechet" in of("digits-from-mean-cpu")
    assert {name.split(", ")[1] for name in of("photos-deblur-cpu")} == {"direct", "naive", "tacos"}


def test_how_often_chance_alone_exceeds_the_limit():
    """As the script says: of three seeds one time in fifteen, of two one in six."""
    drawn = np.random.default_rng(0).standard_normal((1_000_000, 4))
    for seeds, once_in in ((3, 15), (2, 6)):
        known, fresh = drawn[:, :seeds], drawn[:, 3]
        beyond = fresh > 2 * known.max(1) - known.min(1)
        assert beyond.mean() == pytest.approx(1 / once_in, rel=0.02)
