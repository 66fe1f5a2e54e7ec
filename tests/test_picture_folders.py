"""Folders of pictures: what is found, held out and left out; which names mean a folder and which a set."""

import hashlib
import json
import os
import re
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import bdbook
from bdbook import data, pixels
from bdbook.data import folders
from bdbook.evaluation import restoration
from bdbook.training import records, runs


def says(*words):
    return pytest.raises(ValueError, match="".join(rf"(?=[\s\S]*{re.escape(word)})" for word in words))


def save(path, level, side=8):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (side, side), level).save(path)
    return path


def make(folder, count=14, first=0):
    """`count` flat pictures, of levels one apart."""
    for level in range(first, first + count):
        save(folder / f"{level:03}.png", level)
    return folder


def held_out_alone(file):
    """Whether a file is for testing, by its content and nothing else."""
    return int(hashlib.sha256(file.read_bytes()).hexdigest()[:12], 16) % 5 == 0


def names(files):
    return [file.name for file in files]


# --- the split ----------------------------------------------------------------------------------------------------


def test_a_content_decides_where_a_picture_belongs(tmp_path):
    found = data.source(make(tmp_path, 200))
    assert set(found.test) == {file for file in tmp_path.iterdir() if held_out_alone(file)}
    assert set(found.train) == set(tmp_path.iterdir()) - set(found.test)
    assert 20 <= len(found.test) <= 60  # of 200 a fifth, with a standard deviation of 5.7
    assert list(found.train) == sorted(found.train)


@given(
    st.lists(st.tuples(st.text("abc/", min_size=1, max_size=6), st.integers(0, 255)), min_size=1, max_size=12),
    st.randoms(),
)
def test_another_file_moves_none_and_no_order_of_making_them_matters(files, random):
    files = {
        "/".join([*filter(None, path.split("/"))]) + f"-{number}.png": level
        for number, (path, level) in enumerate(files)
    }
    made = list(files.items())
    splits = []
    for _ in range(2):
        with tempfile.TemporaryDirectory() as place:
            root = Path(place)
            for path, level in made:
                save(root / path, level)
            found = data.source(root)
            splits.append([[str(file.relative_to(root)) for file in part] for part in (found.train, found.test)])
            prints = found.fingerprints
            levels = {split: {files[name] for name in part} for split, part in zip(("train", "test"), splits[-1])}
            assert not levels["train"] & levels["test"], "copies are on one side"
            save(root / "0-another.png", random.randrange(256), side=9)
            after = data.source(root)
            if found.how == "by a hash of their contents":  # and not because all had to be trained on
                assert set(found.train) <= set(after.train)
                assert set(found.test) <= set(after.test)
            assert after.fingerprints != prints
        random.shuffle(made)
    assert splits[0] == splits[1]


def test_fingerprints_follow_contents_and_not_names(tmp_path):
    before = data.source(make(tmp_path / "a")).fingerprints
    for number, file in enumerate(sorted((tmp_path / "a").iterdir())):
        target = tmp_path / "b" / str(number % 3) / f"{99 - number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        file.rename(target)
    assert data.source(tmp_path / "b").fingerprints == before
    save(next((tmp_path / "b").rglob("*.png")), 255)
    assert data.source(tmp_path / "b").fingerprints != before


def test_one_picture_is_trained_on_whatever_its_hash(tmp_path):
    for level in range(12):  # some of these would be held out
        folder = tmp_path / str(level)
        save(folder / "a.png", level)
        found = data.source(folder)
        assert (len(found.train), len(found.test)) == (1, 0)
        assert found.words(1).startswith(f"{folder}: 1 picture found, 1 to train on, none held out (")
        with says("has 1 picture, and none for the test split", "folders train and test", "--split train"):
            data.load(folder, 8, split="test")


