"""What the network predicts, what it is trained on, and how it becomes D(x0_hat, r) for any time r.

A sampler never asks a network for x0. It asks for mean_r = V' D(x0_hat, r), the expected coefficients at time r,
because these exist where x0_hat = (u - sigma eps) / alpha does not: where alpha underflows, as without a floor it does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from bdbook.errors import unknown
from bdbook.processes import Degradation, Process, process_of, ratio
from bdbook.shapes import AnyImages, Coefficients, Images, Scale
from bdbook.times import Time, expand, show
from bdbook.transforms import at_least_float32


@dataclass(frozen=True)
class Observed:
    """What is known when the network is asked: the process, x_t, its coefficients u_t, and t."""

    process: Degradation
    x_t: Images
    u_t: Coefficients
    t: Time

    @property
    def alpha(self) -> Scale:
        return self.require_process().alpha(self.t).to(self.u_t)

    @property
    def sigma(self) -> Scale:
        return self.require_process().sigma(self.t).to(self.u_t)

    def require_process(self) -> Process:
        """The process; raises for a degradation without alpha and sigma."""
        if not isinstance(self.process, Process):
            raise ValueError(
                f"{self.process.name} has no alpha and sigma per frequency, which this parametrisation divides by; "
                "predict x0 or residual"
            )
        return self.process


class Prediction(Protocol):
    """A parametrisation. `out` is the network's output as coefficients, V' net(x_t, t); all are (B, C, *axes)."""

    def mean(self, seen: Observed, out: Coefficients, r: Time) -> Coefficients:
        """V' D(x0_hat, r), in the basis."""

    def x0(self, seen: Observed, out: Coefficients) -> Coefficients:
        """V' x0_hat, in the basis."""

    def target(self, seen: Observed, x0: Images, noise: Images) -> Images:
        """What the network should have said, in pixels."""


class _FromX0:
    """Parametrisations whose x0_hat is well conditioned: it is degraded to r, by any degradation."""

    def mean(self, seen: Observed, out: Coefficients, r: Time) -> Coefficients:
        return seen.process.degrade(self.x0(seen, out), r)

    def x0(self, seen: Observed, out: Coefficients) -> Coefficients:
        raise NotImplementedError


@dataclass(frozen=True)
class PredictEps:
    """The noise, in pixels: the papers' choice. Source: Ho et al. 2020; HS Eq. 6, 21; Lee Eq. 10."""

    def mean(self, seen: Observed, out: Coefficients, r: Time) -> Coefficients:
        self._require_signal(seen)
        process = seen.require_process()
        step = ratio(process.alpha(r), process.alpha(seen.t))
        return step.to(out) * (seen.u_t - seen.sigma * out)

    def x0(self, seen: Observed, out: Coefficients) -> Coefficients:
        self._require_signal(seen)
        return (seen.u_t - seen.sigma * out) / seen.alpha

    def target(self, seen: Observed, x0: Images, noise: Images) -> Images:
        return noise

    def _require_signal(self, seen: Observed) -> None:
        if (seen.alpha < torch.finfo(seen.alpha.dtype).tiny).any():
            raise ValueError(
                f"eps gives no image at t = {show(seen.t)}: {seen.process.name}'s blur has underflowed "
                "there, alpha_t = 0. Predict x0, less_blurred or spectral, or use blurring_diffusion, whose d_min "
                "prevents it"
            )


@dataclass(frozen=True)
class PredictX0(_FromX0):
    """The clean image. Source: HS app. B; Bansal Eq. 1."""

    def x0(self, seen: Observed, out: Coefficients) -> Coefficients:
        return out

    def target(self, seen: Observed, x0: Images, noise: Images) -> Images:
        return x0


@dataclass(frozen=True)
class PredictV(_FromX0):
    """v = alpha eps - sigma x per frequency; x0 = (alpha u_t - sigma v) / (alpha^2 + sigma^2).

    Source: Salimans & Ho 2022, here without assuming alpha^2 + sigma^2 = 1, which blur breaks.
    """

    def x0(self, seen: Observed, out: Coefficients) -> Coefficients:
        a, sigma = seen.alpha, seen.sigma
        return (a * seen.u_t - sigma * out) / (a**2 + sigma**2)

    def target(self, seen: Observed, x0: Images, noise: Images) -> Images:
        basis = seen.process.basis
        return basis.inverse(seen.alpha * basis.forward(noise) - seen.sigma * basis.forward(x0))


@dataclass(frozen=True)
class PredictResidual(_FromX0):
    """The clean image less x_t: x0_hat = x_t + out. Source: Daras et al. 2022 (soft diffusion)."""

    def x0(self, seen: Observed, out: Coefficients) -> Coefficients:
        return seen.u_t + out

    def target(self, seen: Observed, x0: Images, noise: Images) -> Images:
        return x0 - seen.x_t


