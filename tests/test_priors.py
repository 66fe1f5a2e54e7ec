"""Where sampling starts: the moments and supports of the priors."""

import numpy as np
import pytest
import torch
from scipy import stats

from bdbook import priors
from bdbook.cold import blur, inpainting, super_resolution
from bdbook.oracle import Gaussian
from bdbook.processes import blur_diffusion, blurring_diffusion, heat_dissipation, soft_diffusion
from bdbook.transforms import DCT, Circle, lengths

SIZE = (4, 3)
COUNT = 20_000
FALSE_ALARM = 1e-9  # per statistic; at most some 150 of them here


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def assert_moments(draws, mean, variance):
    """draws (count, ...) are N(mean, variance), by exact z and chi-square tests per entry."""
    draws = draws.double().numpy()
    count = len(draws)
    z = (draws.mean(0) - mean) / np.sqrt(variance / count)
    chi2 = count * draws.var(0) / variance
    low, high = stats.chi2.isf([1 - FALSE_ALARM / 2, FALSE_ALARM / 2], count - 1)
    assert (np.abs(z) < stats.norm.isf(FALSE_ALARM / 2)).all()
    assert ((low < chi2) & (chi2 < high)).all()


@pytest.mark.parametrize("std", [1.0, 0.3])
def test_normal(std):
    draws = priors.normal((3, *SIZE), std)(COUNT, seeded())
    assert draws.shape == (COUNT, 3, *SIZE)
    assert draws.dtype == torch.float32
    assert_moments(draws, 0.0, std**2)
    assert stats.kstest(draws[:, 1, 2, 1].numpy() / std, "norm").pvalue > FALSE_ALARM


@pytest.mark.parametrize("kind", [blurring_diffusion, blur_diffusion])
@pytest.mark.parametrize("t", [0.3, 1.0])
def test_marginal(kind, t):
    process = kind(SIZE)
    rng = np.random.default_rng(0)
    mean, variance = rng.standard_normal((1, 2, *SIZE)), rng.uniform(0.1, 3, (1, 2, *SIZE))
    data = Gaussian(process.basis, torch.from_numpy(variance), torch.from_numpy(mean))
    draws = priors.marginal(data, process, channels=2, t=t)(COUNT, seeded())
    assert draws.shape == (COUNT, 2, *SIZE)
    assert draws.dtype == torch.float32
    alpha, sigma = process.alpha(t).numpy(), process.sigma(t).numpy()
    u = process.basis.forward(draws)
    assert_moments(u, (alpha * mean)[0], (alpha**2 * variance + sigma**2)[0])


def test_marginal_draws_independent_channels():
    process = blurring_diffusion(SIZE)
    data = Gaussian(process.basis, torch.ones(1, 3, *SIZE))
    x = priors.marginal(data, process)(5_000, seeded())  # channels left at its default
    correlation = np.corrcoef(x[:, :, 1, 1].T.numpy())
    assert (np.abs(correlation[np.triu_indices(3, 1)]) < 6 / np.sqrt(5_000)).all()


def test_blurred_data_is_blurred_data():
    process = heat_dissipation(SIZE, sigma_max=2.0)
    images = torch.randn(3, 2, *SIZE, generator=seeded(5))
    draws = priors.blurred_data(process, images, delta=0.0)(300, seeded())
    assert draws.shape == (300, 2, *SIZE)
    assert draws.dtype == torch.float32
    u = DCT(SIZE).forward(images.double())
    blurred = DCT(SIZE).inverse(torch.exp(-DCT(SIZE).freq2 * 2.0**2 / 2) * u)
    distance = (draws[:, None].double() - blurred[None]).abs().amax((2, 3, 4))
    nearest, which = distance.min(1)
    assert nearest.max() < 1e-6
    # Each of the three is drawn 100 +- 8.2 times.
    assert (which.bincount(minlength=3) - 100).abs().max() < 6 * np.sqrt(300 * 2 / 9)


def test_blurred_data_stays_in_the_span_of_its_images():
    # Images that share no energy beyond a few frequencies: the rest of the basis stays empty, but for the noise.
    process, basis = heat_dissipation((8, 8), sigma_max=1.0), DCT(8)
    u = torch.zeros(5, 1, 8, 8)
    u[:, :, :2, :3] = torch.randn(5, 1, 2, 3, generator=seeded(1))
    images = basis.inverse(u)
    got = basis.forward(priors.blurred_data(process, images, delta=0.0, t=0.5)(50, seeded()))
    got[:, :, :2, :3] = 0
    assert got.abs().max() < 1e-6
    noisy = basis.forward(priors.blurred_data(process, images, delta=0.1, t=0.5)(COUNT, seeded()))
    assert_moments(noisy[:, 0, 3:, 3:], 0.0, 0.01)


