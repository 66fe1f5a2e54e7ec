"""Sets of the hub, read from small copies in the hub's own layouts: no test needs a network."""

import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from io import BytesIO
from pathlib import Path

import datasets
import huggingface_hub
import numpy as np
import pytest
import torch
from datasets import ClassLabel, Features, Value
from PIL import Image

from bdbook import data
from bdbook.data import emoji, fashion, huggingface

# The head of each README as on the hub, and its parquet files with the number of rows that they get here.
CARDS = {
    "mnist": "dataset_info:\n  config_name: mnist\nconfigs:\n- config_name: mnist\n  data_files:\n  - split: train\n"
    "    path: mnist/train-*\n  - split: test\n    path: mnist/test-*\n  default: true",
    "fashion-mnist": "dataset_info:\n  config_name: fashion_mnist\nconfigs:\n- config_name: fashion_mnist\n"
    "  data_files:\n  - split: train\n    path: fashion_mnist/train-*\n  - split: test\n"
    "    path: fashion_mnist/test-*\n  default: true",
    "cifar10": "dataset_info:\n  config_name: plain_text\nconfigs:\n- config_name: plain_text\n  data_files:\n"
    "  - split: train\n    path: plain_text/train-*\n  - split: test\n    path: plain_text/test-*\n  default: true",
    "celeba": "configs:\n- config_name: img_align+identity+attr\n  data_files:\n  - split: train\n"
    "    path: img_align+identity+attr/train-*\n  - split: valid\n    path: img_align+identity+attr/valid-*\n"
    "  - split: test\n    path: img_align+identity+attr/test-*\n  default: true",
    "afhq": None,
    "lsun-bedroom": "dataset_info:\n  features:\n  - name: image\n    dtype: image\n  splits:\n  - name: train\n"
    "    num_bytes: 4450242498.020249\n    num_examples: 287968\n  - name: test\n"
    "    num_bytes: 234247797.33875093\n    num_examples: 15157\nlicense: mit",
    "lsun-church": "dataset_info:\n  splits:\n  - name: test\n    num_bytes: -5033726665.536212\n"
    "    num_examples: 6312\n  - name: train\n    num_bytes: -94551870824.9868\n    num_examples: 119915",
}
FILES = {
    "mnist": {"mnist/train-00000-of-00001": 5, "mnist/test-00000-of-00001": 3},
    "fashion-mnist": {"fashion_mnist/train-00000-of-00001": 4, "fashion_mnist/test-00000-of-00001": 2},
    "cifar10": {"plain_text/train-00000-of-00001": 6, "plain_text/test-00000-of-00001": 4},
    "celeba": {
        "img_align+identity+attr/train-00000-of-00002": 2,
        "img_align+identity+attr/train-00001-of-00002": 2,
        "img_align+identity+attr/valid-00000-of-00001": 2,
        "img_align+identity+attr/test-00000-of-00001": 2,
    },
    "afhq": {"data/train-00000-of-00002": 25, "data/train-00001-of-00002": 18},
    "lsun-bedroom": {
        "data/train-00000-of-00002-5beebd96eb33b02b": 2,
        "data/train-00001-of-00002-5f4afcffcee57481": 2,
        "data/test-00000-of-00001-7c2280a6897e2462": 2,
    },
    "lsun-church": {
        "data/train-00000-of-00001-6cbaf0200a9bf96f": 3,
        "data/test-00000-of-00001-b3f98c62a94e5d25": 2,
    },
}
SIDES = {
    "mnist": (28, 28),
    "fashion-mnist": (28, 28),
    "celeba": (178, 218),
    "afhq": (48, 48),
    "lsun-bedroom": (80, 64),
    "lsun-church": (64, 70),
}
GREY = ("mnist", "fashion-mnist")
COUNTS = {"mnist": (5, 3), "cifar10": (6, 4), "celeba": (4, 2), "afhq": (41, 2), "lsun-bedroom": (4, 2)}


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """Copies in tmp_path/sets, pixels in tmp_path/kept, and no way to the hub."""
    monkeypatch.setenv("BDBOOK_DATASETS", str(tmp_path / "sets"))
    monkeypatch.setenv("BDBOOK_CACHE", str(tmp_path / "kept"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "library")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


def says(*words, kind=ValueError):
    return pytest.raises(kind, match="(?s)" + ".*".join(re.escape(word) for word in words))


def root(tmp_path, name):
    return tmp_path / "sets" / huggingface.DATASETS[name].repository


def pictures(name, number, seed):
    """Noise, of which no two pictures are alike."""
    width, height = SIDES.get(name, (32, 32))
    shape = (number, height, width) if name in GREY else (number, height, width, 3)
    return [Image.fromarray(p) for p in np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)]


