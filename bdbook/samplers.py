"""Every sampler of the sources is one line: degrade, carry, refresh.

    u_s = mean_s + c (u_t - mean_t) + tau n,     mean_r = V' D(x0_hat, r),  n standard normal.

A rule says what to carry and how much to refresh: (process, t, s) -> (c, tau), float64, per frequency. Any rule
may be given a better guess than the denoiser's last answer: see `guesses`. One rule needs a third number: `flow`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from bdbook.clocks import Flow, turn
from bdbook.denoiser import Denoiser, Estimate, wiener
from bdbook.errors import unknown
from bdbook.guesses import Clipped, Extrapolated, Guess, extrapolation
from bdbook.processes import IHDM_DELTA, Degradation, Spectrum, ratio, require_noise
from bdbook.shapes import Expanded, Images, PerFrequency, Scale
from bdbook.times import Time, check_earlier, expand

Rule = Callable[[Degradation, Time, Time], tuple[PerFrequency, PerFrequency]]


def ancestral(process: Degradation, t: Time, s: Time) -> tuple[PerFrequency, PerFrequency]:
    """The exact posterior q(u_s | u_t, x0): c = a sigma_s^2 / sigma_t^2, a = alpha_t / alpha_s.

    Equal to the (mean, variance) form of HS Eq. 18 and Ho et al. 2020 Eq. 7, without its divisions by
    sigma_{t|s}. tau^2 = sigma_s^2 (1 - a^2 sigma_s^2 / sigma_t^2) = sigma_s^2 sigma_{t|s}^2 / sigma_t^2.
    """
    alpha_t, sigma_t, alpha_s, sigma_s = process.coefficients(t, s)
    require_noise(process, sigma_t, "ancestral")
    a, shrink = ratio(alpha_t, alpha_s), (sigma_s / sigma_t) ** 2
    # 1 - a^2 shrink = 1 - SNR_t / SNR_s is never negative but by rounding.
    return a * shrink, sigma_s * torch.sqrt((1 - a**2 * shrink).clamp_min(0))


def ddim(process: Degradation, t: Time, s: Time, eta: float = 0.0) -> tuple[PerFrequency, PerFrequency]:
    """DDIM: eta = 0 carries all of the estimated noise, eta = 1 is `ancestral`. Source: Song et al. 2020."""
    alpha_t, sigma_t, alpha_s, sigma_s = process.coefficients(t, s)
    require_noise(process, sigma_t, "ddim")
    if not 0 <= eta <= 1:
        raise ValueError(f"eta was {eta}; expected 0 (deterministic) to 1 (ancestral)")
    a, shrink = ratio(alpha_t, alpha_s), (sigma_s / sigma_t) ** 2
    # sqrt(sigma_s^2 - tau^2) / sigma_t, without the difference, which cancels where the carry is small.
    carry = torch.sqrt(shrink * (1 - eta**2 + eta**2 * a**2 * shrink))
    return carry, eta * sigma_s * torch.sqrt((1 - a**2 * shrink).clamp_min(0))


def naive(process: Degradation, t: Time, s: Time) -> tuple[PerFrequency, PerFrequency]:
    """Restore, then degrade again: c = 0. Source: Bansal Algorithm 1."""
    zero = _zero(process, t, s)
    return zero, zero


def tacos(process: Degradation, t: Time, s: Time) -> tuple[PerFrequency, PerFrequency]:
    """x_s = x_t - D(x0_hat, t) + D(x0_hat, s): c = 1. Source: Bansal Algorithm 2."""
    zero = _zero(process, t, s)
    return zero + 1, zero


def momentum(process: Degradation, t: Time, s: Time) -> tuple[PerFrequency, PerFrequency]:
    """c = sigma_s^2 / sigma_t^2, tau^2 = sigma_t^2 - sigma_s^2. Source: Daras et al. 2022 (soft diffusion).

    Its refresh is neither the posterior's nor, where the step blurs, the forward step's: it is that of a reverse
    equation with noise of strength d sigma^2 / dt (chapter 7), which has the marginals as s -> t. It needs a sigma
    that does not fall with t.
    """
    _, sigma_t, _, sigma_s = process.coefficients(t, s)
    require_noise(process, sigma_t, "momentum")
    if (sigma_s > sigma_t).any():
        raise ValueError(f"momentum needs noise that grows with t, but {process.name}'s falls from s to t")
    return (sigma_s / sigma_t) ** 2, torch.sqrt(sigma_t**2 - sigma_s**2)


def partial_carry(rho: float) -> Rule:
    """rho of DDIM's carry, the rest drawn afresh: c = rho sigma_s / sigma_t, tau^2 = (1 - rho^2) sigma_s^2.

    Any rho in [0, 1] keeps the marginal. Source: Song et al. 2020, whose eta is another name for it; this book.
    """
    if not 0 <= rho <= 1:
        raise ValueError(f"rho was {rho}; expected a part of DDIM's carry, 0 (none) to 1 (all)")

    def rule(process: Degradation, t: Time, s: Time) -> tuple[PerFrequency, PerFrequency]:
        carry, _ = ddim(process, t, s)
        _, _, _, sigma_s = process.coefficients(t, s)
        return rho * carry, sigma_s * math.sqrt(1 - rho**2)

    return rule


def analytic(variance: Scale) -> Rule:
    """`ancestral` with the variance that a point estimate lacks put back: tau^2 + (alpha_s - c alpha_t)^2 P.

    P = v sigma_t^2 / (alpha_t^2 v + sigma_t^2) is the variance of u_x given u_t for Gaussian data of variance v
    per coefficient, (1, C|1, *axes); for these the rule is exact at any number of steps. Source: Bao et al. 2022,
    here one variance per frequency.
    """
    variance = variance.double()

    def rule(process: Degradation, t: Time, s: Time) -> tuple[PerFrequency, PerFrequency]:
        carry, refresh = ancestral(process, t, s)
        alpha_t, sigma_t, alpha_s, _ = process.coefficients(t, s)
        _, deviation = wiener(alpha_t, sigma_t, variance.to(alpha_t.device))
        return carry, torch.hypot(refresh, (alpha_s - carry * alpha_t) * deviation)

    return rule


def coloured(variance: Scale, power: float = 1.0) -> Rule:
    """`ancestral` with its noise moved to what is not known yet: tau^2 times (1 - known)^power, its sum kept.

    known = alpha_t^2 v / (alpha_t^2 v + sigma_t^2) is the share of a coefficient's variance v, (1, C|1, *axes), that
    the best guess explains. power = 1 is Algorithm 1 of Davidson et al. 2026 (Colored Noise Sampling), who measure the
    share on a network; 0 is `ancestral`. As the steps get smaller its law does not become that of the data.
    """
    if not power >= 0:
        raise ValueError(f"power was {power}; expected 0 (white) or more")
    variance = variance.double()

    def rule(process: Degradation, t: Time, s: Time) -> tuple[PerFrequency, PerFrequency]:
        carry, refresh = ancestral(process, t, s)
        alpha_t, sigma_t, _, _ = process.coefficients(t, s)
        signal = alpha_t**2 * variance.to(alpha_t.device)
        unknown_share = sigma_t**2 / (signal + sigma_t**2)
        white, moved = torch.broadcast_tensors(refresh**2, refresh**2 * unknown_share**power)
        image = tuple(range(1, white.ndim))
        energy, weight = white.sum(image, keepdim=True), moved.sum(image, keepdim=True)
        # Where nothing is refreshed, there is nothing to move.
        return carry, torch.sqrt(moved * torch.where(weight > 0, energy / weight, 0.0))

    return rule


def matched(variance: Scale) -> Rule:
    """The rule without noise that is exact for Gaussian data: c = (S_s / S_t) (1 - cos phi_s cos phi_t) / sin^2 phi_t.

    S^2 = alpha^2 v + sigma^2, tan phi = sigma / (alpha sqrt(v)), v the variance per coefficient, (1, C|1, *axes). In
    y = (u - alpha m) / S (`clocks`) it is y_s = y_t + F (cos phi_s - cos phi_t) / sin phi_t, and of all rules with
    tau = 0 it alone leaves the y of Gaussian data as it is, at any number of steps: `analytic`'s sibling. That is for
    order 1; order 2 extrapolates x0_hat, which moves. Near the data it takes too little of F: in the last step, to
    phi = 0, tan(phi_t / 2), where `flow` takes phi_t. Source: this book.
    """
    variance = variance.double()

    def rule(process: Degradation, t: Time, s: Time) -> tuple[PerFrequency, PerFrequency]:
        step = turn(process, variance, t, s)
        # 1 - cos cos without its cancellation near the data.
        missing = torch.sin(step.turned / 2) ** 2 + torch.sin((step.phi_t + step.phi_s) / 2) ** 2
        return step.after / step.before * missing / torch.sin(step.phi_t) ** 2, _zero(process, t, s)

    return rule


def flow(spectrum: Spectrum, eta: float = 0.0) -> Flow:
    """y_s = y_t + (phi_t - phi_s) F: Euler's step of the probability flow, one clock per frequency (`clocks`).

        data = oracle.Gaussian.fit(process.basis, images)
        walk = sample(denoiser, x_T, process.times(10), flow(data))

    spectrum: mean and variance of the data in the process's basis, an `oracle.Gaussian`. Any denoiser that knows x0_hat
    will do, not only one with spectral preconditioning. For Gaussian data of this spectrum F = 0, and one step is exact
    under every process, where `ddim` shrinks y by cos(phi_t - phi_s). It is no carry and refresh: see `Flow`.

    eta: with rho = (cos phi_t / cos phi_s)^(eta^2) a share of y is replaced by fresh noise,

        y_s = rho y_t + (1 + eta^2) (phi_t - phi_s) F (1 + rho) / 2 + sqrt(1 - rho^2) n,

    which keeps the marginal of Gaussian data at any number of steps. As `ddim` with this eta it tends to the reverse
    equation with eta^2 of the forward equation's noise, for eta = 1 the limit of `ancestral`. The last step draws too.

    order = 2 extrapolates F to the middle of the step, F + (F - F') (t - s) / (2 (t' - t)), in the time that all
    frequencies share: the clocks' own ratio grows without bound where one stands still and then starts. It is better
    from some 20 to 50 steps on and can be worse before: on a mixture (tests/test_clocks.py), cosine at 10 steps, its
    error is 1.4 times that of order 1, at 50 steps 0.4 times. Source: this book; Lu & Song 2024 for one angle.
    """
    return Flow(spectrum, eta)


def ihdm(delta: float = IHDM_DELTA) -> Rule:
    """Re-blur and add white noise of standard deviation delta. Source: Rissanen et al. 2022; HS Eq. 11."""
    if not delta >= 0:
        raise ValueError(f"delta was {delta}; expected a standard deviation of 0 or more")

    def rule(process: Degradation, t: Time, s: Time) -> tuple[PerFrequency, PerFrequency]:
        zero = _zero(process, t, s)
        return zero, zero + delta

    return rule


RULES: dict[str, Rule] = {
    "ancestral": ancestral,
    "ddim": ddim,
    "naive": naive,
    "tacos": tacos,
    "momentum": momentum,
    "ihdm": ihdm(),
}


def rule(name: str | Rule) -> Rule:
    """A rule by name (ddim with eta = 0, ihdm with delta = 0.025), or itself."""
    if not isinstance(name, str):
        return name
    if name not in RULES:
        raise unknown("rule", name, RULES)
    return RULES[name]


# Where an argument is called rule.
rule_of = rule


def step(estimate: Guess, t: Time, s: Time, rule: Rule | str, noise: Images | None = None) -> Images:
    """One reverse step t -> s: u_s = mean_s + c (u_t - mean_t) + tau n. Returns x_s, (B, C, *axes).

    estimate: the denoiser's answer at (x_t, t), or what `guesses` makes of it. noise: white, in pixels,
    (B, C, *axes); may be None where the rule refreshes nothing.
    """
    process = estimate.seen.process
    _require_time(estimate, t)
    rule = rule_of(rule)
    carry, refresh = rule(process, t, s)
    u_s = estimate.mean(s)
    if carry.any():  # LESS_BLURRED knows no mean_t, and IHDM's rule carries nothing
        u_s = u_s + carry.to(u_s) * (estimate.seen.u_t - estimate.mean(t))
    if refresh.any():
        if noise is None:
            raise ValueError("this rule refreshes noise at this step, but noise was None; pass white noise like x_t")
        u_s = u_s + refresh.to(u_s) * process.basis.forward(noise.to(u_s))
    if isinstance(rule, Flow):
        u_s = u_s + rule.add(estimate, t, s)
    return process.basis.inverse(u_s)


@dataclass(frozen=True)
class Step:
    """A point of a reverse trajectory: x at time t, and the answer of the network that led to it."""

    t: float
    x: Images
    estimate: Estimate

    @property
    def x0_hat(self) -> Images:
        """The clean image as it was guessed one time earlier, (B, C, *axes)."""
        return self.estimate.x0_hat


def sample(
    denoiser: Denoiser,
    x_T: Images,
    times: Tensor,
    rule: Rule | str = ancestral,
    generator: torch.Generator | None = None,
    order: int = 1,
    clip: bool = False,
) -> Iterator[Step]:
    """Walk from x_T at times[0] to times[-1], yielding a Step after each step.

    x_T: (B, C, *axes). times: decreasing, in [0, 1], e.g. process.times(250). generator: source of the noise;
    the same generator state gives the same images. rule: one of this module's, its name, or your own; those that need
    the data's spectrum are made of it and have no name, as `flow(oracle.Gaussian.fit(process.basis, images))`. order:
    1, or 2 to extrapolate the guess from the last two answers (`Extrapolated`), at no further call of the network.
    clip: clamp the guess, degraded to s, to the range that images in [-1, 1] leave it (`Clipped`).
    """
    check_order(order)
    rule, before = rule_of(rule), None
    for t, s in pairs(times):
        with torch.no_grad():
            estimate = denoiser.estimate(x_T, t)
            guess = guess_of(estimate, before if order == 2 else None, t, s, rule, clip)
            noise = torch.randn(x_T.shape, generator=generator, device=x_T.device, dtype=x_T.dtype)
            x_T = step(guess, t, s, rule, noise)
            before = estimate
        yield Step(s, x_T, estimate)


def guess_of(now: Estimate, before: Estimate | None, t: Time, s: Time, rule: Rule, clip: bool = False) -> Guess:
    """What `sample` gives to the step t -> s: the answer at t, or extrapolated, and clipped.

    before: the answer one step earlier, which makes the step second order; None for the first step, and for order 1.
    """
    guess: Guess = now
    if before is not None and isinstance(rule, Flow):
        guess = rule.extrapolated(now, before, t, s)
    elif before is not None:
        guess = Extrapolated(now, before, extrapolation(now.seen.process, before.seen.t, t, s))
    return Clipped(guess, s) if clip else guess


def check_order(order: int) -> None:
    """Raise unless order is 1 or 2."""
    if order not in (1, 2):
        raise ValueError(f"order was {order}; expected 1, or 2 to extrapolate from the last two answers")


def pairs(times: Tensor) -> Iterator[tuple[float, float]]:
    """Consecutive (t, s) of a decreasing grid."""
    grid = torch.as_tensor(times, dtype=torch.float64).flatten().tolist()
    if len(grid) < 2 or any(s >= t for t, s in pairwise(grid)):
        raise ValueError(
            f"times were {grid[:4]}{'...' if len(grid) > 4 else ''}; expected at least two, strictly decreasing, "
            "from 1 towards 0, e.g. process.times(250)"
        )
    return pairwise(grid)


def last(steps: Iterator[Step]) -> Step:
    """The end of a trajectory."""
    end = None
    for end in steps:  # noqa: B007
        pass
    if end is None:
        raise ValueError("the trajectory was empty")
    return end


def lee_euler(estimate: Estimate, i: int, noise: Images | None = None) -> Images:
    """Lee's reverse diffusion step x_i -> x_{i-1}: Anderson's SDE discretised by Euler, with eps predicted.

        x_{i-1} = 2 x_i - U A_i^(1/2) U' x_i + U (I - A_i) U' s + U (I - A_i)^(1/2) U' n
        s = -U (I - A-bar_i)^(-1/2) U' eps_hat

    Source: Lee Eq. 11, 12, 27, with two slips mended: the exponent of I - A-bar_i in the score is -1/2 (Eq. 12
    prints 1) and the index is i (their i + 1 needs a beta_{N+1}). Not of the one-step
    form: its coefficient of u_t is 2 - A_i^(1/2) whatever x0_hat is.
    """
    process, u = estimate.seen.process, estimate.seen.u_t
    if process.steps is None:
        raise ValueError(f"lee_euler needs a tabulated process, but {process.name} is continuous in t")
    t, s = i / process.steps, (i - 1) / process.steps
    _require_time(estimate, t)
    alpha_t, sigma_t, alpha_s, _ = process.coefficients(t, s)
    a = ratio(alpha_t, alpha_s)  # A_i^(1/2)
    eps_hat = (u - estimate.mean(t)) / sigma_t.to(u)
    score = -eps_hat / sigma_t.to(u)
    beta = 1 - a**2
    u = (2 - a).to(u) * u + beta.to(u) * score
    if noise is not None:
        u = u + torch.sqrt(beta).to(u) * process.basis.forward(noise.to(u))
    return process.basis.inverse(u)


def _require_time(estimate: Guess, t: Time) -> None:
    asked, known = expand(t), expand(estimate.seen.t)
    if not torch.allclose(asked, known.to(asked), rtol=0, atol=1e-6):
        raise ValueError(
            f"the denoiser was asked at t = {known.flatten().tolist()[:2]}, but the step begins at "
            f"{asked.flatten().tolist()[:2]}; estimate again at the time where you are"
        )


def _zero(process: Degradation, t: Time, s: Time) -> Expanded:
    """0 for every image, (B, 1, ...) float64: rules that ask nothing of alpha and sigma take any degradation."""
    check_earlier(t, s)
    process.check(s)
    return torch.zeros_like(process.check(t))
