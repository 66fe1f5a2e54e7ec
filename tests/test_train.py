"""The loop and the run folder: exactness of resumption, errors that name the mistake."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.fft import dctn
from scipy.stats import kstest

from bdbook import data, files, priors, processes, recipes, samplers, training
from bdbook.training import checkpoints, loop, records, runs
from bdbook.unet import UNetConfig

TINY = UNetConfig(size=8, channels=8, multipliers=(1, 2), blocks=1, attention=(2,), head_dim=8, dropout=0.1)


def tiny(name: str = "photos-blurring", **changes) -> recipes.Recipe:
    """A recipe small enough for a test, with dropout, under its own name."""
    return replace(recipes.get(name), unet=TINY, batch=8, **changes)


def some_images(count: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def advance(recipe, images, state, steps, seed=0):
    loop = training.train(recipe, images, state, seed)
    while state.step < steps:
        next(loop)
    return state


def bits(state: training.State) -> bytes:
    tensors = [*state.net.state_dict().values(), *state.ema.state_dict().values()]
    tensors += [m[k] for m in state.optimizer.state_dict()["state"].values() for k in sorted(m)]
    return b"".join(t.detach().cpu().contiguous().numpy().tobytes() for t in tensors)


RESUMED = ["photos-blurring", "photos-ddpm-plain", "photos-heat-plain", "photos-soft-plain", "photos-equal-snr-coarse"]


@pytest.mark.parametrize("name", RESUMED)
def test_resumed_training_ends_in_the_same_bits(tmp_path, name):
    recipe, images = tiny(name), some_images()
    whole = advance(recipe, images, training.start(recipe, images), 6)
    half = advance(recipe, images, training.start(recipe, images), 3)
    checkpoints.save(tmp_path, half, records.new(recipe, 0, images, "photos", "smoke"), [])
    torch.rand(7)  # the global generator's state must not matter
    resumed, record, _ = checkpoints.resume(tmp_path, recipe, images, 0)
    assert resumed.step == 3
    assert record["data"] == "photos"
    assert bits(advance(recipe, images, resumed, 6)) == bits(whole)
    assert bits(half) != bits(whole)


def test_seed_decides_everything_and_the_global_generator_nothing():
    recipe, images = tiny(), some_images()
    torch.manual_seed(1)
    first = bits(advance(recipe, images, training.start(recipe, images, seed=5), 2, seed=5))
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second = bits(advance(recipe, images, training.start(recipe, images, seed=5), 2, seed=5))
    assert torch.equal(before, torch.get_rng_state())
    other = bits(advance(recipe, images, training.start(recipe, images, seed=6), 2, seed=6))
    assert first == second
    assert first != other


def test_times_are_uniform_and_on_the_table():
    random = torch.Generator().manual_seed(0)
    for name in ("photos-blurring", "photos-heat-plain"):
        process = recipes.get(name).build_process()
        t = torch.cat([training.draw_times(process, 50, random) for _ in range(400)])
        assert t.min() > 0
        assert t.max() <= 1
        # Kolmogorov-Smirnov at 20,000 independent draws would allow 0.0115 at the 1 % level; these are more even.
        grid = torch.linspace(0.1, 1, 10, dtype=torch.float64)
        assert ((t[:, None] <= grid + 1e-12).double().mean(0) - grid).abs().max() < 0.0115
        if process.steps:
            index = t * process.steps
            torch.testing.assert_close(index, index.round(), rtol=0, atol=1e-9)
            assert index.round().unique().numel() == process.steps


def test_ema_is_the_weighted_mean_of_the_weights():
    net, ema = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    expected = 0.9 * ema.weight.detach() + 0.1 * net.weight.detach()
    training.update_ema(ema, net, 0.9)
    torch.testing.assert_close(ema.weight.detach(), expected)


def test_training_learns():
    """Images that are all the same: the loss of a plain network must fall well below its start."""
    recipe = tiny("photos-cosine-plain")
    images = some_images(1).repeat(16, 1, 1, 1)
    loop = training.train(recipe, images, training.start(recipe, images))
    losses = [next(loop).loss.mean().item() for _ in range(120)]
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])


def test_a_loss_that_is_not_finite_stops_before_the_weights_change():
    recipe, images = tiny(), some_images()
    state = advance(recipe, images, training.start(recipe, images), 2)
    before = bits(state)
    with pytest.raises(FloatingPointError, match=r"not finite at step 2 \(seed 0.*weights are those before"):
        next(training.train(recipe, images * float("inf"), state))
    assert bits(state) == before


def test_bad_images_are_named():
    recipe, images = tiny(), some_images()
    images[5, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="image 5 has NaN or infinite pixels"):
        training.start(recipe, images)
    with pytest.raises(ValueError, match=r"expects images \(N, \(1, 8, 8\)\), but got \(4, 3, 8, 8\)"):
        training.start(recipe, torch.zeros(4, 3, 8, 8))


@pytest.fixture
def folder(tmp_path) -> Path:
    """A run of three steps with a checkpoint."""
    recipe, images = tiny(), some_images()
    state = advance(recipe, images, training.start(recipe, images), 3)
    checkpoints.save(tmp_path, state, records.new(recipe, 0, images, "photos", "smoke"), [])
    return tmp_path


def test_what_a_kill_left_half_written_is_cleared_away(folder):
    debris = folder / "checkpoints" / ".step-00000004.safetensors.123.tmp"
    debris.write_bytes(b"half")
    assert checkpoints.resume(folder, tiny(), some_images(), 0)[0].step == 3
    assert not debris.exists()


def truncate(whole: bytes) -> bytes:
    return whole[:-100]


def half(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


def flip_a_bit(whole: bytes) -> bytes:
    place = len(whole) - 1000
    return whole[:place] + bytes([whole[place] ^ 8]) + whole[place + 1 :]


def flip_a_bit_of_the_record(whole: bytes) -> bytes:
    return whole.replace(b"photos", b"phopos", 1)


def empty(whole: bytes) -> bytes:
    return b""


DAMAGES = [truncate, half, flip_a_bit, flip_a_bit_of_the_record, empty]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_left_for_the_one_before_it(folder, damage):
    recipe, images = tiny(), some_images()
    state, record, _ = checkpoints.resume(folder, recipe, images, 0)
    expected = bits(advance(recipe, images, state, 6))
    checkpoints.save(folder, state, record, [])
    last = checkpoints.found(folder)[-1]
    last.write_bytes(damage(last.read_bytes()))

    with pytest.warns(UserWarning, match=rf"{last.name} (is|was) .*Going back to the one before it"):
        state, _, _ = checkpoints.resume(folder, recipe, images, 0)
    assert state.step == 3
    assert bits(advance(recipe, images, state, 6)) == expected
    assert last.exists(), "nothing is thrown away"
    with pytest.warns(UserWarning, match="Going back"):
        assert runs.load(folder).record["step"] == 3


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_with_nothing_before_it_is_an_error(folder, damage):
    only = checkpoints.found(folder)[0]
    only.write_bytes(damage(only.read_bytes()))
    with pytest.raises(ValueError, match=rf"{only.name} (is|was) (truncated|damaged|not written)"):
        checkpoints.resume(folder, tiny(), some_images(), 0)
    assert only.exists()


@pytest.mark.parametrize(
    ("change", "word"),
    [({"learning_rate": 1.0}, "learning_rate"), ({"seed": 1}, "seed"), ({"images": some_images(seed=1)}, "images")],
)
def test_a_checkpoint_of_another_configuration_is_refused(folder, change, word):
    seed, images = change.pop("seed", 0), change.pop("images", some_images())
    with pytest.raises(ValueError, match=rf"another configuration: .*{word} \(stored .*, asked .*\)"):
        checkpoints.resume(folder, tiny(**change), images, seed)


def test_a_file_that_is_not_ours_is_refused(tmp_path):
    path = tmp_path / "theirs.safetensors"
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="expected 'bdbook-1' in it, found nothing"):
        runs.load(path)
    path.write_bytes(b"not safetensors at all, whatever its name says")
    with pytest.raises(ValueError, match="truncated or no safetensors file"):
        runs.load(path)
    with pytest.raises(ValueError, match="is it a run folder"):
        runs.load(tmp_path.parent)


def test_only_the_last_checkpoints_are_kept(folder):
    recipe, images = tiny(), some_images()
    state, record, log = checkpoints.resume(folder, recipe, images, 0)
    for _ in range(3):
        advance(recipe, images, state, state.step + 1)
        checkpoints.save(folder, state, record, log)
    assert [p.name for p in checkpoints.found(folder)] == ["step-00000005.safetensors", "step-00000006.safetensors"]


def test_log_is_cut_at_the_checkpoint(folder):
    recipe, images = tiny(), some_images()
    state, record, _ = checkpoints.resume(folder, recipe, images, 0)
    log = [{"step": 3, "loss": 1.0}, {"step": 4, "loss": 0.5}]
    checkpoints.save(folder, state, record, log)
    assert checkpoints.resume(folder, recipe, images, 0)[2] == log[:1]


def test_writing_is_atomic(tmp_path, monkeypatch):
    path = tmp_path / "file"
    files.write_atomically(path, "old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(OSError, match=r"No space left on device while writing .*file; what was there before is whole"):
        files.write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path], "no debris"


def test_a_saved_model_samples_like_the_one_in_memory(tmp_path):
    recipe, images = tiny(), some_images()
    state = advance(recipe, images, training.start(recipe, images), 3)
    record = records.new(recipe, 0, images, "photos", "smoke")
    checkpoints.save_weights(tmp_path / "weights.safetensors", state, record)
    memory = runs.Run(recipe, record, state.ema_denoiser(), state.spectrum).draw(4, seed=3, steps=5)
    assert torch.equal(runs.load(tmp_path).draw(4, seed=3, steps=5), memory)
    assert not torch.equal(runs.load(tmp_path).draw(4, seed=4, steps=5), memory)


def test_the_newer_of_weights_and_checkpoints_is_loaded(tmp_path):
    recipe, images = tiny(), some_images()
    record = records.new(recipe, 0, images, "photos", "smoke")
    state = advance(recipe, images, training.start(recipe, images), 2)
    checkpoints.save(tmp_path, state, record, [])
    checkpoints.save_weights(tmp_path / "weights.safetensors", state, record)
    assert runs.load(tmp_path).record["step"] == 2
    checkpoints.save(tmp_path, advance(recipe, images, state, 4), record, [])
    assert runs.load(tmp_path).record["step"] == 4
    checkpoints.save_weights(tmp_path / "weights.safetensors", advance(recipe, images, state, 5), record)
    assert runs.load(tmp_path).record["step"] == 5
    (tmp_path / "weights.safetensors").write_bytes(b"torn")
    with pytest.warns(UserWarning, match=r"weights\.safetensors is truncated.*Going back"):
        assert runs.load(tmp_path).record["step"] == 4


# Those of papers.py are too large to run: tests/test_papers.py.
@pytest.mark.parametrize("name", sorted(recipes.RECIPES.keys() - recipes.PAPERS.keys()))
def test_every_recipe_can_be_built(name):
    recipe = recipes.get(name)
    process, net = recipe.outline(), recipe.build_net()
    assert recipe.name == name
    assert recipes.Recipe.from_dict(json.loads(json.dumps(recipe.as_dict()))).as_dict() == recipe.as_dict()
    x = torch.zeros(1, recipe.channels, recipe.size, recipe.size)
    assert net(x, torch.ones(1)).shape == x.shape
    assert len(process.times(recipe.sample_steps)) >= 2


def test_equal_snr_has_the_noise_of_the_images_it_learns_from(tmp_path):
    """Its process comes with the weights: no image is needed to sample, and none decides what was learnt before."""
    recipe, images = tiny("photos-equal-snr", warmup=0), some_images(64, seed=3)
    state = advance(recipe, images, training.start(recipe, images), 2)
    variance = torch.from_numpy(dctn(images.double().numpy(), axes=(2, 3), norm="ortho")).var(0, correction=0)
    process = state.denoiser.process
    torch.testing.assert_close(process.sigma(1.0)[0] ** 2 * (1 + math.exp(-10)), variance)  # -log SNR ends at 10
    checkpoints.save_weights(tmp_path / "weights.safetensors", state, records.new(recipe, 0, images, "photos", "smoke"))
    loaded = runs.load(tmp_path).denoiser.process
    assert loaded == process
    with pytest.raises(ValueError, match=r"process of photos-equal-snr has noise of its data's spectrum; give it"):
        recipe.build_process()
    assert recipe.outline().times(5).tolist() == process.times(5).tolist()


@pytest.mark.parametrize("name", ["photos-blurring", "photos-equal-snr"])
def test_halved_weights_sample_nearly_the_same(tmp_path, name):
    recipe, images = tiny(name), some_images()
    state = advance(recipe, images, training.start(recipe, images), 3)
    whole, half = tmp_path / "weights.safetensors", tmp_path / "half.safetensors"
    checkpoints.save_weights(whole, state, records.new(recipe, 0, images, "photos", "smoke"))
    checkpoints.save_halved(half, whole)
    assert half.stat().st_size < 0.75 * whole.stat().st_size
    one, other = runs.load(whole), runs.load(half)
    assert torch.equal(one.spectrum.variance, other.spectrum.variance)
    for name, weight in one.denoiser.net.state_dict().items():
        near = other.denoiser.net.state_dict()[name]
        assert near.dtype == torch.float32
        assert torch.equal(near, weight.half().float())
    apart = (one.draw(4, 0, steps=4) - other.draw(4, 0, steps=4)).abs().max()
    assert 0 < apart < 0.01


def test_unknown_recipe_shows_the_nearest():
    with pytest.raises(ValueError, match="unknown recipe 'photo-ddpm': did you mean 'photos-ddpm'"):
        recipes.get("photo-ddpm")


# --- what a step does, against formulas ---------------------------------------------------------------------------


def flat(tensors) -> np.ndarray:
    return np.concatenate([x.detach().numpy().ravel() for x in tensors]).astype(np.float64)


def test_weights_and_average_follow_adam_and_both_warm_ups():
    """Kingma and Ba 2015, Algorithm 1, in numpy, from the gradients that the loop leaves behind it."""
    recipe, images = tiny(learning_rate=0.01, warmup=3, ema=0.3), some_images()
    state = training.start(recipe, images)
    weights, average = flat(state.net.parameters()), flat(state.ema.parameters())
    np.testing.assert_array_equal(average, weights)
    first, second, steps = 0.0, 0.0, training.train(recipe, images, state)
    for k in range(1, 7):
        next(steps)
        gradient = flat(p.grad for p in state.net.parameters())
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        rate = 0.01 * min(1, k / 3)
        weights = weights - rate * (first / (1 - 0.9**k)) / (np.sqrt(second / (1 - 0.999**k)) + 1e-8)
        decay = [0.1, 2 / 11, 3 / 12, 0.3, 0.3, 0.3][k - 1]  # k / (9 + k) until it would be more than 0.3
        average = decay * average + (1 - decay) * weights
        np.testing.assert_allclose(flat(state.net.parameters()), weights, rtol=0, atol=2e-6)
        np.testing.assert_allclose(flat(state.ema.parameters()), average, rtol=0, atol=2e-6)


def gradient_of_a_step(recipe: recipes.Recipe) -> np.ndarray:
    state = training.start(recipe, some_images())
    next(training.train(recipe, some_images(), state))
    return flat(p.grad for p in state.net.parameters())


def test_gradients_of_parts_add_up_to_that_of_the_batch_and_are_clipped_by_their_norm():
    recipe = tiny(clip=1e9, learning_rate=1e-12)
    recipe = replace(recipe, unet=replace(TINY, dropout=0.0))
    whole = gradient_of_a_step(recipe)
    largest = np.abs(whole).max()
    np.testing.assert_allclose(gradient_of_a_step(replace(recipe, accumulate=4)), whole, rtol=0, atol=1e-5 * largest)
    clipped = gradient_of_a_step(replace(recipe, clip=1e-3))
    np.testing.assert_allclose(clipped, whole * 1e-3 / np.linalg.norm(whole), rtol=0, atol=1e-8)


def test_every_step_and_seed_has_a_batch_of_its_own():
    recipe, images = tiny(), some_images()
    state, drawn = training.start(recipe, images), {}
    for seed in (0, 1):
        for state.step in (0, 1, 2):
            batch, again = (training.draw_batch(recipe, images, state, seed, torch.device("cpu")) for _ in range(2))
            drawn[seed, state.step] = [tuple(x.flatten().tolist()) for x in (batch.x0, batch.t, batch.noise)]
            assert torch.equal(batch.noise, again.noise)
    for each in zip(*drawn.values(), strict=True):
        assert len(set(each)) == 6


def test_every_seed_has_weights_of_its_own():
    one, two = (flat(training.start(tiny(), some_images(), seed).net.parameters()) for seed in (0, 1))
    assert np.abs(one - two).max() > 0.1


def test_times_fall_on_each_step_of_a_table_equally_often():
    """In 21 equal parts of (0, 1], three to each of 7 steps: exactly so, whatever is drawn, and never at 0."""
    process = processes.heat_dissipation(8, steps=7)
    for seed in range(20):
        t = training.draw_times(process, 21, torch.Generator().manual_seed(seed))
        assert (t * 7).round().long().bincount(minlength=8).tolist() == [0, 3, 3, 3, 3, 3, 3, 3]


def test_times_are_uniform_within_their_part_of_the_batch():
    random = torch.Generator().manual_seed(0)
    t = torch.stack([training.draw_times(processes.cosine_diffusion(), 25, random) for _ in range(80)])
    places = 25 * t - torch.arange(25)  # one in each of (0, 1], (1, 2], ...
    assert ((places > 0) & (places <= 1)).all()
    assert kstest(places.flatten().numpy(), "uniform").pvalue > 1e-3


def test_the_spectrum_is_that_of_images_from_all_over_the_set(monkeypatch):
    monkeypatch.setattr(loop, "FITTED", 8)
    images = some_images() * torch.linspace(0, 1, 32).reshape(-1, 1, 1, 1)
    u = dctn(images[::4].double().numpy(), axes=(2, 3), norm="ortho")
    spectrum = training.start(tiny(), images).spectrum
    np.testing.assert_allclose(spectrum.mean, u.mean(0, keepdims=True), rtol=0, atol=1e-12)
    np.testing.assert_allclose(spectrum.variance, u.var(0, keepdims=True), rtol=0, atol=1e-12)


class Draws(torch.nn.Module):
    """A network that draws a number, as dropout does, each time it is asked in training."""

    def __init__(self):
        super().__init__()
        self.weight, self.drawn = torch.nn.Parameter(torch.ones(1)), []

    def forward(self, x, t):
        if self.training:
            self.drawn.append(torch.rand(()).item())
        return self.weight * x


def test_every_part_of_every_batch_drops_something_else():
    recipe = recipes.of_process(processes.cosine_diffusion(), (1, 8, 8), Draws(), batch=8, accumulate=2)
    state = training.start(recipe, some_images())
    advance(recipe, some_images(), state, 2)
    assert len(set(state.net.drawn)) == 4
    state.ema_denoiser()(some_images(2), 0.5)
    assert state.ema.drawn == [], "the average is for sampling, and drops nothing"


def test_a_loss_that_is_not_finite_is_blamed_on_its_time():
    recipe = recipes.of_process(processes.cosine_diffusion(), (1, 8, 8), Draws(), batch=8)
    images = some_images()
    state = training.start(recipe, images)
    bad = images.clone()
    bad[::4] = float("nan")
    batch = training.draw_batch(recipe, bad, state, 0, torch.device("cpu"))
    wrong = batch.x0.isnan().flatten(1).any(1)
    assert wrong.any()
    assert not wrong[0]
    with pytest.raises(FloatingPointError, match=f"first at t = {batch.t[wrong][0].item():.4f}"):
        next(training.train(recipe, bad, state))


# --- what a run does with what it was told ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked", [{}, {"rule": "ddim"}, {"steps": 3}, {"order": 2}, {"clip": True}], ids=lambda asked: "".join(asked)
)
def test_a_run_draws_by_the_sampler_as_it_is_told(asked):
    recipe, images = tiny(sample_steps=6), some_images()
    state = training.start(recipe, images)
    run = runs.Run(recipe, {"identity": {"seed": 0}, "data": "photos"}, state.ema_denoiser(), state.spectrum)
    random, process = training.generator_for(4, "samples", 0), run.denoiser.process
    start = priors.normal((1, 8, 8))(3, random)
    told = {"rule": "ancestral", "order": 1, "clip": False} | asked
    times = process.times(told.pop("steps", 6))
    expected = samplers.last(samplers.sample(run.denoiser, start, times, generator=random, **told)).x
    assert torch.equal(run.draw(3, 4, **asked), expected)
    assert not asked or not torch.equal(expected, run.draw(3, 4))


def test_a_run_loads_the_images_of_its_own_seed():
    run = runs.Run(tiny(), {"identity": {"seed": 5}, "data": "gaussian"}, None, None)
    assert torch.equal(run.images(), data.load("gaussian", 8, seed=5))
    assert not torch.equal(run.images(), data.load("gaussian", 8))


def test_one_other_pixel_of_the_last_image_is_another_set(folder):
    images = some_images()
    images[-1, 0, -1, -1] += 0.01
    with pytest.raises(ValueError, match="images"):
        checkpoints.resume(folder, tiny(), images, 0)


def test_how_it_samples_is_not_what_it_trained(folder):
    assert checkpoints.resume(folder, tiny(rule="ddim", sample_steps=7), some_images(), 0)[0].step == 3


def test_as_many_more_images_are_another_set_though_the_same_stand_for_them(tmp_path, monkeypatch):
    """Every fourth of 32 stands for all; these eight alone are a smaller set."""
    monkeypatch.setattr(records, "HASHED", 8)
    recipe, images = tiny(), some_images()
    record = records.new(recipe, 0, images, "photos", "smoke")
    checkpoints.save(tmp_path, training.start(recipe, images), record, [])
    with pytest.raises(ValueError, match=r"configuration: count \(stored 32, asked 8\)"):
        checkpoints.resume(tmp_path, recipe, images[::4], 0)


def test_wall_time_goes_on_from_what_is_recorded():
    assert 1000 <= records.Clock({"wall_s": 1000.0}).read() < 1100