def write_parquet(path, cells, column="image", feature=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    table, features = {column: cells}, Features({column: feature or datasets.Image()})
    if "bedrooms" not in str(path):  # they alone have no labels
        table["label"], features["label"] = [0] * len(cells), ClassLabel(names=["a", "b"])
    datasets.Dataset.from_dict(table, features=features).to_parquet(path)


def make(tmp_path, name):
    """A small copy as `hf download` leaves it; the pictures of train and of test in order of file and row."""
    folder, found = root(tmp_path, name), {"train": [], "test": [], "valid": []}
    for seed, (file, number) in enumerate(FILES[name].items()):
        made = pictures(name, number, seed)
        write_parquet(folder / f"{file}.parquet", made, "img" if name == "cifar10" else "image")
        found[re.match("[a-z]+", Path(file).name)[0]] += made
    if CARDS[name]:
        (folder / "README.md").write_text(f"---\n{CARDS[name]}\n---\n\n# Dataset Card\n")
    (folder / ".cache" / "huggingface" / "download").mkdir(parents=True)
    (folder / ".cache" / "huggingface" / "download" / "README.md.metadata").write_text("0")
    if name == "afhq":
        rows = found["train"]
        found = {"train": [p for i, p in enumerate(rows) if i not in (19, 39)], "test": [rows[19], rows[39]]}
    return found


def pixels(images, mode, box, side):
    """By hand: convert, cut out `box`, average over areas."""
    resized = [image.convert(mode).crop(box).resize((side, side), Image.Resampling.BOX) for image in images]
    return np.stack([np.asarray(image).reshape(side, side, -1).transpose(2, 0, 1) for image in resized])


def assert_pixels(tensor, expected):
    assert tensor.dtype == torch.uint8
    assert tensor.is_contiguous()
    np.testing.assert_array_equal(tensor.numpy(), expected)


# --- pixels ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "box", "side"),
    [
        ("mnist", (0, 0, 28, 28), 14),
        ("fashion-mnist", (0, 0, 28, 28), 28),
        ("cifar10", (0, 0, 32, 32), 32),
        ("celeba", (19, 39, 159, 179), 35),  # 140 of 178 x 218 px
        ("afhq", (0, 0, 48, 48), 12),
        ("lsun-bedroom", (8, 0, 72, 64), 16),
        ("lsun-church", (0, 3, 64, 67), 16),
    ],
)
@pytest.mark.parametrize("split", ["train", "test"])
def test_pixels_are_those_of_the_files_in_their_order(tmp_path, name, box, side, split):
    made = make(tmp_path, name)
    native = huggingface.DATASETS[name].channels
    expected = pixels(made[split], "L" if native == 1 else "RGB", box, side)
    assert native == (1 if name in GREY else 3)
    assert_pixels(huggingface.load(name, side, split=split), expected)
    assert_pixels(huggingface.load(name, side, native, count=2, split=split), expected[:2])
    if name in COUNTS:
        assert len(expected) == COUNTS[name][split == "test"]


def test_areas_are_averaged(tmp_path):
    """Not by Pillow: means of 4x4 pixels, which Pillow rounds twice."""
    made = make(tmp_path, "cifar10")
    expected = np.stack(made["train"]).reshape(6, 8, 4, 8, 4, 3).mean(axis=(2, 4)).transpose(0, 3, 1, 2)
    assert np.abs(huggingface.load("cifar10", 8).numpy() - expected).max() <= 1