def test_ihdm_prior_keeps_no_detail():
    # At the end of IHDM only the mean grey is left: flat images, to the noise.
    process = heat_dissipation((16, 16), sigma_max=20.0)
    images = torch.randn(4, 1, 16, 16, generator=seeded(2))
    draws = priors.blurred_data(process, images, delta=0.0)(8, seeded())
    assert draws.flatten(1).std(1).max() < 0.01
    assert (draws.mean((1, 2, 3))[:, None] - images.mean((1, 2, 3))[None]).abs().min(1).values.max() < 1e-6


@pytest.mark.parametrize(
    "prior",
    [
        priors.normal((1, *SIZE)),
        priors.blurred_data(heat_dissipation(SIZE), torch.randn(4, 1, *SIZE), 0.1),
        priors.marginal(Gaussian(DCT(SIZE), torch.ones(1, 1, *SIZE)), blurring_diffusion(SIZE)),
        priors.images(torch.randn(20, 1, *SIZE)),
        priors.flat_colour((3, *SIZE)),
        priors.fitted(super_resolution(4, 1), torch.randn(50, 1, 4, 4), components=2),
        priors.fitted(super_resolution(4, 1), torch.randn(50, 1, 4, 4), symmetry_breaking=0.1),
    ],
)
def test_same_seed_same_start(prior):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert torch.equal(prior(3, seeded(7)), prior(3, seeded(7)))
    assert not torch.equal(prior(3, seeded(7)), prior(3, seeded(8)))
    assert torch.equal(torch.get_rng_state(), before)


def test_float64_images_give_float32_starts():
    prior = priors.blurred_data(heat_dissipation(SIZE), torch.randn(4, 1, *SIZE).double(), 0.1)
    assert prior(2, seeded()).dtype == torch.float32


# --- cold diffusion -------------------------------------------------------------------------------------------


def test_images_draws_members_alike_often():
    pictures = torch.randn(4, 3, *SIZE, generator=seeded(1)).double()
    draws = priors.images(pictures)(4000, seeded())
    assert draws.dtype == torch.float32
    distance = (draws[:, None] - pictures[None].float()).abs().amax((2, 3, 4))
    nearest, which = distance.min(1)
    assert nearest.max() == 0
    assert (which.bincount(minlength=4) - 1000).abs().max() < 6 * np.sqrt(4000 * 3 / 16)


def test_flat_colours_are_flat_and_uniform():
    draws = priors.flat_colour((3, *SIZE))(COUNT, seeded())
    assert draws.shape == (COUNT, 3, *SIZE)
    assert draws.dtype == torch.float32
    assert (draws == draws[..., :1, :1]).all()
    colours = draws[..., 0, 0].numpy()
    for channel in range(3):
        assert stats.kstest(colours[:, channel], stats.uniform(-1, 2).cdf).pvalue > FALSE_ALARM
    assert np.abs(np.corrcoef(colours.T)[np.triu_indices(3, 1)]).max() < 6 / np.sqrt(COUNT)


