"""What chapter 16 says of the networks that walk in the page."""

import torch

from bdbook import samplers
from bdbook.evaluation import metrics
from bdbook.page import live, recorded


def walked(recipe: str, count: int, steps: int, rho: float = 1.0, seed: int = 0) -> torch.Tensor:
    """Digits by a part of DDIM's carry; the starts of a seed are the same for every system."""
    denoiser = live.run_of(recipe).denoiser
    start = torch.randn(count, 1, 16, 16, generator=torch.Generator().manual_seed(seed))
    random = torch.Generator().manual_seed(seed + 1)
    walk = samplers.sample(denoiser, start, denoiser.process.times(steps), samplers.partial_carry(rho), random)
    return samplers.last(walk).x


def test_fresh_noise_costs_variance():
    images = live.run_of("digits-blurring").images()
    kept = {
        (steps, rho): float(metrics.band_ratio(walked("digits-blurring", 64, steps, rho), images)[0])
        for steps, rho in ((10, 1.0), (10, 0.0), (50, 0.0))
    }
    assert kept[10, 0.0] < kept[10, 1.0] - 0.1
    assert kept[10, 0.0] < kept[50, 0.0] - 0.1


def test_a_walk_by_ddim_is_decided_by_its_start_and_its_process():
    """The exercise: DDPM in 50 and in 250 steps, HS's process without blur and with 5 px."""

    def apart(a, b):
        return (a - b).square().mean((1, 2, 3)).sqrt().median()

    twice = [walked("digits-ddpm", 16, steps) for steps in (50, 250)]
    sharp, blurred = (walked(recipe, 16, 50) for recipe in ("digits-cosine", "digits-blurring"))
    assert apart(*twice) < 0.05
    assert apart(sharp, blurred) > 0.1
    assert apart(sharp, sharp.roll(1, 0)) > 0.4, "two digits"


def test_ten_steps():
    """The first order loses a quarter of the variance of the coarsest structure, the second has it back."""
    walks = recorded.read("digits-blurring").metrics["walks"]
    first, second = (walks[f"ddim, order {order}, 10 steps"]["bands"][0] for order in (1, 2))
    assert 0.7 < first < 0.8
    assert abs(second - 1) < 0.05