def test_a_height_and_a_width(tmp_path):
    made = make(tmp_path, "cifar10")
    cut = [image.crop((0, 8, 32, 24)).resize((16, 8), Image.Resampling.BOX) for image in made["train"]]
    assert_pixels(huggingface.load("cifar10", (8, 16)), np.stack(cut).transpose(0, 3, 1, 2))


def test_grey_of_colour_and_colour_of_grey(tmp_path):
    colour, grey = make(tmp_path, "cifar10")["train"], make(tmp_path, "mnist")["train"]
    assert_pixels(huggingface.load("cifar10", 16, channels=1), pixels(colour, "L", (0, 0, 32, 32), 16))
    luma = np.stack(colour) @ [0.299, 0.587, 0.114]  # ITU-R 601
    assert np.abs(huggingface.load("cifar10", 32, channels=1)[:, 0].numpy() - luma).max() < 1
    assert_pixels(huggingface.load("mnist", 28, channels=3), np.stack(grey)[:, None].repeat(3, axis=1))


@pytest.mark.parametrize("name", ["cifar10", "afhq"])
def test_train_and_test_are_disjoint_and_whole(tmp_path, name):
    make(tmp_path, name)
    train, test = ({image.numpy().tobytes() for image in huggingface.load(name, 8, split=s)} for s in ("train", "test"))
    assert not train & test
    assert len(train | test) == sum(FILES[name].values())


def test_a_folder_of_images(tmp_path):
    """A copy of AFHQ as it was first given out, in order of path."""
    made = pictures("afhq", 42, 0)
    for i, image in enumerate(made):
        path = root(tmp_path, "afhq") / "train" / ("cat" if i < 21 else "dog") / f"{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    assert_pixels(huggingface.load("afhq", 24, split="test"), pixels([made[19], made[39]], "RGB", (0, 0, 48, 48), 24))
    assert_pixels(huggingface.load("afhq", 24, count=20), pixels([*made[:19], made[20]], "RGB", (0, 0, 48, 48), 24))


def test_without_a_card_splits_are_told_by_file_names(tmp_path):
    made = make(tmp_path, "celeba")
    (root(tmp_path, "celeba") / "README.md").unlink()
    assert_pixels(huggingface.load("celeba", 10, split="test"), pixels(made["test"], "RGB", (19, 39, 159, 179), 10))


# --- the kept file --------------------------------------------------------------------------------------------


def kept(tmp_path):
    return sorted((tmp_path / "kept").iterdir())


def never(*arguments, **keywords):
    raise AssertionError("the source was read again")


def test_what_is_kept_is_not_read_again(tmp_path, monkeypatch):
    make(tmp_path, "cifar10")
    first = {split: huggingface.load("cifar10", 8, count=3, split=split) for split in ("train", "test")}
    with monkeypatch.context() as patch:
        patch.setattr(datasets, "load_dataset", never)
        for split, images in first.items():
            assert torch.equal(huggingface.load("cifar10", 8, count=3, split=split), images)
        for other in ({"size": 9}, {"channels": 1}, {"count": 2}, {"count": None}, {"name": "afhq"}):
            with pytest.raises((AssertionError, OSError)):
                huggingface.load(**{"name": "cifar10", "size": 8, "count": 3, **other})
    assert len(kept(tmp_path)) == 2


def test_a_changed_copy_is_read_again(tmp_path):
    make(tmp_path, "cifar10")
    before = huggingface.load("cifar10", 8)
    write_parquet(root(tmp_path, "cifar10") / "plain_text/train-00000-of-00001.parquet", pictures("", 6, 99), "img")
    assert not torch.equal(huggingface.load("cifar10", 8), before)
    shutil.rmtree(root(tmp_path, "cifar10"))
    with says("neither", kind=FileNotFoundError):
        huggingface.load("cifar10", 8)


