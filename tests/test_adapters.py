"""The adapters against diffusers itself: its schedulers, pipelines and UNet2DModel."""

import copy
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    EulerDiscreteScheduler,
    UNet2DModel,
)

from bdbook import adapters, cold
from bdbook.denoiser import EPS, X0, Denoiser, V
from bdbook.losses import loss
from bdbook.oracle import Gaussian
from bdbook.processes import Process, blurring_diffusion, cosine_diffusion, ddpm, soft_diffusion
from bdbook.samplers import ancestral, ddim, sample
from bdbook.transforms import Pixel

SHAPE = (2, 1, 8, 8)
# Of the largest number: walks of a network that has learnt nothing go far. In float64 what is left is diffusers' floor
# of 1e-20 under DDPM's last variance.
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(SHAPE, generator=seeded(seed), dtype=dtype)


def tiny_unet(dtype=torch.float64) -> UNet2DModel:
    """A UNet2DModel with all its weights random, the ones that start at zero too."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = UNet2DModel(
            sample_size=8,
            in_channels=1,
            out_channels=1,
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            attention_head_dim=8,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        )
        for weights in net.parameters():
            weights.data += 0.05 * torch.randn_like(weights)
    return net.eval().to(dtype)


def in_float64(scheduler):
    """A scheduler of linear betas with its table computed again in float64."""
    count = scheduler.config.num_train_timesteps
    scheduler.alphas_cumprod = torch.cumprod(1 - torch.linspace(1e-4, 0.02, count, dtype=torch.float64), 0)
    return scheduler


def times_of(scheduler) -> torch.Tensor:
    """The times of a scheduler's walk: timestep k is t = (k + 1) / N, and after the last one comes 0."""
    steps = (scheduler.timesteps.double() + 1) / scheduler.config.num_train_timesteps
    return torch.cat([steps, torch.zeros(1, dtype=torch.float64)])


@torch.no_grad()
def walk(model, scheduler, x, **settings):
    """x after each step of a scheduler."""
    for k in scheduler.timesteps:
        x = scheduler.step(model(x, k).sample, k, x, **settings).prev_sample
        yield x


def assert_same(ours, theirs, dtype=torch.float64):
    assert ours.dtype == theirs.dtype == dtype
    scale = max(1.0, theirs.abs().max().item())
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE[dtype] * scale)


# --- a network of diffusers under the book's samplers -----------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "steps", "spacing"),
    [(20, 20, "trailing"), (1000, 50, "trailing"), (1000, 20, "leading"), (1000, 7, "linspace")],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ddpm_with_a_network_of_diffusers_is_diffusers(table, steps, spacing, dtype):
    net, x_T = tiny_unet(dtype), randn(dtype=dtype)
    scheduler = DDPMScheduler(table, variance_type="fixed_small", clip_sample=False, timestep_spacing=spacing)
    scheduler = in_float64(scheduler) if dtype == torch.float64 else scheduler
    scheduler.set_timesteps(steps)
    denoiser = Denoiser(adapters.from_diffusers(net, table), ddpm(table))
    ours = sample(denoiser, x_T, times_of(scheduler), ancestral, seeded(1))
    for step, x in zip(ours, walk(net, scheduler, x_T, generator=seeded(1)), strict=True):
        assert_same(step.x, x, dtype)


# diffusers' DDIM goes from k to k - N // steps, which is the next timestep in these.
@pytest.mark.parametrize(
    ("table", "steps", "spacing"), [(20, 20, "trailing"), (1000, 50, "trailing"), (1000, 20, "leading")]
)
@pytest.mark.parametrize(("dtype", "eta"), [(torch.float32, 0.0), (torch.float64, 0.4), (torch.float64, 1.0)])
def test_ddim_with_a_network_of_diffusers_is_diffusers(table, steps, spacing, dtype, eta):
    net, x_T = tiny_unet(dtype), randn(dtype=dtype)
    scheduler = DDIMScheduler(table, clip_sample=False, timestep_spacing=spacing)
    scheduler = in_float64(scheduler) if dtype == torch.float64 else scheduler
    scheduler.set_timesteps(steps)
    denoiser = Denoiser(adapters.from_diffusers(net, table), ddpm(table))
    ours = sample(denoiser, x_T, times_of(scheduler), partial(ddim, eta=eta), seeded(1))
    for step, x in zip(ours, walk(net, scheduler, x_T, eta=eta, generator=seeded(1)), strict=True):
        assert_same(step.x, x, dtype)


