"""Sweeps: grid files, trainings and chapters at their points, and a cluster that loses a node."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

# Ray reads them when it is imported: nothing goes out, nothing listens but on the loopback.
os.environ["RAY_USAGE_STATS_ENABLED"] = os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"

from bdbook import recipes, sweep
from bdbook.cli import main
from bdbook.evaluation import generation
from bdbook.sweep import cluster
from bdbook.sweep import points as grid
from bdbook.sweep.table import WIDTH, as_csv
from bdbook.training import runs

ROOT = Path(__file__).resolve().parents[1]
SMALL = {
    "fixed": {"batch": 2},
    "profile": "smoke",
    "evaluate": {"count": 40, "steps": 2},
}


@pytest.fixture(autouse=True)
def _one_thread():
    """As a worker with one core has: sums depend on the number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def written(path: Path, content: dict | str) -> Path:
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
    return path


def sittings(folder: Path) -> list[dict]:
    file = folder / "sittings.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


# --- grid files -----------------------------------------------------------------------------------------------


def lists(values) -> st.SearchStrategy:
    return st.lists(values, min_size=1, max_size=3, unique=True)


VARY = st.fixed_dictionaries(
    {"seed": lists(st.integers(0, 99))},
    optional={
        "sigma_max": lists(st.floats(0, 50)),
        "blur": lists(st.sampled_from(["sin", "sin2"])),
        "learning_rate": lists(st.floats(1e-6, 1)),
        "sample_steps": lists(st.none() | st.integers(1, 500)),
        "flip": lists(st.booleans()),
        "data": lists(st.text(st.sampled_from("ab/,=% é"), min_size=1)),
    },
)


@given(VARY)
def test_points_are_the_product_in_order_with_names_of_their_own(vary):
    made = grid.points({"recipe": "digits-blurring", "vary": vary})
    assert len(made) == math.prod(map(len, vary.values()))
    assert [tuple(point.varied.values()) for point in made] == list(product(*vary.values()))
    names = [grid.name_of(point) for point in made]
    assert len(set(names)) == len(names)
    assert not any("/" in name for name in names)
    for point in made:
        has = {**vars(point.recipe), **point.recipe.settings, "seed": point.seed}
        assert {key: has[key] for key in vary} == dict(point.varied)
    assert [grid.name_of(point) for point in grid.points({"recipe": "digits-blurring", "vary": vary})] == names


def test_names_can_be_read():
    vary = {"sigma_max": [0.5, 5], "sample_steps": [None], "data": ["my/pictures"]}
    names = [grid.name_of(point) for point in grid.points({"recipe": "digits-blurring", "vary": vary})]
    assert names == [f"sigma_max={width},sample_steps=null,data=my%2Fpictures" for width in ("0.5", "5")]


def test_a_point_is_its_base_with_the_changes_and_says_so():
    vary = {"recipe": ["digits-blurring", "photos-blurring"], "sigma_max": [10]}
    (digits, photos) = grid.points({"vary": vary, "fixed": {"batch": 8, "learning_rate": "1e-4"}, "training_steps": 7})
    base = recipes.get("digits-blurring")
    assert digits.recipe.settings == recipes.get("digits-blurring-10px").settings
    assert (digits.recipe.batch, digits.recipe.learning_rate, digits.steps, digits.seed) == (8, 1e-4, 7, 0)
    assert (digits.recipe.unet, digits.recipe.predicts, digits.recipe.data) == (base.unet, base.predicts, base.data)
    assert digits.recipe.name == "digits-blurring,batch=8,learning_rate=0.0001,sigma_max=10"
    assert photos.recipe.data == "photos"
    (seed,) = grid.points({"recipe": "digits-deblur", "vary": {"seed": [3]}, "profile": "gpu"})
    assert seed.recipe == recipes.get("digits-deblur")
    assert (seed.seed, seed.steps) == (3, recipes.get("digits-deblur").steps["gpu"])
    (cold,) = grid.points({"recipe": "digits-deblur", "vary": {"std": [2], "steps": [5]}, "training_steps": 9})
    assert (cold.recipe.settings["std"], cold.recipe.settings["steps"], cold.steps) == (2.0, 5, 9)


