"""Every prediction and loss against its formula in numpy and scipy; the preconditioned one against dense Bayes."""

import numpy as np
import pytest
import torch
from reference import dct, idct, lam

from bdbook import cold, losses
from bdbook import denoiser as dn
from bdbook.denoiser import (
    EPS,
    LESS_BLURRED,
    RESIDUAL,
    STEP_MEAN,
    X0,
    Denoiser,
    Spectral,
    V,
)
from bdbook.losses import bound_loss, l1_loss, loss, soft_loss
from bdbook.processes import (
    blur_diffusion,
    blurring_diffusion,
    cosine_diffusion,
    ddpm,
    heat_dissipation,
    soft_diffusion,
)
from bdbook.samplers import ancestral, step
from bdbook.transforms import DCT, Circle, Pixel, Rotation, lengths
from bdbook.unet import InFrequencies

SIZE = (6, 5)
SHAPE = (3, 2, *SIZE)
RNG = np.random.default_rng(0)
X, NOISE = RNG.standard_normal(SHAPE), RNG.standard_normal(SHAPE)
MEAN0 = 0.3 * RNG.standard_normal((1, 2, *SIZE))
VARIANCE0 = RNG.uniform(0.1, 3, (1, 2, *SIZE))
T = np.array([0.2, 0.55, 0.9])
MIX = RNG.standard_normal((60, 60)) / 8
# bf16 keeps 8 bits: a transform inside autocast would be off by 1e-2 and more.
FLOAT32 = 3e-5


def numpy_net(z, t):
    """A fixed little network: it mixes all pixels and knows the time."""
    return np.tanh(z.reshape(len(z), 60) @ MIX.T + t[:, None]).reshape(z.shape)


def net(x, t):
    mixed = x.flatten(1) @ torch.from_numpy(MIX.T).to(x) + t[:, None]
    return torch.tanh(mixed).reshape(x.shape)


def alpha_sigma(t, sigma_max=2.0):
    """Blurring diffusion, HS app. A.1, written out again. t (B,) -> (B, 1, H, W) and (B, 1, 1, 1)."""
    t = t.reshape(-1, 1, 1, 1)
    low, high = np.arctan(np.exp(-5)), np.arctan(np.exp(5))
    angle = low + t * (high - low)
    d = 0.999 * np.exp(-lam(SIZE) * (sigma_max * np.sin(t * np.pi / 2) ** 2) ** 2 / 2) + 0.001
    return np.cos(angle) * d, np.sin(angle)


ALPHA, SIGMA = alpha_sigma(T)
BLURRING = blurring_diffusion(SIZE, sigma_max=2.0)
Z = idct(ALPHA * dct(X)) + SIGMA * NOISE
OUT = numpy_net(Z, T)
GAIN = ALPHA * VARIANCE0 / (ALPHA**2 * VARIANCE0 + SIGMA**2)
SPREAD = np.sqrt(VARIANCE0 * SIGMA**2 / (ALPHA**2 * VARIANCE0 + SIGMA**2))
SPECTRAL = Spectral(torch.from_numpy(MEAN0), torch.from_numpy(VARIANCE0))

TARGETS = {
    "eps": (EPS, NOISE),
    "x0": (X0, X),
    "v": (V, idct(ALPHA * dct(NOISE) - SIGMA * dct(X))),
    "residual": (RESIDUAL, X - Z),
    "spectral": (SPECTRAL, idct((dct(X) - MEAN0 - GAIN * (dct(Z) - ALPHA * MEAN0)) / SPREAD)),
}
X0_HATS = {
    "eps": idct((dct(Z) - SIGMA * dct(OUT)) / ALPHA),
    "x0": OUT,
    "v": idct((ALPHA * dct(Z) - SIGMA * dct(OUT)) / (ALPHA**2 + SIGMA**2)),
    "residual": Z + OUT,
    "spectral": idct(MEAN0 + GAIN * (dct(Z) - ALPHA * MEAN0) + SPREAD * dct(OUT)),
}


def tensors(dtype=torch.float64):
    return (torch.from_numpy(a).to(dtype) for a in (X, T, NOISE))


def mean_square(error):
    return (error**2).mean((1, 2, 3))