@pytest.mark.parametrize(("prediction_type", "predicts"), [("sample", X0), ("v_prediction", V)])
def test_the_other_predictions_of_diffusers_are_the_books(prediction_type, predicts):
    net, x_T = tiny_unet(), randn()
    scheduler = in_float64(DDIMScheduler(20, clip_sample=False, prediction_type=prediction_type))
    scheduler.set_timesteps(20)
    ours = sample(Denoiser(adapters.from_diffusers(net, 20), ddpm(20), predicts), x_T, ddpm(20).times(), ddim)
    for step, x in zip(ours, walk(net, scheduler, x_T), strict=True):
        assert_same(step.x, x)


def test_the_loss_and_its_gradients_are_those_of_training_in_diffusers():
    net, x0, noise, k = tiny_unet(), randn(1), randn(2), torch.tensor([0, 999])
    scheduler = in_float64(DDPMScheduler(1000))
    expected = torch.nn.functional.mse_loss(net(scheduler.add_noise(x0, noise, k), k).sample, noise)
    wrapped = adapters.from_diffusers(copy.deepcopy(net))
    ours = loss(Denoiser(wrapped, ddpm()), x0, (k.double() + 1) / 1000, noise).mean()
    np.testing.assert_allclose(ours.item(), expected.item(), rtol=1e-12)
    expected.backward()
    ours.backward()
    for (name, mine), theirs in zip(wrapped.named_parameters(), net.parameters(), strict=True):
        np.testing.assert_allclose(mine.grad, theirs.grad, rtol=0, atol=1e-12, err_msg=name)


def test_a_wrapped_network_is_a_module_like_any():
    wrapped = adapters.from_diffusers(tiny_unet())
    twin = copy.deepcopy(wrapped)
    for weights in twin.parameters():
        weights.data.zero_()
    assert not twin(randn(), torch.ones(2)).any()
    assert wrapped(randn(), torch.ones(2)).any()
    twin.load_state_dict(wrapped.state_dict())
    assert_same(twin(randn(), torch.ones(2)).detach(), wrapped(randn(), torch.ones(2)).detach())
    assert {weights.dtype for weights in twin.float().parameters()} == {torch.float32}


def test_step_i_is_timestep_i_less_one():
    asked = []
    wrapped = adapters.from_diffusers(lambda x, k: asked.append(k) or x, 250)
    i = torch.arange(1, 251)
    for t in (i / 250, i.double() / 250, i.float() / 250 + 2e-7):
        wrapped(torch.zeros(250, 1, 1, 1), t.clamp_max(1))
    for k in asked:
        assert k.dtype == torch.int64
        assert k.tolist() == list(range(250))


@pytest.mark.parametrize("form", [lambda x: x, lambda x: (x, None), lambda x: SimpleNamespace(sample=x)])
def test_each_form_of_answer_is_read(form):
    wrapped = adapters.from_diffusers(lambda x, k: form(2 * x))
    assert torch.equal(wrapped(randn(), torch.ones(2)), 2 * randn())


@pytest.mark.parametrize(
    ("answer", "words"), [(None, "NoneType"), ({"sample": 1}, "dict"), (("a",), "tuple"), (SimpleNamespace(), "Simple")]
)
def test_another_answer_is_refused(answer, words):
    with pytest.raises(ValueError, match=f"the network gave {words}.*expected a tensor .B, C, H, W."):
        adapters.from_diffusers(lambda x, k: answer)(randn(), torch.ones(2))


@pytest.mark.parametrize(
    ("t", "words"),
    [
        ([0.0, 0.5], "no timestep for t = 0.*i = 1..1000"),
        ([0.5, 0.50002], "exists only at t = i / 1000"),
        ([1.1, 1.0], "expected times in .0, 1."),
    ],
)
def test_a_time_without_a_timestep_is_refused(t, words):
    with pytest.raises(ValueError, match=words):
        adapters.from_diffusers(tiny_unet())(randn(), torch.tensor(t))


@pytest.mark.parametrize("steps", [0, None])
def test_a_network_without_timesteps_is_refused(steps):
    with pytest.raises(ValueError, match=f"steps was {steps}; expected"):
        adapters.from_diffusers(tiny_unet(), steps)


# --- a denoiser of the book under diffusers' pipelines and schedulers -------------------------------------------


def small_data(channels=1) -> Gaussian:
    """Gaussian images that stay within [-1, 1], so that a pipeline's clamp is idle."""
    variance = 0.01 * torch.rand(1, channels, 8, 8, generator=seeded(3), dtype=torch.float64)
    return Gaussian(Pixel(), variance, torch.full((1, channels, 8, 8), 0.1))


