"""bdbook sample and evaluate: what they write and where, and what they refuse before anything is drawn."""

import io
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import bdbook
from bdbook import data, pixels, processes, recipes, training
from bdbook.cli import main, targets
from bdbook.cli.telling import tell
from bdbook.evaluation import checks, fair, generation, restoration
from bdbook.training import checkpoints, engine, records, runs


def weights_of(recipe, folder):
    """The weights file of a recipe's run without a step of training."""
    images = data.load(recipe.data, recipe.size, recipe.channels, 64)
    path = folder / "weights.safetensors"
    record = records.new(recipe, 0, images, recipe.data, "smoke")
    checkpoints.save_weights(path, training.start(recipe, images), record)
    return path


@pytest.fixture(scope="module")
def generating(tmp_path_factory):
    return weights_of(recipes.get("digits-ddpm"), tmp_path_factory.mktemp("ddpm"))


@pytest.fixture(scope="module")
def restoring(tmp_path_factory):
    recipe = recipes.get("digits-deblur")
    recipe = replace(recipe, settings={**recipe.settings, "steps": 4})
    return weights_of(recipe, tmp_path_factory.mktemp("deblur"))


def sample(path, *more):
    return main(["sample", "--run", str(path), "--profile", "smoke", "--steps", "2", *map(str, more)])


def drawn(path, count, **changes):
    return pixels.quantise(runs.load(path).draw(count, 0, steps=2, **changes))


def test_a_folder_holds_a_picture_for_each_image_and_how_they_were_made(generating, tmp_path, capsys):
    assert sample(generating, "--count", 70, "--out", f"{tmp_path}/new/pictures/") == 0
    folder = tmp_path / "new" / "pictures"
    assert capsys.readouterr().out == f"{folder}\n"
    assert sorted(file.name for file in folder.iterdir()) == [f"{n:05d}.png" for n in range(70)] + ["samples.json"]
    expected = drawn(generating, 70)
    for number in (0, 63, 64, 69):
        with Image.open(folder / f"{number:05d}.png") as picture:
            assert picture.mode == "L"
            np.testing.assert_array_equal(np.asarray(picture), expected[number, 0])
    assert json.loads((folder / "samples.json").read_text()) == {
        "run": str(generating),
        "recipe": "digits-ddpm",
        "step": 0,
        "rule": "ancestral",
        "steps": 2,
        "order": 1,
        "clip": False,
        "seed": 0,
        "count": 70,
        "version": bdbook.__version__,
    }


def test_colour_stays_colour(tmp_path):
    target = targets.target(f"{tmp_path}/colour/", tmp_path)
    images = torch.rand(3, 3, 8, 6) * 2 - 1
    target.check(3, (3, 8, 6))
    target.add(0, images)
    target.finish({})
    with Image.open(tmp_path / "colour" / "00002.png") as picture:
        assert picture.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(picture), pixels.to_pixels(images)[2])


@pytest.mark.parametrize("name", ["there/", "there", "plain"])
def test_what_is_a_folder(tmp_path, name):
    (tmp_path / "there").mkdir()
    target = targets.target(f"{tmp_path}/{name}", tmp_path)
    assert isinstance(target, targets.Folder)
    target.check(2, (1, 8, 8))
    (tmp_path / "v1.2").mkdir()
    assert isinstance(targets.target(f"{tmp_path}/v1.2", tmp_path), targets.Folder)


def test_an_array_is_what_evaluators_read(generating, tmp_path):
    assert sample(generating, "--count", 66, "--out", tmp_path / "a.npz") == 0
    with np.load(tmp_path / "a.npz") as file:
        assert file.files == ["arr_0"]
        array = file["arr_0"]
    assert (array.dtype, array.shape) == (np.uint8, (66, 16, 16, 1))
    np.testing.assert_array_equal(array, drawn(generating, 66).permute(0, 2, 3, 1))