@pytest.mark.parametrize("name", TARGETS)
def test_loss_is_its_formula(name):
    predicts, target = TARGETS[name]
    ours = loss(Denoiser(net, BLURRING, predicts), *tensors())
    assert ours.shape == (3,)
    np.testing.assert_allclose(ours.numpy(), mean_square(OUT - target), rtol=1e-10)


def test_l1_loss_is_the_mean_absolute_error():
    x0, t, noise = tensors()
    ours = l1_loss(Denoiser(net, BLURRING, X0), x0, t, noise)
    np.testing.assert_allclose(ours.numpy(), np.abs(OUT - X).mean((1, 2, 3)), rtol=1e-10)


def test_spectral_loss_is_the_eps_loss_weighted_by_frequency():
    # Read as an eps prediction, eps_hat = (u - alpha x0_hat) / sigma, the same network's squared error in eps.
    ours = loss(Denoiser(net, BLURRING, SPECTRAL), *tensors())
    error = (dct(Z) - ALPHA * dct(X0_HATS["spectral"])) / SIGMA - dct(NOISE)
    weight = (ALPHA**2 * VARIANCE0 + SIGMA**2) / (ALPHA**2 * VARIANCE0)
    np.testing.assert_allclose(ours.numpy(), (weight * error**2).mean((1, 2, 3)), rtol=1e-9)


def test_less_blurred_loss_is_ihdms():
    steps = 20
    process = heat_dissipation(SIZE, sigma_max=4.0, steps=steps)
    widths = np.array([0, *np.exp(np.linspace(np.log(0.5), np.log(4), steps))])
    k = np.array([1, 7, 20])
    blur = [np.exp(-lam(SIZE) * widths[k - back].reshape(-1, 1, 1, 1) ** 2 / 2) for back in (0, 1)]
    z = idct(blur[0] * dct(X)) + 0.02 * NOISE
    t = k / steps
    expected = mean_square(z + numpy_net(z, t) - idct(blur[1] * dct(X)))
    ours = loss(Denoiser(net, process, LESS_BLURRED), torch.from_numpy(X), torch.from_numpy(t), torch.from_numpy(NOISE))
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize("name", ["residual", "x0"])
def test_soft_loss_is_the_blurred_error(name):
    process = soft_diffusion(SIZE, sigma_max=2.0)
    t = T.reshape(-1, 1, 1, 1)
    blur = np.exp(-lam(SIZE) * (2 * np.sin(np.pi * t / 2) ** 2) ** 2 / 2)
    z = idct(blur * dct(X)) + 0.01 ** (1 - t) * NOISE
    x0_hat = numpy_net(z, T) + (z if name == "residual" else 0)
    ours = soft_loss(Denoiser(net, process, dn.prediction(name)), *tensors())
    np.testing.assert_allclose(ours.numpy(), mean_square(idct(blur * dct(x0_hat - X))), rtol=1e-10)