class Ours(torch.nn.Module):
    """A network of the book's kind, with a parameter."""

    def __init__(self, dtype=torch.float64):
        super().__init__()
        self.weights = torch.nn.Parameter(0.5 * randn(4, dtype)[:1])

    def forward(self, x, t):
        return torch.tanh(self.weights * x + t.reshape(-1, 1, 1, 1))


@pytest.mark.parametrize("k", [0, 1, 500, 999, torch.tensor(999), torch.tensor([0, 700])])
def test_there_and_back_again_gives_the_networks_own_epsilon(k):
    net = tiny_unet()
    model = adapters.to_diffusers(Denoiser(adapters.from_diffusers(net), ddpm()))
    with torch.no_grad():
        assert_same(model(randn(), k).sample, net(randn(), k).sample)
        assert_same(model(randn(), k, return_dict=False)[0], net(randn(), k).sample)


@pytest.mark.parametrize("predicts", [EPS, X0, V, small_data().prediction()], ids=["eps", "x0", "v", "spectral"])
def test_a_denoiser_gives_the_epsilon_of_its_x0_hat(predicts):
    denoiser, k = Denoiser(Ours(), ddpm(), predicts), torch.tensor([299, 649])
    alpha_bar = in_float64(DDPMScheduler(1000)).alphas_cumprod[k].reshape(-1, 1, 1, 1)
    with torch.no_grad():
        x0_hat = denoiser(randn(), (k.double() + 1) / 1000)
        expected = (randn() - alpha_bar.sqrt() * x0_hat) / (1 - alpha_bar).sqrt()
        assert_same(adapters.to_diffusers(denoiser)(randn(), k).sample, expected)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 6)])
def test_a_ddpm_pipeline_draws_what_sample_draws(shape):
    variance = 0.01 * torch.rand(1, *shape, generator=seeded(3), dtype=torch.float64)
    denoiser = Gaussian(Pixel(), variance, torch.full((1, *shape), 0.1)).denoiser(ddpm(50))
    pipeline = DDPMPipeline(adapters.to_diffusers(denoiser, shape), DDPMScheduler(50, clip_sample=False))
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(2, generator=seeded(5), num_inference_steps=50, output_type="pt").images
    assert ((theirs > 0) & (theirs < 1)).all()
    random = seeded(5)
    steps = list(sample(denoiser, torch.randn(2, *shape, generator=random), ddpm(50).times(), ancestral, random))
    assert_same(steps[-1].x / 2 + 0.5, theirs, torch.float32)


def test_a_ddim_pipeline_draws_what_sample_draws():
    process = cosine_diffusion()
    denoiser = small_data().denoiser(process)
    scheduler = DDIMScheduler(
        num_train_timesteps=100,  # DDIMPipeline forgets what was not given by name
        trained_betas=adapters.betas(process, 100),
        clip_sample=False,
        timestep_spacing="trailing",
    )
    pipeline = DDIMPipeline(adapters.to_diffusers(denoiser, (1, 8, 8), steps=100), scheduler)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(2, generator=seeded(5), num_inference_steps=20, output_type="pt").images
    steps = list(sample(denoiser, torch.randn(SHAPE, generator=seeded(5)), process.times(20), ddim))
    # The process has noise at t = 0, where diffusers goes on to x0_hat.
    assert (steps[-1].x - steps[-1].x0_hat).abs().max() > 1e-3
    assert ((theirs > 0) & (theirs < 1)).all()
    assert_same(steps[-1].x0_hat / 2 + 0.5, theirs, torch.float32)


def test_without_variance_preserved_diffusers_walks_on_x_divided_by_its_scale():
    process = soft_diffusion(8, sigma_max=0.0, noise_min=0.01, noise_max=3.0)  # alpha = 1
    denoiser = Gaussian(process.basis, small_data().variance).denoiser(process)
    scheduler = DDIMScheduler(
        100, trained_betas=adapters.betas(process, 100), clip_sample=False, timestep_spacing="trailing"
    )
    scheduler.set_timesteps(20)
    theirs = walk(adapters.to_diffusers(denoiser, steps=100), scheduler, randn(dtype=torch.float32))
    x_T = 10**0.5 * randn(dtype=torch.float32)
    ours = list(sample(denoiser, x_T, process.times(20), ddim))
    for step, x in zip(ours[:-1], theirs):
        assert_same(step.x / (1 + (0.01 * 300**step.t) ** 2) ** 0.5, x, torch.float32)


