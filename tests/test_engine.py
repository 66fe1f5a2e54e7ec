"""A training does not depend on how its batches are divided, nor samples on how many processes make them."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bdbook import cold, degradations, processes, recipes, samplers, training
from bdbook.cli import main
from bdbook.denoiser import Denoiser
from bdbook.training import checkpoints, engine, records, runs
from bdbook.unet import UNetConfig

TINY = UNetConfig(size=8, channels=8, multipliers=(1, 2), blocks=1, attention=(2,), head_dim=8)
HERE = Path(__file__).parent


def tiny(name: str = "photos-blurring", **changes) -> recipes.Recipe:
    return replace(recipes.get(name), **{"unet": TINY, "batch": 8, **changes})


def some_images(count: int = 32) -> torch.Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


def losses(recipe, steps=4, where=engine.SINGLE_PROCESS, images=None) -> torch.Tensor:
    images = some_images() if images is None else images
    state = training.start(recipe, images, engine=where)
    trained = training.train(recipe, images, state, engine=where)
    return torch.stack([next(trained).loss for _ in range(steps)])


@pytest.mark.parametrize("name", ["photos-blurring", "photos-heat-plain", "photos-inpaint", "photos-desnow"])
def test_a_batch_in_parts_is_the_same_batch(name):
    """Masks and snow are drawn for each image: a part has to get its own."""
    changes = {"unet": replace(TINY, size=16), "flip": True} if name == "photos-desnow" else {"flip": True}
    recipe = tiny(name, **changes)
    size = recipe.size
    images = torch.rand(32, 1, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    whole = losses(recipe, images=images)
    torch.testing.assert_close(losses(replace(recipe, accumulate=4), images=images), whole, rtol=2e-5, atol=1e-7)
    assert whole[0].std() > 0


def test_flips_mirror_half_of_the_images():
    recipe, images = tiny(batch=32), torch.arange(8.0).expand(3, 1, 8, 8) / 8
    state = training.start(recipe, images)
    plain, flipped = (
        training.draw_batch(replace(recipe, flip=flip), images, state, 0, torch.device("cpu")) for flip in (False, True)
    )
    mirrored = (flipped.x0 == plain.x0.flip(-1)).flatten(1).all(1)
    assert ((flipped.x0 == plain.x0).flatten(1).all(1) ^ mirrored).all()
    assert 8 <= mirrored.sum() <= 24
    assert torch.equal(plain.noise, flipped.noise)


def test_stored_bytes_train_like_floats():
    pixels = torch.randint(0, 256, (32, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    floats = pixels.float() / 127.5 - 1
    assert torch.equal(losses(tiny(), images=pixels), losses(tiny(), images=floats))


def test_bf16_is_of_the_network_alone():
    where = engine.Engine(autocast=torch.bfloat16)
    half, full = losses(tiny(), where=where), losses(tiny())
    assert not torch.equal(half, full)
    torch.testing.assert_close(half, full, rtol=0.02, atol=0.02)
    state = training.start(tiny(), some_images(), engine=where)
    assert {p.dtype for p in state.net.parameters()} == {torch.float32}


def test_compiled_networks_keep_their_names(tmp_path):
    recipe, images = tiny(), some_images()
    where = engine.Engine(compiler="eager")
    state = training.start(recipe, images, engine=where)
    trained = training.train(recipe, images, state, engine=where)
    compiled = next(trained).loss
    torch.testing.assert_close(compiled, losses(recipe, 1)[0])
    checkpoints.save(tmp_path, state, records.new(recipe, 0, images, "photos", "smoke", where), [])
    resumed, _, _ = checkpoints.resume(tmp_path, recipe, images, 0)
    assert resumed.net.state_dict().keys() == training.start(recipe, images).net.state_dict().keys()
    for name, value in resumed.net.state_dict().items():
        assert torch.equal(value, state.net.state_dict()[name])


def test_compiled_sampling_draws_the_same(tmp_path):
    """Answers of a network that is run as a graph are overwritten by the next: the second order keeps two of them."""
    recipe, images = tiny(), some_images()
    state = training.start(recipe, images)
    next(training.train(recipe, images, state))
    checkpoints.save_weights(tmp_path / "w.safetensors", state, records.new(recipe, 0, images, "photos", "smoke"))
    plain = runs.load(tmp_path / "w.safetensors")
    compiled = runs.load(tmp_path / "w.safetensors", engine.Engine(compiler="eager"))
    drawn = [run.draw(5, 0, "ddim", 4, order=2) for run in (plain, compiled)]
    torch.testing.assert_close(*drawn)


def test_answers_of_a_graph_last():
    """A CUDA graph writes each answer over the one before, of which the second order has need in the pixel basis."""

    class Overwrites(torch.nn.Module):
        buffer = torch.zeros(5, 1, 8, 8)

        def forward(self, x, t):
            return self.buffer.copy_(x.tanh() * t.view(-1, 1, 1, 1))

    process = processes.cosine_diffusion()
    x = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    def walk(net):
        return samplers.last(samplers.sample(Denoiser(net, process), x, process.times(5), samplers.ddim, order=2)).x

    expected = walk(lambda x, t: x.tanh() * t.view(-1, 1, 1, 1))
    torch.testing.assert_close(walk(engine.Graphed(Overwrites())), expected)
    assert not torch.allclose(walk(Overwrites()), expected)


DRAWN = {
    "masks": lambda: cold.inpainting(8, steps=3, where="random"),
    "one mask": lambda: cold.inpainting(8, steps=3),
    "a colour": lambda: cold.inpainting(8, steps=3, colour=True),
    "noise": lambda: cold.noise(8, steps=4),
    "snow": lambda: degradations.Snow(8, steps=4),
    "blur": lambda: cold.blur(8, 4),
}


@pytest.mark.parametrize("name", DRAWN)
def test_rows_of_what_was_drawn(name):
    process = DRAWN[name]().draw(6, torch.Generator().manual_seed(1))
    x = some_images(6)
    whole = process.mean(x, 1.0)
    rows = slice(2, 5)
    torch.testing.assert_close(process.rows(rows).mean(x[rows], 1.0), whole[rows])
    each = torch.full((3,), 1.0, dtype=torch.float64)
    torch.testing.assert_close(process.rows(rows).mean(x[rows], each), whole[rows])


def test_masks_of_other_images_are_refused():
    process = cold.inpainting(8, steps=3, where="random").draw(3, torch.Generator().manual_seed(1))
    with pytest.raises(ValueError, match="drawn for 3 images, but there are 2 times"):
        process.mean(some_images(2), torch.ones(2, dtype=torch.float64))


def test_chunks_are_all_of_the_rows_once():
    seen = []

    def work(number: int, rows: slice) -> torch.Tensor:
        seen.append((number, rows.start, rows.stop))
        return torch.arange(rows.start, rows.stop, dtype=torch.float32)[:, None]

    assert engine.SINGLE_PROCESS.in_chunks(150, work).flatten().tolist() == list(range(150))
    assert seen == [(0, 0, 64), (1, 64, 128), (2, 128, 150)]


def test_more_samples_begin_with_the_fewer(tmp_path):
    recipe = tiny("digits-blurring")
    state = training.start(recipe, some_images())
    run = runs.Run(recipe, {"identity": {"seed": 0}, "data": "digits"}, state.ema_denoiser(), state.spectrum)
    many, few = run.draw(130, 3, steps=2), run.draw(64, 3, steps=2)
    assert torch.equal(many[:64], few)
    assert not torch.equal(many[64:128], few), "each chunk has a seed of its own"


def test_uneven_shares_are_refused():
    with pytest.raises(ValueError, match="batch was 8, in 3 parts"):
        tiny(accumulate=3)


def test_unknown_precision():
    with pytest.raises(ValueError, match=r"unknown precision 'fp16'.*bf16, fp32"):
        engine.current_engine("cpu", "fp16")
    assert engine.current_engine("cpu") == engine.Engine()
    assert engine.current_engine("cpu", "bf16", compiled=True) == engine.Engine(
        autocast=torch.bfloat16, compiler="inductor"
    )


def launched(processes: int, *arguments: str) -> str:
    """What `python -m bdbook` prints under torchrun, which starts processes as `accelerate launch` does on GPUs."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    done = subprocess.run(
        [*command, "-m", "bdbook", *arguments],
        capture_output=True,
        text=True,
        cwd=HERE.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_two_processes_follow_one(tmp_path, capsys):
    """50 steps of one batch in two processes: the losses of one process to 1e-5; then the same images, bit for bit."""
    steps = ("--recipe", "digits-blurring", "--profile", "smoke", "--batch", "4", "--steps", "50", "--log-every", "1")
    one, two = tmp_path / "one", tmp_path / "two"
    assert main(["train", *steps, "--out", str(one)]) == 0
    launched(2, "train", *steps, "--out", str(two))
    alone, together = (
        [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()] for out in (one, two)
    )
    assert len(alone) == 50
    assert max(abs(a - b) / a for a, b in zip(alone, together, strict=True)) < 1e-5
    assert json.loads((two / "record.json").read_text())["processes"] == 2

    asked = ("-r", str(one), "--steps", "2", "--count", "150", "--profile", "cpu")
    assert main(["sample", *asked, "--out", str(tmp_path / "one.png")]) == 0
    launched(2, "sample", *asked, "--out", str(tmp_path / "two.png"))
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    capsys.readouterr()
    assert main(["evaluate", *asked]) == 0
    assert launched(2, "evaluate", *asked) == capsys.readouterr().out


class Stored:
    """Images of 1000 bytes that say where they were moved to."""

    def numel(self):
        return 250

    def element_size(self):
        return 4

    def to(self, device):
        return f"on {device}"


@pytest.mark.parametrize(("free", "moved"), [(2000, True), (1999, False)])
def test_images_take_at_most_half_of_what_is_free_on_a_gpu(monkeypatch, free, moved):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10**6))
    images = Stored()
    assert engine.Engine(torch.device("cuda")).place(images) == ("on cuda" if moved else images)
    assert engine.SINGLE_PROCESS.place(images) is images