def pictures_of(means, seed=0):
    """Pictures (N, C, 8, 8) whose 4 x 4 blocks, or the whole, have just these means: (N, C, 1, 1) or (N, C, 2, 2)."""
    rng = np.random.default_rng(seed)
    texture = rng.uniform(-0.3, 0.3, (*means.shape[:2], 8, 8))
    n = 8 // means.shape[-1]
    blocks = texture.reshape(*means.shape[:2], 8 // n, n, 8 // n, n)
    blocks = blocks - blocks.mean((3, 5), keepdims=True) + means[:, :, :, None, :, None]
    return torch.from_numpy(blocks.reshape(texture.shape))


def assert_gaussian_of(draws, vectors):
    """draws (count, K) are N(mean of vectors, their covariance): white once whitened."""
    white = np.linalg.solve(np.linalg.cholesky(np.cov(vectors.T, bias=True)), (draws - vectors.mean(0)).T).T
    assert_moments(torch.from_numpy(white), 0.0, 1.0)
    correlation = np.corrcoef(white.T)[np.triu_indices(white.shape[1], 1)]
    assert np.abs(correlation).max() < 6.5 / np.sqrt(len(draws))


@pytest.mark.parametrize("boundary", ["circular", "symmetric"])
def test_fitted_to_blur_is_a_gaussian_over_channel_means(boundary):
    mixing = np.array([[0.3, 0, 0], [0.2, 0.1, 0], [-0.1, 0.1, 0.2]])
    means = np.random.default_rng(0).standard_normal((300, 3)) @ mixing.T + [0.1, -0.2, 0.3]
    process = blur(8, steps=4, boundary=boundary, to_mean=True)
    draws = priors.fitted(process, pictures_of(means[:, :, None, None]))(COUNT, seeded())
    assert draws.shape == (COUNT, 3, 8, 8)
    assert draws.dtype == torch.float32
    assert (draws - draws[..., :1, :1]).abs().max() < 2e-6  # flat
    assert_gaussian_of(draws[..., 0, 0].double().numpy(), means)


def test_fitted_to_pixelation_is_a_gaussian_over_2_x_2_blocks():
    rng = np.random.default_rng(0)
    means = (rng.standard_normal((500, 12)) @ rng.normal(0, 0.2, (12, 12))).reshape(500, 3, 2, 2)
    draws = priors.fitted(super_resolution(8, 2), pictures_of(means))(COUNT, seeded())
    blocks = draws.double().numpy().reshape(COUNT, 3, 2, 4, 2, 4)
    assert np.ptp(blocks, axis=(3, 5)).max() < 5e-6
    numbers = blocks[:, :, :, 0, :, 0].reshape(COUNT, 12)
    assert np.linalg.matrix_rank(np.cov(numbers.T), tol=1e-6) == 12
    assert_gaussian_of(numbers, means.reshape(500, 12))


def test_fitted_keeps_what_all_pictures_share():
    # Masks leave the one pixel that they never reach, here with the same value in every picture.
    pictures = torch.zeros(40, 1, 4, 4).double()
    pictures[:, :, 0, 0], pictures[:, :, 3, 3] = torch.randn(40, 1).double(), 0.7
    process = inpainting(4, steps=1, first=0.1)
    draws = priors.fitted(process, pictures)(100, seeded())
    assert (draws[:, 0, 3, 3] - process.mean(pictures, 1.0)[0, 0, 3, 3]).abs().max() < 1e-6
    assert draws[:, 0, 0, 0].std() > 0.5
    assert draws.std(0).flatten()[1:].max() < 1e-6


def test_fitted_finds_two_clusters():
    rng = np.random.default_rng(0)
    high = np.arange(400) < 120
    means = np.where(high, 0.6, -0.5)[:, None] + 0.05 * rng.standard_normal((400, 2))
    process = blur(8, steps=2, boundary="circular", to_mean=True)
    pictures = pictures_of(means[:, :, None, None])
    draws = priors.fitted(process, pictures, components=2)(COUNT, seeded())[:, :, 0, 0].double().numpy()
    above = draws[:, 0] > 0
    assert abs(above.mean() - 0.3) < 6 * np.sqrt(0.3 * 0.7 / COUNT)
    assert_gaussian_of(draws[above], means[high])
    assert_gaussian_of(draws[~above], means[~high])
    one = priors.fitted(process, pictures)(COUNT, seeded())[:, 0, 0, 0]
    assert (one.abs() < 0.2).double().mean() > 0.1  # where two clusters leave nothing
    assert (np.abs(draws[:, 0]) < 0.2).mean() < 1e-3


def test_symmetry_is_broken_by_white_noise_of_just_that_deviation():
    process = blur(8, steps=2, boundary="circular", to_mean=True)
    pictures = torch.rand(50, 2, 8, 8, generator=seeded(2))
    flat, broken = (priors.fitted(process, pictures, symmetry_breaking=s)(COUNT, seeded()) for s in (0.0, 0.002))
    noise = (broken.double() - flat.double()).flatten(1)[:, ::7]
    assert_moments(noise, 0.0, 0.002**2)
    assert np.abs(np.corrcoef(noise.T.numpy())[np.triu_indices(noise.shape[1], 1)]).max() < 6.5 / np.sqrt(COUNT)


PICTURES = torch.rand(100, 3, 8, 8, generator=seeded(3))
TO_MEAN = blur(8, steps=2, boundary="circular", to_mean=True)


@pytest.mark.parametrize(
    ("degradation", "pictures", "components", "message"),
    [
        (blur(8, steps=2, boundary="circular"), PICTURES, 1, r"192 numbers differ .* blur leaves at t = 1; .* 1 to 64"),
        (blur(8, steps=2, to_mean=True), PICTURES, 1, r"Degrade further \(blur: to_mean=True, boundary='circular'\)"),
        (TO_MEAN, torch.zeros(9, 3, 8, 8), 1, "0 numbers differ between the pictures that blur leaves"),
        (TO_MEAN, PICTURES[:3], 1, "3 pictures are too few for 1 Gaussians over 3 numbers"),
        (TO_MEAN, PICTURES[:5], 5, "5 pictures are too few for 5 Gaussians over 3 numbers"),
        (TO_MEAN, PICTURES[:0], 1, r"images had shape \(0, 3, 8, 8\); expected \(N, C, H, W\) with at least one"),
        (TO_MEAN, PICTURES[0], 1, r"images had shape \(3, 8, 8\); expected \(N, C, H, W\)"),
        (inpainting(8, where="random"), PICTURES, 1, "the masks' places have not been drawn"),
    ],
)
def test_fitted_says_what_cannot_be_fitted(degradation, pictures, components, message):
    with pytest.raises(ValueError, match=message):
        priors.fitted(degradation, pictures, components)


def test_images_need_images():
    with pytest.raises(ValueError, match=r"images had shape \(8, 8\); expected \(N, C, H, W\)"):
        priors.images(torch.zeros(8, 8))


def test_stored_bytes_make_the_same_start_as_floats():
    pixels = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    floats = pixels.float() / 127.5 - 1
    process = blur(8, 12, std=2.0, boundary="symmetric", to_mean=True)
    for prior in (
        lambda x: priors.images(x),
        lambda x: priors.blurred_data(process, x, 0.1),
        lambda x: priors.fitted(process, x),
    ):
        a, b = (prior(x)(5, torch.Generator().manual_seed(1)) for x in (pixels, floats))
        torch.testing.assert_close(a, b)
        assert a.dtype == torch.float32


# --- as a process says --------------------------------------------------------------------------------------------


def test_noise_starts_white():
    draws = priors.of_process(blurring_diffusion(SIZE), (2, *SIZE), None, None)(COUNT, seeded())
    assert draws.shape == (COUNT, 2, *SIZE)
    assert_moments(draws, 0.0, 1.0)


def test_a_marginal_starts_as_what_the_data_become_in_each_channel():
    process = soft_diffusion(SIZE, sigma_max=1.0)
    law = Gaussian(process.basis, torch.full((1, 1, *SIZE), 2.0), torch.ones(1, 1, *SIZE))
    draws = priors.of_process(process, (3, *SIZE), law, None)(COUNT, seeded())
    assert draws.shape == (COUNT, 3, *SIZE)
    alpha, sigma = process.alpha(1.0)[0].numpy(), process.sigma(1.0)[0].numpy()
    assert_moments(process.basis.forward(draws), alpha, 2 * alpha**2 + sigma**2)


@pytest.mark.parametrize(
    ("process", "noise"),
    [(heat_dissipation((8, 8), sigma_max=9.0), 0.025), (TO_MEAN, 0.002)],
    ids=["images at t = 1", "a mixture over their means"],
)
def test_what_is_flat_at_the_end_starts_with_the_noise_that_tells_pixels_apart(process, noise):
    draws = priors.of_process(process, (3, 8, 8), None, lambda: PICTURES)(COUNT // 4, seeded())
    u = DCT(8).forward(draws.double())[:, :, 3:, 3:]  # where blur of 9 px has left nothing
    assert_moments(u, 0.0, noise**2)


@pytest.mark.parametrize("size", [(12,), (Circle(12),), (2, 3, 2), (Circle(4), 1, 3)])
def test_starts_of_series_and_volumes(size):
    """As those of pictures: the moments of a marginal, data blurred to their mean, one number all over an image."""
    process, sides = blurring_diffusion(size), lengths(size)
    rng = np.random.default_rng(0)
    mean, variance = rng.standard_normal((1, 2, *sides)), rng.uniform(0.1, 3, (1, 2, *sides))
    data = Gaussian(process.basis, torch.from_numpy(variance), torch.from_numpy(mean))
    draws = priors.marginal(data, process, channels=2, t=0.3)(COUNT, seeded())
    alpha, sigma = process.alpha(0.3).numpy(), process.sigma(0.3).numpy()
    assert_moments(process.basis.forward(draws), (alpha * mean)[0], (alpha**2 * variance + sigma**2)[0])

    images = torch.from_numpy(rng.uniform(-1, 1, (5, 2, *sides)))
    heat = heat_dissipation(size, sigma_max=200.0)
    blurred = priors.of_process(heat, (2, *sides), data, lambda: images)(COUNT, seeded()).flatten(2)
    means = images.flatten(2).mean(2)
    nearest = (blurred.mean(2)[:, None] - means).abs().amax(2).argmin(1)
    assert_moments((blurred - means[nearest][:, :, None])[nearest == 0], 0.0, heat.start.noise**2)

    flat = priors.flat_colour((2, *sides))(COUNT, seeded())
    assert flat.shape == (COUNT, 2, *sides)
    assert torch.equal(flat, flat[(..., *[slice(1)] * len(sides))].expand_as(flat))
    assert stats.kstest(flat.flatten(2)[:, 1, -1].numpy(), "uniform", (-1, 2)).pvalue > FALSE_ALARM

    with pytest.raises(ValueError, match=rf"images had shape \(5, {sides[-1]}\); expected \(N, C, "):
        priors.blurred_data(heat, images[(slice(None), 0, *[0] * (len(sides) - 1))], 0.1)