def test_it_is_a_private_map_of_the_file(tmp_path):
    make(tmp_path, "cifar10")
    images = huggingface.load("cifar10", 8)
    (file,) = kept(tmp_path)
    before = file.read_bytes()
    if Path("/proc/self/maps").exists():
        assert str(file) in Path("/proc/self/maps").read_text()
    images.zero_()
    assert file.read_bytes() == before
    assert huggingface.load("cifar10", 8).any()
    assert np.array_equal(np.load(file), huggingface.load("cifar10", 8).numpy())


@pytest.mark.parametrize("moment", ["header", "rename"])
def test_a_kill_leaves_nothing_that_looks_whole(tmp_path, monkeypatch, moment):
    """What lies on the disk at that moment is what a process that is killed would leave."""
    expected = make(tmp_path, "cifar10")["train"]

    def snapshot(*arguments):
        shutil.copytree(tmp_path / "kept", tmp_path / "killed")
        return original(*arguments)

    with monkeypatch.context() as patch:
        original = os.fsync if moment == "header" else os.replace
        patch.setattr(os, "fsync" if moment == "header" else "replace", snapshot)
        huggingface.load("cifar10", 32)
    left = list((tmp_path / "killed").iterdir())
    assert [path.suffix for path in left] == [".part"]
    assert [path.suffix for path in kept(tmp_path)] == [".npy"]
    monkeypatch.setenv("BDBOOK_CACHE", str(tmp_path / "killed"))
    assert_pixels(huggingface.load("cifar10", 32), np.stack(expected).transpose(0, 3, 1, 2))


def test_an_interruption_leaves_nothing(tmp_path, monkeypatch):
    make(tmp_path, "cifar10")

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(huggingface.reading, "resize", interrupt)
    with pytest.raises(KeyboardInterrupt):
        huggingface.load("cifar10", 8)
    assert not kept(tmp_path)


def test_a_header_is_as_long_for_many_images():
    assert len(huggingface._header((0, 3, 8, 8))) == len(huggingface._header((10**9, 3, 8, 8)))


# --- rows that cannot be read ---------------------------------------------------------------------------------


def damaged(tmp_path, column="img"):
    """Six rows, the second cut off, the fourth no picture, the fifth empty; the pictures that are left."""
    made, buffer = pictures("", 6, 0), BytesIO()
    made[1].save(buffer, "png")
    cells = [*made]
    cells[1] = {"bytes": buffer.getvalue()[:800], "path": None}
    cells[3] = {"bytes": b"not a picture", "path": None}
    cells[4] = None
    write_parquet(root(tmp_path, "cifar10") / "plain_text/train-00000-of-00001.parquet", cells, column)
    return np.stack([made[0], made[2], made[5]]).transpose(0, 3, 1, 2)


