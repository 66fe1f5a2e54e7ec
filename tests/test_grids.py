"""Time grids."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bdbook import data, oracle, processes, samplers, timegrids
from bdbook.transforms import DCT

PROCESS = processes.blurring_diffusion(8, 5.0)
LAW = oracle.Gaussian(DCT(8), data.power_law_variance(8))


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 60), st.integers(0, 10**6))
def test_a_grid_runs_from_1_to_0_and_holds_equal_shares(steps, seed):
    density = torch.rand(101, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.01
    grid = timegrids.by_density(density, steps)
    assert grid.shape == (steps + 1,)
    assert grid.dtype == torch.float64
    assert (grid[0], grid[-1]) == (1, 0)
    assert (grid.diff() < 0).all()
    at = np.linspace(0, 1, 101)
    share = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]).numpy() / 2)])
    np.testing.assert_allclose(np.diff(np.interp(grid.flip(0), at, share)), share[-1] / steps, rtol=1e-9)


def test_an_even_density_is_the_uniform_grid():
    np.testing.assert_allclose(timegrids.by_density(torch.ones(11), 7), PROCESS.times(7), atol=1e-12)


def test_the_log_snr_grid_takes_equal_steps_of_it():
    process = processes.cosine_diffusion()
    level = torch.log(process.snr(timegrids.log_snr(process, 20))).flatten()
    np.testing.assert_allclose(level.diff(), 1.0, rtol=0.02)  # from -10 to 10 in 20 steps


@pytest.mark.parametrize("steps", [1, 2, 7, 50])
@pytest.mark.parametrize(
    "process",
    [PROCESS, processes.cosine_diffusion(DCT(8)), processes.soft_diffusion(8), processes.equal_snr(LAW, kappa=2)],
)
def test_equal_angles_are_equal_steps_of_the_mean_clock(process, steps):
    grid = timegrids.equal_angle(process, LAW, steps)
    assert grid.dtype == torch.float64
    assert (grid[0], grid[-1], len(grid)) == (1, 0, steps + 1)
    alpha, sigma = (c(grid).expand(-1, 1, 8, 8).numpy() for c in (process.alpha, process.sigma))
    phi = np.arctan2(sigma, alpha * np.sqrt(LAW.variance.numpy())).mean((1, 2, 3))
    np.testing.assert_allclose(phi, np.linspace(phi[0], phi[-1], steps + 1), rtol=0, atol=1e-12)


def test_equal_angles_of_clocks_that_run_together_are_uniform_times():
    process = processes.equal_snr(LAW)
    np.testing.assert_allclose(timegrids.equal_angle(process, LAW, 10), process.times(10), rtol=0, atol=1e-12)
    colour = oracle.Gaussian(DCT(8), LAW.variance * torch.tensor([1.0, 3.0, 9.0]).reshape(1, 3, 1, 1))
    process = processes.equal_snr(colour)
    np.testing.assert_allclose(timegrids.equal_angle(process, colour, 10), process.times(10), rtol=0, atol=1e-12)


def test_equal_angles_lower_ddims_divergence():
    process = processes.cosine_diffusion(DCT(8))
    even, uniform = (
        LAW.sampler_error(process, g, samplers.ddim).kl.sum()
        for g in (timegrids.equal_angle(process, LAW, 10), process.times(10))
    )
    assert even < uniform / 2


@pytest.mark.parametrize("floor", [0.2, 2.0])
def test_the_spectral_density_is_the_formula(floor):
    """The share of steps in a short stretch of time, by finite differences in numpy; a floor in units of its mean."""
    grid = timegrids.spectral(PROCESS, LAW, 4000, order=2, floor=floor).numpy()
    times = np.linspace(0, 1, 801)

    def snr(t):
        return PROCESS.snr(torch.from_numpy(t)).numpy().reshape(len(t), -1)

    inner = times[1:-1]
    known = snr(inner) * LAW.variance.numpy().ravel()
    known = known / (1 + known)
    speed = np.abs(np.log(snr(inner + 1e-5)) - np.log(snr(inner - 1e-5))) / 4e-5
    density = (known * (1 - known) * speed**3).mean(1) ** (1 / 3)
    density = density + floor * density.mean()
    counted, _ = np.histogram(grid, bins=times)
    expected = 4000 * (density[1:] + density[:-1]) / 2
    expected /= ((density[1:] + density[:-1]) / 2).sum()
    busy = expected > 4
    np.testing.assert_allclose(counted[1:-1][busy], expected[busy], atol=2.5)


def test_tuning_lowers_the_divergence():
    start = PROCESS.times(8)
    tuned = timegrids.tuned(PROCESS, LAW, start, iterations=25)
    before, after = (LAW.sampler_error(PROCESS, g, samplers.ddim, order=2).kl.sum() for g in (start, tuned))
    assert after < before / 2
    assert (tuned[0], tuned[-1], len(tuned)) == (1, 0, 9)
    assert (tuned.diff() < 0).all()


def test_bad_requests_are_explained():
    with pytest.raises(ValueError, match="steps was 0; expected at least 1"):
        timegrids.by_density(torch.ones(3), 0)
    with pytest.raises(ValueError, match="steps was 0; expected at least 1"):
        timegrids.equal_angle(PROCESS, LAW, 0)
    still = processes.Process(DCT(8), lambda t: 1 + 0 * t, lambda t: 1 + 0 * t, name="still")
    with pytest.raises(ValueError, match="the mean clock of still stands still at"):
        timegrids.equal_angle(still, LAW, 5)
    with pytest.raises(ValueError, match=r"density of steps had the value -1; expected positive"):
        timegrids.by_density(torch.tensor([1.0, -1.0]), 3)
    for make in (
        lambda p: timegrids.log_snr(p, 5),
        lambda p: timegrids.spectral(p, LAW, 5),
        lambda p: timegrids.tuned(p, LAW, p.times(5)),
        lambda p: timegrids.equal_angle(p, LAW, 5),
    ):
        with pytest.raises(ValueError, match=r"ddpm is tabulated at N = 1000 steps .* use process.times"):
            make(processes.ddpm(basis=DCT(8)))


def test_the_floor_is_a_part_of_the_mean_density():
    """The integral of density + floor mean is 1 + floor means: with floor 1 half of the steps are spread evenly."""
    process = processes.cosine_diffusion(DCT(8))
    for law in (LAW, oracle.Gaussian(DCT(8), 1e-3 * LAW.variance)):
        bare, floored = (timegrids.spectral(process, law, 2000, floor=floor).flip(0).numpy() for floor in (0.0, 1.0))
        at = np.linspace(0.02, 0.98, 50)
        share, even = (np.interp(at, grid, np.linspace(0, 1, 2001)) for grid in (bare, floored))
        np.testing.assert_allclose(even, (share + at) / 2, atol=5e-3)  # the mean counts the ends of the sum in full
