"""`bdbook restore` on folders and strange pictures: nothing is lost, nothing is written twice, nothing stays unsaid."""

import io
import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from bdbook import cold, data, recipes, training
from bdbook.cli import main
from bdbook.cli import restore as command
from bdbook.denoiser import X0, Denoiser
from bdbook.evaluation import pictures, restored, tiling
from bdbook.page import recorded
from bdbook.training import checkpoints, records
from bdbook.transforms import Rotation2D

ROOT = Path(__file__).resolve().parents[1]
WAYS = ("compared", "direct", "tacos")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A restorer that is as good as untrained: direct is what it was given."""
    recipe, path = recipes.get("photos-sharpen"), tmp_path_factory.mktemp("runs") / "weights.safetensors"
    images = data.load(recipe.data, recipe.size, recipe.channels, 40)
    state = training.start(recipe, images)
    checkpoints.save_weights(path, state, records.new(recipe, 0, images, recipe.data, "smoke"))
    return path


def noise(size=(20, 16), mode="RGB", seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    return Image.fromarray(pixels, "RGBA").convert(mode)


def save(path, mode="RGB", seed=0, **settings):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise(mode=mode, seed=seed).save(path, **settings)
    return path


def run(weights, given, *extra):
    return main(["restore", "--image", str(given), "--run", str(weights), "--steps", "1", "--profile", "smoke", *extra])


def below(folder):
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def files_of(*stems_and_suffixes):
    return {f"{stem}-{way}{suffix}" for stem, suffix in stems_and_suffixes for way in WAYS}


def test_folders_and_formats_are_kept_and_a_second_run_finds_all_done(tmp_path, weights, capsys):
    top = tmp_path / "in"
    save(top / "a" / "img.png"), save(top / "b" / "img.png", seed=1), save(top / "photo.jpg"), save(top / "photo.png")
    save(top / "film.gif", "P")
    assert run(weights, top) == 0
    found = below(top / "restored")
    ends = ("a/img", ".png"), ("b/img", ".png"), ("photo", ".jpg"), ("photo", ".png"), ("film", ".gif.png")
    assert found.keys() == files_of(*ends) | {"restored.json"}
    assert Image.open(top / "restored" / "photo-tacos.jpg").format == "JPEG"
    assert found["a/img-direct.png"] != found["b/img-direct.png"]
    capsys.readouterr()
    assert run(weights, top) == 0
    assert capsys.readouterr().out == "5 already restored\n"
    assert below(top / "restored") == found


def test_an_interrupted_folder_goes_on(tmp_path, weights, capsys, monkeypatch):
    top = tmp_path / "in"
    save(top / "a.png"), save(top / "b.png", seed=1)
    write, written = command.write_atomically, []

    def full(path, content):
        if len(written) == 4:  # in the middle of the second picture
            raise KeyboardInterrupt
        written.append(path)
        write(path, content)

    monkeypatch.setattr(command, "write_atomically", full)
    assert run(weights, top) == 130
    monkeypatch.setattr(command, "write_atomically", write)
    before = {path: path.stat().st_mtime_ns for path in written[:3]}
    assert run(weights, top) == 0
    assert "1 already restored\nb.png: 20x16" in capsys.readouterr().out
    assert below(top / "restored").keys() == files_of(("a", ".png"), ("b", ".png")) | {"restored.json"}
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_nothing_that_was_there_is_lost(tmp_path, weights, capsys):
    """Someone's file, other settings, a changed source, a changed output: an error before any work, and no change."""
    top, out = tmp_path / "in", tmp_path / "o"
    save(top / "a.png"), save(top / "z.png")
    (out / "z-tacos.png").parent.mkdir()
    (out / "z-tacos.png").write_text("mine")

    def refused(message, *extra):
        before = below(out)
        assert run(weights, top, "--out", str(out), *extra) == 2
        said = capsys.readouterr()
        assert message in said.err
        assert "--overwrite" in said.err
        assert below(out) == before

    refused("z-tacos.png is there already and restored.json does not say that it was restored from z.png")
    assert run(weights, top, "--out", str(out), "--overwrite") == 0
    refused("made with other settings (seed 0)", "--seed", "1")
    save(top / "a.png", seed=5)
    refused("made of another a.png, or that has changed since")
    save(top / "a.png")
    assert run(weights, top, "--out", str(out)) == 0
    save(out / "a-direct.png", seed=9)
    refused("a-direct.png is there already and has been changed since it was made")
    (out / "a-direct.png").unlink()
    assert run(weights, top, "--out", str(out)) == 0, "what is missing is made again"
    (out / "restored.json").write_text("{}")
    assert run(weights, top, "--out", str(out)) == 2
    assert "restored.json is not what restore writes" in capsys.readouterr().err