def test_what_recipes_set_can_vary():
    for recipe in recipes.RECIPES.values():
        known = grid.settings(recipe)
        assert recipe.settings.keys() <= known.keys(), recipe.name
        assert not known.keys() & {*grid.FIELDS, "recipe", "seed"}, recipe.name
        assert {
            k: grid.typed(k, list(v) if isinstance(v, tuple) else v, known[k]) for k, v in recipe.settings.items()
        } == dict(recipe.settings)


BASE = "recipe: digits-blurring\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BASE + "vary: {seed: [0, 1}", "line 2, column 19: "),
        (BASE + "vary:\n\tseed: [0]", "line 3, column 1: "),
        (BASE + "vary: {seed: [0]}\nvary: {batch: [1]}", "line 3: vary is there already"),
        (BASE + "vary:\n  seed: [0]\n  batch: [1]\n  seed: [1]", "line 5: seed is there already"),
        ("- 1", "the grid was [1]; expected the keys recipe (or chapter) and vary"),
        ("", "the grid was None"),
        ("vary: {seed: [0]}", "names neither a recipe nor a chapter"),
        (BASE, "vary was empty"),
        (BASE + "vary: [seed]", "vary was ['seed']; expected a mapping"),
        (BASE + "vary: {seed: []}", "seed was [] under vary; expected a list of one value or more"),
        (BASE + "vary: {seed: 0}", "seed was 0 under vary; expected a list"),
        (BASE + "vary: {seed: [0, 0]}", "the point seed=0 is there 2 times"),
        (BASE + "vary: {sigma_max: [5, 5.0]}", "the point sigma_max=5 is there 2 times"),
        (BASE + "vary: {sigma_maks: [5]}", "unknown setting of digits-blurring 'sigma_maks': did you mean 'sigma_max'"),
        (BASE + "vary: {seed: [0]}\nfixed: {bacth: 3}", "did you mean 'batch'"),
        (BASE + "vary: {unet: [0]}", "unknown setting of digits-blurring 'unet'"),
        (BASE + "varry: {seed: [0]}", "unknown key of a grid 'varry': did you mean 'vary'"),
        ("recipe: digits-bluring\nvary: {seed: [0]}", "did you mean 'digits-blurring'"),
        (BASE + "vary: {seed: [0]}\nfixed: {seed: 1}", "seed stands in two places"),
        (BASE + "vary: {recipe: [digits-ddpm]}", "recipe stands in two places"),
        (BASE + "vary: {seed: [zero]}", "seed was 'zero'; expected a whole number"),
        (BASE + "vary: {seed: [true]}", "seed was True; expected a whole number"),
        (BASE + "vary: {sigma_max: [wide]}", "sigma_max was 'wide'; expected a number"),
        (BASE + "vary: {sigma_max: [.nan]}", "sigma_max was nan; expected a number"),
        (BASE + "vary: {sample_steps: [2.5]}", "sample_steps was 2.5; expected a whole number or null"),
        (BASE + "vary: {flip: [1]}", "flip was 1; expected true or false"),
        (BASE + "vary: {sigma_max: [-1]}", "sigma_max was -1.0; expected a blur of 0 px or more"),
        (BASE + "vary: {blur: [cos]}", "unknown blur schedule 'cos'"),
        (BASE + "vary: {batch: [0]}", "batch was 0"),
        (BASE + "vary: {rule: [dim]}", "did you mean 'ddim'"),
        (BASE + "vary: {predicts: [x1]}", "unknown prediction 'x1'"),
        (BASE + "vary: {loss: [l2]}", "unknown loss 'l2'"),
        (BASE + "vary: {seed: [0]}\ntraining_steps: 0", "training_steps was 0; expected at least 1"),
        (BASE + "vary: {seed: [0]}\ntraining_steps: many", "training_steps was 'many'; expected a whole number"),
        (BASE + "vary: {seed: [0]}\ncheckpoint_every: 0", "checkpoint_every was 0"),
        (BASE + "vary: {seed: [0]}\nprofile: cup", "did you mean 'cpu'"),
        (BASE + "vary: {seed: [0]}\nevaluate: {cout: 3}", "unknown key of evaluate 'cout': did you mean 'count'"),
        (BASE + "vary: {seed: [0]}\nevaluate: {count: few}", "count was 'few'; expected a whole number"),
        (BASE + "vary: {seed: [0]}\nevaluate: {count: 0}", "count must be at least 1"),
        (BASE + "vary: {seed: [0]}\nevaluate: {steps: 0}", "steps was 0"),
        (BASE + "vary: {seed: [0]}\nevaluate: {rule: dim}", "did you mean 'ddim'"),
        (BASE + "vary: {seed: [0]}\nevaluate: {rule: tacos}", "rule 'tacos' does not fit digits-blurring"),
        (BASE + "vary: {seed: [0]}\nevaluate: {order: 3}", "order was 3"),
        (BASE + "vary: {seed: [0]}\nevaluate: {samples: 0}", "samples was 0"),
        (BASE + "vary: {seed: [0]}\nevaluate: {split: tset}", "did you mean 'test'"),
        ("recipe: digits-deblur\nvary: {seed: [0]}\nevaluate: {rule: ddim}", "unknown key of evaluate 'rule'"),
        ("chapter: 15_ablation\nvary: {seed: [0]}", "did you mean '15_ablations'"),
        ("chapter: 15_ablations\nvary: {sede: [0]}", "unknown parameter of 15_ablations 'sede': did you mean 'seed'"),
        ("chapter: 15_ablations\nvary: {seed: [one]}", "seed was 'one'; expected a whole number"),
        ("chapter: 15_ablations\nvary: {profile: [cup]}", "did you mean 'cpu'"),
        ("chapter: 15_ablations\nvary: {seed: [0]}\ntraining_steps: 3", "unknown key of a grid 'training_steps'"),
    ],
)
def test_mistakes_in_a_grid_end_with_one_clear_line_before_anything_starts(
    text, message, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, "ray", None)
    file = written(tmp_path / "grid.yml", text)
    assert main(["sweep", str(file), "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert str(file) in told
    assert not (tmp_path / "out").exists()


def test_ray_and_yaml_are_asked_for_where_they_are_missing(tmp_path, capsys, monkeypatch):
    file = written(tmp_path / "grid.yml", BASE + "vary: {seed: [0]}")
    for module in ("ray", "yaml"):
        monkeypatch.setitem(sys.modules, module, None)
        assert main(["sweep", str(file), "--out", str(tmp_path / "out")]) == 2
        assert f'a sweep needs {module}, which is missing: pip install "bdbook[sweep]"' in capsys.readouterr().err


def test_a_grid_that_is_not_there_is_named(capsys):
    assert main(["sweep", "nowhere.yml"]) == 2
    assert "nowhere.yml" in capsys.readouterr().err


def test_the_grids_of_the_repository_hold_what_they_say():
    blur = sweep.read(ROOT / "results/grids/blur.yml")
    assert len(blur) == 12
    assert {(p.recipe.settings["sigma_max"], p.recipe.settings["blur"], p.seed) for p in blur} == set(
        product((0.5, 5.0, 10.0), ("sin2", "sin"), (0, 1))
    )
    assert {(p.recipe.batch, p.steps, p.profile) for p in blur} == {(32, 200, "cpu")}
    assert blur[0].protocol == generation.Protocol(count=359, samples=359, steps=50)
    chapters = sweep.read(ROOT / "results/grids/chapters.yml")
    assert {p.notebook.stem for p in chapters} == {"13_training", "14_head_to_head", "15_ablations"}
    assert {p.parameters["seed"] for p in chapters} == {0, 1, 2}


def test_the_book_shows_a_grid_of_the_repository():
    assert f"```yaml\n{(ROOT / 'results/grids/blur.yml').read_text()}```" in (ROOT / "book/how_to_run.md").read_text()


# --- the table ------------------------------------------------------------------------------------------------

FULL = {"sigma_max": 0.5, "step": 4, "frechet": 1 / 3, **{f"measure {n}": float(n) for n in range(12)}, "state": "done"}
LOST = {"sigma_max": 10.0, "state": "failed: " + "why " * 50}


def test_a_table_is_aligned_fits_a_line_and_keeps_what_varied():
    head, *lines = sweep.table([LOST, FULL], ["sigma_max"]).splitlines()
    assert max(map(len, [head, *lines])) <= WIDTH
    assert head.split()[:3] == ["sigma_max", "step", "frechet"]
    assert head.rstrip().endswith("state")
    assert lines[1].split()[:3] == ["0.5", "4", "0.3333"]
    assert lines[1][head.index("state") :] == "done"
    assert lines[0][head.index("state") :].startswith("failed: why")
    many = {f"a long name of something that varies {n}": n for n in range(4)}
    assert all(key in sweep.table([{**many, "step": 3, "state": "done"}], many) for key in ("varies 0", "varies 1"))


def test_csv_has_every_digit_and_every_column():
    rows = list(csv.DictReader(as_csv([LOST, FULL]).splitlines()))
    assert list(rows[0]) == [*FULL]
    assert float(rows[1]["frechet"]) == 1 / 3
    assert rows[0]["state"] == LOST["state"]
    assert rows[0]["frechet"] == ""


def test_what_is_no_number_has_words():
    row = {"seed": 0, "frechet": float("nan"), "psnr": float("inf"), "spectrum": "constant", "state": "done"}
    (read,) = csv.DictReader(as_csv([row]).splitlines())
    assert (read["frechet"], read["psnr"], read["spectrum"]) == ("no number", "no number", "constant")
    assert sweep.table([row], ["seed"]).splitlines()[1].split() == ["0", *["no", "number"] * 2, "constant", "done"]


# --- points at work -------------------------------------------------------------------------------------------


def test_a_measure_does_not_overwrite_a_setting_of_its_name(tmp_path):
    file = written(
        tmp_path / "grid.yml",
        {"recipe": "digits-blur", "vary": {"kernel": [[0.2, 0.6, 0.2]]}, "training_steps": 1, **SMALL},
    )
    (point,) = sweep.read(file)
    measured = cluster.run_point(point, tmp_path / "out" / grid.name_of(point))
    (row,) = sweep.run([point], tmp_path / "out")
    assert row["kernel"] == (0.2, 0.6, 0.2)
    assert row["measured kernel"] == measured["kernel"]


def test_what_is_asked_anew_is_done_from_where_the_folder_stands(tmp_path):
    def of(**changes):
        (point,) = grid.points(
            {"recipe": "digits-deblur", "vary": {"seed": [1]}, "training_steps": 2, **SMALL, **changes}
        )
        return point

    folder = tmp_path / "seed=1"
    first = cluster.run_point(of(), folder)
    assert {"step", "tacos frechet", "degraded psnr"} <= first.keys()
    assert cluster.finished(of(), folder) == first
    assert cluster.finished(of(evaluate={"count": 30, "steps": 2}), folder) is None
    assert cluster.finished(of(fixed={"batch": 4}), folder) is None
    assert cluster.finished(of(training_steps=3), folder) is None
    assert cluster.run_point(of(training_steps=3), folder)["step"] == 3
    assert [sitting["from_step"] for sitting in sittings(folder)] == [0, 2]
    with pytest.raises(ValueError, match="has 3 steps, more than 2; choose another --out"):
        cluster.run_point(of(), folder)
    for damaged in ("{", "{}"):
        (folder / "row.json").write_text(damaged)
        assert cluster.finished(of(training_steps=3), folder) is None


@pytest.mark.parametrize("recipe", ["digits-blurring", "digits-deblur"])
def test_of_too_few_images_a_row_has_words_and_is_json(tmp_path, recipe):
    few = {**SMALL, "evaluate": {"count": 1, "steps": 2}}
    (point,) = grid.points({"recipe": recipe, "vary": {"seed": [1]}, "training_steps": 1, **few})
    row = cluster.run_point(point, tmp_path / "point")
    assert "too few: 1 of 2" in row.values()
    assert row["count"] == 1

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    json.loads((tmp_path / "point" / "row.json").read_text(), parse_constant=refuse)


def the_files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_rerun_with_fewer_steps_or_of_another_training_changes_nothing(tmp_path, capsys, monkeypatch):
    content = {"recipe": "digits-blurring", "vary": {"sigma_max": [5]}, "training_steps": 2, **SMALL}
    out, (point,) = tmp_path / "out", grid.points(content)
    cluster.run_point(point, out / "sigma_max=5")
    sweep.run([point], out)
    before = the_files(out)
    monkeypatch.setitem(sys.modules, "ray", None)  # which nothing gets as far as
    for change, why in (
        ({"training_steps": 1}, "sigma_max=5 has 2 steps, more than 1"),
        ({"fixed": {"batch": 4}}, "sigma_max=5 is of batch 2 (asked: 4)"),
        ({"fixed": {"batch": 2, "seed": 3}}, "sigma_max=5 is of seed 0 (asked: 3)"),
        ({"recipe": "photos-blurring"}, "sigma_max=5 is of data digits (asked: photos)"),
    ):
        file = written(tmp_path / "grid.yml", content | change)
        assert main(["sweep", str(file), "--out", str(out)]) == 2
        told = capsys.readouterr().err
        assert f"nothing was changed in {out}" in told
        assert why in told
        assert "Ask for the same training_steps and settings, or choose another --out" in told
        assert the_files(out) == before
    # What it advises: the same, which is done, and another folder, where only Ray is missing.
    assert main(["sweep", str(written(file, content)), "--out", str(out)]) == 0
    written(file, content | {"training_steps": 1})
    assert main(["sweep", str(file), "--out", str(tmp_path / "another")]) == 2
    assert "a sweep needs ray" in capsys.readouterr().err
    assert not (tmp_path / "another").exists()


def test_weights_without_checkpoints_are_not_trained_over(tmp_path):
    (point,) = grid.points({"recipe": "digits-blurring", "vary": {"seed": [1]}, "training_steps": 2, **SMALL})
    cluster.run_point(point, tmp_path / "seed=1")
    for checkpoint in (tmp_path / "seed=1" / "checkpoints").iterdir():
        checkpoint.unlink()
    assert cluster.finished(point, tmp_path / "seed=1") is not None
    (tmp_path / "seed=1" / "row.json").unlink()
    before = the_files(tmp_path)
    with pytest.raises(ValueError, match="seed=1 holds weights and no checkpoint to go on from"):
        sweep.run([point], tmp_path)
    assert the_files(tmp_path) == before


def test_many_points_that_are_refused_are_counted(tmp_path):
    made = grid.points({"recipe": "digits-ddpm", "vary": {"seed": [*range(5)]}, "training_steps": 2})
    for point in made:
        folder = tmp_path / grid.name_of(point) / "checkpoints"
        folder.mkdir(parents=True)
        (folder / "step-00000003.safetensors").touch()
    with pytest.raises(ValueError, match=r"seed=0 has 3 steps, more than 2; .*seed=2 has .*, and 2 more\. Ask"):
        cluster._require_same_trainings(made, tmp_path)


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_trained(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace())
    file = written(tmp_path / "grid.yml", BASE + "vary: {seed: [0]}")
    for out in (file / "out", file):
        assert main(["sweep", str(file), "--out", str(out)]) == 2
        told = capsys.readouterr().err
        assert f"{out} cannot be written" in told
        assert "choose another --out" in told
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "seed=0").touch()
    assert main(["sweep", str(file), "--out", str(tmp_path / "out")]) == 2
    assert "seed=0 cannot be written" in capsys.readouterr().err


def test_failures_take_no_measure_out_of_a_table(tmp_path, capsys, monkeypatch):
    """A sweep of three seeds that is done, then evaluated anew, where some points fail; then again, where none does."""
    measured = {}

    def work(ray, points, *_):
        return ((point, measured[point.seed]) for point in points)

    monkeypatch.setattr(cluster, "_ray", lambda address: SimpleNamespace())
    monkeypatch.setattr(cluster, "_on_ray", work)
    file, out = tmp_path / "grid.yml", tmp_path / "out"
    table, beside = out / "table.csv", out / "table-failed.csv"

    def swept(fails: tuple[int, ...] = (), seeds: int = 3) -> str:
        measured.update({seed: {"step": 2, "frechet": seed + 0.5} for seed in range(seeds)})
        measured.update({seed: {"state": "failed: OutOfMemoryError: "} for seed in fails})
        written(file, {"recipe": "digits-ddpm", "vary": {"seed": [*range(seeds)], "flip": [True]}})
        assert main(["sweep", str(file), "--out", str(out)]) == (2 if fails else 0)
        return capsys.readouterr().out

    assert str(table) in swept(fails=(2,))  # the first time there is nothing to lose
    assert [row["state"] for row in csv.DictReader(table.read_text().splitlines())][:2] == ["done", "done"]
    swept(fails=(2,))
    assert not beside.exists(), "what failed before may fail again"
    whole = swept() and table.read_bytes()
    told = swept(fails=(1,))
    assert table.read_bytes() == whole
    assert f"all of it: {beside}" in told
    assert f"{table} stays as it was: points are done there that failed this time" in told
    assert [row["state"][:6] for row in csv.DictReader(beside.read_text().splitlines())] == ["done", "failed", "done"]
    assert str(table) in swept(fails=(3,), seeds=4)  # a point that the table did not have
    assert not beside.exists()
    table.write_text("no table\x00")
    swept(fails=(1,))
    assert "failed" in table.read_text()


def test_mistakes_that_would_show_after_the_training_show_before(tmp_path):
    base = {"recipe": "digits-deblur", "vary": {"seed": [0]}}
    table = recipes.get("digits-deblur").build_process().steps
    with pytest.raises(ValueError, match=f"tabulated at N = {table} steps, but {table + 1} were asked for"):
        grid.points(base | {"evaluate": {"steps": table + 1}})
    with pytest.raises(ValueError, match="steps was 0"):
        grid.points({"recipe": "digits-ddpm", "vary": {"sample_steps": [0]}})
    with pytest.raises(ValueError, match="seed was -1; expected 0 or more"):
        grid.points({"recipe": "digits-ddpm", "vary": {"seed": [-1]}})
    for key, value in {"clip": -1, "ema": 1, "warmup": -1, "learning_rate": 0}.items():
        with pytest.raises(ValueError, match=rf"\b{key} (was )?{value}"):
            grid.points({"recipe": "digits-ddpm", "vary": {key: [value]}})
    for content, words in (
        (f"recipe: digits-ddpm\nvary: {{data: [{'x' * 300}]}}", "has too long a name for a folder"),
        (BASE + "vary: " + "[" * 3000 + "]" * 3000, "expected a grid such as those in results/grids"),
        (BASE + f"vary: {{seed: [{'9' * 5000}]}}", "expected a grid such as those in results/grids"),
    ):
        file = written(tmp_path / "grid.yml", content)
        with pytest.raises(ValueError, match=f"{file}: .*{words}"):
            sweep.read(file)


def test_no_cores_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="cpus was 0; expected at least 1"):
        sweep.run([], tmp_path, cpus=0)