@pytest.mark.parametrize(("ending", "kind"), [("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP"), ("TIFF", "TIFF")])
def test_a_grid_has_the_format_of_its_name(generating, tmp_path, ending, kind):
    assert sample(generating, "--count", 9, "--out", tmp_path / f"a.{ending}") == 0
    with Image.open(tmp_path / f"a.{ending}") as picture:
        assert picture.format == kind
        assert picture.size == ((8 * 17 - 1) * 4, (2 * 17 - 1) * 4)
        got = np.asarray(picture.convert("L")).astype(float)
    assert np.abs(got - pixels.grid(drawn(generating, 9))[..., 0].repeat(4, 0).repeat(4, 1)).mean() < 3


def test_the_default_name_moves_on_where_it_is_taken(tmp_path, capsys):
    weights = weights_of(recipes.get("digits-ddpm"), tmp_path)
    for seed, name in enumerate(("samples.png", "samples-2.png", "samples-3.png")):
        assert sample(weights, "--count", 2, "--seed", seed) == 0
        assert capsys.readouterr().out == f"{tmp_path / name}\n"
    kept = [(tmp_path / name).read_bytes() for name in ("samples.png", "samples-2.png", "samples-3.png")]
    assert len(set(kept)) == 3
    assert sample(weights, "--count", 2, "--seed", 1, "--overwrite") == 0
    assert (tmp_path / "samples.png").read_bytes() == kept[1]


def never(*_, **__):
    raise AssertionError("something was drawn")


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("a.png", "a.png exists already; choose another name, or add --overwrite"),
        ("a.npz", "a.npz exists already"),
        ("full/", "holds samples already (1 pictures); choose another folder, or add --overwrite"),
        ("full", "holds samples already"),
        ("manifest/", "holds samples already (0 pictures)"),
        ("own/", "holds pictures that are no samples, e.g. cat.jpg; choose a folder of its own"),
        ("a.png/", "a.png is a file; expected a folder"),
        ("a.png/b.png", "a.png is a file, so that nothing can be written in"),
        ("a.png/b/", "a.png is a file, so that nothing can be written in"),
        ("b.xyz", ".xyz is no format that can be written; give a name that ends in .png"),
        ("b.h5", "HDF5 cannot hold a grid"),
        ("", "out was ''; give a name that ends in .png"),
    ],
)
def test_what_cannot_be_written_is_said_before_drawing(generating, tmp_path, monkeypatch, capsys, out, message):
    for folder in ("full", "own", "manifest"):
        (tmp_path / folder).mkdir()
    for file in ("a.png", "a.npz", "full/00000.png", "own/cat.jpg", "manifest/samples.json"):
        (tmp_path / file).write_bytes(b"mine")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs.Run, "draw", never)
    assert sample(generating, "--count", 2, "--out", out) == 2
    told = capsys.readouterr()
    assert message in told.err
    assert told.out == ""
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "a.png").read_bytes() == b"mine"


def test_a_grid_too_large_for_its_format_is_said_before_anything_is_drawn(generating, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runs.Run, "draw", never)
    assert sample(generating, "--count", 3000, "--out", tmp_path / "a.webp") == 2
    assert "WEBP cannot hold a grid of 540x25496 pixels in grey" in capsys.readouterr().err


def test_a_folder_that_lets_nobody_write_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(targets.os, "access", lambda *_: False)
    for out in ("a.png", "a.npz", "a/"):
        with pytest.raises(ValueError, match=f"{tmp_path} cannot be written to; choose another --out"):
            targets.target(f"{tmp_path}/{out}", tmp_path).check(1, (1, 8, 8))


def test_overwriting_a_folder_leaves_none_of_what_was_there(generating, tmp_path):
    folder = tmp_path / "pictures"
    assert sample(generating, "--count", 5, "--out", folder) == 0
    (folder / "notes.txt").write_text("kept")
    assert sample(generating, "--count", 3, "--seed", 1, "--out", folder, "--overwrite") == 0
    names = ["00000.png", "00001.png", "00002.png", "notes.txt", "samples.json"]
    assert sorted(file.name for file in folder.iterdir()) == names
    assert json.loads((folder / "samples.json").read_text())["seed"] == 1
    (folder / "cat.jpg").write_bytes(b"mine")
    assert sample(generating, "--count", 3, "--out", folder, "--overwrite") == 2


