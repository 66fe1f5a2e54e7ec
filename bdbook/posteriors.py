"""What may have been there: images drawn given a blurred, noisy view of them.

    y = h u_x + s n        in the basis of the blur, one gain h per frequency, n white

A view has the form of u_t = alpha_t u_x + sigma_t eps, with h for alpha and s for sigma: y is one more Gaussian
observation of every coefficient, beside the one that a reverse process walks down. So what is known of u_x given both
is the guess from u_t, corrected by what y says beyond it,

    u~ = u^ + k (y - h u^),     k = P h / (h^2 P + s^2),     P~ = P s^2 / (h^2 P + s^2),

P being the variance of what the guess u^ gets wrong; and a step from t to s is the posterior q(u_s | u_t, u_x) with u_x
drawn from N(u~, P~). For Gaussian data that is exact in any number of steps. For others it takes p(u_x | u_t) for a
Gaussian with one variance for all images, which holds near the data and not far from them. Where coarse frequencies
of y say already which kind of image it is, that is little (results/laboratory/coverage.json). Where kinds are far
apart, and only all of y together would decide between them, the walk ends at a wrong one too often, and errs several
times as much as `of_mixture`, which is exact. Source: this book; for white noise and one P for all frequencies, with
P = sigma^2 / (1 + sigma^2), the correction is that of Song et al. 2023 (pseudo-inverse guidance).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from tqdm import tqdm

from bdbook import timegrids
from bdbook.denoiser import Denoiser, Estimate, PredictLessBlurred, wiener
from bdbook.mixtures import Mixture, Shares
from bdbook.oracle import Gaussian
from bdbook.processes import Process, require_basis
from bdbook.samplers import ancestral, pairs
from bdbook.shapes import AnyImages, Coefficients, Grid, Images, OfBasis, PerFrequency
from bdbook.times import Time
from bdbook.transforms import DCT, Basis, Circle, Size, axes_of

# Images drawn for each view; and the variance of a guess's errors at each time but the last of a walk.
Drawn = Float[Tensor, "S B C *axes"]
Errors = Float64[Tensor, "steps #C *#axes"]
# Images that a network is asked for at once.
CHUNK = 64
# How far from 1 the sum of a kernel may be, and from its mirror image its taps.
NEARLY = 1e-6


@dataclass(frozen=True, eq=False)
class View:
    """A linear observation of images, y = h u_x + s n in the basis: what a camera out of focus gives.

    gain: h, (1, 1|C, *axes) float64. noise: s, standard deviation of a pixel, above 0; images have the range [-1, 1],
    and a file of 8 bits alone has `pixels.ROUNDING`, s = 0.0023.
    """

    basis: Basis
    gain: Tensor
    noise: float

    def __post_init__(self) -> None:
        if not 0 < self.noise < math.inf:
            raise ValueError(
                f"noise was {self.noise}; expected its standard deviation in a pixel of [-1, 1], above 0: a file of "
                "8 bits has 0.0023 by its rounding alone, a photograph about 0.02"
            )
        object.__setattr__(self, "gain", self.gain.double())
        if not self.gain.isfinite().all():
            raise ValueError("the gain had NaN or infinity; expected a finite number for each frequency")

    @classmethod
    def blurred(cls, size: Size, width: float, noise: float) -> View:
        """Of a Gaussian blur of standard deviation `width` px, mirrored at the border; 0 for noise alone."""
        if not 0 <= width < math.inf:
            raise ValueError(f"width was {width}; expected the blur's standard deviation in pixels, 0 or more")
        basis = DCT(size)
        return cls(basis, torch.exp(-basis.freq2 * width**2 / 2), noise)

    @classmethod
    def of_kernel(cls, size: Size, kernel: Tensor, noise: float) -> View:
        """Of a blur given by its kernel, an odd number of taps along each axis, of sum 1, mirrored at the border.

        It must be the same read from either end of each axis: such a kernel is diagonal in the DCT, others are not.
        """
        return cls(DCT(size), gain_of(size, kernel), noise)

    def sample(self, images: AnyImages, noise: AnyImages) -> Images:
        """What is seen of images (B, C, *axes); noise: white, of the same shape."""
        x = images if images.is_floating_point() else images.float()
        return self.basis.inverse(self.gain.to(x) * self.basis.forward(x)) + self.noise * noise.to(x)

    def combined(self, guess: Coefficients, y: Coefficients, variance: PerFrequency) -> tuple[Tensor, Tensor]:
        """(u~, sqrt(P~)): mean and deviation of u_x, given a guess that errs by `variance` P, and y.

        guess, y: (B, C, *axes).
        """
        gain, deviation = wiener(self.gain, torch.full_like(self.gain, self.noise), variance)
        return guess + gain.to(guess) * (y - self.gain.to(guess) * guess), deviation

    def require(self, basis: Basis) -> None:
        """Raise unless the prior has this view's basis."""
        if basis != self.basis:
            raise ValueError(
                f"the view is diagonal in {self.basis}, but the prior in {basis}; make the view for that size, and "
                "take a prior, or a network's process, whose basis is the DCT"
            )