@pytest.mark.parametrize(
    ("layout", "test"),
    [
        (("train", "test"), "test"),
        (("Train", "TEST"), "TEST"),
        (("train", "val"), "val"),
        (("train", "Validation"), "Validation"),
        (("train", "valid", "test"), "test"),
    ],
)
def test_train_beside_test_is_a_layout(tmp_path, layout, test):
    for number, part in enumerate(layout):
        make(tmp_path / part / "class", 6, 20 * number)
    save(tmp_path / "cover.png", 200)
    found = data.source(tmp_path)
    assert {file.parent.parent.name for file in found.train} == {layout[0]}
    assert {file.parent.parent.name for file in found.test} == {test}
    assert (len(found.train), len(found.test)) == (6, 6)
    assert found.left_out == {folders.BESIDE: 1 + 6 * (len(layout) - 2)}
    assert f"6 held out (the folder {test})" in found.words(6)


def test_train_alone_is_a_class_and_two_layouts_deeper_are_too(tmp_path):
    make(tmp_path / "train", 10)
    assert data.source(tmp_path).how == "by a hash of their contents"
    make(tmp_path / "deeper" / "test", 3, 100)
    assert data.source(tmp_path).how == "by a hash of their contents"


def test_an_empty_part_of_a_layout(tmp_path):
    make(tmp_path / "train", 3)
    (tmp_path / "test").mkdir()
    with says("3 pictures, and none for the test split (the folder test)"):
        data.load(tmp_path, 8, split="test")
    for file in (tmp_path / "train").iterdir():
        file.rename(tmp_path / "test" / file.name)
    with says("no images below", str(tmp_path / "train")):
        data.load(tmp_path, 8)


def test_the_same_picture_on_both_sides_of_a_layout_is_warned_of(tmp_path):
    make(tmp_path / "train", 5)
    make(tmp_path / "test", 3, 3)
    with pytest.warns(
        UserWarning, match="2 pictures of .*test' are also in .*train', so what is held out is trained on"
    ):
        data.source(tmp_path)


# --- what is left out ---------------------------------------------------------------------------------------------


def test_hidden_files_and_folders(tmp_path):
    make(tmp_path, 10)
    save(tmp_path / ".hidden.png", 100)
    save(tmp_path / ".ipynb_checkpoints" / "a.png", 101)
    save(tmp_path / "class" / ".thumbnails" / "deep" / "a.png", 102)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "notes").write_text("no picture")
    found = data.source(tmp_path)
    assert len(found.train) + len(found.test) == 10
    assert found.left_out == {"hidden": 3}


def test_links_are_followed_once_and_loops_end(tmp_path):
    root, elsewhere = tmp_path / "root", make(tmp_path / "elsewhere", 5)
    make(root / "a", 4, 50)
    make(tmp_path / "beside", 2, 200)
    (root / "linked").symlink_to(elsewhere)
    (root / "twice").symlink_to(elsewhere)
    (root / "a" / "up").symlink_to(root)
    (root / "out").symlink_to(tmp_path)
    (elsewhere / "back").symlink_to(tmp_path)
    (root / "self").symlink_to("self")
    (root / "gone.png").symlink_to("nowhere.png")
    (root / "z.png").symlink_to(root / "a" / "050.png")
    (root / "single.png").symlink_to(tmp_path / "beside" / "200.png")
    found = data.source(root)
    assert len(found.train) + len(found.test) == 5 + 4 + 1
    assert found.left_out == {"broken links": 1, "linked twice": 1}


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_links_between_folders_never_loop_and_count_each_picture_once(links):
    with tempfile.TemporaryDirectory() as place:
        rooms = [Path(place) / "root" / str(number) for number in range(6)]
        for number, room in enumerate(rooms):
            save(room / "a.png", number)
        for number, (start, end) in enumerate(links):
            os.symlink(rooms[end], rooms[start] / f"link-{number}")
        found = data.source(Path(place) / "root")
        assert len(found.train) + len(found.test) == 6
        assert found.left_out == {}