def test_an_interrupted_folder_has_no_manifest(generating, tmp_path, monkeypatch, capsys):
    folder, written = tmp_path / "pictures", pixels.png

    def full(images, **kwargs):
        if (folder / "00064.png").exists():
            raise OSError(28, "No space left on device")
        return written(images, **kwargs)

    monkeypatch.setattr(pixels, "png", full)
    assert sample(generating, "--count", 70, "--out", folder) == 2
    told = capsys.readouterr()
    assert "No space left" in told.err
    assert told.out == ""
    assert (folder / "00063.png").exists(), "what came before is there"
    assert not (folder / "samples.json").exists()


def test_chunks_are_passed_on_as_they_are_drawn_and_are_those_of_a_draw(generating):
    run, kept = runs.load(generating), {}
    run.draw(130, 3, steps=2, engine=targets.Passing.of(engine.SINGLE_PROCESS, kept.__setitem__))
    assert list(kept) == [0, 64, 128]
    assert torch.equal(torch.cat(list(kept.values())), run.draw(130, 3, steps=2))


def test_what_is_not_finite_is_no_picture(tmp_path):
    passing = targets.Passing.of(engine.SINGLE_PROCESS, never)
    images = torch.zeros(64, 1, 4, 4)
    images[[5, 9], 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="image 5 came out as NaN or infinity, and so did 1 more of 64"):
        passing.in_chunks(64, lambda number, rows: images[rows])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--count", "0"], "count was 0; expected at least 1 image"),
        (["--steps", "0"], "steps was 0; expected at least 1"),
        (["--steps", "-1"], "steps was -1; expected at least 1"),
        (["--order", "3"], "order was 3; expected 1, or 2"),
        (["--rule", "tacos"], "rule 'tacos' does not fit digits-ddpm, which has less and less noise"),
        (["--rule", "naive"], "expected ancestral or ddim or momentum"),
        (["--rule", "ihdm"], "rule 'ihdm' does not fit digits-ddpm, which has noise that depends on t"),
    ],
)
def test_sampling_that_makes_no_sense_is_refused(generating, monkeypatch, capsys, more, message):
    monkeypatch.setattr(runs.Run, "draw", never)
    assert main(["sample", "--run", str(generating), "--profile", "smoke", *more]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("rule", ["ancestral", "ddim", "momentum", "ihdm"])
def test_rules_of_noise_do_not_fit_a_run_without(restoring, capsys, rule):
    assert sample(restoring, "--rule", rule) == 2
    told = capsys.readouterr().err
    assert f"rule '{rule}' does not fit digits-deblur, which has no noise" in told
    assert "expected naive or tacos" in told


@pytest.mark.parametrize(
    ("name", "rules"),
    [
        ("digits-ddpm", {"ancestral", "ddim", "momentum"}),
        ("digits-blurring", {"ancestral", "ddim", "momentum"}),
        ("digits-heat", {"ancestral", "ddim", "momentum", "ihdm"}),
        ("digits-heat-plain", {"ihdm"}),
        ("digits-soft-plain", {"ancestral", "ddim", "momentum"}),
        ("digits-deblur", {"naive", "tacos"}),
        ("photos-inpaint", {"naive", "tacos"}),
        ("digits-from-mean", {"naive", "tacos"}),
        ("digits-fixed-noise", {"naive", "tacos"}),
    ],
)
def test_which_rules_fit_which_run(name, rules):
    recipe = recipes.get(name)
    assert set(generation.fitting(recipe, recipe.outline())) == rules


@pytest.mark.parametrize("name", sorted(recipes.RECIPES))
def test_a_recipes_own_rule_fits_it(name):
    recipe = recipes.get(name)
    generation.check_rule(recipe, recipe.outline(), recipe.rule)


def test_samples_of_a_protocol_refuse_a_rule_that_does_not_fit(generating):
    run = runs.load(generating)
    for call in (generation.of_samples, generation.compare):
        with pytest.raises(ValueError, match="'tacos' does not fit digits-ddpm"):
            call(run, generation.Protocol(count=4, rule="tacos", steps=2))


def test_a_process_of_ones_own_knows_its_rules():
    steady = recipes.of_process(processes.heat_dissipation(8, noise=0.1), (1, 8, 8))
    assert "ihdm" in generation.fitting(steady, steady.build_process())
    falling = processes.Process(processes.cosine_diffusion().basis, lambda t: 1.0 - 0.5 * t, lambda t: 1.0 - 0.9 * t)
    own = recipes.of_process(falling, (1, 8, 8))
    assert set(generation.fitting(own, falling)) == {"ancestral", "ddim"}


# --- evaluate ------------------------------------------------------------------------------------------------------


def evaluate(path, *more):
    return main(["evaluate", "--run", str(path), "--profile", "smoke", "--steps", "2", *map(str, more)])


def test_evaluate_says_how_many_and_what_is_too_few(generating, capsys):
    assert evaluate(generating, "--count", 12, "--samples", 34, "--bits") == 0
    told = capsys.readouterr().out
    assert "too few: 12 of 33" in told
    lines = [line for line in told.splitlines() if line.startswith(("samples", "training"))]
    assert len(lines) == 2
    assert all(" 34     12 " in line for line in lines)
    assert "at most:" in told
    assert " (12 images)" in told
    assert not any(word in told.split() for word in ("nan", "inf", "-inf"))


def test_evaluate_notes_each_doubt_once_under_the_numbers(generating, capsys):
    assert evaluate(generating, "--count", 40) == 0
    told = capsys.readouterr()
    notes = [line for line in told.out.splitlines() if line.startswith("note: ")]
    assert len(set(notes)) == len(notes)
    assert any("images had 40 images for 32 features" in note and "needs 320 or more" in note for note in notes)
    assert "DoubtfulWarning" not in told.err


def test_evaluate_of_one_image_ends_well(restoring, generating, capsys):
    for path in (restoring, generating):
        assert evaluate(path, "--count", 1) == 0
        told = capsys.readouterr().out
        assert "too few: 1 of 2" in told
        assert not any(word in told.split() for word in ("nan", "inf", "-inf"))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--count", "0"], "count must be at least 1, got 0"),
        (["--count", "-3"], "count must be at least 1, got -3"),
        (["--samples", "0"], "samples was 0; expected at least 1"),
        (["--order", "3"], "order was 3"),
        (["--split", "tset"], "unknown split 'tset': did you mean 'test'"),
        (["--rule", "tacos"], "rule 'tacos' does not fit digits-ddpm"),
        (["--data", "fotos"], "unknown dataset 'fotos': did you mean 'photos'"),
    ],
)
def test_evaluating_what_makes_no_sense_is_refused(generating, monkeypatch, capsys, more, message):
    monkeypatch.setattr(runs.Run, "draw", never)
    assert main(["evaluate", "--run", str(generating), "--profile", "smoke", *more]) == 2
    assert message in capsys.readouterr().err


