"""The way of every kind of recipe over a CUDA device, pretended where there is none: no tensor lies on the wrong one.

The pretended device computes with the CPU's kernels and draws the CPU's numbers, so that what is trained, drawn and
measured there has to be what the CPU alone gives.
"""

import contextlib
import json
import os
import sys
from dataclasses import dataclass, replace

import numpy as np
import pretended_cuda
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pretended_cuda import CUDA

from bdbook import cold, oracle, processes, recipes, training
from bdbook.cli import main
from bdbook.evaluation import generation, restoration
from bdbook.training import engine, runs
from bdbook.transforms import DCT, height_width
from bdbook.unet import UNetConfig

TINY = UNetConfig(size=16, channels=8, multipliers=(1, 2), blocks=1, attention=(2,), head_dim=8)
COUNT = 4
GPU = engine.Engine(CUDA)


@pytest.fixture(scope="module", autouse=True)
def compiled():
    if why := pretended_cuda.missing():
        needs_compiler = why == pretended_cuda.NO_COMPILER
        (pytest.fail if os.environ.get("CI") and needs_compiler else pytest.skip)(f"not run, {why}")
    pretended_cuda.register()


@pytest.fixture
def cuda():
    with pretended_cuda.device():
        yield


# --- the pretence itself --------------------------------------------------------------------------------------


def test_a_tensor_says_where_it_lives_and_has_its_numbers(cuda):
    x = torch.arange(6.0).reshape(2, 3)
    for moved in (
        x.to("cuda"),
        x.cuda(),
        torch.tensor(x.tolist(), device="cuda"),
        torch.zeros(2, 3, device="cuda") + x.cuda(),
    ):
        assert moved.device == CUDA
        assert moved.is_cuda
        assert moved.mT.device == moved[0].device == CUDA
        assert torch.equal(moved.cpu(), x)
        assert moved.tolist() == x.tolist()
        assert moved.sum().item() == 15
    with pytest.raises((TypeError, RuntimeError), match="numpy"):
        x.cuda().numpy()


def there(*shape: int) -> torch.Tensor:
    return torch.ones(shape, device="cuda")