def gain_of(size: Size, kernel: Tensor) -> OfBasis:
    """What blur by a kernel, (odd, ...) with one side an axis, leaves of each coefficient of DCT(size): float64.

    sum_j k_j cos(w j) along each axis, w the frequency. Raises ValueError where the kernel is no such blur.
    """
    axes, kernel = axes_of(size), torch.as_tensor(kernel)
    if kernel.ndim != len(axes) or any(side % 2 == 0 for side in kernel.shape):
        raise ValueError(
            f"the kernel had shape {tuple(kernel.shape)}; expected an odd number of taps along each of {len(axes)} "
            "axes, with the middle one for the pixel itself, e.g. (9, 9) for pictures"
        )
    gain = kernel.double()
    if not gain.isfinite().all() or not abs(gain.sum() - 1) <= NEARLY:
        raise ValueError(f"the kernel's sum was {gain.sum():.6g}; expected finite taps of sum 1: kernel / kernel.sum()")
    apart = max((gain - gain.flip(axis)).abs().max().item() for axis in range(gain.ndim))
    if apart > NEARLY * gain.abs().max():
        raise ValueError(
            f"the kernel differs from its mirror image by up to {apart:.3g}; expected one that is the same read from "
            "either end of each axis (a blur along a slant or to one side is not diagonal in the DCT, and cannot be "
            "undone here): give (k + k.flip(0) + k.flip(1) + k.flip(0, 1)) / 4 if only noise makes it unequal"
        )
    for axis in axes:
        n = axis.length if isinstance(axis, Circle) else axis
        unit = 2 * math.pi / n if isinstance(axis, Circle) else math.pi / n
        offsets = torch.arange(gain.shape[0], dtype=torch.float64) - gain.shape[0] // 2
        waves = torch.cos(unit * torch.arange(n, dtype=torch.float64)[:, None] * offsets)
        gain = torch.tensordot(gain, waves, dims=([0], [1]))  # takes the first axis, and puts its frequencies last
    return gain[None, None]


# --- exact ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Posterior:
    """Data of a mixture given views y (B, C, *axes) in the basis: of each again a mixture, of as many components.

    shares: how probable each is, (B, K). Component k of view b has mean means[k] + gains[k] (y[b] - h means[k]) and
    deviation deviations[k], (K, C, *axes).
    """

    view: View
    y: Coefficients
    shares: Shares
    means: Tensor
    gains: Tensor
    deviations: Tensor

    @property
    def mean(self) -> Images:
        """E[x | y], (B, C, *axes)."""
        rest, gain = (
            (self.shares @ m.flatten(1)).reshape(self.y.shape)
            for m in ((1 - self.view.gain * self.gains) * self.means, self.gains)
        )
        return self.view.basis.inverse(rest + gain * self.y)

    def sample(self, count: int, generator: torch.Generator) -> Drawn:
        """count images for each view, (count, B, C, *axes) float64."""
        labels = torch.multinomial(self.shares, count, replacement=True, generator=generator).T
        drawn = []
        for row in labels:  # a row of images at a time: the numbers of all at once are many
            noise = torch.randn(self.y.shape, generator=generator, dtype=torch.float64)
            means, gains = self.means[row], self.gains[row]
            u = means + gains * (self.y - self.view.gain * means) + self.deviations[row] * noise
            drawn.append(self.view.basis.inverse(u))
        return torch.stack(drawn)