def test_what_only_generating_runs_have_is_not_silently_left_out(restoring, capsys):
    assert evaluate(restoring, "--samples", 4, "--rule", "ddim", "--bits") == 2
    assert "--samples, --rule, --bits: of generating runs, but digits-deblur restores" in capsys.readouterr().err


def test_a_run_is_compared_with_other_pictures(generating, restoring, tmp_path, capsys):
    for number, picture in enumerate(pixels.quantise(data.load("photos", 16, count=60))):
        Image.fromarray(picture[0].numpy()).save(tmp_path / f"{number:02d}.png")
    run, protocol = runs.load(generating), generation.Protocol(count=8, steps=2, data=str(tmp_path))
    pictures = data.load(tmp_path, 16, 1, 8, "test")
    assert torch.equal(restoration.held_out(run, restoration.Protocol(8, data=str(tmp_path))), pictures)
    expected = generation.measures(generation.samples(run, 8, protocol), pictures)
    assert generation.of_samples(run, protocol) == expected
    for path in (generating, restoring):
        assert evaluate(path, "--count", 8, "--data", tmp_path) == 0
        told = capsys.readouterr().out
        assert f"images of the test split of {tmp_path}" in told
        assert "score" not in told, "of digits alone"
    assert evaluate(generating, "--count", 8, "--data", "digits") == 0
    assert "score" in capsys.readouterr().out


