"""What may lie behind a picture, by the command: its files and its page, any size in tiles, and clear refusals."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup
from PIL import Image

from bdbook import data, recipes, training
from bdbook.cli import main
from bdbook.cli import restore as restore_command
from bdbook.evaluation import possible
from bdbook.page import possible_page
from bdbook.posteriors import View
from bdbook.training import checkpoints, records, runs
from bdbook.transforms import DCT

SIDE = 16


def stored(name, path):
    """A run whose network says nothing yet: preconditioned, the Wiener filter of its pictures."""
    recipe = recipes.get(name)
    images = data.load(recipe.data, recipe.size, recipe.channels, 200)
    checkpoints.save_weights(path, training.start(recipe, images), records.new(recipe, 0, images, recipe.data, "smoke"))
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return stored("photos-ddpm", tmp_path_factory.mktemp("runs") / "weights.safetensors")


@pytest.fixture(scope="module")
def run(weights):
    return runs.load(weights)


def picture(path, size=(SIDE, SIDE), mode="L"):
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def command(image, weights, *extra):
    line = ["restore", "--image", str(image), "--run", str(weights), "--profile", "smoke", "--steps", "2", *extra]
    return main(line)


def test_the_command_writes_mean_spread_samples_and_a_page(tmp_path, weights, capsys):
    file = picture(tmp_path / "a.png")
    asked = ("--samples", "3", "--width", "1.5", "--noise", "0.05", "--degrade")
    assert command(file, weights, *asked) == 0
    said = capsys.readouterr().out
    assert "a.png: 16x16, 3 samples through a Gaussian blur of 1.5 px" in said
    assert "PSNR" in said
    assert "real blur is seldom the one assumed" in said
    out = tmp_path / "restored"
    names = ["mean.png", "sample-1.png", "sample-2.png", "sample-3.png", "samples.html", "spread.png"]
    assert sorted(f.name for f in out.iterdir()) == [f"a-{name}" for name in names] + ["restored.json"]
    drawn = np.stack([np.asarray(Image.open(out / f"a-sample-{k}.png"), float) for k in (1, 2, 3)])
    inside = (drawn > 0).all(0) & (drawn < 255).all(0)
    mean, spread = (np.asarray(Image.open(out / f"a-{way}.png"), float) for way in ("mean", "spread"))
    assert np.abs(mean - drawn.mean(0))[inside].max() <= 1
    deviation = drawn.std(0, ddof=1)
    assert np.corrcoef(spread[inside], deviation[inside])[0, 1] > 0.999
    page = BeautifulSoup((out / "a-samples.html").read_text(encoding="utf-8"), "html.parser")
    assert len(page.select(".chosen img")) == 3, "of 3, of 2 and one"
    assert [node.get("src", "").partition(":")[0] for node in page.select("img")] == ["data"] * 8
    told = json.loads((out / "restored.json").read_text())["pictures"]["a.png, samples"]
    assert told["settings"]["samples"] == 3
    # The same again does nothing, and what is there is not replaced.
    assert command(file, weights, *asked) == 0
    assert "1 already restored" in capsys.readouterr().out
    assert command(file, weights, *asked[:3], "2.5") == 2
    assert "is there already and was made with other settings" in capsys.readouterr().err
    assert command(file, weights, *asked[:3], "2.5", "--overwrite") == 0


def test_a_kernel_is_the_blur_that_it_is(tmp_path, weights, run):
    kernel = torch.tensor([[0.05, 0.1, 0.05], [0.1, 0.4, 0.1], [0.05, 0.1, 0.05]], dtype=torch.float64)
    np.save(tmp_path / "k.npy", kernel.numpy())
    assert command(picture(tmp_path / "a.png"), weights, "--samples", "2", "--kernel", str(tmp_path / "k.npy")) == 0
    x = data.load("photos", SIDE, count=1, split="test")[0]
    assert torch.equal(possible.read_kernel(tmp_path / "k.npy"), kernel)
    found = possible.draw(run, x, 1e-4, kernel=kernel, count=1, steps=2, degrade=True)
    seen = View.of_kernel(SIDE, kernel, 1e-4).sample(x[None], torch.zeros(1, 1, SIDE, SIDE))[0]
    assert (found.seen - seen).abs().max() < 1e-3
    assert (found.drawn[0] - x).abs().max() < 0.05, "hardly any noise, and a blur that loses nothing: it comes back"


def test_at_its_own_size_it_is_the_librarys_walk(run):
    x = data.load("photos", SIDE, count=1, split="test")[0]
    found = possible.draw(run, x, 0.1, width=1.0, count=400, steps=3)
    view, spectrum = View.blurred(SIDE, 1.0, 0.1), run.spectrum
    basis = view.basis
    mean, deviation = view.combined(
        spectrum.mean.to(x).expand(1, 1, SIDE, SIDE), basis.forward(x[None]), spectrum.variance
    )
    u = basis.forward(found.drawn)
    z = (u.mean(0) - mean[0]) / deviation[0] * 20
    assert z.abs().max() < 5
    assert (u.std(0) / deviation[0] - 1).abs().max() < 0.2
    assert "own size" in found.how


@pytest.mark.parametrize(("height", "width"), [(16, 24), (40, 37)])
def test_larger_pictures_are_asked_for_in_tiles(run, height, width):
    """An untrained network knows the spectrum alone, and draws what a filter for the whole picture nearly would."""
    x = data.load("photos", (height, width), count=1, split="test")[0]
    found = possible.draw(run, x, 0.05, width=1.0, count=30, steps=6, degrade=True)
    assert found.drawn.shape == (30, 1, height, width)
    assert "tiles of 16x16" in found.how
    view = View.blurred((height, width), 1.0, 0.05)
    spectrum = possible._enlarged(run.spectrum, (height, width))
    mean = spectrum.mean.to(x).expand(1, 1, height, width)
    wiener = view.basis.inverse(view.combined(mean, view.basis.forward(found.seen[None]), spectrum.variance)[0])
    off, of_wiener = ((each - x).square().mean().sqrt().item() for each in (found.mean, wiener))
    assert off < 1.15 * of_wiener
    assert 0.5 < found.spread.square().mean().sqrt().item() / of_wiener < 2


def test_a_colour_picture_is_drawn_channel_by_channel(tmp_path, weights):
    assert command(picture(tmp_path / "a.jpg", mode="RGB"), weights, "--samples", "2", "--width", "1") == 0
    assert Image.open(tmp_path / "restored" / "a-mean.jpg").mode == "RGB"


def test_the_larger_spectrum_is_that_of_its_frequencies(run):
    same = possible._enlarged(run.spectrum, (SIDE, SIDE))
    torch.testing.assert_close(same.variance, run.spectrum.variance)
    twice = possible._enlarged(run.spectrum, (32, 32))
    torch.testing.assert_close(twice.variance[..., ::2, ::2], run.spectrum.variance)
    basis, flat = DCT((32, 32)), DCT(SIDE).inverse(run.spectrum.mean)
    assert basis.inverse(twice.mean).mean().item() == pytest.approx(flat.mean().item(), abs=1e-9)


def test_means_go_from_fidelity_to_sharpness():
    random = torch.Generator().manual_seed(0)
    drawn = torch.randn(20, 1, 16, 16, generator=random)
    found = possible.Possible(drawn, drawn[0], "so")
    means = found.means()
    assert list(means) == [20, 16, 8, 4, 2, 1]
    torch.testing.assert_close(means[20], found.mean)
    detail = [found.detail(mean) for mean in means.values()]
    assert detail == sorted(detail)
    np.testing.assert_allclose(detail, [1 / k for k in means], rtol=0.2)
    one = possible.Possible(drawn[:1], drawn[0], "so")
    assert one.spread.abs().max() == 0
    assert possible_page.spread_picture(one).max() == -1


def test_the_command_refuses_with_a_clear_word(tmp_path, weights, capsys):
    good, blur = picture(tmp_path / "a.png"), ("--samples", "4", "--width", "1")
    np.save(tmp_path / "slanted.npy", np.eye(3) / 3)
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "even.npy", np.ones((2, 2)) / 4)
    (tmp_path / "no.npy").write_text("no array")
    restorer = stored("photos-sharpen", tmp_path / "sharpen.safetensors")
    blurring = stored("photos-blurring", tmp_path / "blurring.safetensors")
    for image, run_file, extra, message in (
        (good, weights, ("--samples", "4"), "needs the blur .* neither was given: --width 1.5 .* --kernel k.npy"),
        (good, weights, (*blur, "--kernel", "k.npy"), "one of --width and --kernel, and both was given"),
        (good, weights, ("--width", "1"), "say how many to draw: --samples 16"),
        (good, weights, ("--samples", "0", "--width", "1"), "samples was 0; expected at least 1"),
        (good, weights, (*blur, "--severity", "0.5"), "--severity and --degradation are of restorers"),
        (good, weights, (*blur, "--noise", "0"), "noise was 0.0; expected .* above 0"),
        (good, weights, ("--samples", "4", "--width", "-1"), "width was -1.0; expected"),
        (tmp_path, weights, blur, "is a folder; samples are drawn for one picture at a time"),
        (picture(tmp_path / "s.png", (9, 9)), weights, blur, "9x9 pixels, and photos-ddpm was trained on 16x16"),
        (good, restorer, blur, "photos-sharpen restores and generates nothing"),
        (picture(tmp_path / "l.png", (40, 20)), blurring, blur, "not the same for a part of a picture"),
        *(
            (good, weights, ("--samples", "4", "--kernel", str(tmp_path / f"{name}.npy")), words)
            for name, words in (
                ("slanted", "differs from its mirror image by up to 0.333"),
                ("objects", "cannot be read as a kernel"),
                ("even", r"shape \(2, 2\); expected an odd number of taps"),
                ("no", "cannot be read as a kernel"),
                ("absent", "cannot be read as a kernel"),
            )
        ),
    ):
        assert command(image, run_file, *extra) == 2
        said = capsys.readouterr().err
        assert re.search(message, said), said
        assert len(said.splitlines()) == 1
    assert not (tmp_path / "restored").exists()


def test_in_python_the_blur_is_given_once(run):
    x = torch.zeros(1, SIDE, SIDE)
    with pytest.raises(ValueError, match="the blur was given not at all; expected its width"):
        possible.draw(run, x, 0.1)
    with pytest.raises(ValueError, match="given twice"):
        possible.draw(run, x, 0.1, width=1.0, kernel=torch.ones(1, 1))
    three = replace(run, recipe=run.recipe.resized(channels=3))
    with pytest.raises(ValueError, match="draws pictures of 3 channels, and this has 1"):
        possible.draw(three, x, 0.1, width=1.0)


def test_without_a_run_it_is_the_recorded_one(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(restore_command, "_recorded", lambda name="none": asked.append(name) or tmp_path / "nothing")
    assert main(["restore", "--image", str(picture(tmp_path / "a.png")), "--samples", "1", "--width", "1"]) == 2
    assert asked == ["photos-ddpm"]
