"""Fashion-MNIST: small files of the real format, a copy of the hub, words where there is none, and the real files."""

import gzip
import hashlib
import re
import struct

import datasets
import huggingface_hub
import numpy as np
import pytest
import torch
from PIL import Image

from bdbook import data
from bdbook.data import fashion, huggingface
from bdbook.page import recorded

HERE = fashion.DEBIAN.is_dir()  # .ci/run installs it where apt knows it
real = pytest.mark.skipif(not HERE, reason="needs the package dataset-fashion-mnist")
NUMBERS = {"train": 12, "test": 7}


def says(*words, kind=ValueError):
    return pytest.raises(kind, match="(?s)" + ".*".join(re.escape(word) for word in words))


def idx(numbers):
    """Bytes as http://yann.lecun.com/exdb/mnist describes them: 0, 0, 8 for bytes, dimensions, sizes, numbers."""
    return struct.pack(f">HBB{numbers.ndim}I", 0, 8, numbers.ndim, *numbers.shape) + numbers.tobytes()


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """Neither the package nor a folder nor a way to the hub; the real package keeps its place in `real` tests."""
    monkeypatch.setenv("BDBOOK_DATASETS", str(tmp_path / "sets"))
    monkeypatch.setenv("BDBOOK_CACHE", str(tmp_path / "kept"))
    monkeypatch.setattr(fashion, "DEBIAN", tmp_path / "debian")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "library")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


@pytest.fixture
def sets(monkeypatch):
    """Pictures and labels of both splits, and their checksums in place of the real ones."""
    random, made, digests = np.random.default_rng(0), {}, {}
    for split, number in NUMBERS.items():
        made[split] = (
            random.integers(0, 256, (number, 28, 28), dtype=np.uint8),
            random.integers(0, 10, number, dtype=np.uint8),
        )
        for kind, numbers in zip(("images-idx3", "labels-idx1"), made[split], strict=True):
            digests[f"{fashion.STEMS[split]}-{kind}-ubyte"] = hashlib.sha256(idx(numbers)).hexdigest()
    monkeypatch.setattr(fashion, "FILES", digests)
    return made


def write(folder, sets, compressed=True):
    folder.mkdir(parents=True)
    for split, parts in sets.items():
        for kind, numbers in zip(("images-idx3", "labels-idx1"), parts, strict=True):
            name, content = f"{fashion.STEMS[split]}-{kind}-ubyte", idx(numbers)
            if compressed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content, mtime=1))
            else:
                (folder / name).write_bytes(content)


@pytest.mark.parametrize("place", ["debian", "sets/fashion-mnist"])
@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("split", ["train", "test"])
def test_pictures_have_a_black_border_and_are_averaged_by_areas(tmp_path, sets, place, compressed, split):
    write(tmp_path / place, sets, compressed)
    whole = np.zeros((NUMBERS[split], 32, 32))
    whole[:, 2:30, 2:30] = sets[split][0]
    found = data.load("fashion", 32, split=split)
    assert found.shape == (NUMBERS[split], 1, 32, 32)
    np.testing.assert_allclose(found[:, 0], whole / 127.5 - 1, atol=1e-6)
    assert (found[:, 0, :2] == -1).all()
    assert torch.equal(data.load_pixels("fashion", 32, split=split)[:, 0], torch.from_numpy(whole.astype(np.uint8)))
    for side in (16, 8, 1):
        # An independent mean of areas.
        expected = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(whole / 127.5 - 1)[:, None], side)
        found = data.load("fashion", (side, side), split=split)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=0)
    colour = data.load("fashion", 16, channels=3, count=3, split=split)
    assert colour.shape == (3, 3, 16, 16)
    for channel in range(3):
        assert torch.equal(colour[:, channel], data.load("fashion", 16, split=split)[:3, 0])
    labels = fashion.labels(split, 5)
    assert labels.dtype == torch.int64
    assert labels.tolist() == sets[split][1][:5].tolist()


def test_the_package_comes_before_a_folder(tmp_path, sets):
    write(tmp_path / "sets/fashion-mnist", sets)
    assert fashion.folder_of("t10k-images-idx3-ubyte") == tmp_path / "sets/fashion-mnist"
    write(tmp_path / "debian", sets)
    assert fashion.folder_of("t10k-images-idx3-ubyte") == tmp_path / "debian"


