"""A CUDA device gives what the CPU gives, to within the rounding that is said; where there is none, a pretended one.

`make gpu` runs these on a real device. Random numbers are another sequence there, so each test gives both the same; and
convolutions there may round float32 to 10 bits (TF32), so what passes a network agrees to a hundredth.
"""

import json
import os
from dataclasses import replace

import pretended_cuda
import pytest
import torch

from bdbook import cold, losses, oracle, processes, recipes, samplers, training
from bdbook.denoiser import Denoiser
from bdbook.training import checkpoints, engine, runs
from bdbook.transforms import DCT
from bdbook.unet import UNet, UNetConfig

pytestmark = pytest.mark.gpu
REAL = torch.cuda.is_available()
CUDA = torch.device("cuda")
SMALL = UNetConfig(size=16, channels=16, multipliers=(1, 2), blocks=1, attention=(2,), head_dim=16)
LAW = oracle.Gaussian(DCT(16), 0.5 / (0.1 + DCT(16).freq2))
PROCESSES = {
    "ddpm": processes.ddpm(basis=DCT(16)),
    "cosine": processes.cosine_diffusion(basis=DCT(16)),
    "heat": processes.heat_dissipation(16, sigma_max=8.0, steps=100),
    "blurring": processes.blurring_diffusion(16, sigma_max=5.0),
    "blur": processes.blur_diffusion(16),
    "soft": processes.soft_diffusion(16, sigma_max=5.0),
    "equal SNR": processes.equal_snr(LAW),
    "cold blur": cold.degradation("blur", 16, 1, steps=3),
    "pixelation": cold.degradation("super_resolution", 16, 1, steps=3),
}


@pytest.fixture(autouse=True)
def device():
    if REAL:
        yield
        return
    if why := pretended_cuda.missing():
        (pytest.fail if os.environ.get("CI") and why == pretended_cuda.NO_COMPILER else pytest.skip)(f"not run, {why}")
    with pretended_cuda.device():
        yield


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed))


def small(name: str, **changes) -> recipes.Recipe:
    recipe = recipes.get(name)
    channels = recipe.channels
    unet = replace(SMALL, in_channels=channels, out_channels=channels)
    return replace(recipe, **{"unet": unet, "batch": 8, "warmup": 0, **changes})


def pictures(count: int = 32, channels: int = 1) -> torch.Tensor:
    return normal(count, channels, 16, 16).clamp(-1, 1)


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_destroys_alike(name):
    """In float64 to 1e-12, in float32 to 1e-5: transforms do not use the device's shorter float32."""
    process = PROCESSES[name]
    t = process.times(3)[:3]
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        x, noise = normal(3, 1, 16, 16).to(dtype), normal(3, 1, 16, 16, seed=1).to(dtype)
        expected = process.sample(x, t, noise)
        for place in (t, t.to(CUDA)):
            found = process.sample(x.to(CUDA), place, noise.to(CUDA))
            assert found.device.type == "cuda"
            torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=tolerance)


RULES = ("ancestral", "ddim", "momentum", "flow")


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["cosine", "heat", "blurring", "blur", "equal SNR"])
def test_a_step_is_the_same(name, rule):
    """The exact denoiser of Gaussian data; noise of the step given. To 1e-9 in float64."""
    process = PROCESSES[name]
    t, s = process.times(4)[1:3].tolist()
    law = oracle.Gaussian.fit(process.basis, pictures())
    denoiser, chosen = law.denoiser(process), samplers.flow(law) if rule == "flow" else samplers.rule(rule)
    x, noise = normal(3, 1, 16, 16).double(), normal(3, 1, 16, 16, seed=1).double()
    expected, found = (
        samplers.step(denoiser.estimate(x.to(place), t), t, s, chosen, noise.to(place)) for place in ("cpu", CUDA)
    )
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("order", [1, 2])
def test_a_walk_ends_in_the_same_images(order):
    """A network in float32 over five steps, to 1e-2 of the largest value."""
    torch.manual_seed(0)
    net, process = UNet(SMALL).eval(), PROCESSES["blurring"]
    x, ends = normal(4, 1, 16, 16), []
    for place in ("cpu", CUDA):
        denoiser = Denoiser(net.to(place), process, LAW.prediction())
        with torch.no_grad():
            walk = samplers.sample(denoiser, x.to(place), process.times(5), samplers.ddim, order=order)
            ends.append(samplers.last(walk).x.cpu())
    torch.testing.assert_close(ends[1], ends[0], rtol=0, atol=1e-2 * ends[0].abs().max().item())


