"""A run as a folder for others: what is in it, that it comes back, and what is refused."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

import bdbook
from bdbook import processes
from bdbook.cli import main
from bdbook.page import recorded
from bdbook.training import runs, sharing
from bdbook.transforms import lengths

TINY = {"steps": 2, "profile": "smoke", "batch": 4}
FILES = {"weights.safetensors", "config.json", "README.md"}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A run on a data set of the library."""
    folder = tmp_path_factory.mktemp("digits") / "run"
    bdbook.fit("digits-blurring", folder=folder, **TINY)
    return folder


@pytest.fixture(scope="module")
def shared(digits, tmp_path_factory):
    return sharing.share(digits, tmp_path_factory.mktemp("shared") / "folder", "cc-by-4.0")


def front(folder):
    """What the hub reads of a card."""
    return yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])


def codes(folder):
    return re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)


def test_the_run_comes_back(digits, shared):
    own, back = runs.load(digits), runs.load(shared)
    assert back.recipe == own.recipe
    assert back.record == own.record
    assert back.denoiser.process == own.denoiser.process
    assert torch.equal(back.spectrum.variance, own.spectrum.variance)
    assert torch.equal(back.draw(3, 0, steps=3), own.draw(3, 0, steps=3))


def test_the_folder_holds_what_the_hub_expects_and_no_pickle(digits, shared):
    there = {file.name for file in shared.iterdir()}
    assert there == FILES | ({"samples.png"} if (digits / "samples.png").exists() else set())
    with safe_open(shared / "weights.safetensors", "pt") as file:
        assert {key.split(".")[0] for key in file.keys()} == {"ema", "spectrum"}  # noqa: SIM118
    config = json.loads((shared / "config.json").read_text())
    assert config["library_name"] == "bdbook"
    assert config["record"]["recipe"]["name"] == "digits-blurring"
    assert len(config["sha256"]) == 64


def test_the_card_says_what_the_record_says(digits, shared):
    told, record = (shared / "README.md").read_text(), json.loads((digits / "record.json").read_text())
    assert front(shared) == {
        "library_name": "bdbook",
        "pipeline_tag": "unconditional-image-generation",
        "license": "cc-by-4.0",
        "tags": ["diffusion", "blur"],
    }
    run = runs.load(digits)
    parameters = sum(each.numel() for each in run.denoiser.net.parameters())
    for words in (
        "# digits-blurring",
        "`digits`",
        f"{record['identity']['count']:,} images, bdbook's data set `digits`",
        f"{parameters:,} parameters",
        "2 of 4 images, seed 0",
        record["device"],
        record["date"],
        "no text and no labels",
        "nothing is recorded that was measured at this step",
        "8 images",
    ):
        assert words in told


def test_the_codes_of_the_card_run(shared):
    codes_of_it = codes(shared)
    assert len(codes_of_it) == 2
    names = {"FOLDER": str(shared)}
    for code in codes_of_it:
        exec(code.replace("num_inference_steps=", "num_inference_steps=3 or "), names)
    assert len(names["images"]) == 8
    assert isinstance(names["images"][0], Image.Image)


def test_the_recorded_clothes_have_their_measures_on_the_card(tmp_path):
    source = recorded.folder_of("fashion-blurring")
    folder = sharing.share(source, tmp_path / "clothes")
    told, metrics = (folder / "README.md").read_text(), json.loads((source / "metrics.json").read_text())
    assert front(folder)["datasets"] == ["zalando-datasets/fashion_mnist"]
    assert "license" not in front(folder)
    assert "No licence is given for the weights." in told
    quality = metrics["quality"]
    assert f"| frechet | {quality['samples']['frechet']:.4g} | {quality['floor']['frechet']:.4g} |" in told
    assert f"| pictures | {quality['samples']['pictures']:,} |" in told
    assert metrics["sample_protocol"] in told
    assert f"at most: {metrics['bits']['mean']:.3f}" in told
    assert (folder / "samples.png").read_bytes() == (source / "samples.png").read_bytes()
    random = torch.Generator().manual_seed(0)
    x, t = torch.randn(2, 1, 16, 16, generator=random), torch.tensor([0.3, 0.9])
    assert torch.equal(runs.load(folder).denoiser(x, t), runs.load(source).denoiser(x, t))