@pytest.mark.parametrize("port", ["0", "many"])
def test_a_cluster_that_does_not_answer_is_named(tmp_path, capsys, port):
    file = written(tmp_path / "grid.yml", BASE + "vary: {seed: [0]}")
    assert main(["sweep", str(file), "--out", str(tmp_path / "out"), "--address", f"127.0.0.1:{port}"]) == 2
    assert f"no Ray cluster answers at 127.0.0.1:{port}" in capsys.readouterr().err


def test_room_is_asked_for_before_ray_waits_for_ever():
    nodes = [{"Alive": True, "Resources": {"CPU": 2.0}}, {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}]
    ray = SimpleNamespace(nodes=lambda: nodes)
    cluster._require_room(ray, 2, 0)
    for asked in ((3, 0), (1, 1)):
        with pytest.raises(ValueError, match="but the nodes have 2 CPUs, 0 GPUs"):
            cluster._require_room(ray, *asked)


@pytest.fixture
def chapter(tmp_path, monkeypatch):
    """A folder of chapters with one in it, which divides by its seed."""
    nbformat = pytest.importorskip("nbformat").v4
    cells = [nbformat.new_code_cell("profile = None\nseed = 0", metadata={"tags": ["parameters"]})]
    cells += [nbformat.new_code_cell(code) for code in ("print(profile, seed)", "print(6 // seed)", "print('end')")]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = nbformat.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    (tmp_path / "chapters").mkdir()
    (tmp_path / "chapters" / "01_six.ipynb").write_text(json.dumps(book))
    monkeypatch.setattr(grid, "CHAPTERS", tmp_path / "chapters")
    return tmp_path / "chapters" / "01_six.ipynb"


