"""Restorations are measured as the protocol says, by measures that are their formulas."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio

from bdbook import cold, data, recipes, training
from bdbook.denoiser import X0, Denoiser
from bdbook.evaluation import generation, metrics, restoration
from bdbook.training import checkpoints, records, runs


def ssim(a, b):
    """Wang et al. 2004 over the whole picture, borders mirrored: a Gaussian window of 11 pixels, deviation 1.5."""

    def mean(x):
        return gaussian_filter(x, 1.5, mode="mirror", radius=5)

    ma, mb = mean(a), mean(b)
    va, vb, c = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
    return (((2 * ma * mb + 1e-4) * (2 * c + 9e-4)) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4))).mean()


def test_fidelity_is_its_formulas():
    random = torch.Generator().manual_seed(0)
    truth = data.load("photos", 24, count=6)
    images = truth + 0.2 * torch.randn(truth.shape, generator=random)
    found = metrics.fidelity(images, truth)
    a, b = (metrics.quantise(x).numpy()[:, 0] / 255 for x in (images, truth))
    assert found["rmse"] == pytest.approx(np.sqrt(((a - b) ** 2).mean()), rel=1e-6)
    assert found["psnr"] == pytest.approx(peak_signal_noise_ratio(b, a, data_range=1.0), rel=1e-6)
    assert found["ssim"] == pytest.approx(np.mean([ssim(x, y) for x, y in zip(a, b)]), abs=1e-6)


def test_quantise_clamps_and_rounds():
    x = torch.tensor([-1.5, -1.0, 0.0, 0.0039, 1.0, 3.0]).reshape(1, 1, 1, 6)
    assert metrics.quantise(x).flatten().tolist() == [0, 0, 128, 128, 255, 255]


def test_fidelity_of_other_shapes_is_refused():
    with pytest.raises(ValueError, match="expected the same"):
        metrics.fidelity(torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 12))


@pytest.mark.parametrize("t", [1.0, 0.5])
def test_a_perfect_restorer_restores_in_every_way(t):
    x = data.load("digits", 16, count=4).double()
    process = cold.blur(16, 10, std=0.6, growth="constant")
    ways = restoration.restorations(Denoiser(lambda x_t, t: x, process, X0), process.mean(x, t), t=t)
    assert list(ways) == list(restoration.WAYS)
    torch.testing.assert_close(ways["degraded"], process.mean(x, t))
    for name in ("direct", "naive", "tacos"):
        assert (ways[name] - x).abs().max() < 1e-12


def test_a_walk_takes_the_steps_of_the_table():
    denoiser = Denoiser(None, cold.blur(16, 10, std=0.6), X0)
    assert restoration.walk_times(denoiser, None, 0.5).mul(10).round().tolist() == [5, 4, 3, 2, 1, 0]
    assert restoration.walk_times(denoiser, 2).mul(10).round().tolist() == [10, 5, 0]
    with pytest.raises(ValueError, match=r"steps was 6; from t = 0\.5 there are 1 to 5 steps"):
        restoration.walk_times(denoiser, 6, 0.5)
    with pytest.raises(ValueError, match="expected a severity in"):
        restoration.walk_times(denoiser, None, 0.0)


@pytest.fixture(scope="module")
def run_of(tmp_path_factory):
    """name -> a run of three steps, with averaged weights."""

    @lru_cache
    def make(name):
        recipe = recipes.get(name)
        if recipe.is_cold and recipe.process != "inpainting":  # few steps: nothing here depends on their number
            recipe = replace(recipe, settings={**recipe.settings, "steps": min(recipe.settings["steps"], 4)})
        images = data.load(recipe.data, recipe.size, recipe.channels, 64)
        state = training.start(recipe, images)
        trained = training.train(recipe, images, state)
        for _ in range(3):
            next(trained)  # updates state in place
        record = records.new(recipe, 0, images, recipe.data, "smoke")
        path = tmp_path_factory.mktemp(name) / "weights.safetensors"
        checkpoints.save_weights(path, state, record)
        return runs.load(path)

    return make


@pytest.mark.parametrize("name", ["digits-deblur", "photos-inpaint", "photos-recolour", "photos-desnow"])
def test_every_kind_of_restorer_is_measured(run_of, name):
    rows = restoration.evaluate(run_of(name), restoration.Protocol(count=20))
    assert list(rows) == list(restoration.WAYS)
    for m in rows.values():
        assert set(m) == {"frechet", "rmse", "psnr", "ssim", "detail"}
        assert np.isfinite(list(m.values())).all()
    assert "tacos" in restoration.table(rows)


def test_the_same_protocol_gives_the_same_numbers(run_of):
    run = run_of("photos-desnow")
    again = [restoration.evaluate(run, restoration.Protocol(count=16, steps=2)) for _ in range(2)]
    assert again[0] == again[1]
    assert again[0] != restoration.evaluate(run, restoration.Protocol(count=16, steps=2, seed=1))


@pytest.mark.parametrize(
    ("name", "ways"),
    [
        ("digits-from-mean", {"perfect symmetry"}),
        ("digits-fixed-noise", {"estimated noise"}),
        ("digits-from-colour", set()),
        ("digits-from-leaves", set()),
        ("digits-superres", set()),
    ],
)
def test_generation_from_every_start(run_of, name, ways):
    made = restoration.generations(run_of(name), 12)
    assert set(made) == {"start", "direct", "naive", "tacos"} | ways
    for images in made.values():
        assert images.shape == (12, 1, 16, 16)
        assert images.isfinite().all()
    if name in ("digits-from-mean", "digits-from-colour"):
        assert made["start"].std((2, 3)).max() < 0.01, "the start is flat"


def test_hot_runs_are_not_restored(run_of):
    with pytest.raises(ValueError, match="digits-ddpm generates from noise"):
        restoration.evaluate(run_of("digits-ddpm"))


def test_samples_of_a_generating_run_are_compared_with_test_images(run_of):
    run, protocol = run_of("digits-ddpm"), generation.Protocol(count=40, steps=3)
    compared = generation.compare(run, protocol)
    assert list(compared) == ["samples", "training"]
    for measure in ("frechet", "kernel", "sliced_wasserstein", "spectrum"):
        samples, training = (row[measure] for row in compared.values())
        assert samples > 1.3 * training, f"{measure}: an untrained network is far off, training images are not"
    assert compared["samples"]["score"] < compared["training"]["score"]
    told = generation.table(compared).splitlines()
    assert [line.split()[0] for line in told] == ["Frechet", "samples", "training"]
    assert float(told[1].split()[1]) == pytest.approx(compared["samples"]["frechet"], abs=0.01)
    assert "ancestral, 3 steps; averaged weights of step 3" in protocol.words(run)