def test_measures_of_another_step_are_not_told(tmp_path, digits):
    copy = tmp_path / "run"
    copy.mkdir()
    (copy / "weights.safetensors").write_bytes((digits / "weights.safetensors").read_bytes())
    protocol = {"sample_protocol": "how", "quality": {"samples": {"frechet": 12.34}}}
    for step, there in ((2, True), (1, False)):
        (copy / "metrics.json").write_text(json.dumps({"step": step, **protocol}))
        folder = sharing.share(copy, tmp_path / f"step-{step}")
        assert ("| frechet | 12.34 |" in (folder / "README.md").read_text()) == there


def test_a_restorer_says_how_it_restores(tmp_path):
    bdbook.fit("digits-deblur", folder=tmp_path / "run", **TINY)
    folder = sharing.share(tmp_path / "run", tmp_path / "shared")
    assert front(folder)["pipeline_tag"] == "image-to-image"
    assert "and not what was there" in (folder / "README.md").read_text()
    (code,) = codes(folder)
    recipe = runs.load(folder).recipe
    names = {"FOLDER": str(folder), "degraded": torch.zeros(2, recipe.channels, *lengths(recipe.size))}
    exec(code, names)
    assert names["restored"].shape == names["degraded"].shape


def test_no_place_and_no_picture_of_a_folder_is_told(tmp_path):
    pictures, random = tmp_path / "of-grandmother", np.random.default_rng(0)
    pictures.mkdir()
    for number in range(12):
        Image.fromarray(random.integers(0, 256, (16, 16), dtype=np.uint8)).save(pictures / f"{number}.png")
    bdbook.fit("photos-blurring", pictures, tmp_path / "run", **TINY)
    folder = sharing.share(tmp_path / "run", tmp_path / "shared")
    for file in folder.iterdir():
        assert b"grandmother" not in file.read_bytes(), file
        assert str(tmp_path).encode() not in file.read_bytes(), file
        assert b"fingerprints" not in file.read_bytes(), file
    assert "images, one's own, which are not here" in (folder / "README.md").read_text()
    back = runs.load(folder)
    assert back.draw(1, 0, steps=2).shape == (1, 1, 16, 16)
    with pytest.raises(ValueError, match=r"give them again: load_run\(folder, images=images\)"):
        back.pixels()
    assert len(runs.load(folder, images=torch.zeros(3, 1, 16, 16)).pixels()) == 3


class Own(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, x, t):
        return self.scale * x


def test_a_network_of_ones_own_has_to_be_given(tmp_path):
    process, images = processes.heat_dissipation(8, steps=5), torch.zeros(6, 1, 8, 8)
    bdbook.fit(process, images, tmp_path / "run", net=Own(), **TINY)
    with pytest.raises(ValueError, match="has a network of its own, Own of 1 parameters; give it"):
        sharing.share(tmp_path / "run", tmp_path / "shared")
    assert not (tmp_path / "shared").exists()
    folder = sharing.share(tmp_path / "run", tmp_path / "shared", net=Own())
    (code,) = codes(folder)
    assert "run = load_run(FOLDER, net=net, images=images)" in code
    names = {"FOLDER": str(folder), "net": Own(), "images": images}
    exec(code, names)
    assert names["images"].shape == (8, 1, 8, 8)


# --- what was changed, and what is no run ---------------------------------------------------------------------------


def copied(shared, folder):
    folder.mkdir()
    for file in shared.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def changed_config(folder, change):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


