"""Sounds and flows that are computed: against the exact decay of one wave, blur by rolling, and their own promises."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bdbook.data import made
from bdbook.transforms import DCT, Circle, Separable


@pytest.mark.parametrize("make", [made.sounds, lambda **more: made.turbulence(8, **more)])
def test_the_same_arguments_give_the_same_and_fewer_the_first(make):
    few, many = make(count=3), make(count=5)
    assert torch.equal(few, many[:3])
    assert many.dtype == torch.float32
    assert many.abs().max() <= 1
    others = make(count=3, split="test"), make(count=3, seed=1)
    assert all(not torch.equal(few, other) for other in others)


@given(st.integers(3, 40), st.integers(1, 200), st.integers(0, 9))
def test_each_period_is_the_one_before_it_blurred(period, length, seed):
    """By rolling, and in the eigenbasis of the kernel on a circle."""
    pluck = np.random.default_rng(seed).uniform(-1, 1, period)
    sound, wave = made.plucked(pluck, length), pluck
    basis = Separable((Circle(period),), kernel=(made.PASSED, 1 - 2 * made.PASSED, made.PASSED))
    in_basis = torch.from_numpy(pluck)[None, None]
    for begin in range(0, length, period):
        expected = wave[: length - begin]
        np.testing.assert_allclose(sound[begin : begin + period], expected, atol=1e-12)
        np.testing.assert_allclose(in_basis[0, 0, : length - begin], expected, atol=1e-12)
        p = made.PASSED
        wave = (1 - made.LOST) * (p * np.roll(wave, 1) + (1 - 2 * p) * wave + p * np.roll(wave, -1))
        in_basis = (1 - made.LOST) * basis.inverse(basis.eigenvalues * basis.forward(in_basis))


@pytest.mark.parametrize("wave", [(1, 0), (0, 3), (2, 5)])
def test_a_single_wave_dies_by_friction_alone(wave):
    """It is carried along by nothing: exp(-viscosity k^2 t), to rounding."""
    y, x = np.meshgrid(*[2 * np.pi * np.arange(16) / 16] * 2, indexing="ij")
    start = np.cos(wave[0] * y + wave[1] * x + 0.3)[None]
    k2 = wave[0] ** 2 + wave[1] ** 2
    found = made.vorticity(start, 1.5, viscosity=0.02)
    np.testing.assert_allclose(found, start * np.exp(-0.02 * k2 * 1.5), atol=1e-13)


def test_without_friction_energy_and_enstrophy_stay_and_with_it_they_fall_as_they_must():
    """d energy / dt = -2 viscosity enstrophy, energy = mean |u|^2 / 2, enstrophy = mean omega^2 / 2."""
    start = 0.2 * made._eddies(np.random.default_rng(0).standard_normal((2, 32, 32)))

    def energy(field):
        wave = np.fft.fft2(field) / 32**2
        k = np.fft.fftfreq(32, 1 / 32)
        k2 = k[:, None] ** 2 + k**2
        return (np.abs(wave) ** 2 / np.where(k2 > 0, k2, np.inf)).sum((1, 2)) / 2

    free = made.vorticity(start, 1.0, viscosity=0.0)
    np.testing.assert_allclose(energy(free), energy(start), rtol=1e-6)
    np.testing.assert_allclose((free**2).mean((1, 2)), (start**2).mean((1, 2)), rtol=1e-6)
    assert np.abs(free - start).max() > 0.1 * start.std()  # it did flow
    grid = [made.vorticity(start, t, viscosity=0.01) for t in np.linspace(0, 1, 9)]
    lost = energy(grid[0]) - energy(grid[-1])
    enstrophy = np.array([(field**2).mean((1, 2)) / 2 for field in grid])
    simpson = (enstrophy[0] + enstrophy[-1] + 4 * enstrophy[1:-1:2].sum(0) + 2 * enstrophy[2:-1:2].sum(0)) / 24
    np.testing.assert_allclose(lost, 2 * 0.01 * simpson, rtol=1e-4)


def test_a_shorter_step_gives_the_same_flow_and_a_coarser_grid_the_same_waves():
    start = made._eddies(np.random.default_rng(1).standard_normal((2, made.SIDE, made.SIDE)))
    one, half = (made.vorticity(start, 0.5, made.VISCOSITY, made.STEP / part) for part in (1, 2))
    assert np.abs(one - half).max() < 1e-2 * one.std()
    coarse = made._coarse(one, 8)
    for k, m in ((0, 1), (2, 3), (-3, 1)):
        whole, few = (np.fft.fft2(field)[:, k, m] / field.shape[-1] ** 2 for field in (one, coarse))
        np.testing.assert_allclose(few, whole, atol=1e-12)


def test_flows_that_ran_are_not_gaussian():
    field = made.turbulence(32, 16).double()
    apart = field - field.roll(1, -1)
    assert (apart**4).mean() / (apart**2).mean() ** 2 > 3.4  # of Gaussian data 3


@pytest.mark.parametrize(
    "axes", [(Circle(512),), (Circle(64), Circle(64)), (Circle(24),) * 3, (128,), (48, Circle(64))]
)
def test_energy_in_a_shell_falls_as_it_was_asked_to(axes):
    """Summed over shells, without a word of how many waves there are in one."""
    variance, freq2 = made.power_law(axes, 5 / 3), DCT(axes).freq2
    assert variance.mean().item() == pytest.approx(0.25)
    lowest, highest = 2 * np.pi / 24 * 1.5, np.pi / 2
    edges = torch.linspace(lowest, highest, 7, dtype=torch.float64)
    shell = torch.bucketize(freq2.sqrt().flatten(), edges)
    energy = [variance.flatten()[shell == k].sum().item() for k in range(1, 7)]
    slope = np.polyfit(((edges[1:] + edges[:-1]) / 2).log().numpy(), np.log(energy), 1)[0]
    assert slope == pytest.approx(-5 / 3, abs=0.2)


def test_what_cannot_be_made_is_said():
    for call, words in (
        (lambda: made.sounds(10), "length was 10"),
        (lambda: made.turbulence(64), "size was 64"),
        (lambda: made.turbulence(9), "an even side"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
