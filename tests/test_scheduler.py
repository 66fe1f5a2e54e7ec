"""`BlurringScheduler` against the book's samplers and losses, and against what diffusers' own tests ask of a scheduler.

Of diffusers' patterns (tests/schedulers/test_schedulers.py there) these do not apply: trained betas and beta schedules,
for the process is the schedule; compatible schedulers, for none of diffusers' blurs; variance types, thresholding and
timestep spacing, which are the rule's, clip_sample's and the process's here; sigmas, for there is one a frequency.
"""

import copy
import json
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from hypothesis import given, settings
from hypothesis import strategies as st
from test_adapters import Ours as Net

from bdbook import adapters, cold, data, losses, samplers
from bdbook.adapters.scheduler import MADE, PREDICTION_TYPES, BlurringScheduler
from bdbook.data import fashion
from bdbook.denoiser import EPS, LESS_BLURRED, RESIDUAL, STEP_MEAN, X0, Denoiser, PredictStepMean, V
from bdbook.oracle import Gaussian
from bdbook.page import recorded
from bdbook.processes import (
    Process,
    blur_diffusion,
    blurring_diffusion,
    cosine_diffusion,
    ddpm,
    equal_snr,
    heat_dissipation,
    heat_flow,
    rectified_flow,
    soft_diffusion,
)
from bdbook.training import runs
from bdbook.transforms import DCT, Pixel

SHAPE = (2, 1, 8, 8)
BASIS = DCT(8)
# Of the largest number, as in tests/test_adapters.py.
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def randn(seed=0, dtype=torch.float64):
    return torch.randn(SHAPE, generator=seeded(seed), dtype=dtype)


def spectrum_in(basis):
    """Data whose spectrum falls, with a mean."""
    random = torch.rand(2, 1, 1, 8, 8, generator=seeded(3), dtype=torch.float64)
    return Gaussian(basis, (0.1 + random[0]) / (0.1 + basis.freq2), 0.1 * random[1])


SYSTEMS = {
    "ddpm": ddpm(20, basis=BASIS),
    "cosine": cosine_diffusion(basis=BASIS),
    "blurring": blurring_diffusion(8, sigma_max=5.0),
    "blur": blur_diffusion(8, steps=20),
    "heat": heat_dissipation(8, steps=20),
    "soft": soft_diffusion(8, sigma_max=5.0),
    "flow": rectified_flow(basis=BASIS),
    "heat flow": heat_flow(8),
    "equal snr": equal_snr(spectrum_in(BASIS), kappa=0.5),
}
WITH_NOISE = ("ancestral", "ddim", "momentum", "ihdm", "partial_carry", "flow", "analytic", "coloured", "matched")
SETTINGS = {
    "ddim": {"eta": 0.4},
    "ihdm": {"delta": 0.05},
    "partial_carry": {"rho": 0.7},
    "flow": {"eta": 0.3},
    "coloured": {"power": 0.5},
}


def book_rule(name, numbers, spectrum):
    """The same rule as the book's own callers write it."""
    if name == "flow":
        return samplers.flow(spectrum, **numbers)
    if name in ("analytic", "coloured", "matched"):
        return getattr(samplers, name)(spectrum.variance, **numbers)
    if name == "ddim":
        return partial(samplers.ddim, **numbers)
    return getattr(samplers, name)(**numbers) if numbers else name


@torch.no_grad()
def walk(scheduler, model, x, generator):
    """What the steps of a scheduler give, as diffusers' pipelines call them."""
    for k in scheduler.timesteps:
        x = scheduler.step(model(scheduler.scale_model_input(x, k), k).sample, k, x, generator=generator).prev_sample
        yield x


def assert_walks_agree(scheduler, denoiser, rule, steps, dtype, order=1, clip=False):
    scheduler.set_timesteps(steps)
    x_T = scheduler.begin(randn(dtype=dtype))
    model = adapters.predictor(denoiser, SHAPE[1:], len(scheduler))
    ours = samplers.sample(denoiser, x_T, denoiser.process.times(steps), rule, seeded(1), order, clip)
    for expected, x in zip(ours, walk(scheduler, model, x_T, seeded(1)), strict=True):
        assert x.dtype == dtype
        scale = max(1.0, expected.x.abs().max().item())
        np.testing.assert_allclose(x, expected.x, rtol=0, atol=TOLERANCE[dtype] * scale)