def test_the_hub_comes_last(tmp_path, sets):
    copy = tmp_path / "sets" / huggingface.DATASETS["fashion-mnist"].repository / "fashion_mnist"
    copy.mkdir(parents=True)
    for split, (pictures, _) in sets.items():
        cells = {"image": [Image.fromarray(picture) for picture in pictures]}
        features = datasets.Features({"image": datasets.Image()})
        datasets.Dataset.from_dict(cells, features=features).to_parquet(copy / f"{split}-00000-of-00001.parquet")
    (copy.parent / "README.md").write_text(
        "---\nconfigs:\n- config_name: fashion_mnist\n  data_files:\n"
        "  - split: train\n    path: fashion_mnist/train-*\n  - split: test\n"
        "    path: fashion_mnist/test-*\n  default: true\n---\n"
    )
    of_hub = data.load("fashion", 16, count=5, split="test")
    with says("t10k-labels-idx1-ubyte was not found", "apt-get install", kind=FileNotFoundError):
        fashion.labels("test")
    write(tmp_path / "debian", sets)
    assert torch.equal(data.load("fashion", 16, count=5, split="test"), of_hub)


def test_where_there_is_none_all_three_ways_are_said(tmp_path, monkeypatch):
    ways = ["apt-get install dataset-fashion-mnist", "train-images-idx3-ubyte", "hf download", "zalando-datasets"]
    with says("3 ways", ways[0], ways[1], f"{tmp_path}/sets/fashion-mnist", *ways[2:], kind=FileNotFoundError):
        data.load("fashion", 16)
    monkeypatch.delenv("BDBOOK_DATASETS")
    with says(*ways[:2], "FOLDER/fashion-mnist, and BDBOOK_DATASETS=FOLDER", *ways[2:], kind=FileNotFoundError):
        data.load("fashion", 16)


def test_a_file_that_is_missing_damaged_or_of_another_set_is_named(tmp_path, sets):
    folder = tmp_path / "debian"
    write(folder, sets)
    with says("no train-images-idx3-ubyte in", "nor train-images-idx3-ubyte.gz", kind=FileNotFoundError):
        fashion.read(tmp_path, "train-images-idx3-ubyte")
    file = folder / "train-images-idx3-ubyte.gz"
    whole = file.read_bytes()
    for damage in (whole[:-20], b"no gzip", whole[:40] + bytes(20) + whole[60:]):
        file.write_bytes(damage)
        with says(str(file), "is damaged", "get it again"):
            data.load("fashion", 16)
    other = sets["train"][0].copy()
    other[0, 0, 0] ^= 1
    file.write_bytes(gzip.compress(idx(other)))
    with says(str(file), "is not Fashion-MNIST's", "expected was", "MNIST has files of the same names"):
        data.load("fashion", 16)
    assert len(data.load("fashion", 16, split="test")) == NUMBERS["test"]  # whose files are whole


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"size": 28}, ["28x28 px", "divides 32: 1, 2, 4, 8, 16, 32", '"fashion-mnist" of the hub']),
        ({"size": (16, 32)}, ["16x32 px", "a square"]),
        ({"size": 64}, ["64x64 px"]),
        ({"count": 13}, ["fashion, split 'train', has 12 images, 13 were asked for"]),
        ({"channels": 2}, ["channels must be 1"]),
        ({"split": "valid"}, ["unknown split"]),
    ],
)
def test_bad_requests(tmp_path, sets, arguments, words):
    write(tmp_path / "debian", sets)
    with says(*words):
        data.load(**{"name": "fashion", "size": 16, **arguments})


def test_a_folder_of_that_name_is_not_mistaken_for_it(tmp_path, sets, monkeypatch):
    write(tmp_path / "debian", sets)
    (tmp_path / "fashion").mkdir()
    monkeypatch.chdir(tmp_path)
    with says("'fashion' is both a data set and the folder", "set:fashion"):
        data.load("fashion", 16)
    assert data.recorded("fashion") == "set:fashion"
    assert len(data.load("set:fashion", 16)) == NUMBERS["train"]


@real
def test_the_real_files(monkeypatch):
    monkeypatch.undo()
    train, test = (data.load("fashion", 16, split=split) for split in ("train", "test"))
    assert (len(train), len(test)) == (60_000, 10_000)
    assert len(fashion.CLASSES) == 10
    for split, number in (("train", 6000), ("test", 1000)):
        assert fashion.labels(split).bincount().tolist() == [number] * 10
    assert fashion.labels(count=2).tolist() == [9, 0]  # an ankle boot, a T-shirt
    # What the mixture of the exact laboratory was fitted to are the first of them: its log density falls elsewhere.
    mixture = recorded.mixture("fashion")
    seen, unseen = (mixture.log_density(images.double()).mean().item() for images in (train[:4000], test[:4000]))
    assert round(seen, 1) == 145.0
    assert unseen < 141
    variance = mixture.gaussian().variance
    own = mixture.basis.forward(train[:20_000].double()).var(0, correction=0)
    assert ((variance - own).abs() < 2e-4 + 1e-2 * own).all()