CHANGES = {
    "the step": (lambda config: config.update(step=10**6), "in step: one of both was changed"),
    "the recipe": (lambda config: config["record"]["recipe"].update(name="hs-cifar10"), "in record: one of both"),
    "the checksum": (lambda config: config.update(sha256="0" * 64), "in sha256: one of both"),
    "another key": (lambda config: config.update(auto_map={"AutoModel": "evil.Model"}), "in auto_map: one of both"),
    "a key less": (lambda config: config.pop("format"), "in format: one of both"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_config_that_was_changed_is_refused(name, shared, tmp_path):
    change, words = CHANGES[name]
    folder = copied(shared, tmp_path / "copy")
    runs.load(folder)
    changed_config(folder, change)
    for path in (folder, folder / "weights.safetensors"):
        with pytest.raises(ValueError, match=f"config.json does not fit the weights beside it, {words}"):
            runs.load(path)


@pytest.mark.parametrize("text", ["{", "", "library_name: bdbook"])
def test_a_config_that_is_none_is_refused(text, shared, tmp_path):
    folder = copied(shared, tmp_path / "copy")
    (folder / "config.json").write_text(text)
    with pytest.raises(ValueError, match="is no JSON"):
        runs.load(folder)


@pytest.mark.parametrize("config", [[1], {}, {"model_type": "bert", "step": 3}])
def test_somebody_elses_config_may_lie_beside_weights(config, shared, tmp_path):
    folder = copied(shared, tmp_path / "copy")
    (folder / "config.json").write_text(json.dumps(config))
    assert runs.load(folder).recipe.name == "digits-blurring"


def test_weights_that_were_changed_are_refused(shared, tmp_path):
    folder = copied(shared, tmp_path / "copy")
    path = folder / "weights.safetensors"
    with safe_open(path, "pt") as file:
        metadata, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    tensors[next(key for key in tensors if key.startswith("ema."))].add_(1)
    save_file(tensors, path, metadata)
    with pytest.raises(ValueError, match="is damaged: its checksum does not fit"):
        runs.load(folder)
    header = json.loads(metadata["bdbook-1"])
    del header["sha256"]  # as files of old have none
    save_file(tensors, path, {"bdbook-1": json.dumps(header)})
    with pytest.raises(ValueError, match="does not fit the weights beside it, in sha256"):
        runs.load(folder)


def test_weights_of_another_run_are_refused(shared, tmp_path):
    folder = copied(shared, tmp_path / "copy")
    other = recorded.folder_of("fashion-blurring") / "weights.safetensors"
    (folder / "weights.safetensors").write_bytes(other.read_bytes())
    with pytest.raises(ValueError, match="does not fit the weights beside it, in sha256, record, step"):
        runs.load(folder)


def test_the_command(digits, tmp_path, capsys):
    out = tmp_path / "a" / "folder"
    assert main(["share", str(digits), "--out", str(out), "--license", "mit"]) == 0
    assert f"hf upload NAME {out}" in capsys.readouterr().out
    assert front(out)["license"] == "mit"
    assert main(["sample", "--run", str(out), "--count", "1", "--steps", "2", "--out", str(tmp_path / "one.png")]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere", "--out", "new"], "nowhere does not exist"),
        ([".", "--out", "new"], "holds neither weights.safetensors nor checkpoints"),
        (["RUN", "--out", "full"], "full is not empty, it holds file; choose a new folder"),
        (["RUN", "--out", "full/file"], "file is a file; expected a folder"),
        (["RUN", "--out", "new", "--license", "mit\nevil: true"], "expected a name as the hub spells it"),
        (["full/file", "--out", "new"], "truncated or no safetensors file"),
    ],
)
def test_what_cannot_be_shared_is_told(arguments, words, digits, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    assert main(["share", *(str(digits) if each == "RUN" else each for each in arguments)]) == 2
    assert words in capsys.readouterr().err
    assert {path.name for path in tmp_path.rglob("*")} == {"full", "file"}


def test_loading_imports_no_pickle(shared):
    code = (
        "import sys, bdbook, pickle, torch\n"
        "def never(*a, **k): raise AssertionError('unpickled')\n"
        "pickle.load = pickle.loads = pickle.Unpickler = torch.load = never\n"
        f"print(bdbook.load_run({str(shared)!r}).recipe.name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "digits-blurring\n"