def test_the_lists_of_rules_and_of_predictions_are_all_there_is():
    assert {*WITH_NOISE, "naive", "tacos"} == {*samplers.RULES, *MADE}
    assert set(SETTINGS) == {"ddim", "ihdm", "partial_carry", "flow", "coloured"}
    assert len(PREDICTION_TYPES) == 7


@pytest.mark.parametrize("name", [*WITH_NOISE, "naive", "tacos"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_step_is_the_samplers(system, name):
    process, spectrum = SYSTEMS[system], spectrum_in(SYSTEMS[system].basis)
    denoiser, numbers = Denoiser(Net(), process, spectrum.prediction()), SETTINGS.get(name, {})
    for order in (1, 2):
        scheduler = BlurringScheduler.of(denoiser, rule=name, rule_settings=numbers, solver_order=order)
        assert_walks_agree(scheduler, denoiser, book_rule(name, numbers, spectrum), 4, torch.float64, order)


@pytest.mark.parametrize("name", ["ancestral", "ddim", "ihdm", "flow", "coloured"])
def test_a_rule_without_settings_has_the_books_own(name):
    denoiser = Denoiser(Net(), SYSTEMS["blurring"], spectrum_in(BASIS).prediction())
    chosen = book_rule(name, {}, spectrum_in(BASIS))
    assert_walks_agree(BlurringScheduler.of(denoiser, rule=name), denoiser, chosen, 4, torch.float64)


@pytest.mark.parametrize(("name", "order"), [("ancestral", 1), ("ddim", 2)])
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_step_is_the_samplers_in_float32(system, name, order):
    denoiser = Denoiser(Net(torch.float32), SYSTEMS[system], spectrum_in(SYSTEMS[system].basis).prediction())
    scheduler = BlurringScheduler.of(denoiser, rule=name, solver_order=order)
    assert_walks_agree(scheduler, denoiser, name, 7, torch.float32, order)


# The mean of a step is of steps of 1/100, which are off the table of a process with its own steps.
OF_EACH = [
    pytest.param(system, predicts, id=f"{system}-{type(predicts).__name__}")
    for system in ("ddpm", "cosine", "blurring", "blur")
    for predicts in (EPS, X0, V, RESIDUAL, STEP_MEAN)
    if predicts is not STEP_MEAN or SYSTEMS[system].steps is None
]


@pytest.mark.parametrize("steps", [None, 7])
@pytest.mark.parametrize(("system", "predicts"), OF_EACH)
def test_each_prediction_is_the_books(system, predicts, steps):
    process = SYSTEMS[system]
    denoiser = Denoiser(Net(), process, predicts)
    scheduler = BlurringScheduler.of(denoiser, rule="ddim", num_train_timesteps=process.steps or 30)
    assert_walks_agree(scheduler, denoiser, "ddim", steps or len(scheduler), torch.float64)


def test_a_less_blurred_network_walks_every_step_by_ihdm():
    denoiser = Denoiser(Net(), SYSTEMS["heat"], LESS_BLURRED)
    assert_walks_agree(BlurringScheduler.of(denoiser, rule="ihdm"), denoiser, "ihdm", 20, torch.float64)


@pytest.mark.parametrize("name", ["naive", "tacos"])
@pytest.mark.parametrize("degradation", ["blur", "super_resolution"])
def test_a_restorer_without_noise_walks_too(degradation, name):
    denoiser = Denoiser(Net(), cold.degradation(degradation, 8, 1), RESIDUAL)
    scheduler = BlurringScheduler.of(denoiser, rule=name)
    assert_walks_agree(scheduler, denoiser, name, len(scheduler), torch.float64)


@pytest.mark.parametrize("order", [1, 2])
def test_the_clamp_is_the_samplers(order):
    denoiser = Denoiser(Net(), SYSTEMS["blurring"])
    scheduler = BlurringScheduler.of(denoiser, clip_sample=True, solver_order=order)
    assert_walks_agree(scheduler, denoiser, "ancestral", 10, torch.float64, order, clip=True)


@given(st.lists(st.integers(0, 999), min_size=1, max_size=12, unique=True), st.sampled_from([1, 2]))
@settings(max_examples=12, deadline=None)
def test_any_walk_of_timesteps_is_one_of_the_samplers(chosen, order):
    chosen = sorted(chosen, reverse=True)
    denoiser = Denoiser(Net(), SYSTEMS["blurring"])
    scheduler = BlurringScheduler.of(denoiser, solver_order=order)
    scheduler.set_timesteps(timesteps=chosen)
    assert scheduler.timesteps.tolist() == chosen
    times = torch.tensor([*((k + 1) / 1000 for k in chosen), 0.0], dtype=torch.float64)
    ours = samplers.sample(denoiser, randn(), times, "ancestral", seeded(1), order)
    theirs = walk(scheduler, adapters.predictor(denoiser, steps=1000), randn(), seeded(1))
    for expected, x in zip(ours, theirs, strict=True):
        scale = max(1.0, expected.x.abs().max().item())
        np.testing.assert_allclose(x, expected.x, rtol=0, atol=1e-10 * scale)


def test_of_an_isotropic_process_the_steps_are_those_of_diffusers_own():
    """Independent of the book's samplers."""
    table = {"clip_sample": False, "timestep_spacing": "trailing"}
    for theirs, rule, own in (
        (DDPMScheduler(50, variance_type="fixed_small", **table), "ancestral", {}),
        (DDIMScheduler(50, **table), "ddim", {"eta": 0.4}),
    ):
        ours = BlurringScheduler(ddpm(50), rule=rule, rule_settings=own)
        theirs.set_timesteps(10)
        ours.set_timesteps(10)
        assert ours.timesteps.tolist() == theirs.timesteps.tolist()
        x = randn(dtype=torch.float32)
        for k in ours.timesteps:
            answer = torch.tanh(x)
            expected = theirs.step(answer, k, x, generator=seeded(int(k)), **own)
            mine = ours.step(answer, k, x, generator=seeded(int(k)))
            for name in ("prev_sample", "pred_original_sample"):
                np.testing.assert_allclose(mine[name], expected[name], rtol=1e-4, atol=1e-5)
            x = expected.prev_sample


# --- patterns of diffusers' own tests -------------------------------------------------------------------------------


FULL = {
    "plain": lambda: BlurringScheduler(blurring_diffusion(8)),
    "spectral": lambda: BlurringScheduler(
        SYSTEMS["blurring"], 200, "spectral", "flow", {"eta": 0.5}, 2, spectrum=spectrum_in(BASIS)
    ),
    "by name": lambda: BlurringScheduler(process=SYSTEMS["soft"], rule="momentum", spectrum=spectrum_in(BASIS)),
    "coloured": lambda: BlurringScheduler(SYSTEMS["equal snr"], rule="ddim", clip_sample=True),
    "tabulated": lambda: BlurringScheduler(SYSTEMS["blur"], prediction_type="v_prediction"),
}


def draws(scheduler):
    """What a scheduler makes of fixed answers."""
    scheduler.set_timesteps(6)
    x = scheduler.begin(randn())
    for k in scheduler.timesteps:
        x = scheduler.step(torch.tanh(x), k, x, generator=seeded(int(k))).prev_sample
    return x


@pytest.mark.parametrize("name", FULL)
def test_a_scheduler_that_was_saved_is_the_same(name, tmp_path):
    scheduler = FULL[name]()
    scheduler.save_pretrained(tmp_path)
    twins = [
        BlurringScheduler.from_pretrained(tmp_path),
        BlurringScheduler.from_config(scheduler.config),
        BlurringScheduler.from_config(json.loads(scheduler.to_json_string())),
        BlurringScheduler.from_config(BlurringScheduler.load_config(tmp_path)),
        copy.deepcopy(scheduler),
    ]
    for twin in twins:
        assert twin.process == scheduler.process
        assert len(twin) == len(scheduler)
        assert json.loads(twin.to_json_string()) == json.loads(scheduler.to_json_string())
        assert torch.equal(draws(twin), draws(scheduler))


def test_a_config_with_a_setting_changed():
    scheduler = BlurringScheduler.from_config(FULL["plain"]().config, rule="ddim", solver_order=2)
    assert (scheduler.config.rule, scheduler.config.solver_order) == ("ddim", 2)
    scheduler, unused = BlurringScheduler.from_config(scheduler.config, return_unused_kwargs=True, steps=10)
    assert unused["steps"] == 10
    assert scheduler.config.rule == "ddim"


def test_the_signature_names_what_the_config_has():
    scheduler = FULL["plain"]()
    for name in ("process", "num_train_timesteps", "prediction_type", "rule", "solver_order", "clip_sample"):
        assert name in scheduler.config
    assert isinstance(scheduler, SchedulerMixin)
    assert scheduler.order == 1
    assert scheduler.compatibles == []
    assert scheduler.config_name == "scheduler_config.json"


def test_steps_have_the_samples_shape_and_the_two_forms_agree():
    scheduler = FULL["spectral"]()
    scheduler.set_timesteps(10)
    for k in scheduler.timesteps[:3]:
        output = scheduler.step(0.1 * randn(int(k)), k, randn(1), seeded(2))
        both = scheduler.step(0.1 * randn(int(k)), k, randn(1), seeded(2), return_dict=False)
        assert output.prev_sample.shape == output.pred_original_sample.shape == SHAPE
        assert torch.equal(both[0], output.prev_sample)
        assert torch.equal(both[1], output.pred_original_sample)
        assert torch.equal(output[0], output["prev_sample"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes_are_kept(dtype):
    scheduler = FULL["plain"]()
    x, noise = randn().to(dtype), randn(1).to(dtype)
    k = torch.tensor([3, 700])
    assert scheduler.add_noise(x, noise, k).dtype == dtype
    assert scheduler.get_velocity(x, noise, k).dtype == dtype
    output = scheduler.step(noise, 999, x)
    assert output.prev_sample.dtype == output.pred_original_sample.dtype == dtype


def test_add_noise_is_the_processs_and_for_each_image_its_own():
    scheduler = FULL["plain"]()
    k = torch.tensor([0, 850])
    noisy = scheduler.add_noise(randn(), randn(1), k)
    for row, each in enumerate(k.tolist()):
        u = BASIS.forward(randn()[row : row + 1]), BASIS.forward(randn(1)[row : row + 1])
        t = (each + 1) / 1000
        expected = scheduler.process.alpha(t) * u[0] + scheduler.process.sigma(t) * u[1]
        np.testing.assert_allclose(noisy[row : row + 1], BASIS.inverse(expected), rtol=0, atol=1e-12)


def test_add_noise_and_velocity_of_an_isotropic_process_are_diffusers():
    ours, theirs = BlurringScheduler(ddpm()), DDPMScheduler(1000)
    k = torch.tensor([0, 999])
    x0, noise = randn(dtype=torch.float32), randn(1, dtype=torch.float32)
    for method in ("add_noise", "get_velocity"):
        np.testing.assert_allclose(
            getattr(ours, method)(x0, noise, k), getattr(theirs, method)(x0, noise, k), rtol=0, atol=1e-5
        )


def test_timesteps_are_whole_where_the_walk_is_on_the_table():
    scheduler = FULL["plain"]()
    assert scheduler.timesteps.tolist() == list(range(999, -1, -1))
    scheduler.set_timesteps(50, device="cpu")
    assert scheduler.timesteps.dtype == torch.int64
    assert scheduler.num_inference_steps == len(scheduler.timesteps) == 50
    assert scheduler.timesteps.tolist() == list(range(999, 0, -20))
    scheduler.set_timesteps(7)
    np.testing.assert_allclose((scheduler.timesteps + 1) / 1000, np.linspace(1, 0, 8)[:-1], rtol=1e-14)
    scheduler.set_timesteps(timesteps=[999.0, 120.25, -0.5])
    assert scheduler.timesteps.tolist() == [999.0, 120.25, -0.5]


# --- a network of the book's in a pipeline of diffusers, and a network of diffusers' trained as its script does -----


@pytest.fixture(scope="module")
def clothes():
    """The recorded network that draws clothes under 5 px of blur."""
    return runs.load(recorded.folder_of("fashion-blurring") / "weights.safetensors")


@pytest.mark.parametrize(
    ("rule", "order", "steps"), [("ancestral", 1, 25), ("ddim", 2, 15), ("flow", 1, 10), ("flow", 2, 12)]
)
def test_a_pipeline_of_diffusers_draws_the_clothes_that_the_book_draws(clothes, rule, order, steps, tmp_path):
    scheduler = BlurringScheduler.of(clothes.denoiser, rule=rule, solver_order=order)
    scheduler.save_pretrained(tmp_path)
    scheduler = BlurringScheduler.from_pretrained(tmp_path)
    pipeline = DDPMPipeline(adapters.predictor(clothes.denoiser, (1, 16, 16), len(scheduler)), scheduler)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(4, generator=seeded(5), num_inference_steps=steps, output_type="pt").images
    random = seeded(5)
    x_T = torch.randn(4, 1, 16, 16, generator=random)
    chosen = clothes.flow() if rule == "flow" else rule
    times = clothes.denoiser.process.times(steps)
    ours = samplers.last(samplers.sample(clothes.denoiser, x_T, times, chosen, random, order)).x
    assert ours.std() > 0.3  # pictures, and not grey
    np.testing.assert_allclose(theirs, (ours / 2 + 0.5).clamp(0, 1), rtol=0, atol=1e-5)


def tiny_unet(size):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UNet2DModel(
            sample_size=size,
            in_channels=1,
            out_channels=1,
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            attention_head_dim=8,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        )


NAMES = [name for name in PREDICTION_TYPES if name not in ("less_blurred", "step_mean")]
here = pytest.mark.skipif(not fashion.DEBIAN.is_dir(), reason="needs the package dataset-fashion-mnist")


@pytest.mark.parametrize(
    ("pictures", "size", "prediction"),
    [("digits", 8, name) for name in NAMES] + [pytest.param("fashion", 16, name, marks=here) for name in NAMES],
)
def test_training_as_diffusers_script_does_is_training_as_the_book_does(pictures, size, prediction):
    images = data.load(pictures, size, count=64)
    process = blurring_diffusion(size, sigma_max=5.0)
    spectrum = Gaussian.fit(process.basis, images)
    scheduler = BlurringScheduler(process, prediction_type=prediction, spectrum=spectrum)
    theirs = tiny_unet(size)
    wrapped = adapters.from_diffusers(copy.deepcopy(theirs), 1000)
    ours = Denoiser(wrapped, scheduler.process, scheduler.predicts)
    steps = [torch.optim.AdamW(net.parameters(), lr=1e-3) for net in (theirs, wrapped)]
    random, told = seeded(7), []
    for _ in range(4):
        clean = images[torch.randint(64, (8,), generator=random)]
        noise = torch.randn(clean.shape, generator=random)
        k = torch.randint(0, scheduler.config.num_train_timesteps, (8,), generator=random)
        loss = torch.nn.functional.mse_loss(
            theirs(scheduler.add_noise(clean, noise, k), k, return_dict=False)[0], scheduler.get_target(clean, noise, k)
        )
        expected = losses.LOSSES["plain"](ours, clean, (k.double() + 1) / 1000, noise).mean()
        for each, step in zip((loss, expected), steps, strict=True):
            each.backward()
            step.step()
            step.zero_grad()
        told.append((loss.item(), expected.item()))
    told = np.array(told)
    np.testing.assert_allclose(told[:, 0], told[:, 1], rtol=1e-5)
    assert len(set(told[:, 0])) == 4


def test_the_target_of_each_name_of_diffusers_is_what_its_script_takes():
    process, x0, noise, k = SYSTEMS["blurring"], randn(), randn(1), torch.tensor([30, 800])
    t = (k.double() + 1) / 1000
    velocity = process.alpha(t) * BASIS.forward(noise) - process.sigma(t) * BASIS.forward(x0)
    for name, expected in {"epsilon": noise, "sample": x0, "v_prediction": BASIS.inverse(velocity)}.items():
        scheduler = BlurringScheduler(process, prediction_type=name)
        np.testing.assert_allclose(scheduler.get_target(x0, noise, k), expected, atol=1e-12)


# --- where a walk begins --------------------------------------------------------------------------------------------


def test_white_noise_is_drawn_as_pipelines_draw_it():
    scheduler = FULL["plain"]()
    assert scheduler.init_noise_sigma == 1.0
    assert torch.equal(scheduler.start(SHAPE, seeded(4)), torch.randn(SHAPE, generator=seeded(4)))


def test_a_marginal_is_drawn_with_its_variance():
    scheduler = BlurringScheduler(SYSTEMS["soft"], spectrum=spectrum_in(BASIS))
    scheduler.set_timesteps(5)
    u = BASIS.forward(scheduler.start((20000, 1, 8, 8), seeded(4)).double())
    mean, variance = spectrum_in(BASIS).marginal(SYSTEMS["soft"], 1.0)
    # 64 coefficients, each mean within 5 and each variance within 6 standard errors
    assert ((u.mean(0) - mean).abs() < 5 * (variance / 20000).sqrt()).all()
    np.testing.assert_allclose(u.var(0), variance[0].expand(1, 8, 8), rtol=6 * (2 / 20000) ** 0.5)


def test_training_images_are_blurred_to_the_end():
    scheduler = BlurringScheduler(SYSTEMS["heat"], prediction_type="sample", rule="ihdm")
    scheduler.set_timesteps(20)
    images = randn(6, torch.float32).clamp(-1, 1)
    x_T = scheduler.start((64, 1, 8, 8), seeded(2), images=images)
    rest = x_T - x_T.mean((2, 3), keepdim=True)
    assert 0.02 < rest.std() < 0.03  # IHDM's 0.025
    nearest = (x_T.mean((2, 3)) - images.mean((2, 3)).T).abs().min(1).values
    assert nearest.max() < 0.02


UNKNOWN_STARTS = {
    "heat": (
        lambda: BlurringScheduler(SYSTEMS["heat"], prediction_type="sample", rule="ihdm"),
        "training images, degra",
    ),
    "soft": (lambda: BlurringScheduler(SYSTEMS["soft"]), "the Gaussian that the data become"),
    "heat flow": (lambda: BlurringScheduler(SYSTEMS["heat flow"], prediction_type="sample"), "the Gaussian that"),
}


@pytest.mark.parametrize("name", UNKNOWN_STARTS)
def test_no_walk_begins_silently_at_what_is_no_start_of_it(name):
    make, words = UNKNOWN_STARTS[name]
    scheduler = make()
    with pytest.raises(ValueError, match=words):
        scheduler.init_noise_sigma  # noqa: B018
    with pytest.raises(ValueError, match=f"{words}.*which it cannot know: give .*, or begin.x_T."):
        scheduler.start(SHAPE, seeded())
    pipeline = DDPMPipeline(
        adapters.predictor(Denoiser(Net(torch.float32), scheduler.process), SHAPE[1:], len(scheduler)), scheduler
    )
    pipeline.set_progress_bar_config(disable=True)
    with pytest.raises(ValueError, match=f"{words}.*and diffusers' pipelines at white noise. .*draw x_T"):
        pipeline(2, num_inference_steps=10)
    scheduler.begin(randn())
    scheduler.set_timesteps(10)  # a new walk, of which nothing was said
    with pytest.raises(ValueError, match="draw x_T"):
        scheduler.step(randn(), scheduler.timesteps[0], randn())
    scheduler.begin(randn())
    for _ in range(2):
        scheduler.step(randn(), scheduler.timesteps[0], randn())
    scheduler.set_timesteps(10)  # an image with noise added, half way
    half = scheduler.timesteps[5]
    scheduler.step(randn(), half, scheduler.add_noise(randn(), randn(1), half))


# --- what is refused ------------------------------------------------------------------------------------------------


GOOD = {"process": "BlurringDiffusion(size=(8, 8))", "num_train_timesteps": 100}
NOT_OURS = "which is not the repr of one of the library's"
ONES, ZEROS = torch.ones(1, 1, 8, 8).tolist(), torch.zeros(1, 1, 8, 8).tolist()
# A setting and its value, and what is said of it.
BAD_SETTINGS = [
    ("beta_start", 0.1, "unknown setting 'beta_start'. Known: clip_sample"),
    ("solver_ordre", 2, "unknown setting 'solver_ordre': did you mean 'solver_order'"),
    ("_class_name", "DDPMScheduler", "the config is of DDPMScheduler; expected one of"),
    ("process", "Blurring(size=8)", "Blurring is not the library's"),
    ("process", "blurring_diffusion", NOT_OURS),
    ("process", "__import__('os').getcwd()", NOT_OURS),
    ("process", "BlurringDiffusion(size=print('hello'))", "print is not the library's"),
    ("process", "DCT(size=(8, 8))", "is no process"),
    ("process", "Process(DCT(8), cos, sin)", "Process is not the library's"),
    ("process", "BlurringDiffusion(size=(8, 8), blr=1)", "unexpected keyword argument 'blr'"),
    ("process", "(" * 500, NOT_OURS),
    ("process", "BlurringDiffusion(size=(8, 8), d_min=2.0)", "d_min was 2.0"),
    ("process", "BlurringDiffusion(size='8')", NOT_OURS),
    ("process", "DDPM(steps=100, basis=3)", "has a setting that is none"),
    ("process", "CosineDiffusion(logsnr_min='low')", NOT_OURS),
    ("process", 3, "the process was 3; expected one of the library's"),
    ("process", ["DDPM"], "the process was .'DDPM'.; expected"),
    ("process", "DDPM(steps=20)", "steps was 100, but ddpm is tabulated at N = 20; leave it out"),
    ("process", "HeatDissipation(size=(8, 8), noise=0.0, steps=100)", "ancestral divides by sigma_t"),
    ("num_train_timesteps", "100", "num_train_timesteps was '100'; expected a whole"),
    ("num_train_timesteps", True, "num_train_timesteps was True"),
    ("num_train_timesteps", 0, "steps was 0; expected at least 1"),
    ("prediction_type", "eps", "unknown prediction_type 'eps': did you mean 'epsilon'"),
    ("prediction_type", None, "unknown prediction_type 'None'"),
    ("prediction_type", "spectral", "spectral needs the data's spectrum"),
    ("rule", "ancestal", "unknown rule 'ancestal': did you mean 'ancestral'"),
    ("rule", ["ddim"], "unknown rule"),
    ("rule", "partial_carry", "partial_carry needs rule_settings with rho"),
    ("rule", "flow", "the rule flow needs the data's spectrum"),
    ("rule_settings", {"eta": 0.5}, "ancestral has no setting 'eta'; it has none"),
    ("rule_settings", [0.5], "rule_settings were .0.5.; expected numbers by name"),
    ("solver_order", 3, "order was 3; expected 1, or 2"),
    ("solver_order", 1.0, "solver_order was 1.0; expected 1 or 2"),
    ("clip_sample", "yes", "clip_sample was 'yes'; expected True or False"),
    ("spectrum", "1/f", "the spectrum was 1/f; expected an oracle.Gaussian"),
    ("spectrum", {"mean": ZEROS}, 'expected an oracle.Gaussian, or {"mean"'),
    ("spectrum", {"mean": [[0.0], 1.0], "variance": ONES}, "mean is no nested list of numbers"),
    ("spectrum", {"mean": [[[[0.0]]]], "variance": ONES}, r"mean had shape \(1, 1, 1, 1\); expected \(1, C or 1, \*"),
    ("spectrum", {"mean": [[[[np.nan] * 8] * 8]], "variance": ONES}, "mean has NaN or infinite entries"),
    ("spectrum", {"mean": ZEROS, "variance": [[[[-1] * 8] * 8]]}, "variance had a negative or NaN entry"),
]
BAD = [(GOOD | {key: value}, words) for key, value, words in BAD_SETTINGS]
BAD += [
    (GOOD | {"rule": "ddim", "rule_settings": numbers}, words)
    for numbers, words in [
        ({"eat": 1}, "ddim has no setting 'eat'; it has .'eta'."),
        ({"eta": "1"}, "the rule's eta was '1'; expected a number"),
        ({"eta": float("nan")}, "the rule's eta was nan"),
        ({"eta": 2.0}, "eta was 2.0; expected 0"),
    ]
]
BAD += [
    ({"num_train_timesteps": 100}, 'the config has no "process"'),
    (GOOD | {"rule": "flow", "rule_settings": {"spectrum": 1}}, "flow has no setting 'spectrum'"),
]


@pytest.mark.parametrize(("config", "words"), BAD)
def test_a_bad_config_is_told_what_is_wrong(config, words, tmp_path, capsys):
    with pytest.raises(ValueError, match=words):
        BlurringScheduler.from_config(config)
    (tmp_path / "scheduler_config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=words):
        BlurringScheduler.from_pretrained(tmp_path)
    assert capsys.readouterr().out == ""


def test_the_good_config_is_good():
    assert len(BlurringScheduler.from_config(GOOD)) == 100
    with pytest.raises(ValueError, match="unknown setting 'steps'"):
        BlurringScheduler.from_config(GOOD, steps=10)


def test_a_process_that_no_text_can_say_is_refused():
    with pytest.raises(ValueError, match="which is not the repr of one of the library's"):
        BlurringScheduler(Process(Pixel(), torch.cos, torch.sin))
    with pytest.raises(ValueError, match="draws something for each image"):
        BlurringScheduler(cold.degradation("snow", 8, 1), prediction_type="residual", rule="tacos")
    with pytest.raises(ValueError, match="has no name as a prediction_type"):
        BlurringScheduler.of(Denoiser(Net(), cosine_diffusion(), PredictStepMean(50)))
    with pytest.raises(ValueError, match="measure the spectrum in the process's basis"):
        BlurringScheduler(blur_diffusion(8), spectrum=spectrum_in(BASIS))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "num_inference_steps was None and timesteps None; expected one of both"),
        ({"num_inference_steps": 5, "timesteps": [3, 2]}, "expected one of both"),
        ({"num_inference_steps": 0}, "steps was 0; expected at least 1"),
        ({"timesteps": []}, "."),
        ({"timesteps": [3, 3]}, "strictly decreasing"),
        ({"timesteps": [1000, 3]}, r"timestep was 1000, 3; expected 0\.\.999"),
        ({"timesteps": [5, -1]}, r"timestep was 5, -1; expected 0\.\.999"),
    ],
)
def test_a_walk_that_is_none_is_refused(asked, words):
    with pytest.raises(ValueError, match=words):
        FULL["plain"]().set_timesteps(**asked)


def test_a_table_has_no_fractions():
    with pytest.raises(ValueError, match="exists only at t = i / 20"):
        FULL["tabulated"]().set_timesteps(timesteps=[10.5, 3])
    with pytest.raises(ValueError, match="tabulated at N = 20 steps, but 21"):
        FULL["tabulated"]().set_timesteps(21)


@pytest.mark.parametrize(
    ("timestep", "words"),
    [(998, "998, which is not in this walk: .999, 899"), (torch.tensor([999, 899]), "expected one")],
)
def test_a_step_that_is_not_of_the_walk_is_refused(timestep, words):
    scheduler = FULL["plain"]()
    scheduler.set_timesteps(10)
    with pytest.raises(ValueError, match=words):
        scheduler.step(randn(), timestep, randn())


def test_without_diffusers_the_error_says_what_to_install():
    code = "import sys; sys.modules['diffusers'] = None; import bdbook.adapters.scheduler"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'pip install "bdbook[diffusers]"' in done.stderr