def test_outputs_and_runs_are_no_inputs(tmp_path, weights):
    top = tmp_path / "in"
    save(top / "a.png"), save(top / "sub" / "b.png")
    assert run(weights, top / "sub" / "b.png", "--out", str(top / "sub" / "done")) == 0
    save(top / "trained" / "samples-1.png")
    (top / "trained" / "record.json").write_text("{}")
    (top / "trained" / "checkpoints").mkdir()
    for _ in range(2):
        assert run(weights, top) == 0
        made = below(top / "restored").keys()
        assert made == files_of(("a", ".png"), ("sub/b", ".png")) | {"restored.json"}
    assert run(weights, top, "--out", str(top)) == 0  # beside the pictures
    assert restored.sources(top) == [top / "a.png", top / "sub" / "b.png"]
    save(top / "restored" / "mine.png")
    assert top / "restored" / "mine.png" in restored.sources(top), "what is restored is told by its list, not its place"
    names = {file.name for file in restored.sources(top / "sub" / "done")}
    assert names == files_of(("b", ".png")), "given itself, it is a folder of pictures"


def test_a_folder_may_be_given_from_where_one_is(tmp_path, weights, monkeypatch):
    save(tmp_path / "in" / "sub" / "b.png")
    for where, given in ((tmp_path, "in"), (tmp_path / "in", "."), (tmp_path / "in" / "sub", "../sub")):
        monkeypatch.chdir(where)
        assert run(weights, Path(given), "--overwrite") == 0
        assert list((where / given).rglob("b-tacos.png"))


def test_two_pictures_never_share_a_file(tmp_path, weights, capsys):
    top = tmp_path / "in"
    save(top / "Photo.png"), save(top / "photo.png")
    if len(list(top.iterdir())) == 2:
        assert run(weights, top) == 2
        assert "differ in capitals or accents alone" in capsys.readouterr().err
        (top / "photo.png").unlink()
    save(top / "Photo-tacos.png")
    before = below(top)
    assert run(weights, top, "--out", str(top), "--overwrite") == 2
    assert "which is to be restored itself; give another --out" in capsys.readouterr().err
    assert below(top) == before


def test_a_bad_file_does_not_stop_the_folder(tmp_path, weights, capsys):
    top = tmp_path / "in"
    save(top / "a.png"), save(top / "z.png")
    (top / "m.png").write_text("no picture")
    Image.new("F", (20, 16)).save(top / "n.tif")
    Image.new("L", (3000, 2)).save(top / "thin.png")
    assert run(weights, top) == 13
    said = capsys.readouterr().err
    assert "3 of 5 pictures could not be restored:" in said
    assert "m.png cannot be read as an image" in said
    assert "n.tif cannot be read as an image: floating-point pixels have no agreed range; save it with 8 or 16" in said
    assert "thin.png: the picture has 3000x2 pixels" in said
    assert files_of(("a", ".png"), ("z", ".png")) <= below(top / "restored").keys()
    assert run(weights, top / "m.png") == 2


