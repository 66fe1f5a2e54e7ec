"""What chapter 16 says of the networks that walk in the page."""

import torch

from bdbook import samplers
from bdbook.evaluation import metrics
from bdbook.page import live
from bdbook.transforms import DCT


def walked(recipe: str, count: int, steps: int, rho: float = 1.0, seed: int = 0) -> torch.Tensor:
    """Clothes by a part of DDIM's carry; the starts of a seed are the same for every system."""
    denoiser = live.run_of(recipe).denoiser
    start = torch.randn(count, 1, 16, 16, generator=torch.Generator().manual_seed(seed))
    random = torch.Generator().manual_seed(seed + 1)
    walk = samplers.sample(denoiser, start, denoiser.process.times(steps), samplers.partial_carry(rho), random)
    return samplers.last(walk).x


def kept(images: torch.Tensor) -> list[float]:
    """Variance over that of the training images, in five bands of the DCT, by the spectrum that a run records."""
    variance, index = live.run_of("fashion-blurring").spectrum.variance[0, 0], metrics.band_index(DCT(16).freq2, 5)
    of_data = [variance[index == band].sum().item() for band in range(5)]
    return [ours / theirs for ours, theirs in zip(metrics.band_variance(images).tolist(), of_data, strict=True)]


def test_fresh_noise_costs_variance():
    """Least where nothing is carried and steps are few; and with none carried the finest detail is gone."""
    found = {
        (steps, rho): kept(walked("fashion-blurring", 64, steps, rho))
        for steps, rho in ((10, 1.0), (10, 0.0), (50, 0.0), (50, 1.0))
    }
    assert found[10, 0.0][0] < found[10, 1.0][0] - 0.1
    assert found[10, 0.0][0] < found[50, 0.0][0] - 0.1
    assert found[50, 0.0][4] < 0.7 * found[50, 1.0][4]


def test_a_walk_by_ddim_is_decided_by_its_start_and_its_process():
    """The exercise: DDPM in 50 and in 250 steps, HS's process without blur and with 5 px."""

    def apart(a, b):
        return (a - b).square().mean((1, 2, 3)).sqrt().median()

    twice = [walked("fashion-ddpm", 16, steps) for steps in (50, 250)]
    sharp, blurred = (walked(recipe, 16, 50) for recipe in ("fashion-cosine", "fashion-blurring"))
    assert apart(*twice) < 0.05
    assert apart(sharp, blurred) > 0.1
    assert apart(sharp, sharp.roll(1, 0)) > 0.4, "two pictures"


def test_ten_steps():
    """The first order loses a fifth of the variance of the coarsest structure, the second has it back."""
    run = live.run_of("fashion-blurring")
    first, second = (kept(run.draw(192, 0, "ddim", 10, order=order))[0] for order in (1, 2))
    assert 0.75 < first < 0.85
    assert abs(second - 1) < 0.06


def test_under_one_clock_five_calls_of_the_flow_rule_leave_no_grain():
    grain = {}
    for recipe in ("fashion-blurring", "fashion-equal-snr"):
        run = live.run_of(recipe)
        *_, grain[recipe], _ = kept(run.draw(64, 0, run.flow(), 5))
    assert grain["fashion-blurring"] > 1.2
    assert grain["fashion-equal-snr"] < 1