@dataclass(frozen=True)
class PredictLessBlurred:
    """The step to the mean one grid point earlier: D(x0_hat, t - 1/N) = x_t + out. Source: Rissanen et al. 2022.

    It knows no x0_hat (blur has underflowed), so it serves exactly the steps t -> t - 1/N of a tabulated process.
    """

    def mean(self, seen: Observed, out: Coefficients, r: Time) -> Coefficients:
        asked, known = expand(r), self._earlier(seen)
        if not torch.allclose(asked, known.to(asked), rtol=0, atol=1e-9):
            raise ValueError(
                f"a LESS_BLURRED network knows the mean at t - 1/{seen.process.steps} only, but was asked for it at "
                f"{asked.flatten().tolist()[:2]}; use process.times() (every step) and the rule ihdm(delta)"
            )
        return seen.u_t + out

    def x0(self, seen: Observed, out: Coefficients) -> Coefficients:
        return seen.u_t + out

    def target(self, seen: Observed, x0: Images, noise: Images) -> Images:
        return seen.process.mean(x0, self._earlier(seen).flatten()) - seen.x_t

    def _earlier(self, seen: Observed) -> Tensor:
        if seen.process.steps is None:
            raise ValueError(f"LESS_BLURRED needs a tabulated process; {seen.process.name} is continuous in t")
        # Rounding to the table keeps 1/N - 1/N at 0 and not at -1e-17.
        n = seen.process.steps
        return (torch.round(expand(seen.t) * n) - 1) / n


@dataclass(frozen=True)
class PredictStepMean(_FromX0):
    """The mean of the posterior step t -> t - 1/steps: c u_t + (alpha_s - c alpha_t) u_x, c as `samplers.ancestral`'s.

    Ho et al. 2020 sec. 3.2 (their mu) and HS sec. 3 name it to advise against it. x0_hat divides by
    alpha_s - c alpha_t, but a step of the same length multiplies by it again.
    """

    steps: int = 100

    def x0(self, seen: Observed, out: Coefficients) -> Coefficients:
        carry, share = self._coefficients(seen)
        # Where nothing of the image enters the step, the network cannot say what it is.
        return torch.where(share == 0, 0.0, (out - carry * seen.u_t) / torch.where(share == 0, 1.0, share))

    def target(self, seen: Observed, x0: Images, noise: Images) -> Images:
        carry, share = self._coefficients(seen)
        basis = seen.process.basis
        return basis.inverse(carry * seen.u_t + share * basis.forward(x0))

    def _coefficients(self, seen: Observed) -> tuple[Scale, Scale]:
        t = expand(seen.t)
        s = (t - 1 / self.steps).clamp_min(0).flatten()
        process = seen.require_process()
        alpha_t, sigma_t, alpha_s, sigma_s = process.coefficients(t.flatten(), s)
        carry = ratio(alpha_t, alpha_s) * (sigma_s / sigma_t) ** 2
        return carry.to(seen.u_t), (alpha_s - carry * alpha_t).to(seen.u_t)


@dataclass(frozen=True)
class Spectral(_FromX0):
    """Spectral preconditioning: EDM's c_skip and c_out, one of each per frequency, from the data's spectrum.

    With m, v the data's mean and variance per coefficient (float64, (1, C|1, *axes)):

        x0_hat = m + c_skip (u_t - alpha m) + c_out V' out
        c_skip = alpha v / (alpha^2 v + sigma^2),     c_out = sqrt(v sigma^2 / (alpha^2 v + sigma^2))

    so that out = 0 is the Wiener filter, the exact denoiser of Gaussian data, and `out` has unit variance to
    predict: it is only what is not Gaussian. Source: Karras et al. 2022 Table 1, per frequency: this book.
    """

    mean0: Scale
    variance0: Scale

    def coefficients(self, seen: Observed) -> tuple[Scale, Scale, Scale]:
        """(m, c_skip, c_out), computed in float64, in u_t's dtype."""
        process, v = seen.require_process(), self.variance0.to(seen.u_t.device)
        c_skip, c_out = wiener(process.alpha(seen.t).to(v), process.sigma(seen.t).to(v), v)
        return self.mean0.to(seen.u_t), c_skip.to(seen.u_t), c_out.to(seen.u_t)

    def x0(self, seen: Observed, out: Coefficients) -> Coefficients:
        m, c_skip, c_out = self.coefficients(seen)
        return m + c_skip * (seen.u_t - seen.alpha * m) + c_out * out

    def target(self, seen: Observed, x0: Images, noise: Images) -> Images:
        m, c_skip, c_out = self.coefficients(seen)
        basis = seen.process.basis
        error = basis.forward(x0) - m - c_skip * (seen.u_t - seen.alpha * m)
        # A frequency without noise or without variance is known: nothing to predict there.
        return basis.inverse(torch.where(c_out > 0, error / torch.where(c_out > 0, c_out, 1.0), 0.0))