def own_outputs(root):
    """A run folder, folders of samples and of restorations with pictures, and a single grid: 5 pictures."""
    images = torch.zeros(1, 1, 8, 8)
    run = root / "runs" / "a"
    (run / "checkpoints").mkdir(parents=True)
    (run / "record.json").write_text("{}")
    save(run / "drawn.png", 120)
    for name, manifest in (("samples", {}), ("restored", {"pictures": {"b.png": {"outputs": {"more/a.png": ""}}}})):
        save(root / name / "more" / "a.png", 121)
        (root / name / f"{name}.json").write_text(json.dumps(manifest))
    (root / "grid.png").write_bytes(pixels.png(images))
    (root / "deeper").mkdir(exist_ok=True)
    (root / "deeper" / "grid.png").write_bytes(pixels.png(images - 1))
    return 5


def test_what_bdbook_made_is_left_out_wherever_it_lies(tmp_path):
    make(tmp_path, 10)
    made = own_outputs(tmp_path)
    found = data.source(tmp_path)
    assert names(sorted([*found.train, *found.test])) == [f"{level:03}.png" for level in range(10)]
    assert found.left_out == {"of bdbook's own": made}
    assert names(data.image_files(tmp_path)) == [f"{level:03}.png" for level in range(10)]


@pytest.mark.parametrize("mark", ["checkpoints", "weights.safetensors", "log.jsonl"])
def test_a_run_folder_is_told_by_its_record_and_one_thing_more(tmp_path, mark):
    make(tmp_path, 10)
    save(tmp_path / "run" / "a.png", 100)
    (tmp_path / "run" / mark).write_text("")
    assert data.source(tmp_path).left_out == {}
    (tmp_path / "run" / "record.json").write_text("{}")
    assert data.source(tmp_path).left_out == {"of bdbook's own": 1}


def test_what_bdbook_made_is_used_where_it_is_asked_for(tmp_path):
    own_outputs(tmp_path)
    assert names(data.source(tmp_path / "runs" / "a").train) == ["drawn.png"]
    assert names(data.source(tmp_path / "samples").train) == ["a.png"]
    assert names(data.source(tmp_path / "deeper").train) == ["grid.png"]
    with says("no images below", "1 of bdbook's own", "name the folder that holds it"):
        data.source(tmp_path / "runs")


def test_a_run_in_the_folder_of_its_pictures(tmp_path):
    """Grids that lie among the pictures are no pictures, though the folder is a run's and asked for by name."""
    make(tmp_path, 10)
    (tmp_path / "record.json").write_text("{}")
    (tmp_path / "log.jsonl").write_text("")
    (tmp_path / "samples-00000002.png").write_bytes(pixels.png(torch.zeros(1, 1, 8, 8)))
    assert data.source(tmp_path).left_out == {"of bdbook's own": 1}


def test_pictures_of_others_that_name_their_software(tmp_path):
    for number, words in enumerate(["Matplotlib version3", "bdbookish", "GIMP"]):
        said = PngInfo()
        said.add_text("Software", words)
        Image.new("L", (8, 8), number).save(tmp_path / f"{number}.png", pnginfo=said)
    Image.new("L", (8, 8), 9).save(tmp_path / "jpeg.jpg", comment=b"tEXtSoftware\0bdbook")
    assert len(data.image_files(tmp_path)) == 4


# --- names --------------------------------------------------------------------------------------------------------


def test_a_name_that_is_both_a_set_and_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "digits" / "a.png", 255)
    with says("'digits' is both a data set and the folder", str(tmp_path / "digits"), "./digits", "set:digits"):
        data.load("digits", 8)
    assert len(data.load("set:digits", 8)) == 1438
    for folder in ("./digits", Path("digits"), tmp_path / "digits"):
        assert data.load(folder, 8).mean().item() == pytest.approx(1)