def test_a_model_has_what_a_pipeline_reads():
    model = adapters.to_diffusers(Denoiser(Ours(torch.float32), ddpm()), (3, 8, 6))
    config = model.config
    assert (config.in_channels, config.out_channels, config.sample_size) == (3, 3, (8, 6))
    assert (model.dtype, model.device) == (torch.float32, torch.device("cpu"))
    assert len(list(model.parameters())) == 1
    model.to(torch.float64)
    assert model.dtype == model.denoiser.net.weights.dtype == torch.float64
    assert adapters.to_diffusers(small_data().denoiser(ddpm())).dtype == torch.float32
    assert model(randn(dtype=torch.float32).half(), 3).sample.dtype == torch.float16


def test_a_pipeline_without_a_shape_is_told_what_to_give():
    pipeline = DDPMPipeline(adapters.to_diffusers(small_data().denoiser(ddpm())), DDPMScheduler())
    with pytest.raises(ValueError, match=r"shape=\(channels, height, width\)"):
        pipeline(1)


@pytest.mark.parametrize("k", [-1, 1000, torch.tensor([3, 1000]), 998.9])
def test_a_timestep_off_the_table_is_refused(k):
    model = adapters.to_diffusers(Denoiser(Ours(), ddpm()))
    with pytest.raises(ValueError, match=r"timestep was .*; expected 0\.\.999|exists only at t = i / 1000"):
        model(randn(), k)


# --- tables and times -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheduler", [DDPMScheduler, DDIMScheduler, EulerDiscreteScheduler])
@pytest.mark.parametrize(
    ("process", "steps"), [(ddpm(), None), (ddpm(20), 20), (cosine_diffusion(), 1000), (cosine_diffusion(), 8)]
)
def test_betas_give_the_schedulers_the_processs_alpha(scheduler, process, steps):
    count = steps or 1000
    alpha = process.alpha(torch.arange(1, count + 1) / count).flatten()
    made = scheduler(count, trained_betas=adapters.betas(process, steps))
    np.testing.assert_allclose(made.alphas_cumprod, alpha**2, rtol=0, atol=1e-6)


def test_betas_of_ddpm_are_hos():
    np.testing.assert_allclose(adapters.betas(ddpm()), np.linspace(1e-4, 0.02, 1000), rtol=0, atol=1e-13)


def test_betas_of_a_process_without_variance_preserved_are_of_its_snr():
    process = soft_diffusion(8, sigma_max=0.0, noise_min=0.1, noise_max=10.0)
    kept = np.cumprod(1 - np.array(adapters.betas(process, 5)))
    np.testing.assert_allclose(kept, 1 / (1 + (0.1 * 100 ** (np.arange(1, 6) / 5)) ** 2), rtol=1e-12)


@pytest.mark.parametrize(("process", "steps"), [(ddpm(), None), (cosine_diffusion(), 1000)])
def test_timesteps_are_diffusers_own_of_a_uniform_walk(process, steps):
    scheduler = DDPMScheduler(1000, timestep_spacing="trailing")
    scheduler.set_timesteps(50)
    ours = adapters.timesteps(process, process.times(50), steps)
    assert ours == scheduler.timesteps.tolist()
    scheduler.set_timesteps(timesteps=ours)
    assert scheduler.timesteps.tolist() == ours


@pytest.mark.parametrize("process", [ddpm(), ddpm(20), cosine_diffusion()], ids=["1000", "20", "cosine"])
@pytest.mark.parametrize("given", ["sigmas", "timesteps"])
def test_eulers_method_in_sigma_is_ddim(process, given):
    times, table = process.times(20), process.steps or 1000
    denoiser = small_data().denoiser(process)
    scheduler = EulerDiscreteScheduler(table, trained_betas=adapters.betas(process, table))
    if given == "sigmas":
        scheduler.set_timesteps(sigmas=adapters.sigmas(process, times))
    else:
        scheduler.set_timesteps(timesteps=adapters.timesteps(process, times, table))
    model, x_T = adapters.to_diffusers(denoiser, steps=table), randn(dtype=torch.float32)
    x = x_T / process.alpha(1.0).item()
    ours = list(sample(denoiser, x_T, times, ddim))
    for k, step in zip(scheduler.timesteps, ours, strict=True):
        x = scheduler.step(model(scheduler.scale_model_input(x, k), k).sample, k, x).prev_sample
        # Given timesteps, the scheduler ends without noise, whatever the process has at t = 0.
        expected = step.x0_hat if (given, step.t) == ("timesteps", 0.0) else step.x / process.alpha(step.t).item()
        assert_same(x, expected.float(), torch.float32)


