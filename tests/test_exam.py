"""The numbers in the answers of course/exam.md, computed again, most of them another way."""

import re
from itertools import pairwise
from math import atan, cos, exp, log, pi, sin, sqrt
from pathlib import Path

import numpy as np
import pytest
import torch

from bdbook import oracle, processes, samplers, schedules
from bdbook.page import recorded
from bdbook.transforms import Pixel

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "course/exam.md").read_text(encoding="utf-8")
ANSWERS = {
    int(number): answer
    for number, answer in re.findall(r"^\*\*(\d+) \[.*?\*Answer\.\* (.*?)(?=^\*\*\d+ \[|\Z)", TEXT, re.M | re.S)
}
# The step that several questions share, as a process with the two times 1 and 0.
STEP = processes.Process(Pixel(), lambda t: 0.8 - 0.2 * t, lambda t: 0.6 + 0.2 * t)


def rule(name: str) -> tuple[float, float]:
    carry, refresh = samplers.rule(name)(STEP, 1.0, 0.0)
    return carry.item(), refresh.item()


def kept(omega: float, width: float) -> float:
    return schedules.frequency_scaling(torch.tensor(omega**2), torch.tensor(width**2 / 2)).item()


def halving(omega: float) -> float:
    """The first of many widths that leaves less than half."""
    return next(width for width in np.linspace(0, 20, 20001) if kept(omega, width) < 0.5)


def delta(q_t: float, q_s: float) -> float:
    """The refresh that gives the right variance, by conditioning a joint Gaussian; v = sigma = 1."""
    joint = np.array([[1, sqrt(q_t)], [sqrt(q_t), q_t + 1]])
    explained = joint[0, 1] ** 2 / joint[1, 1]
    return sqrt(q_s + 1 - q_s * explained)


def tacos(alpha_1: float, epsilon: float, steps: int = 100_000) -> float:
    u, alpha = alpha_1, np.linspace(alpha_1, 1, steps + 1)
    for a, b in pairwise(alpha):
        u += (b - a) * a / (a**2 + epsilon) * u
    return u


def lacking(q: float) -> float:
    """(1 - c)^2 alpha^2 P over (1 - c)^2 sigma^2, for sigma = 1 and alpha = 1."""
    return 1 / np.linalg.inv(np.array([[q, q], [q, q + 1]]))[0, 0]


def ten_steps() -> float:
    process = processes.Process(Pixel(), lambda t: torch.cos(t * pi / 2), lambda t: torch.sin(t * pi / 2))
    law = oracle.Gaussian(Pixel(), torch.ones(1, 1, 1, 1))
    return law.sampler_error(process, process.times(10), samplers.ddim).ratio.item()


def hs_ratio() -> float:
    process = processes.blurring_diffusion(32, 20.0)
    return (process.alpha(0.0) / process.alpha(1.0))[0, 0, -1, -1].item()


def floor_of_the_snr() -> float:
    """What is left of the highest frequency's SNR by blur, half way."""
    with_blur, without = processes.blurring_diffusion(64, 20.0), processes.blurring_diffusion(64, 0.0)
    return (with_blur.snr(0.5) / without.snr(0.5))[0, 0, -1, -1].item()


def nats(r: float) -> float:
    return 0.5 * (r - 1 - log(r))