def test_recipes_mean_the_set_whatever_folders_there_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("digits", "leaves"):
        save(tmp_path / name / "a.png", 255)
    run = bdbook.fit("digits-from-leaves", folder=tmp_path / "run", profile="smoke", steps=1, batch=4)
    assert run.record["data"] == "digits"
    assert run.record["identity"]["count"] == 1438
    assert len(run.images()) == 1438
    assert len(restoration.held_out(run, restoration.Protocol(count=5))) == 5
    run = bdbook.fit("digits-ddpm", "set:digits", tmp_path / "named", profile="smoke", steps=1, batch=4)
    assert (run.record["data"], run.record["identity"]["count"]) == ("digits", 1438)


@pytest.mark.parametrize("name", ["", " ", Path(), Path("")])
def test_an_empty_name(name):
    with says("empty"):
        data.load(name, 8)


def test_a_folder_that_is_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    with says("unknown dataset 'pcitures'", "a folder", str(tmp_path / "pcitures"), str(tmp_path / "pictures")):
        data.load("pcitures", 8)
    for name in ("./pcitures", tmp_path / "pcitures", Path("pcitures")):
        with says("there is no folder", str(tmp_path / "pcitures"), f"there is {tmp_path / 'pictures'}"):
            data.load(name, 8)
    with says(str(tmp_path / "pcitures" / "a" / "b"), f"nor does {tmp_path / 'pcitures'}", f"{tmp_path / 'pictures'}"):
        data.load("pcitures/a/b", 8)
    with says("unknown dataset 'photo'", "did you mean 'photos'"):
        data.load("set:photo", 8)


def test_a_file_or_an_empty_folder_is_no_folder_of_pictures(tmp_path):
    file = save(tmp_path / "a.png", 3)
    with says("is a file; expected a folder of pictures", str(tmp_path)):
        data.load(str(file), 8)
    (tmp_path / "empty").mkdir()
    with says("no images below", str(tmp_path / "empty")):
        data.load(tmp_path / "empty", 8)


# --- what a run remembers -----------------------------------------------------------------------------------------


def train(pictures, folder, **more):
    told = []
    run = bdbook.fit("photos-ddpm", pictures, folder, profile="smoke", steps=2, batch=4, tell=told.append, **more)
    return run, told


def test_a_run_says_what_it_trains_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "scans", 14)
    save(tmp_path / "scans" / ".hidden.png", 100)
    (tmp_path / "scans" / "grid.png").write_bytes(pixels.png(torch.zeros(1, 1, 8, 8)))
    listed = data.source("./scans")
    run, told = train("./scans", "run")
    k, m = len(listed.train), len(listed.test)
    line = (
        f"./scans: 14 pictures found, {k} to train on, {m} held out (by a hash of their contents), "
        "2 left out (1 hidden, 1 of bdbook's own); 16x16, grey"
    )
    assert line in told
    assert run.record["data"] == str(tmp_path / "scans")
    assert run.record["pictures"] == {
        "found": 14,
        "train": k,
        "test": m,
        "left_out": {"hidden": 1, "of bdbook's own": 1},
        "fingerprints": listed.fingerprints,
    }
    assert all(len(digits) == 16 for digits in listed.fingerprints.values())
    told = []
    bdbook.fit("digits-ddpm", folder="b", profile="smoke", steps=1, batch=4, tell=told.append)
    assert "digits: 1438 images; 16x16, grey" in told


@pytest.mark.filterwarnings("ignore:left out")
def test_files_that_cannot_be_read_are_counted(tmp_path):
    make(tmp_path / "a", 10)
    broken = next(text for text in map(str, range(99)) if int(hashlib.sha256(text.encode()).hexdigest()[:12], 16) % 5)
    (tmp_path / "a" / "text.png").write_text(broken)
    run, told = train(tmp_path / "a", tmp_path / "run")
    trained = run.record["identity"]["count"]
    assert run.record["pictures"]["train"] == trained
    assert run.record["pictures"]["left_out"] == {"unreadable": 1}
    assert any(f"10 pictures found, {trained} to train on" in line and "(1 unreadable)" in line for line in told)
    assert len(run.images()) == trained