def wiener(alpha: Scale, sigma: Scale, variance: Scale) -> tuple[Scale, Scale]:
    """(c_skip, c_out): gain and posterior standard deviation of the best estimate of u_x from u_t.

    For u_x of the given variance and u_t = alpha u_x + sigma eps, elementwise; with neither signal nor noise in
    u_t the gain is 0 and the deviation that of the data.
    """
    total = alpha**2 * variance + sigma**2
    # Below the smallest normal number too: alpha^2 underflows long before alpha does, and 0 / 0 is not far.
    known = total >= torch.finfo(total.dtype).tiny
    safe = torch.where(known, total, 1.0)
    gain = torch.where(known, alpha * variance / safe, 0.0)
    return gain, torch.sqrt(torch.where(known, variance * sigma**2 / safe, variance))


EPS, X0, V = PredictEps(), PredictX0(), PredictV()
RESIDUAL, LESS_BLURRED, STEP_MEAN = PredictResidual(), PredictLessBlurred(), PredictStepMean()
PREDICTIONS: dict[str, Prediction] = {
    "eps": EPS,
    "x0": X0,
    "v": V,
    "residual": RESIDUAL,
    "less_blurred": LESS_BLURRED,
    "step_mean": STEP_MEAN,
}


def prediction(name: str | Prediction) -> Prediction:
    """A parametrisation by name, or itself; "spectral" needs the data's spectrum: `oracle.Gaussian.prediction`."""
    if not isinstance(name, str):
        return name
    if name == "spectral":
        raise ValueError(
            "the prediction spectral needs the data's spectrum; give oracle.Gaussian.fit(basis, images).prediction()"
        )
    if name not in PREDICTIONS:
        raise unknown("prediction", name, [*PREDICTIONS, "spectral"])
    return PREDICTIONS[name]


@dataclass(frozen=True)
class Estimate:
    """One answer of the network at (x_t, t), to be read at any time r. pixels: its output, (B, C, *axes)."""

    seen: Observed
    pixels: Images
    predicts: Prediction

    @cached_property
    def out(self) -> Coefficients:
        return self.seen.process.basis.forward(self.pixels)

    def mean(self, r: Time) -> Coefficients:
        """V' D(x0_hat, r)."""
        return self.predicts.mean(self.seen, self.out, r)

    @property
    def x0_hat(self) -> Images:
        """x0_hat in pixels (for LESS_BLURRED the less blurred image)."""
        return self.seen.process.basis.inverse(self.predicts.x0(self.seen, self.out))


@dataclass(frozen=True)
class Denoiser:
    """A network, the process it was trained for, and what it predicts.

    net: (x_t (B, C, *axes), t (B,) in x_t's dtype) -> (B, C, *axes). autocast: a dtype (torch.bfloat16) to run
    the network alone in, None for x_t's own precision; transforms stay in float32 whatever the caller's autocast is.
    process and predicts may be given by name.
    """

    net: Callable[[Tensor, Tensor], Tensor]
    process: Degradation
    predicts: Prediction = EPS
    autocast: torch.dtype | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            net: Callable[[Tensor, Tensor], Tensor],
            process: Degradation | str,
            predicts: Prediction | str = EPS,
            autocast: torch.dtype | None = None,
        ): ...

    def __post_init__(self) -> None:
        object.__setattr__(self, "process", process_of(self.process))
        object.__setattr__(self, "predicts", prediction(self.predicts))

    def estimate(self, x_t: AnyImages, t: Time) -> Estimate:
        """Ask the network once."""
        x_t = at_least_float32(x_t)
        times = self.process.check(t).flatten().to(x_t)
        if len(times) not in (1, len(x_t)):
            raise ValueError(f"got {len(times)} times for {len(x_t)} images; expected one time per image, or one")
        times = times.expand(len(x_t))
        with torch.autocast(x_t.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            out = self.net(x_t, times)
        if not isinstance(out, Tensor):
            raise ValueError(
                f"the network gave {type(out).__name__}; expected a tensor {tuple(x_t.shape)}. For one of diffusers, "
                "or with integer timesteps: adapters.from_diffusers(net)"
            )
        if out.shape != x_t.shape:
            raise ValueError(f"the network gave {tuple(out.shape)} for images {tuple(x_t.shape)}; expected that shape")
        seen = Observed(self.process, x_t, self.process.basis.forward(x_t), t)
        return Estimate(seen, out.to(x_t.dtype), self.predicts)

    def __call__(self, x_t: AnyImages, t: Time) -> Images:
        """x0_hat, (B, C, *axes) in pixels."""
        return self.estimate(x_t, t).x0_hat

    def means(self, x_t: AnyImages, t: Time, s: Time) -> tuple[Coefficients, Coefficients]:
        """(mean_t, mean_s) in the basis; see Estimate.mean."""
        answer = self.estimate(x_t, t)
        return answer.mean(t), answer.mean(s)
