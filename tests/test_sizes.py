"""Sizes, colours and ranges of the images that a training is given."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

import bdbook
from bdbook import data, pixels, recipes
from bdbook.cli import main


def says(*words):
    return pytest.raises(ValueError, match="".join(rf"(?=[\s\S]*{re.escape(word)})" for word in words))


# --- sizes and colours --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["ddpm", "cosine", "blurring", "blur", "soft", "heat"])
def test_every_method_makes_colour_pictures_with_a_small_network(tmp_path, method):
    told = []
    run = bdbook.fit(
        f"photos-{method}",
        data.load("photos", 16, 3, 40),
        tmp_path,
        channels=3,
        profile="smoke",
        steps=2,
        batch=4,
        tell=told.append,
    )
    assert run.recipe.name == f"photos-{method}-colour"
    assert run.draw(2, 0).shape == (2, 3, 16, 16)
    parameters = int(re.search(r": ([\d,]+) parameters", "\n".join(told))[1].replace(",", ""))
    assert parameters == sum(p.numel() for p in run.denoiser.net.parameters()) < 1_000_000
    assert bdbook.load_run(tmp_path).recipe.name == run.recipe.name


@pytest.mark.parametrize(
    ("name", "asked", "gives", "shape"),
    [
        ("photos-ddpm", (32, None), "photos-ddpm-32px", (1, 32, 32)),
        ("photos-ddpm-plain", ((48, 64), 3), "photos-ddpm-plain-48x64px-colour", (3, 48, 64)),
        ("photos-recolour", ((24, 24), None), "photos-recolour-24px", (3, 24, 24)),
        ("hs-cifar10", (None, 1), "hs-cifar10-grey", (1, 32, 32)),
        ("photos-ddpm", (16, 1), "photos-ddpm", (1, 16, 16)),
        ("photos-sharpen", (64, 3), "photos-sharpen-64px-colour", (3, 64, 64)),
    ],
)
def test_resized(name, asked, gives, shape):
    recipe = recipes.get(name).resized(*asked)
    assert (recipe.name, recipe.channels, *((recipe.size,) * 2 if isinstance(recipe.size, int) else recipe.size)) == (
        gives,
        *shape,
    )
    assert recipe.unet.out_channels == shape[0]
    assert recipes.Recipe.from_dict(recipe.as_dict()).unet == recipe.unet


def test_what_cannot_be_resized():
    with says("photos-recolour", "brings back colours"):
        recipes.get("photos-recolour").resized(channels=1)
    with says("an image of 30x30 cannot be halved 2 times", "multiples of 4"):
        recipes.get("photos-ddpm").resized(30)
    with says("channels must be 1 (grey) or 3 (colour), got 4"):
        recipes.get("photos-ddpm").resized(channels=4)
    own = recipes.of_process(bdbook.processes.ddpm(), (1, 8, 8), torch.nn.Conv2d(1, 1, 1))
    with says("its network is one's own, for (1, 8, 8)"):
        own.resized(16)
    own = recipes.of_process(bdbook.processes.blurring_diffusion(16), (1, 16, 16))
    with says("its process is one's own, for (16, 16)"):
        own.resized(32)


def test_a_process_takes_the_size_and_colours_that_are_asked_for(tmp_path):
    quick = {"profile": "smoke", "steps": 1, "batch": 4}
    run = bdbook.fit("blurring_diffusion", "digits", tmp_path / "a", size=8, channels=3, **quick)
    assert (run.recipe.channels, run.denoiser.process.size) == (3, (8, 8))
    images = data.load("digits", 8, count=8)
    with says("images were of (1, 8, 8)", "(1, 16, 16) was asked for"):
        bdbook.fit("blurring_diffusion", images, tmp_path / "b", size=16, **quick)
    with says("photos-ddpm expects images", "recipe.resized"):
        bdbook.fit("photos-ddpm", images, tmp_path / "b", **quick)


# --- from the command line ----------------------------------------------------------------------------------------


def test_size_and_channels_from_the_command_line(tmp_path, capsys):
    train = ["train", "--recipe", "photos-ddpm", "--profile", "smoke", "--steps", "1", "--batch", "2"]
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for level in range(6):
        Image.new("RGB", (40, 30), (40 * level, 0, 99)).save(pictures / f"{level}.png")
    asked = ["--data", str(pictures), "--size", "16", "24", "--channels", "3"]
    assert main([*train, *asked, "--out", str(tmp_path / "a")]) == 0
    told = capsys.readouterr().out
    assert "photos-ddpm-16x24px-colour: " in told
    assert "; 16x24, colour" in told
    assert bdbook.load_run(tmp_path / "a").draw(1, 0, steps=2).shape == (1, 3, 16, 24)
    assert main([*train, "--size", "32", "--dry-run", "--out", str(tmp_path / "b")]) == 0
    assert "photos-ddpm-32px on " in capsys.readouterr().out
    assert not (tmp_path / "b").exists()
    for wrong, message in (
        (["--size", "1", "2", "3"], "expected a side, or height and width: --size 32 48"),
        (["--size", "30"], "an image of 30x30 cannot be halved 2 times"),
        (["--channels", "2"], "channels must be 1 (grey) or 3 (colour), got 2"),
        (["--data", ""], "the name of the data was empty"),
    ):
        assert main([*train, *wrong, "--out", str(tmp_path / "c")]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("recipe", ["photos-superres", "digits-superres"])
def test_a_table_shorter_than_the_steps_of_smoke(tmp_path, capsys, recipe):
    """Once: N = 3, but 5 steps were asked for at the first checkpoint."""
    run = str(tmp_path / "run")
    assert main(["train", "--recipe", recipe, "--profile", "smoke", "--steps", "2", "--batch", "2", "--out", run]) == 0
    assert main(["sample", "--run", run, "--count", "4"]) == 0
    assert main(["evaluate", "--run", run, "--count", "12"]) == 0
    assert "tacos" in capsys.readouterr().out


# --- ranges -------------------------------------------------------------------------------------------------------

QUICK = {"profile": "smoke", "steps": 1, "batch": 4}


@pytest.mark.parametrize(("scale", "shift"), [(127.5, 127.5), (1.001, 0), (2.0, -1)])
def test_floats_beyond_the_range_are_refused(tmp_path, scale, shift):
    images = data.load("digits", 16, count=8) * scale + shift
    with says(
        f"from {images.min():.4g} to {images.max():.4g}", "images / 127.5 - 1", "2 * images - 1", "unbounded=True"
    ):
        bdbook.fit("digits-ddpm", images, tmp_path, **QUICK)
    run = bdbook.fit("digits-ddpm", images, tmp_path, unbounded=True, **QUICK)
    assert run.record["step"] == 1


def test_the_gaussian_set_is_unbounded_by_nature_and_rounding_is_let_be(tmp_path):
    assert data.load("gaussian", 16, count=99).abs().max() > 1
    bdbook.fit("gaussian-ddpm", folder=tmp_path / "a", **QUICK)
    bdbook.fit("digits-ddpm", data.load("digits", 16, count=8) * (1 + 1e-6), tmp_path / "b", **QUICK)


def test_floats_that_look_like_0_to_1_are_warned_about(tmp_path):
    images = (data.load("digits", 16, count=8) + 1) / 2
    with pytest.warns(UserWarning, match=r"looks like \[0, 1\].*2 \* images - 1"):
        bdbook.fit("digits-ddpm", images, tmp_path / "a", **QUICK)
    bytes_ = pixels.quantise(images)
    np.testing.assert_allclose(bytes_.max(), 255)
    bdbook.fit("digits-ddpm", bytes_, tmp_path / "b", **QUICK)