MIXED = {
    "a sum": lambda: there(2) + torch.ones(2),
    "a number of the GPU": lambda: there() * torch.ones(2),
    "a product": lambda: there(2, 2) @ torch.ones(2, 2),
    "in place": lambda: torch.ones(2).add_(there(2)),
    "into a slice": lambda: torch.ones(2)[:1].mul_(there(1)),
    "a choice": lambda: torch.where(there(2) > 0, torch.ones(2), there(2)),
    "a list": lambda: torch.cat([there(2), torch.ones(2)]),
    "a list of numbers": lambda: torch.stack([there(), torch.ones(())]),
    "an index of the GPU": lambda: torch.ones(2)[torch.zeros(1, dtype=torch.long, device="cuda")],
    "several at once": lambda: torch._foreach_lerp_([there(2)], [torch.ones(2)], 0.5),
    "a network": lambda: torch.nn.Linear(2, 2).cuda()(torch.ones(1, 2)),
    "an optimiser's state": lambda: torch._fused_adam_(
        *([there(2)] for _ in range(4)), [], [torch.ones(())], lr=1.0, beta1=0.9, beta2=0.99, weight_decay=0.0, eps=1.0,
        amsgrad=False, maximize=False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MIXED)
def test_tensors_of_both_devices_in_one_operation_are_refused(cuda, name):
    with pytest.raises(RuntimeError, match="expected all tensors to be on the same device, but found"):
        MIXED[name]()


def test_moments_that_are_laid_out_otherwise_than_the_weights_are_refused(cuda):
    def lists(last):
        weights = there(1, 2, 2, 2).to(memory_format=torch.channels_last)
        return [weights], [weights.clone()], [weights.clone()], [last(weights)], [], [there()]

    how = {"lr": 1.0, "beta1": 0.9, "beta2": 0.99, "weight_decay": 0.0, "eps": 1.0, "amsgrad": False, "maximize": False}
    torch._fused_adam_(*lists(torch.clone), **how)
    with pytest.raises(RuntimeError, match="must have same dtype, device, and layout"):
        torch._fused_adam_(*lists(torch.Tensor.contiguous), **how)


ALLOWED = {
    "a number of the CPU": lambda: there(2) * torch.tensor(2.0),
    "an index of the CPU": lambda: there(2)[torch.zeros(2, dtype=torch.long)],
    "a copy": lambda: there(2).copy_(torch.ones(2)),
    "a slice": lambda: there(2)[:].copy_(torch.ones(2)),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_a_gpu_allows(cuda, name):
    assert ALLOWED[name]().device == CUDA


GENERATORS = {
    "numbers": lambda place, random: torch.randn(2, device=place, generator=random),
    "whole numbers": lambda place, random: torch.randint(9, (2,), device=place, generator=random),
    "like others": lambda place, random: torch.zeros(2, device=place).uniform_(generator=random),
    "an order": lambda place, random: torch.randperm(3, device=place, generator=random),
    "a choice": lambda place, random: torch.multinomial(torch.ones(3, device=place), 2, generator=random),
}


@pytest.mark.parametrize("name", GENERATORS)
def test_a_generator_draws_on_its_own_device_alone(cuda, name):
    draw = GENERATORS[name]
    for place, other in (("cpu", "cuda"), ("cuda", "cpu")):
        assert draw(place, torch.Generator(place).manual_seed(0)).device.type == place
        with pytest.raises(RuntimeError, match=f"expected a '{place}' device type for generator but found '{other}'"):
            draw(place, torch.Generator(other))
    assert isinstance(torch.Generator("cuda"), torch.Generator)


def net_and_batch(seed: int, place: str):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = (torch.nn.Conv2d(1, 4, 3), torch.nn.GroupNorm(2, 4), torch.nn.SiLU(), torch.nn.Flatten())
        net = torch.nn.Sequential(*layers, torch.nn.Linear(64, 3))
        return net.to(place), torch.randn(2, 1, 6, 6).to(place)


@given(st.integers(0, 2**31))
def test_gradients_are_those_of_autograd(seed):
    """A network in which a value goes two ways, a bias is broadcast, and a weight is used twice."""

    def gradients(place):
        net, x = net_and_batch(seed, place)
        out = net(x)
        (out.square().sum() + (out * out.detach()).mean() + net[0].weight.exp().sum()).backward()
        return [p.grad.cpu() for p in net.parameters()]

    expected = gradients("cpu")
    with pretended_cuda.device():
        found = gradients("cuda")
    for ours, truth in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, truth)


def test_a_gradient_of_the_other_device_is_found(cuda):
    class Misplaced(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        def backward(ctx, grad):
            return 2 * grad.cpu()

    x = torch.ones(2, device="cuda", requires_grad=True)
    with pytest.raises(RuntimeError, match="expected a gradient on cuda:0, but found one on cpu"):
        Misplaced.apply(x).sum().backward()
    with pytest.raises(NotImplementedError, match="one number alone"):
        (2 * x).backward(torch.ones(2, device="cuda"))


def test_afterwards_there_is_no_device():
    before = {name: getattr(torch.cuda, name) for name in ("is_available", "synchronize", "mem_get_info")}
    generator = torch.Generator
    with pretended_cuda.device(free=5):
        assert torch.cuda.is_available()
        assert torch.cuda.mem_get_info(0)[0] == 5
    assert {name: getattr(torch.cuda, name) for name in before} == before
    assert torch.Generator is generator
    assert not torch.cuda.is_available()
    x = torch.ones(2, requires_grad=True)
    x.sum().backward()
    assert x.grad.tolist() == [1, 1]


# --- every kind of recipe -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fading(processes.Process):
    """A process of one's own: alpha = e^(-lambda t), sigma = t."""

    size: int
    name: str = processes.label("fading")
    steps = None

    @property
    def basis(self):
        return DCT(self.size)

    def alpha(self, t):
        return torch.exp(-self.basis.freq2.to(t.device) * t)

    def sigma(self, t):
        return t


class Own(torch.nn.Module):
    """A network of one's own."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, x, t):
        return self.conv(torch.cat([x, t.reshape(-1, 1, 1, 1).expand_as(x)], dim=1))


def small(recipe: recipes.Recipe) -> recipes.Recipe:
    """The recipe with a tiny network, for 16 pixels, and with few steps of its degradation."""
    channels = recipe.channels
    unet = replace(TINY, in_channels=channels, out_channels=channels, dropout=recipe.unet.dropout)
    settings = dict(recipe.settings)
    if "steps" in settings or recipe.process in cold.FACTORIES:
        settings["steps"] = min(4, settings.get("steps", 4))
    drawn = recipe.sample_steps and 2
    return replace(recipe, unet=unet, settings=settings, sample_steps=drawn, batch=COUNT, accumulate=1, warmup=0)


# Settings of a cold degradation by which it takes another way; the others are numbers.
CHOOSE = {"boundary", "colour", "other", "to_mean", "where"}


def traits(recipe: recipes.Recipe) -> set[tuple]:
    """What may decide which tensors are made where."""
    of_cold = sorted(CHOOSE & set(recipe.settings)) if recipe.process in cold.FACTORIES else ()
    return {
        ("process", recipe.process, *of_cold),
        ("channels", recipe.is_cold, recipe.channels),
        ("predicts", recipe.is_cold, recipe.predicts),
        ("loss", recipe.loss),
        ("domain", recipe.domain),
        ("dropout", recipe.has_dropout),
    }


def kinds() -> dict[str, recipes.Recipe]:
    """Recipes of which each has a trait that none before it has; then what no recipe has."""
    known, found = set(), []
    for recipe in map(small, recipes.RECIPES.values()):
        if not traits(recipe) <= known:
            known |= traits(recipe)
            found.append(recipe)
    grey = (1, 16, 16)
    spectrum = oracle.Gaussian(DCT(16), 1 / (0.1 + DCT(16).freq2))
    others = (processes.rectified_flow(DCT(16)), processes.heat_flow(16), processes.equal_snr(spectrum, kappa=0.5))
    found += [small(recipes.of_process(process, grey)) for process in others]
    found += [
        replace(small(recipes.get("digits-cosine")), name="predicts v", predicts="v"),
        replace(small(recipes.get("photos-ddpm")), name="flipped, in parts", flip=True, accumulate=2),
        replace(recipes.of_process(Fading(16), grey, Own(), batch=COUNT, warmup=0), name="one's own"),
    ]
    return {recipe.name: recipe for recipe in found}


KINDS = kinds()


def some_images(recipe: recipes.Recipe) -> torch.Tensor:
    shape = (16, recipe.channels, *height_width(recipe.size))
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def trained(folder, recipe, images, where: engine.Engine) -> torch.Tensor:
    """Train a step, stop, resume for two more: the losses, of which the last is of what was resumed."""
    asked = {"folder": folder, "engine": where, "profile": "cpu", "log_every": 1}
    training.fit(recipe, images, steps=1, **asked)
    training.fit(recipe, images, steps=3, resume=True, **asked)
    lines = (folder / "log.jsonl").read_text().splitlines()
    return torch.tensor([json.loads(line)["loss"] for line in lines])


def read(folder, recipe, images, where: engine.Engine) -> runs.Run:
    own = {} if recipe.net is None else {"net": recipe.net}
    own |= {} if isinstance(recipe.process, str) else {"process": recipe.process}
    return runs.load(folder, where, images=images, **own)


def drawn_and_measured(run: runs.Run, images, rules) -> dict[str, torch.Tensor]:
    """What a run draws by each rule and what is measured of it, on the CPU."""
    process = run.denoiser.process
    steps = None if run.recipe.predicts == "less_blurred" else 2
    found = {rule: run.draw(COUNT, 0, rule, steps, order=2 if rule == "ddim" else 1) for rule in rules}
    if not process.noisy:
        found |= restoration.restored_images(run, images, restoration.Protocol(steps=2))
        return found | {f"made by {way}": x.cpu() for way, x in restoration.generations(run, COUNT).items()}
    if run.recipe.predicts == "spectral":
        found["flow"] = run.draw(COUNT, 0, run.flow(eta=0.5), 3, order=2)
        found["clipped"] = run.draw(COUNT, 0, steps=2, clip=True)
    with contextlib.suppress(ValueError):  # not every process has a bound
        found["bits"] = generation.bits(run, images, steps=2).total_bits.cpu()
    return found


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_recipe(tmp_path, name):
    """Trained, resumed, sampled by every rule that fits, evaluated: on the device as on the CPU."""
    recipe = KINDS[name]
    images, rules = some_images(recipe), generation.fitting(recipe, recipe.outline())
    losses = trained(tmp_path / "cpu", recipe, images, engine.SINGLE_PROCESS)
    here = drawn_and_measured(read(tmp_path / "cpu", recipe, images, engine.SINGLE_PROCESS), images, rules)
    with pretended_cuda.device():
        torch.testing.assert_close(trained(tmp_path / "cuda", recipe, images, GPU), losses, rtol=1e-3, atol=0)
        run = read(tmp_path / "cpu", recipe, images, GPU)  # the same weights, to the last bit
        assert {p.device for p in run.denoiser.net.parameters()} == {CUDA}
        found = drawn_and_measured(run, images, rules)
        half = replace(GPU, autocast=torch.bfloat16)
        step = next(training.train(recipe, images, training.start(recipe, images, engine=half), engine=half))
        torch.testing.assert_close(step.loss.mean().cpu(), losses[0], rtol=0.05, atol=0.02)
    assert found.keys() == here.keys()
    for key, value in found.items():
        scale = here[key].abs().max().item()  # untrained networks explode
        near = {"rtol": 1e-4, "atol": 1e-4 * scale + 1e-6}
        torch.testing.assert_close(value, here[key], **near, msg=lambda m, key=key: f"{key}: {m}")


def test_a_misplaced_tensor_in_a_process_is_found(tmp_path, monkeypatch):
    """Planted: a schedule that forgets to move its table to the times' device."""
    recipe = KINDS["digits-blurring"]
    real = processes.schedules.frequency_scaling
    table = DCT(16).freq2
    monkeypatch.setattr(processes.schedules, "frequency_scaling", lambda freq2, *rest: real(table, *rest))
    images = some_images(recipe)
    assert trained(tmp_path / "cpu", recipe, images, engine.SINGLE_PROCESS).isfinite().all()
    with pretended_cuda.device(), pytest.raises(RuntimeError, match="expected all tensors to be on the same device"):
        trained(tmp_path / "cuda", recipe, images, GPU)


def test_the_commands(tmp_path, capsys, monkeypatch, cuda):
    """bdbook on the device, in bfloat16, which is its default there, with data of the library."""
    monkeypatch.delenv("BDBOOK_PROFILE", raising=False)
    # The grids of 250 steps at each checkpoint; every kind of recipe above draws its own.
    monkeypatch.setattr(sys.modules["bdbook.training.fit"]._Training, "_show", lambda *_: None)

    def bdbook(*arguments: str) -> str:
        assert main(list(arguments)) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    few = ("--profile", "gpu", "--batch", "4")
    for recipe in ("digits-blurring", "photos-sharpen"):
        out = str(tmp_path / recipe)
        train = ("train", "--recipe", recipe, "--out", out, *few)
        bdbook(*train, "--steps", "1")
        assert "going on from step 1 of 2" in bdbook(*train, "--steps", "2", "--resume")
        record = json.loads((tmp_path / recipe / "record.json").read_text())
        assert (record["device"], record["precision"]) == (pretended_cuda.NAME, "bfloat16")
        run = ("-r", out, "--profile", "gpu", "--steps", "2")
        if recipe == "digits-blurring":
            bdbook("sample", *run, "--count", "2", "--out", str(tmp_path / "samples.png"))
            told = bdbook("evaluate", *run, "--count", "12", "--samples", "12", "--bits")
            assert "bits per dimension, at most" in told
        else:
            assert "tacos" in bdbook("evaluate", *run, "--count", "12")
            Image.fromarray(np.full((24, 20, 3), 99, np.uint8)).save(tmp_path / "grey.png")
            assert "PSNR" in bdbook("restore", "--image", str(tmp_path / "grey.png"), *run, "--degrade")
    assert "float32" not in bdbook("train", "--dry-run", "--recipe", "digits-ddpm", "--steps", "3", *few)
    assert f"device: {pretended_cuda.NAME}, 80.0 of 80.0 GiB free" in bdbook("doctor")