@pytest.mark.parametrize("end", [0.5, 0.0])
def test_sigmas_are_sigma_over_alpha_of_the_times(end):
    alpha_bar = in_float64(DDPMScheduler(1000)).alphas_cumprod
    expected = [((1 - alpha_bar[k]) / alpha_bar[k]).sqrt().item() for k in (999, 699, 499)]
    ours = adapters.sigmas(ddpm(), torch.tensor([1.0, 0.7, 0.5, 0.0][: 3 if end else 4]))
    np.testing.assert_allclose(ours, expected if end else [*expected, 0.0], rtol=1e-12)


# --- what diffusers has not -------------------------------------------------------------------------------------


def scalar(alpha, sigma):
    return Process(Pixel(), alpha, sigma, name="mine")


REFUSED = {
    "blurs": (
        blurring_diffusion(8),
        "blurring_diffusion has one alpha per frequency at t = .*use an isotropic process",
    ),
    "coloured": (scalar(torch.cos, lambda t: t * torch.tensor([[1.0, 1.1]])), "mine has one sigma per frequency at t"),
    "nothing left": (
        scalar(lambda t: 1 - t, lambda t: t),
        "mine has no signal or no noise at t = 1; diffusers divides",
    ),
    "no noise": (scalar(lambda t: 1 - t / 2, torch.zeros_like), "mine has no signal or no noise at t = "),
    "one noise": (cold.noise(8, steps=None), "noise has no alpha and sigma, which diffusers needs; use a Process"),
}


@pytest.mark.parametrize(("process", "words"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("asked", ["betas", "timesteps", "sigmas", "to_diffusers"])
def test_a_process_that_diffusers_cannot_have_is_refused(process, words, asked):
    asking = {
        "betas": lambda: adapters.betas(process, 10),
        "timesteps": lambda: adapters.timesteps(process, process.times(10), 10),
        "sigmas": lambda: adapters.sigmas(process, process.times(10)),
        "to_diffusers": lambda: adapters.to_diffusers(Denoiser(Ours(), process), steps=10),
    }
    with pytest.raises(ValueError, match=words):
        asking[asked]()


def test_a_process_is_isotropic_by_its_numbers_and_not_by_its_class():
    still = blurring_diffusion(8, sigma_max=0.0)
    assert still.alpha(0.5).numel() == 64
    assert adapters.betas(still, 10) == pytest.approx(adapters.betas(cosine_diffusion(), 10), abs=1e-14)


def test_a_schedule_may_be_one_number_for_all_times():
    process = scalar(lambda t: torch.ones(1, 1, 1, 1, dtype=torch.float64), lambda t: t)
    i = np.arange(1, 101)
    np.testing.assert_allclose(adapters.sigmas(process, process.times(100)), [*(i[::-1] / 100), 0.0], rtol=1e-12)
    np.testing.assert_allclose(np.cumprod(1 - np.array(adapters.betas(process, 100))), 1 / (1 + (i / 100) ** 2))


def test_noise_that_is_taken_away_again_is_refused():
    turning = scalar(torch.ones_like, lambda t: 0.1 + t * (1 - t))
    with pytest.raises(ValueError, match=r"mine's signal-to-noise ratio grows up to t = 0\.[6-9]"):
        adapters.betas(turning, 10)


@pytest.mark.parametrize("asked", [adapters.betas, lambda p, n: adapters.timesteps(p, p.times(10), n)])
def test_a_table_has_to_be_known_and_one(asked):
    with pytest.raises(ValueError, match=r"cosine_diffusion is continuous in t.*steps=1000"):
        asked(cosine_diffusion(), None)
    with pytest.raises(ValueError, match="steps was 500, but ddpm is tabulated at N = 1000; leave it out"):
        asked(ddpm(), 500)
    with pytest.raises(ValueError, match="steps was 0; expected at least 1"):
        asked(cosine_diffusion(), 0)


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ([1.0, 0.5], "times ended at 0.5; expected 0"),
        ([1.0, 0.123, 0.0], "exists only at t = i / 100"),
        ([0.0, 0.5, 1.0], "strictly decreasing"),
    ],
)
def test_a_walk_without_timesteps_is_refused(times, words):
    with pytest.raises(ValueError, match=words):
        adapters.timesteps(cosine_diffusion(), torch.tensor(times, dtype=torch.float64), 100)


def test_the_module_needs_no_diffusers():
    code = "import sys; sys.modules['diffusers'] = None; import bdbook; print(bdbook.adapters.from_diffusers.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "from_diffusers\n"