def test_a_changed_folder_is_noticed(tmp_path, monkeypatch):
    pictures = make(tmp_path / "a", 14)
    run, _ = train(pictures, tmp_path / "run")
    monkeypatch.chdir("/")
    run = runs.load(tmp_path / "run")
    assert torch.equal(run.images(), data.load(pictures, 16))
    protocol = restoration.Protocol(count=99)
    before = restoration.held_out(run, protocol)
    assert torch.equal(before, data.load(pictures, 16, split="test"))

    level = next(level for level in range(100, 200) if not held_out_alone(save(pictures / "more.png", level)))
    assert torch.equal(restoration.held_out(run, protocol), before), "another to train on moves none that is held out"
    k = run.record["pictures"]["train"]
    with says(str(pictures), f"had {k} pictures in its train split", f"has {k + 1} now", "--data"):
        run.images()
    with says(f"had {k} pictures", "put back what was there"):
        restoration.held_out(run, restoration.Protocol(split="train"))
    (pictures / "more.png").unlink()
    assert len(run.images()) == k

    m = run.record["pictures"]["test"]
    save(data.source(pictures).test[0], level)  # a picture to train on, under the name of one held out
    with says(f"had {m} pictures in its test split", f"has {m - 1} now"):
        restoration.held_out(run, protocol)
    other = make(tmp_path / "other", 30, 60)
    for each in (str(pictures), str(other)):
        compared = restoration.held_out(run, restoration.Protocol(count=99, data=each))
        assert torch.equal(compared, data.load(each, 16, split="test"))


def test_the_same_number_of_other_pictures_is_noticed(tmp_path):
    train(make(tmp_path / "a", 14), tmp_path / "run")
    first = data.source(tmp_path / "a").train[0]
    next(level for level in range(100, 200) if not held_out_alone(save(first, level)))
    with says("too, but others"):
        runs.load(tmp_path / "run").images()


def old_run(pictures, name, folder):
    """A run as it was recorded when every fifth picture was held out, in order of path."""
    run, _ = train(make(pictures, 14), folder)
    files = sorted(pictures.iterdir())
    trained = data.read_images([file for i, file in enumerate(files) if i % 5 != 4], 16)
    record = {key: value for key, value in run.record.items() if key != "pictures"}
    record |= {"data": name, "identity": records.identity(run.recipe, 0, trained)}
    return runs.Run(run.recipe, record, run.denoiser, run.spectrum), trained, files[4::5]


def test_older_runs_of_a_folder_are_split_as_they_were_and_checked(tmp_path, monkeypatch):
    run, trained, tests = old_run(tmp_path / "a", "a", tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    assert torch.equal(run.images(), trained)
    assert torch.equal(restoration.held_out(run, restoration.Protocol()), data.read_images(tests, 16))
    save(tmp_path / "a" / "0.png", 200)  # sorts first, so that all that were held out would be trained on
    for call in (run.images, lambda: restoration.held_out(run, restoration.Protocol())):
        with says("a had 12 pictures in its train split", "has 12 now too, but others"):
            call()


def test_sets_of_the_library_that_differ_by_rounding_are_warned_about(tmp_path):
    run = bdbook.fit("digits-ddpm", folder=tmp_path, profile="smoke", steps=1, batch=4)
    run.record["identity"]["images"] = "0" * 16
    with pytest.warns(UserWarning, match="digits differs from what digits-ddpm was trained on"):
        run.images()
    run.record["identity"]["count"] = 1400
    with says("digits had 1400 pictures in its train split", "has 1438 now"):
        run.images()


def test_images_that_were_handed_over_have_none_held_out(tmp_path):
    images = data.load("digits", 16, count=8)
    run = bdbook.fit("digits-ddpm", images, tmp_path, profile="smoke", steps=1, batch=4)
    with says("handed over in Python", "Protocol(data=FOLDER)"):
        restoration.held_out(run, restoration.Protocol())
    found = restoration.held_out(run, restoration.Protocol(count=7, data="digits"))
    assert torch.equal(found, data.load("digits", 16, count=7, split="test"))