def of_mixture(mixture: Mixture, view: View, images: AnyImages) -> Posterior:
    """The exact posterior of a mixture given what is seen, images (B, C, *axes) as `View.sample` makes them.

    Each component is weighed by how probable it makes y, and each is a Wiener filter of its own.
    """
    view.require(mixture.basis)
    y = view.basis.forward(images.double())
    evidence = Process(view.basis, lambda t: view.gain, lambda t: torch.full_like(t, view.noise), name="view")
    gains, deviations = wiener(view.gain, torch.full_like(view.gain, view.noise), mixture.variances)
    return Posterior(view, y, mixture.responsibilities(y, evidence), mixture.means, gains, deviations)


# --- by walking -------------------------------------------------------------------------------------------------


def grid(process: Process, spectrum: Gaussian, steps: int) -> Grid:
    """Equal steps of the mean clock (`timegrids.equal_angle`), of a tabulated process the nearest in its table.

    Equal steps of time end too far from the data: what the last step draws is Gaussian, and that of the high
    frequencies is then most of what there is.
    """
    if process.steps is None:
        return timegrids.equal_angle(process, spectrum, steps)
    if not 1 <= steps <= process.steps:
        raise ValueError(f"steps was {steps}; expected 1 to {process.steps}, the steps of {process.name}")
    table = process.times().flip(0)
    clocks = spectrum.clock(process, table).flatten(1).mean(1)
    wanted = torch.linspace(clocks[-1].item(), clocks[0].item(), steps + 1, dtype=torch.float64)
    found = (clocks[:, None] - wanted).abs().argmin(0)
    return table[found.unique().flip(0)]


def gaussian_errors(spectrum: Gaussian, process: Process, times: Grid) -> Errors:
    """P of Gaussian data at each of a walk's times but the last: v sigma^2 / (alpha^2 v + sigma^2).

    No denoiser need be worse than that on average, and one that knows more than the spectrum is better.
    """
    require_basis(process, spectrum.basis)
    found = [wiener(process.alpha(t), process.sigma(t), spectrum.variance)[1] ** 2 for t, _ in pairs(times)]
    return torch.cat(found)


@torch.no_grad()
def measured_errors(denoiser: Denoiser, images: AnyImages, times: Grid, generator: torch.Generator) -> Errors:
    """P of a denoiser, measured: the mean square of u^ - u_x over images (N, C, *axes) at each time but the last.

    images: like those to come, and not those that it was trained on, whose errors are smaller.
    """
    basis, found = denoiser.process.basis, []
    u_x = basis.forward(images)
    for t, _ in pairs(times):
        total = torch.zeros_like(u_x[:1], dtype=torch.float64)
        for some in torch.arange(len(images)).split(CHUNK):
            noise = torch.randn(images[some].shape, generator=generator, dtype=u_x.dtype)
            estimate = denoiser.estimate(denoiser.process.sample(images[some], t, noise), t)
            total += (_guess(estimate) - u_x[some]).double().square().sum(0, keepdim=True)
        found.append(total / len(images))
    return torch.cat(found)


