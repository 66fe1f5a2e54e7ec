"""Restorations are measured as the protocol says, by measures that are their formulas."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio

from bdbook import cold, data, oracle, processes, recipes, training
from bdbook.denoiser import EPS, X0, Denoiser
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
        everything = data.load(recipe.data, recipe.size, recipe.channels)  # what its record says it was trained on
        record = records.new(recipe, 0, everything, recipe.data, "smoke")
        path = tmp_path_factory.mktemp(name) / "weights.safetensors"
        checkpoints.save_weights(path, state, record)
        return runs.load(path)

    return make


@pytest.mark.parametrize("name", ["digits-deblur", "photos-inpaint", "photos-recolour", "photos-desnow"])
def test_every_kind_of_restorer_is_measured(run_of, name):
    rows = restoration.evaluate(run_of(name), restoration.Protocol(count=100))  # of colour there are 96 features
    assert list(rows) == list(restoration.WAYS)
    for m in rows.values():
        assert set(m) == {"frechet", "rmse", "psnr", "ssim", "detail", "count"}
        assert m["count"] == 100
        assert np.isfinite(list(m.values())).all()
    assert "tacos" in restoration.table(rows)


def test_measures_compare_what_is_restored_with_the_truth(run_of):
    """Each way beside the truth, in this order: detail is a ratio of the two."""
    run, protocol = run_of("photos-desnow"), restoration.Protocol(count=16, steps=2)
    truth = restoration.held_out(run, protocol)
    ways = restoration.restored_images(run, truth, protocol)
    rows = restoration.evaluate(run, protocol)
    for name, images in ways.items():
        found = variance_by_band(images)[2:].sum() / variance_by_band(truth)[2:].sum()
        assert rows[name]["detail"] == pytest.approx(found, rel=1e-5)


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


# --- what is compared with what -----------------------------------------------------------------------------------


def variance_by_band(images):
    """Of the DCT's coefficients, in five bands of equal width of |frequency|, by scipy: (5,)."""
    variance = dctn(images.double().numpy(), axes=(2, 3), norm="ortho").var(0, ddof=1).sum(0)
    y, x = (np.pi * np.arange(side) / side for side in variance.shape)
    radius = np.hypot(y[:, None], x)
    band = np.minimum(5 * radius // radius.max(), 4)
    return np.array([variance[band == k].sum() for k in range(5)])


def test_detail_is_the_variance_of_the_upper_three_of_five_bands_over_the_truths():
    truth = data.load("photos", 16, count=30)
    images = torch.from_numpy(gaussian_filter(truth.numpy(), (0, 0, 0.7, 0.7)))
    of_images, of_truth = (variance_by_band(x) for x in (images, truth))
    expected = of_images[2:].sum() / of_truth[2:].sum()
    assert expected < 0.7
    assert restoration.measures(images, truth)["detail"] == pytest.approx(expected, rel=1e-6)


def test_novelty_is_the_variance_over_that_of_the_pictures():
    pictures = data.load("photos", 16, count=30)
    expected = variance_by_band(pictures[:9]).sum() / variance_by_band(pictures).sum()
    assert restoration.novelty(pictures[:9], pictures)["variance"] == pytest.approx(expected, rel=1e-6)


class Scaled(torch.nn.Module):
    """A network that gives back what it sees, times a number that depends on t."""

    def forward(self, x, t):
        return (0.2 + 0.5 * t).reshape(-1, 1, 1, 1).to(x) * x


def own_run(process, predicts=X0, source="gaussian", seed=0, images=None, channels=1):
    """A run of a process of one's own and `Scaled`, on images of 8 px."""
    recipe = recipes.of_process(process, (channels, 8, 8), Scaled(), source)
    spectrum = None if images is None else oracle.Gaussian.fit(process.basis, images)
    record = {"identity": {"seed": seed}, "data": source, "step": 0}
    return runs.Run(recipe, record, Denoiser(Scaled(), process, predicts), spectrum)


def test_each_image_is_degraded_by_what_was_drawn_for_it_and_restored_from_the_end():
    """More images than fit in a chunk, whose masks are drawn for each."""
    process = cold.inpainting(8, steps=2, first=3.0, where="random")
    truth = data.load("gaussian", 8, count=70)
    drawn = process.draw(70, training.generator_for(1, "evaluate"))
    found = restoration.restored_images(own_run(process), truth, restoration.Protocol(seed=1))
    end = drawn.mean(truth, 1.0)
    torch.testing.assert_close(found["degraded"], end)
    torch.testing.assert_close(found["direct"], 0.7 * end)
    half = drawn.mean(0.7 * end, 0.5)
    torch.testing.assert_close(found["naive"], 0.45 * half)  # D(x, 0) is x
    half = end - drawn.mean(0.7 * end, 1.0) + half
    torch.testing.assert_close(found["tacos"], half - drawn.mean(0.45 * half, 0.5) + 0.45 * half)


def test_perfect_symmetry_begins_flat_and_stays_so():
    process = cold.blur(8, steps=2, std=2.0, boundary="circular", to_mean=True)
    made = restoration.generations(own_run(process), 10)
    within = {name: images.std((2, 3)) for name, images in made.items()}
    assert within["start"].min() > 1e-3, "noise tells the pixels apart"
    assert within["tacos"].min() > 1e-5
    assert within["perfect symmetry"].max() < 1e-6
    assert made["perfect symmetry"].std() > 0.05, "not one image for all"


def test_estimated_noise_is_ddim_from_the_same_noise():
    """alpha = cos(pi t / 2), sigma = sin(pi t / 2), each step written out."""
    made = restoration.generations(own_run(cold.noise(8, steps=4)), 5, seed=2)
    x = made["start"].double()
    for t in (1.0, 0.75, 0.5, 0.25):
        s, guess = t - 0.25, (0.2 + 0.5 * t) * x
        noise = (x - np.cos(np.pi * t / 2) * guess) / np.sin(np.pi * t / 2)
        x = np.cos(np.pi * s / 2) * guess + np.sin(np.pi * s / 2) * noise
    torch.testing.assert_close(made["estimated noise"].double(), x, rtol=0, atol=1e-5)
    assert (made["estimated noise"] - made["tacos"]).abs().max() > 1e-3


@pytest.mark.parametrize("split", ["train", "test"])
def test_held_out_are_the_images_of_the_runs_seed(split):
    run = own_run(processes.cosine_diffusion(), source="photos", seed=5)
    found = restoration.held_out(run, restoration.Protocol(count=12, split=split))
    assert torch.equal(found, data.load("photos", 8, count=12, split=split, seed=5))
    assert not torch.equal(found, data.load("photos", 8, count=12, split=split))


def test_samples_are_drawn_as_the_protocol_says_and_compared_with_the_split_it_names():
    run = own_run(processes.cosine_diffusion(), EPS, source="photos")
    told = {"rule": "ddim", "steps": 3, "order": 2, "clip": True}
    protocol = generation.Protocol(count=30, samples=20, seed=3, **told)
    truth = data.load("photos", 8, count=30, split="test")
    samples = run.draw(20, 3, **told)
    assert torch.equal(generation.samples(run, 20, protocol), samples)
    found = generation.compare(run, protocol)
    for name, images in (("samples", samples), ("training", data.load("photos", 8, count=20))):
        expected = variance_by_band(images) / variance_by_band(truth)
        np.testing.assert_allclose(found[name]["bands"], expected, rtol=1e-5)
        assert found[name]["sliced_wasserstein"] == metrics.sliced_wasserstein(images, truth)


def test_as_many_samples_as_images_unless_it_says_how_many():
    assert generation.Protocol(count=30).drawn(17) == 17
    assert generation.Protocol(count=30, samples=5).drawn(17) == 5


@pytest.mark.parametrize("white", [True, False])
def test_bits_begin_where_the_process_ends(white):
    """The prior's part of the bound, by torch.distributions: standard normal, or what the data become."""
    process = processes.cosine_diffusion() if white else processes.heat_dissipation(8, sigma_max=2.0, noise=0.1)
    images = data.load("photos", 8, count=6)
    run = own_run(process, images=data.load("photos", 8, count=300))
    u = process.basis.forward(metrics.quantise(images).double() / 127.5 - 1)
    alpha, sigma = process.alpha(1.0), process.sigma(1.0)
    mean, deviation = torch.zeros(()), torch.ones(())
    if not white:
        mean, deviation = alpha * run.spectrum.mean, (alpha**2 * run.spectrum.variance + sigma**2).sqrt()
    ends = torch.distributions.Normal(alpha * u, sigma.expand_as(u))
    expected = torch.distributions.kl_divergence(ends, torch.distributions.Normal(mean, deviation))
    torch.testing.assert_close(generation.bits(run, images, 10).prior, expected.flatten(1).sum(1))