POSTERIOR = rule("ancestral")
SEEDS = {
    name: [run.metrics["quality"]["samples"]["frechet"] for run in recorded.seeds(f"fashion-{name}-plain")]
    for name in ("ddpm", "blur")
}
CASES = [
    (1, "0.37", halving(pi)),
    (1, "12 px", halving(2 * pi / 64)),
    (4, "0.422", POSTERIOR[0]),
    (4, "0.496", POSTERIOR[1]),
    (4, "0.75", rule("ddim")[0]),
    (4, "0.36", POSTERIOR[0] ** 2 * 0.64 + POSTERIOR[1] ** 2),
    (7, "35.6", 199 * (log(2) / (log(24) - log(0.5)))),
    (8, "0.0061", ((0.8 - POSTERIOR[0] * 0.6) * 0.1) ** 2 / (2 * POSTERIOR[1] ** 2)),
    (9, "3.16", delta(0, 9)),
    (9, "1.38", delta(9, 9)),
    (11, "148", cos(atan(exp(-5))) / cos(atan(exp(5)))),
    (11, r"1.5\cdot10^5", hs_ratio() / 1e5),
    (12, "=10^{-3}$", 10 * (1e6 * floor_of_the_snr()) ** 0.5),
    (13, "1.33", 0.8 / 0.6),
    (13, "0.73", 0.8 * (0.8 / 0.6 - POSTERIOR[0])),
    (14, "28.07", schedules.blur_exponent(torch.arange(1, 1001), 1000, 0.14).sum().item()),
    (14, "=1.5$ px", sqrt(0.0808 * 28.07)),
    (16, "0.90", lacking(9)),
    (16, "0.09", lacking(0.1)),
    (17, "0.50", 0.1 / (0.1**2 + 0.01) * 0.1),
    (17, "0.71", tacos(0.1, 0.01)),
    (18, "0.547", 0.8 - POSTERIOR[0] * 0.6),
    (18, "0.35", 0.8 - rule("ddim")[0] * 0.6),
    (18, "1.5625", (0.8 - POSTERIOR[0] * 0.6) / (0.8 - rule("ddim")[0] * 0.6)),
    (18, "0.5625", sqrt((0.6 / 0.8) ** 2 / (0.8 / 0.6) ** 2)),
    (19, "0.78", ten_steps()),
    (19, "0.014", nats(ten_steps())),
    (20, "23.8", np.mean(SEEDS["ddpm"])),
    (20, "24.0", np.mean(SEEDS["blur"])),
]


def test_there_are_twenty_with_answers():
    assert sorted(ANSWERS) == list(range(1, 21))


@pytest.mark.parametrize(("number", "printed", "value"), CASES)
def test_a_number_is_right(number, printed, value):
    assert printed in ANSWERS[number]
    digits = re.search(r"[\d.]+", printed)[0]
    decimals = len(digits.partition(".")[2])
    assert abs(value - float(digits)) <= 0.5001 * 10**-decimals


def test_the_statements_that_are_to_be_corrected_are_wrong():
    two = kept(1.0, 3.0) * kept(1.0, 4.0)
    assert two == pytest.approx(kept(1.0, 5.0))  # 2
    assert two != pytest.approx(kept(1.0, 7.0))
    a = 0.6
    assert (1 + a**2) * (1 - a) != pytest.approx(1 - a**4)  # 6
    assert (1 + a**2) * (1 - a**2) == pytest.approx(1 - a**4)
    _, noise = schedules.cosine(torch.linspace(0, 1, 101))
    assert noise.max() <= 1  # 10
    falls = [4 * (1 - t) ** 2 for t in np.linspace(0, 0.99, 50)]
    rises = [1 / (1 - t / 2) ** 2 for t in np.linspace(0, 0.99, 50)]
    assert falls == sorted(falls, reverse=True)  # 3
    assert rises == sorted(rises)
    angle_t, angle_s = 1.1, 0.7  # 19
    step = cos(angle_s) * cos(angle_t) + sin(angle_s) / sin(angle_t) * (1 - cos(angle_t) ** 2)
    assert step == pytest.approx(cos(angle_t - angle_s))


def test_the_trainings_of_question_20_are_the_recorded_ones():
    for values in SEEDS.values():
        assert ", ".join(f"{value:.1f}" for value in values) in TEXT
    both = SEEDS["ddpm"] + SEEDS["blur"]
    assert {min(both), max(both)} <= set(SEEDS["blur"])


def test_restoring_and_corrupting_again_never_converges():
    """5, by the laboratory: c = 0, tau = sigma_s."""

    def forget(process, t, s):
        return torch.zeros_like(process.alpha(s)), process.sigma(s)

    process, law = processes.cosine_diffusion(), oracle.Gaussian(Pixel(), torch.ones(1, 1, 1, 1))
    ratios = [law.sampler_error(process, process.times(steps), forget).ratio.item() for steps in (100, 10_000)]
    exact = law.sampler_error(process, process.times(10_000), samplers.ancestral).ratio.item()
    assert max(ratios) < 0.9 < 0.99 < exact