@pytest.fixture(scope="module")
def of_photos(tmp_path_factory):
    """A run of photographs without a step of training, whose record knows all of them."""
    recipe = recipes.get("photos-ddpm")
    images = data.load("photos", 16)
    path = tmp_path_factory.mktemp("photos") / "weights.safetensors"
    record = records.new(recipe, 0, images, "photos", "smoke")
    checkpoints.save_weights(path, training.start(recipe, images[:64]), record)
    return path


@pytest.fixture
def few_real(monkeypatch):
    """References that are quick to measure against."""
    monkeypatch.setattr(fair, "REFERENCE", 300)
    monkeypatch.setattr(fair, "HELD_OUT", 40)
    fair.real.cache_clear()
    yield
    fair.real.cache_clear()


def test_photographs_are_compared_with_training_and_test_images_beside_their_floor(of_photos, few_real, capsys):
    assert evaluate(of_photos, "--count", 40, "--samples", 70) == 0
    told = capsys.readouterr().out
    run, protocol = runs.load(of_photos), generation.Protocol(count=40, samples=70, steps=2)
    with checks.doubts():
        found = generation.fairly(run, protocol)
    assert found == fair.real("photos", 16).measures(generation.samples(run, 70, protocol))
    assert fair.table(found) in told
    assert "70 samples (ancestral, 2 steps; averaged weights of step 0) against 300 training images of photos" in told
    assert "by features of textures-16, images clamped" in told
    assert found["samples"]["frechet"] > 10 * found["floor"]["frechet"], "an untrained network draws no photographs"
    assert evaluate(of_photos, "--count", 12) == 0
    assert " 12    300" in capsys.readouterr().out, "as many samples as its count"


def test_the_nearest_is_among_the_images_of_the_runs_seed(of_photos, few_real):
    run = runs.load(of_photos)
    other = replace(run, record=run.record | {"identity": {"seed": 3}})
    copies = data.load("photos", 16, count=5, seed=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs.Run, "draw", lambda *_: copies)
        found = [generation.fairly(each, generation.Protocol(count=5)) for each in (run, other)]
    assert [row["samples"]["nearest"] == 0 for row in found] == [False, True]


def test_one_split_alone_and_other_pictures_are_compared_as_before(of_photos, generating, tmp_path, capsys):
    for more in (["--split", "train"], ["--data", "photos"]):
        assert evaluate(of_photos, "--count", 8, *more) == 0
        assert "embedded digit features" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"digits-ddpm was trained on digits.*use generation\.compare"):
        generation.fairly(runs.load(generating))
    with pytest.raises(ValueError, match="the protocol asked for split 'train' of the same"):
        generation.fairly(runs.load(of_photos), generation.Protocol(split="train"))


def test_a_process_without_a_bound_does_not_cost_the_table(tmp_path, capsys):
    weights = weights_of(replace(recipes.get("digits-ddpm"), predicts="eps"), tmp_path)

    def no_bound(*_, **__):
        raise ValueError("it has none")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generation, "bits", no_bound)
        assert evaluate(weights, "--count", 4, "--bits") == 0
    assert "bits per dimension: none, it has none" in capsys.readouterr().out


def test_what_stdout_cannot_encode_is_printed_in_escapes(monkeypatch):
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)
    tell("größe/\udcff.png")
    narrow.flush()
    assert narrow.buffer.getvalue() == b"gr\\xf6\\xdfe/\\udcff.png\n"
