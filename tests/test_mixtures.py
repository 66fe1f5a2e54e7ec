"""The mixture laboratory against quadrature, scipy's densities, Tweedie's formula and the Gaussian laboratory."""

import subprocess
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bdbook import oracle
from bdbook.mixtures import Mixture
from bdbook.pixels import ROUNDING
from bdbook.processes import (
    blur_diffusion,
    blurring_diffusion,
    cosine_diffusion,
    ddpm,
    heat_dissipation,
    soft_diffusion,
)
from bdbook.samplers import ancestral, ddim, last, sample
from bdbook.transforms import DCT, Circle, Colour, Haar, Hartley, Pixel, Separable, gaussian_kernel, lengths

PAIR = (1, 2)
# Of images of two pixels every symmetric basis of the book is this one, up to signs.
TURN = np.array([[1, 1], [1, -1]]) / np.sqrt(2)
WEIGHTS = np.array([0.5, 0.3, 0.2])
MEANS = np.array([[-0.6, 0.3], [0.5, 0.4], [0.4, -0.5]])
DEVIATIONS = np.array([[0.2, 0.1], [0.1, 0.3], [0.25, 0.15]])

PROCESSES = {
    "blurring": blurring_diffusion(PAIR, sigma_max=2.0),
    "cosine": cosine_diffusion(basis=DCT(PAIR)),
    "soft": soft_diffusion(PAIR, sigma_max=2.0),
    "heat": heat_dissipation(PAIR, sigma_max=2.0, steps=10),
    "ddpm": ddpm(basis=DCT(PAIR)),
    "lee": blur_diffusion(PAIR, f_max=0.6, f_type="log", steps=10),
}


def planes(rows):
    """(K, 2) -> (K, 1, 1, 2)."""
    return torch.from_numpy(np.asarray(rows, dtype=float)).reshape(-1, 1, 1, 2)


def of_two_pixels(basis=None):
    return Mixture(basis or DCT(PAIR), torch.from_numpy(WEIGHTS), planes(MEANS), planes(DEVIATIONS**2))


def of_many(channels=1, components=5, size=(4, 3), seed=0):
    random = np.random.default_rng(seed)
    shape = (components, channels, *lengths(size))
    weights = random.uniform(0.2, 1, components)
    return Mixture(
        DCT(size),
        torch.from_numpy(weights / weights.sum()),
        torch.from_numpy(0.5 * random.standard_normal(shape)),
        torch.from_numpy(random.uniform(0.01, 0.3, shape)),
    )


def pairs_of(mixture, name, t, count=6):
    """(x_t, coefficients, alpha, sigma) of count noisy images of two pixels; the last three in numpy."""
    process, generator = PROCESSES[name], torch.Generator().manual_seed(3)
    noise = torch.randn(count, 1, *PAIR, generator=generator, dtype=torch.float64)
    x_t = process.sample(mixture.sample(count, generator), t, noise)
    alpha, sigma = (c(t).expand(1, 1, *PAIR).reshape(2).numpy() for c in (process.alpha, process.sigma))
    return x_t, process.basis.forward(x_t).reshape(count, 2).numpy(), alpha, sigma


def quadrature(u_t, alpha, sigma):
    """E[u_x | u_t] of one pair, by the trapezoid rule on a grid: of Gaussians it is exact once it is fine enough."""
    axes = []
    for d in range(2):
        low, high = (MEANS[:, d] - 12 * DEVIATIONS[:, d]).min(), (MEANS[:, d] + 12 * DEVIATIONS[:, d]).max()
        if alpha[d] > 1e-6:
            low, high = max(low, (u_t[d] - 12 * sigma[d]) / alpha[d]), min(high, (u_t[d] + 12 * sigma[d]) / alpha[d])
        narrowest = (DEVIATIONS[:, d].min() ** -2 + (alpha[d] / sigma[d]) ** 2) ** -0.5
        axes.append(np.linspace(low, high, int((high - low) / narrowest * 2.5) + 2))
    prior = sum(
        w * stats.norm.pdf(axes[0], m[0], s[0])[:, None] * stats.norm.pdf(axes[1], m[1], s[1])
        for w, m, s in zip(WEIGHTS, MEANS, DEVIATIONS)
    )
    likely = [stats.norm.pdf(u_t[d], alpha[d] * axes[d], sigma[d]) for d in range(2)]
    joint = prior * likely[0][:, None] * likely[1]
    return np.array([(joint.sum(1) * axes[0]).sum(), (joint.sum(0) * axes[1]).sum()]) / joint.sum()