@pytest.mark.parametrize("name", ["photos-blurring", "photos-soft-plain", "photos-deblur", "photos-cosine-bound"])
def test_a_loss_and_its_gradients_are_the_same(name):
    """Of one batch, to 1e-2 of each gradient's norm."""
    recipe, x0 = small(name), pictures(8)
    t = torch.linspace(0.25, 1.0, 8, dtype=torch.float64)
    noise, found = normal(8, 1, 16, 16, seed=1), []
    process = recipe.build_process()
    t = t if process.steps is None else torch.ceil(t * process.steps) / process.steps
    torch.manual_seed(0)
    net = recipe.build_net()
    for parameter in net.parameters():  # the last layer begins at zero, behind which no gradient comes
        parameter.data += 0.02 * torch.randn(parameter.shape)
    for place in ("cpu", CUDA):
        denoiser = Denoiser(net.to(place), process, recipe.build_prediction(LAW))
        net.zero_grad()
        loss = losses.LOSSES[recipe.loss](denoiser, x0.to(place), t.to(place), noise.to(place))
        loss.mean().backward()
        found.append((loss.detach().cpu(), [p.grad.cpu().clone() for p in net.parameters()]))
    (here, expected), (there, gradients) = found
    torch.testing.assert_close(there, here, rtol=1e-2, atol=0)
    for ours, truth in zip(gradients, expected, strict=True):
        assert (ours - truth).norm() <= 1e-2 * truth.norm() + 1e-6


def trained(folder, steps: list[int], where: engine.Engine) -> dict[str, torch.Tensor]:
    """The tensors of the checkpoint after a training that ended at each of some steps, and went on."""
    how = {"profile": "smoke", "engine": where, "log_every": 1}
    for number, step in enumerate(steps):
        training.fit(small("photos-blurring"), pictures(), folder, steps=step, resume=number > 0, **how)
    _, tensors, _ = checkpoints.newest_whole(checkpoints.found(folder))
    return tensors


def test_a_resumed_training_is_bit_for_bit_the_uninterrupted(tmp_path, monkeypatch):
    """With kernels that add in one order: others do not even repeat themselves."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        whole, resumed = (
            trained(tmp_path / name, steps, engine.Engine(CUDA, torch.bfloat16))
            for name, steps in (("whole", [6]), ("resumed", [2, 5, 6]))
        )
    finally:
        torch.use_deterministic_algorithms(before)
    assert whole.keys() == resumed.keys()
    assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []


def losses_of(folder) -> torch.Tensor:
    return torch.tensor([json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()])


def test_bf16_is_of_the_network_alone_and_near_float32(tmp_path):
    half, full = (engine.Engine(CUDA, dtype) for dtype in (torch.bfloat16, None))
    found = {name: trained(tmp_path / name, [5], where) for name, where in (("half", half), ("full", full))}
    assert {x.dtype for name, x in found["half"].items() if name.startswith(("net.", "ema."))} == {torch.float32}
    a, b = losses_of(tmp_path / "half"), losses_of(tmp_path / "full")
    assert not torch.equal(a, b)
    torch.testing.assert_close(a, b, rtol=0.05, atol=0.02)


def test_what_is_trained_there_is_drawn_here(tmp_path):
    """A run of the device samples on the CPU: the weights are the same, the walk to within rounding."""
    trained(tmp_path / "run", [2], engine.Engine(CUDA))
    both = engine.Engine(), engine.Engine(CUDA)
    here, there = (runs.load(tmp_path / "run", where, images=pictures()) for where in both)
    for ours, theirs in zip(here.denoiser.net.parameters(), there.denoiser.net.parameters(), strict=True):
        assert torch.equal(ours, theirs.cpu())
    x, t = normal(4, 1, 16, 16), 0.5
    torch.testing.assert_close(there.denoiser(x.to(CUDA), t).cpu(), here.denoiser(x, t), rtol=0, atol=1e-2)
    assert there.draw(3, 0, steps=2).device.type == "cpu"


def test_images_stay_where_there_is_no_room():
    images = pictures()
    assert engine.Engine(CUDA).place(images).device.type == "cuda"
    if not REAL:
        with pretended_cuda.device(free=2 * images.nbytes - 1):
            assert engine.Engine(CUDA).place(images) is images


@pytest.mark.skipif(not REAL, reason="torch.compile for CUDA needs a CUDA device")
def test_compiled_networks_train_and_draw_alike(tmp_path):
    """Losses to 2e-2 in float32; samples by CUDA graphs, of the second order too, to 1e-2 of the largest value."""
    plain, compiled = engine.Engine(CUDA), engine.Engine(CUDA, compiler="inductor")
    for name, where in (("plain", plain), ("compiled", compiled)):
        trained(tmp_path / name, [4], where)
    torch.testing.assert_close(losses_of(tmp_path / "compiled"), losses_of(tmp_path / "plain"), rtol=2e-2, atol=1e-3)
    for order in (1, 2):
        expected, found = (
            runs.load(tmp_path / "plain", where, images=pictures()).draw(5, 0, "ddim", 4, order=order)
            for where in (plain, compiled)
        )
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-2 * expected.abs().max().item())