@pytest.mark.parametrize("name", X0_HATS)
def test_x0_hat_is_its_formula(name):
    denoiser = Denoiser(net, BLURRING, TARGETS[name][0])
    ours = denoiser(torch.from_numpy(Z), torch.from_numpy(T)).numpy()
    np.testing.assert_allclose(ours, X0_HATS[name], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", X0_HATS)
def test_means_are_the_degraded_x0_hat(name):
    denoiser = Denoiser(net, BLURRING, TARGETS[name][0])
    s = T - 0.1
    mean_t, mean_s = denoiser.means(*(torch.from_numpy(a) for a in (Z, T, s)))
    np.testing.assert_allclose(mean_t.numpy(), ALPHA * dct(X0_HATS[name]), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(mean_s.numpy(), alpha_sigma(s)[0] * dct(X0_HATS[name]), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", TARGETS)
def test_a_network_that_says_the_target_gives_back_the_image(name):
    predicts, target = TARGETS[name]
    denoiser = Denoiser(lambda x, t: torch.from_numpy(target), BLURRING, predicts)
    np.testing.assert_allclose(denoiser(torch.from_numpy(Z), torch.from_numpy(T)).numpy(), X, rtol=0, atol=1e-9)
    torch.testing.assert_close(loss(denoiser, *tensors()), torch.zeros(3).double(), rtol=0, atol=1e-20)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("name", TARGETS)
def test_float32_and_autocast_stay_close(name, autocast):
    # The network is exempt (Denoiser.autocast is None): what is left is the transforms and the arithmetic.
    predicts, target = TARGETS[name]
    denoiser = Denoiser(net, BLURRING, predicts)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        ours = loss(denoiser, *tensors(torch.float32))
        mean_t, mean_s = denoiser.means(*(torch.from_numpy(a).float() for a in (Z, T, T - 0.1)))
    assert ours.dtype == mean_t.dtype == torch.float32
    np.testing.assert_allclose(ours.numpy(), mean_square(OUT - target), rtol=1e-3)
    scale = np.abs(ALPHA * dct(X0_HATS[name])).max()
    np.testing.assert_allclose(mean_t.numpy(), ALPHA * dct(X0_HATS[name]), rtol=0, atol=FLOAT32 * scale)
    scale = np.abs(alpha_sigma(T - 0.1)[0] * dct(X0_HATS[name])).max()
    np.testing.assert_allclose(
        mean_s.numpy(), alpha_sigma(T - 0.1)[0] * dct(X0_HATS[name]), rtol=0, atol=FLOAT32 * scale
    )


def test_autocast_reaches_the_network_alone():
    seen = []

    def spy(x, t):
        seen.append((x @ x.mT).dtype)
        return torch.zeros_like(x)

    x = torch.randn(2, 1, *SIZE)
    answer = Denoiser(spy, BLURRING, X0, autocast=torch.bfloat16).estimate(x, 0.5)
    assert seen == [torch.bfloat16]
    assert answer.seen.u_t.dtype == answer.x0_hat.dtype == torch.float32
    np.testing.assert_allclose(answer.seen.u_t.numpy(), dct(x.double().numpy()), rtol=0, atol=5e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_network_sees_one_time_an_image(dtype):
    seen = []

    def spy(x, t):
        seen.append(t)
        return x

    x = torch.zeros(4, 1, *SIZE, dtype=dtype)
    for t in (0.5, torch.tensor(0.5), torch.full((4,), 0.5)):
        Denoiser(spy, BLURRING, X0)(x, t)
    for t in seen:
        assert t.shape == (4,)
        assert t.dtype == dtype
        assert (t == 0.5).all()


# --- a preconditioned network that says nothing is the exact Bayes estimate ----------------------------------


def dense(basis, size, count):
    """V' as a matrix, (H W, H W): its columns are transforms of unit images."""
    units = torch.eye(count, dtype=torch.float64).reshape(count, 1, *size)
    return basis.forward(units).reshape(count, count).T.numpy()


PROCESSES = {
    "ddpm": ddpm(),
    "cosine": cosine_diffusion(),
    "heat": heat_dissipation(SIZE, sigma_max=3.0),
    "blurring": blurring_diffusion(SIZE, sigma_max=3.0),
    "lee": blur_diffusion(SIZE, f_max=0.6, f_type="log"),
    "soft": soft_diffusion(SIZE, sigma_max=3.0),
    # As many pixels along one and along three axes, and around.
    "series": blurring_diffusion((30,), sigma_max=3.0),
    "ring": heat_dissipation((Circle(30),), sigma_max=3.0),
    "ddpm_series": ddpm(basis=Pixel(1)),
    "volume": blur_diffusion((3, 5, 2), f_max=0.6, f_type="log"),
    "globes": soft_diffusion((3, 2, Circle(5)), sigma_max=3.0),
}


def size_of(process):
    if isinstance(process.basis, Rotation):
        return lengths(process.basis.size)
    return {1: (30,), 2: SIZE}[process.basis.dims]


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("t", [0.005, 0.5, 1.0])
def test_zero_network_is_the_dense_posterior_mean(name, t):
    process, n = PROCESSES[name], 30
    size = size_of(process)
    m, v = (torch.from_numpy(a[:, :1]).reshape(1, 1, *size) for a in (MEAN0, VARIANCE0))
    denoiser = Denoiser(lambda x, t: torch.zeros_like(x), process, Spectral(m, v))
    z = torch.from_numpy(RNG.standard_normal((2, 1, *size)))

    to_basis = dense(process.basis, size, n)
    prior_mean, prior_cov = to_basis.T @ m.numpy().reshape(n), to_basis.T @ np.diag(v.numpy().reshape(n)) @ to_basis
    alpha, sigma = (c(t).expand(1, 1, *size).reshape(n).numpy() for c in (process.alpha, process.sigma))
    degrade, noise_cov = to_basis.T @ np.diag(alpha) @ to_basis, to_basis.T @ np.diag(sigma**2) @ to_basis
    evidence = degrade @ prior_cov @ degrade.T + noise_cov
    innovation = z.numpy().reshape(2, n) - degrade @ prior_mean
    expected = prior_mean + innovation @ np.linalg.solve(evidence, degrade @ prior_cov)
    np.testing.assert_allclose(denoiser(z, t).numpy().reshape(2, n), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", [name for name in PROCESSES if name not in ("ddpm", "cosine", "heat", "ring")])
def test_a_network_that_says_the_target_gives_back_images_of_all_axes(name):
    """Under every prediction, and losses are then 0; of a network that says 0 the loss is the target's mean square."""
    process = PROCESSES[name]
    size, t = size_of(process), torch.from_numpy(T)
    x, noise = (torch.from_numpy(a).reshape(3, 2, *size) for a in (X, NOISE))
    z = process.sample(x, t, noise)
    whole = [torch.from_numpy(a).reshape(1, 2, *size) for a in (MEAN0, VARIANCE0)]
    seen = dn.Observed(process, z, process.basis.forward(z), t)
    for predicts in (X0, V, RESIDUAL, Spectral(*whole)):
        target = predicts.target(seen, x, noise)
        says = Denoiser(lambda x, t, target=target: target, process, predicts)
        torch.testing.assert_close(says(z, t), x, rtol=0, atol=1e-9)
        torch.testing.assert_close(loss(says, x, t, noise), torch.zeros(3).double(), rtol=0, atol=1e-20)
        silent = Denoiser(lambda x, t: torch.zeros_like(x), process, predicts)
        np.testing.assert_allclose(loss(silent, x, t, noise), (target**2).flatten(1).mean(1), rtol=1e-12)
    if process.steps is None:  # the tables begin without noise, which the bound weighs without limit
        for each in (bound_loss, soft_loss):
            torch.testing.assert_close(each(says, x, t, noise), torch.zeros(3).double(), rtol=0, atol=1e-18)


def test_zero_network_is_a_numpy_wiener_filter():
    denoiser = Denoiser(lambda x, t: torch.zeros_like(x), BLURRING, SPECTRAL)
    expected = idct(MEAN0 + GAIN * (dct(Z) - ALPHA * MEAN0))
    ours = denoiser(torch.from_numpy(Z), torch.from_numpy(T)).numpy()
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = denoiser(torch.from_numpy(Z).float(), torch.from_numpy(T)).numpy()
    np.testing.assert_allclose(ours, expected, rtol=0, atol=FLOAT32)


def test_spectral_target_has_unit_variance():
    # Over Gaussian data with this spectrum, by the law of the posterior: no sampling.
    # Var[(u_x - m - gain (u_t - alpha m)) / c_out] = ((1 - gain alpha)^2 v + gain^2 sigma^2) / c_out^2 = 1.
    for t in (0.01, 0.5, 1.0):
        alpha, sigma = BLURRING.alpha(t), BLURRING.sigma(t)
        gain, spread = dn.wiener(alpha, sigma, torch.from_numpy(VARIANCE0))
        variance = (1 - gain * alpha) ** 2 * torch.from_numpy(VARIANCE0) + gain**2 * sigma**2
        torch.testing.assert_close(variance / spread**2, torch.ones_like(variance), rtol=1e-10, atol=0)


def test_known_frequencies_ask_nothing_of_the_network():
    v = torch.from_numpy(VARIANCE0.copy())
    v[..., 0, 0] = 0
    predicts = Spectral(torch.from_numpy(MEAN0), v)
    denoiser = Denoiser(net, BLURRING, predicts)
    assert loss(denoiser, *tensors()).isfinite().all()
    u = BLURRING.basis.forward(denoiser(torch.from_numpy(Z), torch.from_numpy(T)))
    np.testing.assert_allclose(u[..., 0, 0].numpy(), np.broadcast_to(MEAN0[..., 0, 0], (3, 2)), rtol=0, atol=1e-12)


# --- the less blurred image -----------------------------------------------------------------------------------


def test_less_blurred_knows_one_step():
    process = heat_dissipation(SIZE, steps=20)
    answer = Denoiser(net, process, LESS_BLURRED).estimate(torch.from_numpy(Z), 0.5)
    expected = dct(Z + numpy_net(Z, np.full(3, 0.5)))
    np.testing.assert_allclose(answer.mean(0.45).numpy(), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(answer.x0_hat.numpy(), idct(expected), rtol=0, atol=1e-12)
    for r in (0.5, 0.4, 0.0):
        with pytest.raises(ValueError, match=r"t - 1/20 only"):
            answer.mean(r)


def test_less_blurred_reaches_the_data():
    process = heat_dissipation(SIZE, steps=20)
    answer = Denoiser(net, process, LESS_BLURRED).estimate(torch.from_numpy(Z), 1 / 20)
    assert answer.mean(0.0).isfinite().all()


@pytest.mark.parametrize("process", [heat_dissipation((16, 16)), soft_diffusion((16, 16))])
def test_eps_never_turns_into_nan_in_silence(process):
    # Blur underflows: x0 cannot be had from eps. A clear error is right, NaN pixels are not.
    denoiser = Denoiser(lambda x, t: torch.zeros_like(x), process, EPS)
    try:
        ours = denoiser(torch.randn(1, 1, 16, 16), 1.0)
    except ValueError as error:
        assert "eps" in str(error).lower()  # noqa: PT017
    else:
        assert ours.isfinite().all()


def test_prediction_by_name():
    assert dn.prediction("eps") is EPS
    assert dn.prediction("less_blurred") is LESS_BLURRED


def test_gradients_reach_the_network():
    scale = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    for predicts, _ in TARGETS.values():
        denoiser = Denoiser(lambda x, t: scale * x, BLURRING, predicts)
        (grad,) = torch.autograd.grad(loss(denoiser, *tensors()).sum(), scale)
        h = 1e-6
        either = [
            loss(Denoiser(lambda x, t, k=k: k * x, BLURRING, predicts), *tensors()).sum() for k in (0.3 + h, 0.3 - h)
        ]
        np.testing.assert_allclose(grad.item(), ((either[0] - either[1]) / (2 * h)).item(), rtol=1e-4)


def test_pixel_and_dct_give_the_same_loss_where_alpha_is_a_number():
    losses = [
        loss(Denoiser(net, cosine_diffusion(basis=basis), predicts), *tensors())
        for basis in (Pixel(), DCT(SIZE))
        for predicts in (EPS, V)
    ]
    torch.testing.assert_close(losses[0], losses[2], rtol=1e-10, atol=0)
    torch.testing.assert_close(losses[1], losses[3], rtol=1e-10, atol=0)


@pytest.mark.parametrize("predicts", [EPS, V, SPECTRAL])
def test_what_needs_alpha_and_sigma_says_so(predicts):
    blur = cold.blur(SIZE, 5, boundary="reflect")
    seen = torch.zeros(1, 1, *SIZE) if isinstance(SIZE, tuple) else torch.zeros(1, 1, SIZE, SIZE)
    with pytest.raises(ValueError, match=r"blur has no alpha and sigma per frequency.*predict x0 or residual"):
        Denoiser(lambda x_t, t: x_t, blur, predicts)(seen, 1.0)
    assert Denoiser(lambda x_t, t: x_t, blur, X0)(seen, 1.0).shape == seen.shape


# --- the mean of a step, the bound's weight, a network that sees frequencies ------------------------------------


def step_mean(t=T, steps=100):
    """HS Eq. 18 in its own form, by precisions: the mean of q(u_s | u_t, x), s = t - 1/steps."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = alpha_sigma(t), alpha_sigma(t - 1 / steps)
    a = alpha_t / alpha_s
    step = sigma_t**2 - a**2 * sigma_s**2
    variance = 1 / (1 / sigma_s**2 + a**2 / step)
    return idct(variance * (a / step * dct(Z) + alpha_s / sigma_s**2 * dct(X)))


def test_step_mean_is_the_posteriors():
    said = Denoiser(lambda x, t: torch.from_numpy(step_mean()), BLURRING, STEP_MEAN)
    torch.testing.assert_close(loss(said, *tensors()), torch.zeros(3).double(), rtol=0, atol=1e-18)
    x0_hat = said(torch.from_numpy(Z), torch.from_numpy(T)).numpy()
    np.testing.assert_allclose(x0_hat, X, rtol=0, atol=1e-7)


def test_a_step_of_the_same_length_goes_to_what_the_network_said():
    """In float32 too, though x0_hat divides by a number near 0."""
    t, s = 0.9, 0.89
    z = torch.from_numpy(Z[2:]).float()
    said = torch.from_numpy(step_mean()[2:] + 0.1 * MIX.reshape(1, -1)[:, :60].reshape(1, 2, *SIZE)).float()
    estimate = Denoiser(lambda x, t: said, BLURRING, STEP_MEAN).estimate(z, t)
    reached = step(estimate, t, s, lambda *a: (ancestral(*a)[0], torch.zeros(1, 1, 1, 1).double()))
    torch.testing.assert_close(reached, said, rtol=0, atol=1e-5)


def test_step_mean_at_the_end_of_the_walk_asks_for_no_image():
    """At t = 0 the step has no length: the image enters with weight 0."""
    t = torch.full((1,), 1e-9, dtype=torch.float64)
    seen = Denoiser(lambda x, t: x, BLURRING, STEP_MEAN).estimate(torch.from_numpy(Z[:1]), t)
    assert seen.x0_hat.isfinite().all()


def test_the_bounds_weight_is_the_slope_of_log_snr():
    """Without blur the slope is -4 theta' / sin 2 theta, a closed form, and log SNR falls by 20."""
    process = cosine_diffusion(basis=DCT(SIZE))
    low, high = np.arctan(np.exp(-5)), np.arctan(np.exp(5))
    slope = 4 * (high - low) / np.sin(2 * (low + T * (high - low)))
    found = losses.slope_of_log_snr(process, torch.from_numpy(T)).flatten().numpy()
    np.testing.assert_allclose(found, -slope, rtol=1e-2)
    z = process.sample(*tensors()).numpy()
    expected = slope / 20 * mean_square(numpy_net(z, T) - NOISE)
    np.testing.assert_allclose(bound_loss(Denoiser(net, process, EPS), *tensors()).numpy(), expected, rtol=1e-2)


def test_the_bounds_weight_goes_by_frequency_and_is_the_same_for_every_prediction():
    lower, upper = (alpha_sigma(np.floor(1000 * T + k - 1e-9) / 1000) for k in (0, 1))
    fall = 2 * np.log(lower[0] / lower[1]) - 2 * np.log(upper[0] / upper[1])
    ends = [alpha_sigma(np.array([end])) for end in (0.0, 1.0)]
    total = (2 * np.log(ends[0][0] / ends[0][1]) - 2 * np.log(ends[1][0] / ends[1][1])).mean()
    for name, x0_hat in X0_HATS.items():
        expected = mean_square(np.sqrt(1000 * fall / total) * ALPHA / SIGMA * (dct(x0_hat) - dct(X)))
        found = bound_loss(Denoiser(net, BLURRING, TARGETS[name][0]), *tensors()).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_bound_without_limit_is_refused():
    process = ddpm(10, DCT(SIZE))
    with pytest.raises(ValueError, match="without limit"):
        bound_loss(Denoiser(net, process, EPS), torch.from_numpy(X), torch.full((3,), 0.5).double(), torch.zeros(SHAPE))


def test_a_network_of_frequencies_sees_and_says_coefficients():
    """One that damps what it sees, frequency by frequency, blurs; the same one on pixels only shades them."""
    damping = torch.exp(-torch.from_numpy(lam(SIZE)))

    def damp(x, t):
        return damping.to(x) * x

    x = torch.from_numpy(X)
    found = InFrequencies(damp, DCT(SIZE))(x, torch.from_numpy(T)).numpy()
    np.testing.assert_allclose(found, idct(np.exp(-lam(SIZE)) * dct(X)), atol=1e-12)
    assert np.abs(found - damp(x, None).numpy()).max() > 0.1