def test_a_chapter_is_filed_when_it_is_complete_and_kept_when_it_fails(chapter, tmp_path):
    good, bad = grid.points({"chapter": "01_six", "vary": {"seed": [3, 0]}, "fixed": {"profile": "smoke"}})
    assert (good.profile, grid.name_of(good)) == ("smoke", "seed=3")
    assert cluster.run_point(good, tmp_path / "good") == {}
    assert cluster.finished(good, tmp_path / "good") == {}
    printed = (tmp_path / "good" / "01_six.ipynb").read_text()
    assert "smoke 3" in printed
    assert not list((tmp_path / "good").glob("*.partial.*"))
    with pytest.raises(RuntimeError, match=r"ZeroDivisionError: .*as far as it got: .*01_six\.partial\.ipynb"):
        cluster.run_point(bad, tmp_path / "bad")
    assert "smoke 0" in (tmp_path / "bad" / "01_six.partial.ipynb").read_text()
    assert not (tmp_path / "bad" / "01_six.ipynb").exists()
    assert cluster.finished(bad, tmp_path / "bad") is None
    chapter.write_text(chapter.read_text().replace("6 //", "7 //"))
    assert cluster.finished(good, tmp_path / "good") is None, "the chapter is another one"


# --- on Ray ---------------------------------------------------------------------------------------------------