def test_a_terminal_without_the_letters_of_a_name_loses_nothing(tmp_path, weights):
    name = save(tmp_path / "写真 ü.png")
    line = [sys.executable, "-m", "bdbook", "restore", "--image", name, "--run", weights, "--steps", "1"]
    environment = {"PATH": "", "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert r"\u5199\u771f \xfc.png: 20x16" in done.stdout
    assert below(tmp_path / "restored").keys() == files_of(("写真 ü", ".png")) | {"restored.json"}


def test_without_recorded_runs_it_says_how_to_get_a_restorer(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(recorded, "RESULTS", tmp_path)
    monkeypatch.setattr(recorded, "IN_WHEEL", True)
    monkeypatch.setattr(recorded.folder_of, "__defaults__", ("cpu", 0, tmp_path))
    picture = save(tmp_path / "a.png")
    for in_wheel in (True, False):
        monkeypatch.setattr(recorded, "IN_WHEEL", in_wheel)
        assert main(["restore", "--image", str(picture), "--profile", "smoke"]) == 2
        assert "train --recipe photos-sharpen --out sharpen, and give it: --run sharpen" in capsys.readouterr().err


# --- pictures -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "suffix"), [("RGBA", ".png"), ("LA", ".png"), ("RGBA", ".tiff"), ("RGBA", ".webp")])
def test_transparency_is_kept(tmp_path, weights, mode, suffix):
    file = tmp_path / f"a{suffix}"
    noise(mode="RGBA").convert(mode).save(file, **({"lossless": True, "exact": True} if suffix == ".webp" else {}))
    assert run(weights, file) == 0
    made, alpha = Image.open(tmp_path / "restored" / f"a-tacos{suffix}"), noise().convert("RGBA")
    alpha = np.asarray(Image.open(file).convert("RGBA").getchannel("A"))
    assert len(np.unique(alpha)) > 50
    np.testing.assert_array_equal(np.asarray(made.convert("RGBA").getchannel("A")), alpha)
    found = pictures.read(file)
    assert found.pixels.shape == (1 if mode == "LA" else 3, 16, 20)
    colour = np.asarray(Image.open(file))[..., :-1].transpose(2, 0, 1)
    np.testing.assert_allclose((found.pixels + 1) * 127.5, colour, atol=1e-4)


def test_profiles_are_kept_and_those_of_other_colours_left_out(tmp_path, weights):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for suffix in (".png", ".jpg", ".webp", ".tiff"):
        assert run(weights, save(tmp_path / f"a{suffix}", icc_profile=profile)) == 0
        made = [Image.open(tmp_path / "restored" / f"a-{way}{suffix}") for way in WAYS]
        assert [image.info["icc_profile"] for image in made] == [profile] * 3
    with pytest.warns(UserWarning, match=r"c\.jpg has a profile for other colours"):
        assert pictures.read(save(tmp_path / "c.jpg", "CMYK", icc_profile=profile[:16] + b"CMYK" + profile[20:]))
    with pytest.warns(UserWarning, match="holds no transparency"):
        pictures.encoded(torch.zeros(3, 2, 2), pictures.Picture(torch.zeros(3, 2, 2), np.zeros((2, 2))), "a.bmp")


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_fewer_bits_in_a_file_of_16_are_read_as_what_they_are(tmp_path, bits, suffix):
    values = np.linspace(0, 2**bits - 1, 400).round().astype(np.uint16).reshape(20, 20)
    Image.fromarray(values).save(tmp_path / f"deep{suffix}")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = pictures.read(tmp_path / f"deep{suffix}").pixels
        trained_on = data.read_image(tmp_path / f"deep{suffix}")
    expected = (values / (2**bits - 1) * 255).round()
    np.testing.assert_allclose((found[0] + 1) * 127.5, expected, atol=1e-3)
    np.testing.assert_array_equal(np.asarray(trained_on), expected)
    told = [str(warning.message) for warning in said if "bits" in str(warning.message)]
    assert len(told) == (0 if bits == 16 else 2)
    assert all(f"deep{suffix} has 16 bits" in text and f"one of {bits} bits" in text for text in told)


def test_pictures_are_upright_and_of_films_the_first_with_a_warning(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    assert pictures.read(save(tmp_path / "a.jpg", exif=exif)).pixels.shape == (3, 20, 16)
    frames = [noise(mode="P", seed=seed) for seed in (0, 1)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    with pytest.warns(UserWarning, match=r"film\.gif has 2 frames or pages; only the first"):
        assert pictures.read(tmp_path / "film.gif").pixels.shape == (3, 16, 20)


def test_comparisons_fit_their_format():
    wide = [torch.zeros(1, 16, 9000)] * 2
    made = pictures.compared(wide, pictures.Picture(wide[0]), "a.webp")
    assert pictures.WRITTEN["WEBP"][1] >= max(Image.open(io.BytesIO(made)).size) > 8000


# --- tiles, channels, large pictures --------------------------------------------------------------------------


def test_the_recorded_restorer_shows_no_seams():
    """Where tiles meet, they add a smaller step between pixels than the picture has anywhere on average.

    They differ from the network asked for the whole, whose norms look at all of it, by 0.01 of 2 on average; without
    margins the steps are four times as large and differences reach 1.6.
    """
    from bdbook.training import runs

    run, t = runs.load(ROOT / "results" / "photos-sharpen-cpu"), torch.ones(1)
    net, size = run.denoiser.net, (64, 480)
    x = run.denoiser.process.resized(size).mean(data.photograph("flower", size, 1)[None], 1.0)
    ask, _ = tiling.tiled(net, (tiling.TILE, tiling.TILE), tiling.OVERLAP, 4, tiling.MARGIN)
    with torch.no_grad():
        whole = net(x, t)
        difference = (ask(x, t) - whole)[0, 0]
    left, right = tiling.tiles_of(size, (tiling.TILE, tiling.TILE), tiling.OVERLAP + 2 * tiling.MARGIN, 4)[1]
    seam = slice(right.start + tiling.MARGIN - 1, left.stop - tiling.MARGIN + 1)
    assert difference.abs().mean() < 0.02
    assert difference.diff(dim=1)[:, seam].abs().mean() < whole.diff(dim=-1).abs().mean()


def test_margins_hide_what_a_tile_sees_beyond_its_ends():
    """A network that sees no further than the margin answers in tiles as it does for the whole, to rounding."""

    def local(x, t):
        return torch.nn.functional.conv2d(x, torch.ones(1, 1, 9, 9) / 81, padding=4)

    x = torch.rand(1, 1, 100, 88, generator=torch.Generator().manual_seed(0))
    ask, how = tiling.tiled(local, (48, 48), 8, 4, margin=4)
    torch.testing.assert_close(ask(x, torch.ones(1)), local(x, None), rtol=0, atol=1e-6)
    assert "overlap by 16" in how


@pytest.mark.parametrize(
    "process",
    [
        cold.dct_blur((30, 44), 3.0, steps=6),
        cold.Pixelation((32, 48), 3),
        cold.blur((30, 300), boundary="circular", steps=6),
        cold.blur((30, 300), boundary="symmetric", steps=6),
    ],
)
def test_degradations_of_large_pictures_are_those_of_their_bases(process):
    same = tiling.of_any_size(process, Denoiser(lambda x, t: x, process, X0))
    assert not isinstance(same.basis, Rotation2D)
    x = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (3, 2, *process.size)))
    for t in (torch.tensor([1.0, 0.0, 1 / 3]), 1.0):
        torch.testing.assert_close(same.mean(x, t), process.mean(x, t), rtol=0, atol=1e-11)
    assert same.resized((64, 64)).size == (64, 64)
    kept = tiling.of_any_size(process, Denoiser(lambda x, t: x, process, "v"))
    assert kept == process


def test_brightness_walks_as_each_channel_does_where_the_answers_are_linear(weights):
    """The untrained network's x0_hat is x: what TACoS adds is linear in x, and grey pictures come out alike."""
    from bdbook.training import runs

    run = runs.load(weights)
    grey = (torch.rand(1, 24, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1).expand(3, -1, -1)
    by = {colour: tiling.restore(run, grey, steps=3, colour=colour) for colour in tiling.COLOURS}
    torch.testing.assert_close(by["brightness"].ways["tacos"], by["each"].ways["tacos"], atol=1e-5, rtol=0)
    assert "brightness" in by["brightness"].how
    with pytest.raises(ValueError, match="unknown way to restore a colour picture 'hue'"):
        tiling.restore(run, grey, colour="hue")


def test_the_manifest_says_what_was_made_of_what(tmp_path, weights):
    file = save(tmp_path / "a.png")
    assert run(weights, file) == 0
    told = json.loads((tmp_path / "restored" / "restored.json").read_text())["pictures"]["a.png"]
    assert told["source"] == restored.sha256(file.read_bytes())
    assert told["settings"] == {"degrade": False, "severity": 1.0, "steps": 1, "colour": "brightness", "seed": 0}
    for name, digest in told["outputs"].items():
        assert restored.sha256((tmp_path / "restored" / name).read_bytes()) == digest