def step(
    estimate: Estimate, view: View, y: Coefficients, error: PerFrequency, t: Time, s: Time | None
) -> tuple[Coefficients, PerFrequency]:
    """(mean, deviation) of u_s given u_t and y, all in the basis; of u_x itself where s is None.

    estimate: the denoiser's answer at (x_t, t). error: P of its guess, (1, C|1, *axes). Exact for Gaussian data of
    which the guess is the mean.
    """
    known, deviation = view.combined(_guess(estimate), y, error)
    if s is None:
        return known, deviation
    process = estimate.seen.require_process()
    carry, refresh = ancestral(process, t, s)
    alpha_t, _, alpha_s, _ = process.coefficients(t, s)
    share = alpha_s - carry * alpha_t  # what the step takes of u_x
    return carry.to(known) * estimate.seen.u_t + share.to(known) * known, torch.hypot(refresh, share * deviation)


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    spectrum: Gaussian,
    view: View,
    images: AnyImages,
    times: Grid,
    count: int,
    generator: torch.Generator,
    errors: Errors | None = None,
    at_once: int = CHUNK,
    progress: bool = False,
) -> Drawn:
    """count images that may have been there for each that is seen, (count, B, C, *axes), in the dtype of images.

    images: as `View.sample` makes them. spectrum: of the data, which decides where a walk begins, and P unless errors
    are given. times: decreasing, as `grid` gives them; after the last but one the image itself is drawn. errors: as
    `measured_errors`, or `gaussian_errors`, which is the default. at_once: images that the network is asked for.
    """
    process = _require(denoiser, view, count)
    times = torch.as_tensor(times, dtype=torch.float64)
    errors = gaussian_errors(spectrum, process, times) if errors is None else errors
    grid = list(pairs(times))
    if len(errors) != len(grid):
        raise ValueError(f"errors were given at {len(errors)} times; expected {len(grid)}, one for each step")
    x = images if images.is_floating_point() else images.float()
    y = view.basis.forward(x).repeat(count, *[1] * (x.ndim - 1))
    drawn = torch.empty_like(y)
    chunks = torch.arange(len(y)).split(at_once)
    bar = tqdm(total=len(chunks) * len(grid), unit="step", disable=None if progress else True)
    for rows in chunks:
        u = _begin(process, spectrum, view, y[rows], grid[0][0], generator)
        for number, (t, s) in enumerate(grid):
            estimate = denoiser.estimate(process.basis.inverse(u), t)
            to = s if number + 1 < len(grid) else None
            mean, deviation = step(estimate, view, y[rows], errors[number : number + 1], t, to)
            u = mean + deviation.to(u) * torch.randn(u.shape, generator=generator, dtype=u.dtype)
            bar.update()
        drawn[rows] = process.basis.inverse(u)
    bar.close()
    return drawn.reshape(count, *x.shape)


def _begin(
    process: Process, spectrum: Gaussian, view: View, y: Coefficients, t: Time, generator: torch.Generator
) -> Coefficients:
    """u_t given y, drawn as of Gaussian data; where alpha_t is small it is noise, whatever the data are."""
    known, deviation = view.combined(spectrum.mean.to(y).expand_as(y), y, spectrum.variance)
    alpha, sigma = process.alpha(t), process.sigma(t)
    spread = torch.hypot(alpha * deviation, sigma)
    return alpha.to(y) * known + spread.to(y) * torch.randn(y.shape, generator=generator, dtype=y.dtype)


def _guess(estimate: Estimate) -> Coefficients:
    """u^, what the network takes for u_x."""
    return estimate.predicts.x0(estimate.seen, estimate.out)


def _require(denoiser: Denoiser, view: View, count: int) -> Process:
    """The denoiser's process; raises where it draws no images of this view's."""
    process = denoiser.process
    if not isinstance(process, Process) or not process.noisy:
        raise ValueError(f"{process.name} adds no noise, so nothing is drawn; take a network that generates images")
    if isinstance(denoiser.predicts, PredictLessBlurred):
        raise ValueError(f"the network of {process.name} knows no clean image, only a less blurred one; take another")
    view.require(process.basis)
    if count < 1:
        raise ValueError(f"count was {count}; expected at least 1 image for each view")
    return process