def weights(folder: Path) -> dict[str, bytes]:
    return {key: value.tobytes() for key, value in load_file(folder / "weights.safetensors").items()}


@pytest.mark.slow
def test_a_sweep_is_its_trainings_one_by_one_and_a_failed_one_costs_no_other(tmp_path, capsys, monkeypatch):
    pytest.importorskip("ray")
    content = {
        "recipe": "digits-blurring",
        "vary": {"learning_rate": [1e-3, 1e30], "sigma_max": [5, 10]},
        "training_steps": 4,
        **SMALL,
        "fixed": {"batch": 2, "seed": 1},
    }
    file, out = written(tmp_path / "grid.yml", content), tmp_path / "out"
    assert main(["sweep", str(file), "--out", str(out)]) == 2
    told = capsys.readouterr()
    assert "2 of 4 points failed; the same command tries them again" in told.err
    rows = list(csv.DictReader((out / "table.csv").read_text().splitlines()))
    assert [row["state"] for row in rows[:2]] == ["done", "done"]
    assert all(row["state"].startswith("failed: FloatingPointError: the loss is not finite") for row in rows[2:])
    assert [float(row["sigma_max"]) for row in rows] == [5, 10, 5, 10]

    for row, recipe in zip(rows, ("digits-blurring", "digits-blurring-10px")):
        alone = tmp_path / recipe
        train = ("--profile", "smoke", "--recipe", recipe, "--batch", "2", "--steps", "4", "--seed", "1")
        assert main(["train", "--out", str(alone), *train]) == 0
        capsys.readouterr()
        assert main(["evaluate", "--run", str(alone), "--profile", "smoke", "--count", "40", "--steps", "2"]) == 0
        told = capsys.readouterr().out
        point = out / f"learning_rate=0.001,sigma_max={row['sigma_max'].removesuffix('.0')}"
        assert weights(point) == weights(alone)
        assert (point / "log.jsonl").read_bytes() == (alone / "log.jsonl").read_bytes()
        measured = generation.of_samples(runs.load(alone), generation.Protocol(count=40, steps=2))
        assert {key: float(row[key]) for key in measured if key != "bands"} == {
            key: value for key, value in measured.items() if key != "bands"
        }
        assert [float(row[f"band {n}"]) for n in range(1, 6)] == measured["bands"]
        assert generation.table({"samples": measured}).splitlines()[1] in told

    # Again, without those that fail: all is there, so that Ray is not even imported.
    content["vary"]["learning_rate"] = [1e-3]
    written(file, content)
    monkeypatch.setitem(sys.modules, "ray", None)
    before = {
        path: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.glob("*=0.001*/**/*") if path.is_file()
    }
    assert len(before) > 10
    assert main(["sweep", str(file), "--out", str(out)]) == 0
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in before} == before
    assert [row["state"] for row in csv.DictReader((out / "table.csv").read_text().splitlines())] == ["done", "done"]