@pytest.mark.parametrize("t", [0.0, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("name", ["blurring", "cosine", "soft", "heat", "ddpm", "lee"])
def test_the_denoiser_is_bayes_by_quadrature(name, t):
    process = PROCESSES[name]
    mixture = of_two_pixels(process.basis)
    x_t, u_t, alpha, sigma = pairs_of(mixture, name, t)
    got = mixture.denoiser(process)(x_t, t)
    assert got.dtype == torch.float64
    if (sigma == 0).all():  # nothing has happened
        np.testing.assert_allclose(got, x_t, rtol=0, atol=1e-12)
        return
    expected = np.array([quadrature(u, alpha, sigma) for u in u_t])
    got = process.basis.forward(got).reshape(-1, 2).numpy()
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("size", [(4, 3), (7,), (Circle(6),), (2, Circle(3), 2)])
@pytest.mark.parametrize("name", ["blurring", "cosine", "soft"])
@pytest.mark.parametrize("t", [0.0, 0.4, 1.0])
def test_the_denoiser_is_tweedies_formula(name, t, size):
    # E[u_x | u_t] = (u_t + sigma^2 grad ln q_t) / alpha, the gradient by automatic differentiation.
    process = replace(PROCESSES[name], **({"basis": DCT(size)} if name == "cosine" else {"size": size}))
    mixture = of_many(channels=2, size=size)
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(5, 2, *lengths(size), generator=random, dtype=torch.float64)
    x_t = process.sample(mixture.sample(5, random), t, noise).requires_grad_()
    (score,) = torch.autograd.grad(mixture.log_density(x_t, process, t).sum(), x_t)
    u_t, score = (process.basis.forward(z.detach()) for z in (x_t, score))
    expected = (u_t + process.sigma(t) ** 2 * score) / process.alpha(t)
    assert (mixture.posterior_mean(u_t, process, t) - expected).abs().max() < 1e-12 / process.alpha(t).min()


@pytest.mark.parametrize("size", [(4, 3), (5,), (2, 3, Circle(4))])
@pytest.mark.parametrize("t", [0.001, 0.5, 1.0])
def test_one_component_is_the_gaussian_laboratory(t, size):
    process, mixture = blurring_diffusion(size, sigma_max=3.0), of_many(channels=2, components=1, size=size)
    gaussian = oracle.Gaussian(mixture.basis, mixture.variances, mixture.means)
    x_t = torch.randn(7, 2, *lengths(size), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = gaussian.denoiser(process)(x_t, t)
    for predicts in ("x0", gaussian.prediction()):
        assert (mixture.denoiser(process, predicts)(x_t, t) - expected).abs().max() < 1e-12
    said = mixture.denoiser(process, gaussian.prediction()).net(x_t, torch.full((7,), t, dtype=torch.float64))
    assert said.abs().max() < 1e-10
    for ours, theirs in zip((mixture.gaussian().mean, mixture.gaussian().variance), (gaussian.mean, gaussian.variance)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-15)


def test_every_parametrisation_is_the_same_denoiser_and_the_same_walk():
    process, mixture = blurring_diffusion((4, 3), sigma_max=1.0), of_many()
    x_T = torch.randn(9, 1, 4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for rule, order in ((ancestral, 1), (ddim, 2)):
        walked = [
            last(sample(mixture.denoiser(process, p), x_T, process.times(8), rule, generator(5), order)).x
            for p in ("x0", "eps", "v", "residual", mixture.gaussian().prediction())
        ]
        assert all((x - walked[0]).abs().max() < 1e-8 for x in walked)
        assert walked[0].std() > 0.1


def generator(seed):
    return torch.Generator().manual_seed(seed)


def test_each_image_may_have_its_own_time():
    process, mixture = blurring_diffusion((4, 3)), of_many()
    x_t = torch.randn(6, 1, 4, 3, generator=generator(0), dtype=torch.float64)
    t = torch.tensor([0.2, 0.9, 0.2, 0.5, 1.0, 0.0], dtype=torch.float64)
    for predicts in ("x0", mixture.gaussian().prediction()):
        denoiser = mixture.denoiser(process, predicts)
        each = torch.cat([denoiser(x_t[i : i + 1], t[i].item()) for i in range(6)])
        assert (denoiser(x_t, t) - each).abs().max() < 1e-12


def test_single_precision_in_single_precision_out():
    process, mixture = blurring_diffusion((4, 3)), of_many()
    x_t = torch.randn(6, 1, 4, 3, generator=generator(0), dtype=torch.float64)
    single = mixture.denoiser(process)(x_t.float(), 0.5)
    assert single.dtype == torch.float32
    assert (single - mixture.denoiser(process)(x_t, 0.5)).abs().max() < 1e-5


def test_chunks_change_nothing(monkeypatch):
    process, mixture = blurring_diffusion((4, 3)), of_many()
    x_t = torch.randn(50, 1, 4, 3, generator=generator(0), dtype=torch.float64)
    whole = mixture.denoiser(process)(x_t, 0.5)
    monkeypatch.setattr("bdbook.mixtures.CHUNK", 3 * mixture.means.numel() + 1)
    assert torch.equal(mixture.denoiser(process)(x_t, 0.5), whole)


def test_two_thousand_images_and_a_hundred_components_fit_in_a_gibibyte():
    code = """
import resource, torch
from bdbook import mixtures, processes
from bdbook.transforms import DCT
many = torch.ones(100, 1, 16, 16)
mixture = mixtures.Mixture(DCT(16), torch.full((100,), 0.01), many * torch.arange(100).reshape(-1, 1, 1, 1), many)
mixture.denoiser(processes.blurring_diffusion(16))(torch.zeros(2000, 1, 16, 16, dtype=torch.float64), 0.5)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(told) < 2**20  # KiB, torch and all


# --- densities, responsibilities, moments ---------------------------------------------------------------------


def in_pixels(alpha, sigma):
    """scipy's law of z_t of each component, as a dense covariance in pixels."""
    return [
        stats.multivariate_normal(TURN.T @ (alpha * m), TURN.T @ np.diag((alpha * s) ** 2 + sigma**2) @ TURN)
        for m, s in zip(MEANS, DEVIATIONS)
    ]


@pytest.mark.parametrize("name", ["blurring", "cosine", "soft"])
@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_densities_and_responsibilities_are_scipys(name, t):
    process, mixture = PROCESSES[name], of_two_pixels()
    x_t, _, alpha, sigma = pairs_of(mixture, name, t, count=20)
    joint = WEIGHTS * np.stack([law.pdf(x_t.reshape(-1, 2).numpy()) for law in in_pixels(alpha, sigma)], 1)
    np.testing.assert_allclose(mixture.log_density(x_t, process, t), np.log(joint.sum(1)), rtol=1e-10, atol=1e-10)
    shares = mixture.responsibilities(process.basis.forward(x_t), process, t)
    np.testing.assert_allclose(shares, joint / joint.sum(1, keepdims=True), rtol=1e-9, atol=1e-12)
    assert (shares.sum(1) - 1).abs().max() < 1e-14
    marginal = mixture.marginal(process, t)
    np.testing.assert_allclose(marginal.log_density(x_t), np.log(joint.sum(1)), rtol=1e-10, atol=1e-10)


def test_density_of_data_is_scipys_and_takes_pixels():
    mixture = of_two_pixels()
    x = mixture.sample(20, generator(0))
    laws = in_pixels(np.ones(2), np.zeros(2))
    expected = np.log(sum(w * law.pdf(x.reshape(-1, 2).numpy()) for w, law in zip(WEIGHTS, laws)))
    np.testing.assert_allclose(mixture.log_density(x), expected, rtol=1e-10)
    bytes_ = torch.tensor([[[[0, 255]]]], dtype=torch.uint8)
    np.testing.assert_allclose(mixture.log_density(bytes_), mixture.log_density(torch.tensor([[[[-1.0, 1.0]]]])))


def test_far_from_all_components_nothing_underflows():
    mixture = of_two_pixels()
    far = torch.full((1, 1, 1, 2), 1e4, dtype=torch.float64)
    assert mixture.log_density(far).isfinite().all()
    assert mixture.responsibilities(far).sum().item() == pytest.approx(1)


COUNT = 20_000


@pytest.mark.parametrize("basis", [DCT((4, 3)), Pixel(), Separable((4, 3), gaussian_kernel(0.4))])
def test_moments_of_samples_are_exact(basis):
    mixture = replace(of_many(channels=2), basis=basis)
    x, labels = mixture.sample_labelled(COUNT, generator(1))
    assert x.dtype == torch.float64
    assert torch.equal(x, mixture.sample(COUNT, generator(1)))
    u, gaussian = basis.forward(x), mixture.gaussian()
    # Central moments of a mixture, by hand: of component k with shift d, d^4 + 6 d^2 v + 3 v^2.
    w, v = mixture.weights.reshape(-1, 1, 1, 1), mixture.variances
    mean = (w * mixture.means).sum(0)
    shift = mixture.means - mean
    variance, fourth = (w * (shift**2 + v)).sum(0), (w * (shift**4 + 6 * shift**2 * v + 3 * v**2)).sum(0)
    np.testing.assert_allclose(gaussian.mean[0], mean, atol=1e-14)
    np.testing.assert_allclose(gaussian.variance[0], variance, rtol=1e-12)
    z = (u.mean(0) - mean) / (variance / COUNT).sqrt()
    assert z.abs().max() < 4.5
    z = ((u - mean).square().mean(0) - variance) / ((fourth - variance**2) / COUNT).sqrt()
    assert z.abs().max() < 4.5
    # Coefficients go together as the components' means do.
    rows, apart = (u - mean).flatten(1), shift.flatten(1)
    products = rows[:, :, None] * rows[:, None, :]
    expected = torch.einsum("k,ki,kj->ij", mixture.weights, apart, apart) + torch.diag((w * v).sum(0).flatten())
    z = (products.mean(0) - expected) / (products.std(0) / COUNT**0.5)
    assert z.abs().max() < 5
    elsewhere = ~torch.eye(len(expected), dtype=torch.bool)
    assert (expected.abs() > 20 * products.std(0) / COUNT**0.5)[elsewhere].any()
    counts = torch.bincount(labels, minlength=5) / COUNT
    assert ((counts - mixture.weights) / (mixture.weights * (1 - mixture.weights) / COUNT).sqrt()).abs().max() < 4


def test_the_marginal_is_the_law_of_noisy_data():
    process, mixture = blurring_diffusion((4, 3), sigma_max=1.0), of_many()
    noise = torch.randn(COUNT, 1, 4, 3, generator=generator(2), dtype=torch.float64)
    u = process.basis.forward(process.sample(mixture.sample(COUNT, generator(1)), 0.4, noise))
    law = mixture.marginal(process, 0.4).gaussian()
    assert ((u.mean(0) - law.mean[0]) / (law.variance[0] / COUNT).sqrt()).abs().max() < 4.5
    assert (u.var(0) / law.variance[0] - 1).abs().max() < 4.5 * (2 / COUNT) ** 0.5
    ours, theirs = law, mixture.gaussian().marginal(process, 0.4)
    np.testing.assert_allclose(ours.mean, theirs[0], atol=1e-14)
    np.testing.assert_allclose(ours.variance, theirs[1], rtol=1e-12)


@pytest.mark.parametrize(("name", "order"), [("cosine", 1), ("blurring", 2)])
def test_ddim_in_many_steps_carries_samples_to_the_law(name, order):
    process, mixture, count = PROCESSES[name], of_two_pixels(), 3_000
    x_T = torch.randn(count, 1, *PAIR, generator=generator(4), dtype=torch.float64)
    end = mixture.marginal(process, 1.0)  # not quite standard normal
    x_T = process.basis.inverse(end.gaussian().mean + end.gaussian().variance.sqrt() * process.basis.forward(x_T))
    x = last(sample(mixture.denoiser(process), x_T, process.times(150), ddim, order=order)).x
    shares = mixture.responsibilities(process.basis.forward(x))
    exact = mixture.responsibilities(process.basis.forward(mixture.sample(50_000, generator(0))))
    error = exact.std(0) / count**0.5
    assert ((shares.mean(0) - mixture.weights) / error).abs().max() < 3
    density = mixture.log_density(mixture.sample(50_000, generator(0)))
    assert abs(mixture.log_density(x).mean() - density.mean()) < 3 * density.std() / count**0.5


# --- what changes nothing -------------------------------------------------------------------------------------


@given(seed=st.integers(0, 1000), components=st.integers(1, 6), t=st.floats(0, 1))
def test_the_order_of_components_changes_nothing(seed, components, t):
    process, mixture = blurring_diffusion((4, 3)), of_many(components=components, seed=seed)
    order = torch.randperm(components, generator=generator(seed))
    other = replace(
        mixture, weights=mixture.weights[order], means=mixture.means[order], variances=mixture.variances[order]
    )
    same(mixture, other, process, t, seed)
    u = torch.randn(3, 1, 4, 3, generator=generator(seed), dtype=torch.float64)
    ours, theirs = (m.responsibilities(u, process, t) for m in (mixture, other))
    assert (ours[:, order] - theirs).abs().max() < 1e-12


@given(seed=st.integers(0, 1000), place=st.integers(0, 3), t=st.floats(0, 1))
def test_a_component_of_weight_0_changes_nothing(seed, place, t):
    process, mixture = blurring_diffusion((4, 3)), of_many(components=3, seed=seed)

    def inserted(x, new):
        return torch.cat([x[:place], new, x[place:]])

    other = Mixture(
        mixture.basis,
        inserted(mixture.weights, torch.zeros(1).double()),
        inserted(mixture.means, torch.ones(1, 1, 4, 3).double()),
        inserted(mixture.variances, torch.ones(1, 1, 4, 3).double()),
    )
    same(mixture, other, process, t, seed)
    _, labels = other.sample_labelled(200, generator(seed))
    assert not (labels == place).any()


@given(seed=st.integers(0, 1000), t=st.floats(0, 1))
def test_a_component_may_be_told_in_two(seed, t):
    process, mixture = blurring_diffusion((4, 3)), of_many(components=3, seed=seed)
    other = Mixture(
        mixture.basis,
        torch.cat([mixture.weights[:1] / 2, mixture.weights[:1] / 2, mixture.weights[1:]]),
        torch.cat([mixture.means[:1], mixture.means]),
        torch.cat([mixture.variances[:1], mixture.variances]),
    )
    same(mixture, other, process, t, seed)


def same(one, other, process, t, seed):
    x = torch.randn(4, 1, 4, 3, generator=generator(seed), dtype=torch.float64)
    assert (one.denoiser(process)(x, t) - other.denoiser(process)(x, t)).abs().max() < 1e-10
    np.testing.assert_allclose(one.log_density(x), other.log_density(x), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(one.gaussian().variance, other.gaussian().variance, rtol=1e-12)


# --- fitting --------------------------------------------------------------------------------------------------


def test_fit_finds_the_mixture_that_the_images_are_of():
    truth = of_two_pixels()
    images = truth.sample(20_000, generator(0))
    found = Mixture.fit(DCT(PAIR), images, 3)
    order = [int((found.means.flatten(1) - m).norm(dim=1).argmin()) for m in torch.from_numpy(MEANS)]
    np.testing.assert_allclose(found.weights[order], WEIGHTS, atol=0.02)
    np.testing.assert_allclose(found.means[order].reshape(3, 2), MEANS, atol=0.02)
    np.testing.assert_allclose(found.variances[order].reshape(3, 2) ** 0.5, DEVIATIONS, atol=0.02)
    held_out = truth.sample(20_000, generator(1))
    lost = truth.log_density(held_out) - found.log_density(held_out)
    # A fit of p numbers loses p / 2 N nats an image on average; here p = 14.
    assert lost.mean() < 3 * 14 / 40_000 + 3 * lost.std() / 20_000**0.5


def test_one_component_is_fitted_as_the_oracle_is_and_the_floor_is_added():
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((50, 2, 4, 3))).float()
    found, expected = Mixture.fit(DCT((4, 3)), x, 1), oracle.Gaussian.fit(DCT((4, 3)), x)
    np.testing.assert_allclose(found.means, expected.mean, atol=1e-12)
    np.testing.assert_allclose(found.variances, expected.variance + ROUNDING, rtol=1e-10)
    still = Mixture.fit(DCT((4, 3)), torch.zeros(50, 1, 4, 3), 1, floor=0.5)
    np.testing.assert_allclose(still.variances, 0.5)


def test_the_same_seed_is_the_same_fit():
    x = of_many().sample(300, generator(0))
    one, again, other = (Mixture.fit(DCT((4, 3)), x, 4, seed) for seed in (0, 0, 1))
    assert torch.equal(one.means, again.means)
    assert not torch.equal(one.means, other.means)


# --- files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "basis",
    [
        *(DCT((4, 3)), Separable((4, 3), gaussian_kernel(0.4), "symmetric"), Hartley((4, 3)), Haar(4)),
        *(DCT((4, Circle(3))), Haar((5,)), Separable((2, 3, Circle(2)))),
        *(Pixel(), Colour(2), Pixel(1), Colour(2, 3)),
    ],
)
def test_a_file_holds_all_of_it(basis, tmp_path):
    size = basis.size if hasattr(basis, "size") else {1: (5,), 2: (4, 3), 3: (2, 3, 2)}[basis.dims]
    mixture = replace(of_many(channels=2, size=size), basis=basis)
    mixture.save(tmp_path / "some" / "mixture.safetensors")
    again = Mixture.load(tmp_path / "some" / "mixture.safetensors")
    assert again.basis == basis
    for name in ("weights", "means", "variances"):
        np.testing.assert_allclose(getattr(again, name), getattr(mixture, name), rtol=1e-15)
    assert [path.name for path in (tmp_path / "some").iterdir()] == ["mixture.safetensors"]


@dataclass(frozen=True)
class Own(Pixel):
    """A basis that the library does not have."""


def test_files_that_are_none_are_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown basis 'Own'"):
        replace(of_many(), basis=Own()).save(tmp_path / "own")
    assert not (tmp_path / "own").exists()
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(ValueError, match="is no mixture"):
        Mixture.load(tmp_path / "text")
    from safetensors.torch import save_file

    save_file({"weights": torch.ones(1)}, tmp_path / "other")
    with pytest.raises(ValueError, match="is no mixture"):
        Mixture.load(tmp_path / "other")
    with pytest.raises(FileNotFoundError):
        Mixture.load(tmp_path / "none")


# --- bad input ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"weights": torch.tensor([0.5, 0.3, 0.3])}, "their sum was 1.1; expected numbers of 0 or more whose sum is 1"),
        ({"weights": torch.tensor([0.7, 0.5, -0.2])}, "weights went down to -0.2"),
        ({"weights": torch.tensor([0.7, 0.3, torch.nan])}, "weights went down to nan"),
        ({"weights": torch.tensor([0.5, 0.5])}, r"weights had shape \(2,\)"),
        ({"means": torch.zeros(3, 1, 1, 3)}, r"means \(3, 1, 1, 3\) and variances \(3, 1, 1, 2\); expected \(K,\)"),
        ({"means": torch.full((3, 1, 1, 2), torch.inf)}, "expected finite numbers"),
        ({"variances": planes(-(DEVIATIONS**2))}, "variances went down to -0.09"),
        ({"variances": torch.full((3, 1, 1, 2), torch.nan)}, "variances went down to nan"),
        ({"basis": DCT((4, 3))}, r"DCT was made for images of size \(4, 3\)"),
        ({"basis": DCT((2,))}, r"means \(3, 1, 1, 2\) .*; expected \(K,\) and twice \(K, C, L\)"),
    ],
)
def test_what_is_no_mixture_is_refused(changed, said):
    with pytest.raises(ValueError, match=said):
        replace(of_two_pixels(), **changed)


def test_weights_of_single_precision_are_close_enough():
    mixture = Mixture(DCT(PAIR), torch.full((7,), 1 / 7), torch.zeros(7, 1, *PAIR), torch.ones(7, 1, *PAIR))
    assert mixture.weights.dtype == torch.float64
    assert mixture.weights.sum().item() == pytest.approx(1, abs=1e-15)


def test_a_process_of_another_basis_is_refused_with_what_to_do():
    mixture = of_two_pixels()
    lee = blur_diffusion(PAIR, f_max=0.6)
    for ask in (mixture.denoiser, lambda process: mixture.marginal(process, 0.5)):
        with pytest.raises(ValueError, match=r"fit one in the process's: Mixture\.fit"):
            ask(lee)
        with pytest.raises(ValueError, match="make the process with basis=DCT"):
            ask(cosine_diffusion())


@pytest.mark.parametrize(
    ("images", "settings", "said"),
    [
        (torch.zeros(19, 1, 4, 3), {}, "19 images are too few for 10 components; expected at least 2 for each"),
        (torch.zeros(50, 1, 4, 3), {"components": 0}, "components was 0; expected at least 1"),
        (torch.zeros(50, 1, 4, 3), {"floor": 0.0}, "floor was 0.0; expected a variance above 0"),
        (torch.full((50, 1, 4, 3), torch.nan), {}, "images had NaN or infinity"),
        (torch.zeros(50, 1, 5, 3), {}, "DCT was made for images of size"),
        (torch.zeros(50, 1, 4, 3, dtype=torch.int64), {}, "expected images of uint8 or of a floating-point type"),
    ],
)
def test_what_cannot_be_fitted_is_refused(images, settings, said):
    with pytest.raises(ValueError, match=said):
        Mixture.fit(DCT((4, 3)), images, **{"components": 10, **settings})


def test_known_coefficients_need_noise():
    mixture = replace(of_two_pixels(), variances=torch.zeros(3, 1, 1, 2))
    x = torch.zeros(1, 1, 1, 2)
    with pytest.raises(ValueError, match="there is no density"):
        mixture.log_density(x)
    process = PROCESSES["cosine"]
    # Three points: the answer lies between them, and is one of them next to the data.
    near = process.basis.inverse(planes(MEANS))
    np.testing.assert_allclose(mixture.denoiser(process)(near, 0.0), near, atol=1e-12)


def test_one_time_is_expected():
    with pytest.raises(ValueError, match="got 2 times; expected one, the same for all images"):
        of_two_pixels().marginal(PROCESSES["cosine"], torch.tensor([0.1, 0.2]))
