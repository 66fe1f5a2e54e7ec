"""The loop and the run folder: exactness of resumption, errors that name the mistake."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bdbook import files, recipes, training
from bdbook.training import checkpoints, records, runs
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


@pytest.mark.parametrize("name", ["photos-blurring", "photos-ddpm-plain", "photos-heat-plain", "photos-soft-plain"])
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
    process, net = recipe.build_process(), recipe.build_net()
    assert recipe.name == name
    assert recipes.Recipe.from_dict(json.loads(json.dumps(recipe.as_dict()))).as_dict() == recipe.as_dict()
    x = torch.zeros(1, recipe.channels, recipe.size, recipe.size)
    assert net(x, torch.ones(1)).shape == x.shape
    assert len(process.times(recipe.sample_steps)) >= 2


def test_unknown_recipe_shows_the_nearest():
    with pytest.raises(ValueError, match="unknown recipe 'photo-ddpm': did you mean 'photos-ddpm'"):
        recipes.get("photo-ddpm")