@pytest.mark.slow
def test_a_process_that_dies_is_replaced_and_one_that_always_dies_is_named(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")  # threads are as many as --cpus, whatever a machine says

    class Point:  # within the test, so that Ray sends all of it
        def __init__(self, deaths):
            self.varied, self.profile = {"deaths": deaths}, "smoke"

        def asked(self):
            return self.varied

        def reached(self, folder):
            return 0

        def work(self, folder):
            if len((folder / "sittings.jsonl").read_text().splitlines()) <= self.varied["deaths"]:
                os.kill(os.getpid(), signal.SIGKILL)
            return {"threads": torch.get_num_threads()}

    rows = sweep.run([Point(deaths) for deaths in (9, 1)], tmp_path, retries=1)
    assert rows[0]["state"].startswith("failed: ")
    assert "threads" not in rows[0]
    assert rows[1:] == [{"deaths": 1, "threads": 1, "state": "done"}]
    assert [len(sittings(tmp_path / f"deaths={deaths}")) for deaths in (9, 1)] == [2, 2]


@pytest.mark.slow
def test_a_lost_node_costs_steps_and_changes_no_number(tmp_path):
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    steps, small = 40, {"num_cpus": 1, "object_store_memory": cluster.OBJECT_STORE, "include_dashboard": False}
    file = written(
        tmp_path / "grid.yml",
        {
            "recipe": "digits-blurring",
            "vary": {"sigma_max": [0.5, 5], "seed": [0, 1]},
            "training_steps": steps,
            "checkpoint_every": 10,
            **SMALL,
        },
    )
    points, out, calm = sweep.read(file), tmp_path / "out", tmp_path / "calm"
    quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
    nodes = Cluster(initialize_head=True, head_node_args={**small, "_system_config": quick})
    try:
        doomed = nodes.add_node(**small)
        command = [sys.executable, "-m", "bdbook", "sweep", str(file), "--address", nodes.address, "--out", str(out)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as driver:
            name, process = frozen(out, doomed.node_id, driver)
            early = (out / name / FIRST).stat().st_mtime_ns
            try:
                nodes.remove_node(doomed, allow_graceful=False)
            finally:
                os.kill(process, signal.SIGKILL)
            told = driver.communicate()[0]
        assert driver.returncode == 0, told
    finally:
        nodes.shutdown()

    first, second = sittings(out / name)
    assert (first["node"], first["from_step"]) == (doomed.node_id, 0)
    assert second["node"] != doomed.node_id
    assert 0 < second["from_step"] < steps, "it was not interrupted on the way"
    assert (out / name / FIRST).stat().st_mtime_ns == early, "its first steps were trained again"

    for point in points:
        folder = grid.name_of(point)
        cluster.run_point(point, calm / folder)
        assert weights(out / folder) == weights(calm / folder)
        assert (out / folder / "log.jsonl").read_bytes() == (calm / folder / "log.jsonl").read_bytes()
    assert main(["sweep", str(file), "--out", str(calm)]) == 0
    rows = (out / "table.csv").read_text()
    assert rows == (calm / "table.csv").read_text()
    assert [row["state"] for row in csv.DictReader(rows.splitlines())] == ["done"] * 4


FIRST = "samples-00000010.png"  # drawn at the first checkpoint


def frozen(out: Path, node: str, driver: subprocess.Popen) -> tuple[str, int]:
    """A point and its process on the node, stopped (SIGSTOP) between its first checkpoint and its end."""
    while driver.poll() is None:
        for folder in out.glob("*=*"):
            taken = sittings(folder)[-1:]
            if taken and taken[0]["node"] == node and (folder / FIRST).exists() and not (folder / "row.json").exists():
                os.kill(taken[0]["pid"], signal.SIGSTOP)
                if not list(folder.glob("checkpoints/step-*40.safetensors")):
                    return folder.name, taken[0]["pid"]
                os.kill(taken[0]["pid"], signal.SIGCONT)  # too late for this one
        time.sleep(0.005)
    raise AssertionError(f"the sweep ended first: {driver.communicate()[0]}")


def test_ray_is_started_again_where_a_busy_machine_took_too_long(monkeypatch):
    """Here three times, and then it says so; a cluster with an address is asked once."""
    tried, stopped = [], []

    def init(address, **settings):
        tried.append(address)
        if len(tried) < cluster.STARTS:
            raise ValueError("The current node timed out during startup")

    busy = SimpleNamespace(init=init, shutdown=lambda: stopped.append(True))
    cluster._start(busy, None)
    assert (len(tried), len(stopped)) == (cluster.STARTS, cluster.STARTS - 1)
    tried.clear()
    with pytest.raises(OSError, match=r"Ray did not start .*timed out.*tries again"):
        cluster._start(busy, "ray://elsewhere:10001")
    assert tried == ["ray://elsewhere:10001"]