def test_unreadable_rows_are_counted_and_left_out(tmp_path):
    expected = damaged(tmp_path)
    with pytest.warns(UserWarning, match=r"left out 3 row\(s\) of cifar10, split 'train', .*row 1: "):
        assert_pixels(huggingface.load("cifar10", 32), expected)
    with pytest.warns(UserWarning, match="left out 1 row"):
        assert_pixels(huggingface.load("cifar10", 32, count=2), expected[:2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        huggingface.load("cifar10", 32, count=1)
    with says("cifar10, split 'train', has 3 images, 4 were asked for"):
        huggingface.load("cifar10", 32, count=4)
    assert len(kept(tmp_path)) == 3


def test_no_readable_row(tmp_path):
    file = root(tmp_path, "cifar10") / "plain_text/train-00000-of-00001.parquet"
    write_parquet(file, [{"bytes": b"x", "path": None}] * 2, "img")
    with says("cifar10", "no image that can be read", "row 0"):
        huggingface.load("cifar10", 32)
    assert not kept(tmp_path)


# --- sources --------------------------------------------------------------------------------------------------


def test_the_hub_is_asked_only_without_a_local_copy(tmp_path, monkeypatch):
    made = make(tmp_path, "cifar10")
    elsewhere, asked = tmp_path / "the hub", []
    original = datasets.load_dataset

    def load_dataset(path, **keywords):
        asked.append((path, keywords))
        return original(str(elsewhere) if path == "uoft-cs/cifar10" else path, **keywords)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    huggingface.load("cifar10", 8)
    assert asked.pop() == (str(root(tmp_path, "cifar10")), {"streaming": True})
    root(tmp_path, "cifar10").rename(elsewhere)
    expected = np.stack(made["test"]).transpose(0, 3, 1, 2)
    assert_pixels(huggingface.load("cifar10", 32, split="test"), expected)
    assert asked == [("uoft-cs/cifar10", {})]  # above all no trust in remote code
    monkeypatch.delenv("BDBOOK_DATASETS")
    assert_pixels(huggingface.load("cifar10", 32, split="test"), expected)
    assert len(asked) == 1


def test_offline_with_no_copy_fails_at_once(tmp_path):
    """In a process of its own, where the library reads the environment as it does for users."""
    script = (
        "import sys, time, json, bdbook.data\n"
        "before = 'datasets' in sys.modules\n"
        "try: bdbook.data.load('cifar10', 8)\n"
        "except OSError as error: message = str(error)\n"
        "import huggingface_hub.constants as c, datasets.config as d\n"
        "print(json.dumps([before, message, c.HF_HUB_DISABLE_TELEMETRY,"
        " d.HF_UPDATE_DOWNLOAD_COUNTS]))"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    for variable in ("HF_HUB_DISABLE_TELEMETRY", "HF_UPDATE_DOWNLOAD_COUNTS", "BDBOOK_DATASETS"):
        environment.pop(variable, None)
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    imported, message, quiet, counted = json.loads(done.stdout)
    assert "retry" not in done.stderr.lower()
    assert not imported
    assert quiet
    assert not counted
    for words in ("'cifar10'", "BDBOOK_DATASETS is not set", "uoft-cs/cifar10 on the Hugging Face hub", "FOLDER"):
        assert words in message


def test_no_copy_and_no_network(tmp_path):
    where = str(root(tmp_path, "afhq"))
    command = f"hf download --repo-type dataset huggan/AFHQ --local-dir {where}"
    with says("'afhq'", where, "nor as huggan/AFHQ", command, "BDBOOK_DATASETS=", kind=FileNotFoundError):
        huggingface.load("afhq", 8)
    assert not (tmp_path / "kept").exists()


def test_a_command_for_a_folder_with_a_space(monkeypatch):
    monkeypatch.setenv("BDBOOK_DATASETS", "/my sets")
    assert huggingface.download_command(huggingface.DATASETS["mnist"]).endswith("--local-dir '/my sets/ylecun/mnist'")


def test_the_library_is_missing(tmp_path, monkeypatch):
    make(tmp_path, "mnist")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with says('pip install "bdbook[hub]"', kind=ModuleNotFoundError):
        huggingface.load("mnist", 8)


# --- faults of a local copy -----------------------------------------------------------------------------------


def test_a_wrong_column(tmp_path):
    damaged(tmp_path, column="picture")
    with says(str(root(tmp_path, "cifar10")), "no column 'img'", "picture, label"):
        huggingface.load("cifar10", 8)


def test_a_column_of_numbers(tmp_path):
    file = root(tmp_path, "cifar10") / "plain_text/train-00000-of-00001.parquet"
    write_parquet(file, [0, 1], "img", Value("int64"))
    with says("column 'img' holds no images but int"):
        huggingface.load("cifar10", 8)


def test_a_split_is_missing(tmp_path):
    make(tmp_path, "cifar10")
    (root(tmp_path, "cifar10") / "README.md").unlink()
    (root(tmp_path, "cifar10") / "plain_text/test-00000-of-00001.parquet").unlink()
    with says(str(root(tmp_path, "cifar10")), "no split 'test'", "its splits: train"):
        huggingface.load("cifar10", 8, split="test")


@pytest.mark.parametrize("content", ["", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", None])
def test_a_copy_that_cannot_be_opened(tmp_path, content):
    folder = root(tmp_path, "mnist")
    folder.mkdir(parents=True)
    if content is not None:
        (folder / "train-00000-of-00001.parquet").write_text(content)
    listing = "nothing" if content is None else "train-00000-of-00001.parquet"
    with says(str(folder), "cannot be opened", f"it holds {listing}", "hf download", kind=OSError):
        huggingface.load("mnist", 8)


def test_a_file_is_missing_after_an_interrupted_download(tmp_path):
    made = make(tmp_path, "lsun-bedroom")
    (root(tmp_path, "lsun-bedroom") / "data/train-00001-of-00002-5f4afcffcee57481.parquet").unlink()
    with says("has 1 of the 2 files data/train-*", "hf download"):
        huggingface.load("lsun-bedroom", 8)
    assert len(huggingface.load("lsun-bedroom", 8, split="test")) == len(made["test"])


def test_a_later_file_is_cut_off(tmp_path):
    make(tmp_path, "afhq")
    file = root(tmp_path, "afhq") / "data/train-00001-of-00002.parquet"
    file.write_bytes(file.read_bytes()[:1000])
    with says("'afhq'", "cannot be opened", "hf download", kind=OSError):
        huggingface.load("afhq", 8)
    assert not kept(tmp_path)


# --- through bdbook.data --------------------------------------------------------------------------------------


def test_load_and_load_pixels(tmp_path):
    make(tmp_path, "cifar10")
    stored = data.load_pixels("cifar10", 8, channels=3, count=4)
    assert_pixels(stored, huggingface.load("cifar10", 8, 3, 4).numpy())
    images = data.load("cifar10", 8, channels=3, count=4)
    assert images.dtype == torch.float32
    assert torch.equal(images, stored.float() / 127.5 - 1)
    assert data.load("cifar10", 8).shape == (6, 1, 8, 8)
    assert data.load_pixels("digits", 8, count=2).dtype == torch.float32
    assert torch.equal(data.load_pixels("digits", 8, count=2), data.load("digits", 8, count=2))


def test_as_float():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(data.as_float(levels), levels.float() / 127.5 - 1)
    assert data.as_float(levels)[[0, 255]].tolist() == [-1, 1]
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        images = torch.zeros(2, dtype=dtype)
        assert data.as_float(images) is images
    with says("uint8", "floating-point", "torch.int64"):
        data.as_float(torch.arange(3))


def test_unknown_names(tmp_path, monkeypatch):
    with says("unknown dataset 'cifar-10'", "did you mean 'cifar10'", "afhq", "celeba", "lsun-bedroom", "mnist"):
        data.load("cifar-10", 8)
    with says(
        "unknown dataset of the hub 'digits'", "afhq, celeba, cifar10, fashion-mnist, lsun-bedroom, lsun-church, mnist"
    ):
        huggingface.load("digits", 8)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist").mkdir()
    Image.new("L", (8, 8), 255).save(tmp_path / "mnist" / "a.png")
    with says("'mnist' is both a data set and the folder", "./mnist", "set:mnist"):
        data.load("mnist", 8)
    with says("'mnist'", "Hugging Face", kind=FileNotFoundError):
        data.load("set:mnist", 8)
    assert data.load("./mnist", 8).shape == (1, 1, 8, 8)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"channels": 2}, "channels must be 1"),
        ({"count": 0}, "count must be at least 1"),
        ({"split": "valid"}, "unknown split"),
        ({"size": 0}, "size"),
        ({"count": 7}, "cifar10, split 'train', has 6 images, 7 were asked for: lower count"),
    ],
)
def test_bad_requests(tmp_path, arguments, words):
    make(tmp_path, "cifar10")
    with says(words):
        huggingface.load(**{"name": "cifar10", "size": 8, **arguments})


def test_each_set_is_tested_and_none_hides_an_embedded_one():
    assert set(FILES) == set(huggingface.DATASETS)
    assert not set(huggingface.DATASETS) & {*data.EMBEDDED, fashion.NAME, emoji.NAME}
