"""What the papers' listings say, line by line in numpy, and what each becomes by a slip that is known.

A listing is a frozen dataclass of functions, a field for each line that people get wrong; a `Slip` writes one of these
lines otherwise, so that `replace(listing, **slip)` is what its author computes. As they stand, the listings agree with
`processes` and `samplers` (tests/test_conformance.py). Times are arrays (N, 1, 1), coefficients (..., H, W), float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.fft

from bdbook.transforms import Separable, gaussian_kernel, kernel_matrix

Array = np.ndarray
AXES = (-2, -1)
# What HS app. A.1 clips at.
DELTA = 1e-8


@dataclass(frozen=True)
class Slip:
    """A line written otherwise. says: what was done, after "your code". instead: what stands in the paper.

    forms: the ways in which it is written, each a new value for some fields of a listing. misprint: its entry in
    book/errata.yml, where the line is so in print.
    """

    name: str
    says: str
    instead: str
    forms: tuple[dict[str, Any], ...]
    misprint: str | None = None


def slip(name: str, says: str, instead: str, *forms: dict[str, Any], misprint: str | None = None, **lines: Any) -> Slip:
    """A `Slip` of one form, given as its lines, or of several."""
    return Slip(name, says, instead, forms or (lines,), misprint)


# --- transforms ----------------------------------------------------------------------------------------------


def dct(x: Array) -> Array:
    """Orthonormal DCT-II of the last two axes."""
    out: Array = scipy.fft.dctn(x, norm="ortho", axes=AXES)
    return out


def idct(u: Array) -> Array:
    """Its inverse."""
    out: Array = scipy.fft.idctn(u, norm="ortho", axes=AXES)
    return out


def _dct(forward: bool, **options: Any) -> Callable[[Array], Array]:
    transform = scipy.fft.dctn if forward else scipy.fft.idctn
    return lambda x: transform(x, **({"norm": "ortho", "axes": AXES} | options))


def _fft_real(norm: Literal["backward", "ortho"]) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    return (
        lambda x: np.fft.fft2(x, norm=norm).real,
        lambda u: np.fft.ifft2(u, norm=norm).real,
    )


def _first(x: Array, factor: float) -> Array:
    """x with the first entry along each of the last two axes multiplied."""
    out = x.copy()
    out[..., 0, :] *= factor
    out[..., :, 0] *= factor
    return out


ROOT2 = 2**0.5
ORTHONORMAL = "HS app. A.1: DCT and IDCT are the orthonormal DCT-II and its inverse, along rows and columns"
_OTHERS: dict[str, tuple[str, list[tuple[Callable[[Array], Array], Callable[[Array], Array]]]]] = {
    "fft-real": ("takes the real part of a Fourier transform for the DCT", [_fft_real("backward"), _fft_real("ortho")]),
    "not-normalised": (
        "leaves the DCT without its orthonormal scale",
        [(_dct(True, norm=norm), _dct(False, norm=norm)) for norm in ("backward", "forward")],
    ),
    "first-coefficient": (
        "gives the first coefficient the scale of the others: it lacks 1 / sqrt(2)",
        [(lambda x: _first(dct(x), ROOT2), lambda u: idct(_first(u, ROOT2)))],
    ),
    "one-axis": (
        "transforms along one of the two axes only",
        [(_dct(True, axes=(axis,)), _dct(False, axes=(axis,))) for axis in AXES],
    ),
    "inverse-for-forward": ("takes the DCT for its inverse, or the inverse for the DCT", [(idct, dct)]),
    "dct-1": ("takes a DCT of type 1", [(_dct(True, type=1), _dct(False, type=1))]),
}
FORWARD = tuple(
    slip(name, says, ORTHONORMAL, *({"transform": (forward, idct)} for forward, _ in pairs))
    for name, (says, pairs) in _OTHERS.items()
)
INVERSE = tuple(
    slip(name, says, ORTHONORMAL, *({"transform": (dct, inverse)} for _, inverse in pairs))
    for name, (says, pairs) in _OTHERS.items()
)
# Of functions that go there and back. An unnormalised pair is its own inverse, and nobody sees it.
BOTH = (
    slip(
        "fft-real",
        "takes a Fourier transform, or its real part, for the DCT",
        ORTHONORMAL,
        {"transform": _fft_real("ortho")},
        {"transform": (np.fft.fft2, lambda u: np.fft.ifft2(u).real)},
    ),
    slip(
        "not-normalised",
        "goes there by a DCT of another scale than it comes back by",
        ORTHONORMAL,
        *({"transform": (_dct(True, norm=norm), idct)} for norm in ("backward", "forward")),
        *({"transform": (dct, _dct(False, norm=norm))} for norm in ("backward", "forward")),
    ),
    slip(
        "one-axis",
        "transforms along one of the two axes only",
        ORTHONORMAL,
        *({"transform": (_dct(True, axes=(axis,)), _dct(False, axes=(axis,)))} for axis in AXES),
    ),
    slip(
        "no-transform",
        "multiplies pixels by what is meant for coefficients: no DCT",
        ORTHONORMAL,
        {"transform": (lambda x: x, lambda u: u)},
    ),
)


# --- what HS and IHDM share: blur in the cosine basis --------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Listing:
    """of: the exact process; transform: (there, back), of the last two axes; noised: (listing, sigma, eps) -> noise."""

    of: Any
    size: tuple[int, int]
    transform: tuple[Callable[[Array], Array], Callable[[Array], Array]] = (dct, idct)
    noised: Callable[[Any, Array, Array], Array] = lambda lines, sigma, eps: lines.noise(sigma, eps)

    def alpha_sigma(self, t: Array) -> tuple[Array, Array]:
        """What multiplies a coefficient of the image, and one of the noise: (N, H, W), or (N, 1, 1)."""
        raise NotImplementedError

    def filtered(self, factor: Array, x: Array) -> Array:
        """There, times factor, and back."""
        there, back = self.transform
        return back(factor * there(x))

    def noise(self, sigma: Array, eps: Array) -> Array:
        """sigma eps, in coefficients; a scalar needs no transform."""
        return sigma * eps if sigma.shape[-2:] == (1, 1) else self.filtered(sigma, eps)

    @property
    def orthonormal(self) -> bool:
        """Whether it goes there and back by the basis of the exact process, in which white noise stays white."""
        return self.transform == (dct, idct)


@dataclass(frozen=True, kw_only=True)
class Heat(Listing):
    """Blur: its width in px becomes a time, and with the frequencies the decay e^(-lambda tau)."""

    time: Callable[[Array], Array] = lambda width: width**2 / 2
    frequency: Callable[[int], Array] = lambda n: np.pi * np.arange(n) / n
    squared: Callable[[Array, Array], Array] = lambda rows, columns: rows**2 + columns**2

    def decay(self, width: Array) -> Array:
        """(N, 1, 1) px -> (N, H, W)."""
        rows, columns = (self.frequency(n) for n in self.size)
        with np.errstate(under="ignore"):
            decay: Array = np.exp(-self.squared(rows[:, None], columns[None, :]) * self.time(width))
        return decay


TIME = "dissipation_time = sigma_blur^2 / 2"
FREQUENCY = "freqs = pi * linspace(0, img_dim - 1, img_dim) / img_dim"
LABDA = "labda = freqs[None, :, None, None]^2 + freqs[None, None, :, None]^2"
HEAT_SLIPS = (
    slip("no-half", "has sigma_blur^2 for sigma_blur^2 / 2", TIME, time=lambda width: width**2),
    slip("width-not-squared", "has sigma_blur / 2 for sigma_blur^2 / 2", TIME, time=lambda width: width / 2),
    slip("no-pi", "leaves pi out of the frequencies", FREQUENCY, frequency=lambda n: np.arange(n) / n),
    slip("two-pi", "has 2 pi for pi in the frequencies", FREQUENCY, frequency=lambda n: 2 * np.pi * np.arange(n) / n),
    slip(
        "frequencies-to-pi",
        "spaces the frequencies up to pi, dividing by img_dim - 1: off by one",
        FREQUENCY,
        frequency=lambda n: np.pi * np.arange(n) / max(n - 1, 1),
    ),
    slip(
        "frequencies-from-one",
        "counts the frequencies from 1, so that it damps the mean: off by one",
        FREQUENCY,
        frequency=lambda n: np.pi * np.arange(1, n + 1) / n,
    ),
    slip(
        "fft-frequencies",
        "takes the frequencies of a Fourier transform (fftfreq) for those of the DCT",
        FREQUENCY,
        {"frequency": lambda n: 2 * np.pi * np.fft.fftfreq(n)},
        {"frequency": lambda n: np.pi * np.fft.fftfreq(n)},
    ),
    slip(
        "frequencies-not-squared", "adds frequencies for their squares", LABDA, squared=lambda rows, cols: rows + cols
    ),
    slip(
        "root-of-squares",
        "takes the length of a frequency for its square",
        LABDA,
        squared=lambda rows, cols: np.hypot(rows, cols),
    ),
)


# --- HS: blurring diffusion ----------------------------------------------------------------------------------


def limits(logsnr_min: float, logsnr_max: float) -> tuple[float, float]:
    """The angles at which the log-SNR is as large, and as small, as it may be."""
    return float(np.arctan(np.exp(-0.5 * logsnr_max))), float(np.arctan(np.exp(-0.5 * logsnr_min)))


def _wave(angle: Array) -> tuple[Array, Array]:
    return np.cos(angle), np.sin(angle)


def rescaled(lines: Blurring, t: Array) -> tuple[Array, Array]:
    low, high = limits(lines.logsnr_min, lines.logsnr_max)
    return _wave(low + t * (high - low))


def clipped(lines: Blurring, t: Array) -> tuple[Array, Array]:
    return _wave(np.clip(t * np.pi / 2, *limits(lines.logsnr_min, lines.logsnr_max)))


def not_subtracted(lines: Blurring, t: Array) -> tuple[Array, Array]:
    low, high = limits(lines.logsnr_min, lines.logsnr_max)
    return _wave(low + t * high)


def without_half(lines: Blurring, t: Array) -> tuple[Array, Array]:
    low, high = limits(2 * lines.logsnr_min, 2 * lines.logsnr_max)
    return _wave(low + t * (high - low))


WIDTHS: dict[str, Callable[[Blurring, Array, Array], Array]] = {
    "sin2": lambda lines, t, sigma: lines.sigma_max * np.sin(t * np.pi / 2) ** 2,
    "sin": lambda lines, t, sigma: lines.sigma_max * np.sin(t * np.pi / 2),
}


@dataclass(frozen=True, kw_only=True)
class Blurring(Heat):
    """HS app. A.1 with its misprints mended. total: T, the number of steps; delta: what `denoise` clips at, or 0.

    root: of the two of `get_noise_scaling_cosine`; both: what `get_alpha_sigma` makes of a, d and sigma. Of `denoise`:
    earlier (t, T) -> s; ratio of alpha_t to alpha_s; heard, what it takes for DCT(hat_eps); fresh, the standard
    deviation of the noise it adds, from its variance, sigma2_ts and sigma_s; guess, what multiplies x_hat alpha_t.
    """

    sigma_max: float
    d_min: float
    logsnr_min: float = -10.0
    logsnr_max: float = 10.0
    total: int = 1000
    delta: float = 0.0
    angle: Callable[[Blurring, Array], tuple[Array, Array]] = rescaled
    root: Callable[[Array, Array], tuple[Array, Array]] = lambda a, sigma: (a, sigma)
    width: Callable[[Blurring, Array, Array], Array] = WIDTHS["sin2"]
    scaling: Callable[[Array, float], Array] = lambda decay, d_min: (1 - d_min) * decay + d_min
    both: Callable[[Array, Array, Array], tuple[Array, Array]] = lambda a, d, sigma: (a * d, sigma)
    earlier: Callable[[Array, int], Array] = lambda t, total: t - 1 / total
    ratio: Callable[[Array, Array], Array] = lambda alpha_t, alpha_s: alpha_t / alpha_s
    heard: Callable[[Blurring, Array], Array] = lambda lines, eps: lines.transform[0](eps)
    fresh: Callable[[Array, Array, Array], Array] = lambda variance, added, sigma_s: np.sqrt(variance)
    guess: Callable[[Array, Array], Array] = lambda alpha_t, alpha_s: alpha_s / alpha_t

    def a_sigma(self, t: Array) -> tuple[Array, Array]:
        return self.root(*self.angle(self, t))

    def d(self, t: Array) -> Array:
        return self.scaling(self.decay(self.width(self, t, self.a_sigma(t)[1])), self.d_min)

    def alpha_sigma(self, t: Array) -> tuple[Array, Array]:
        a, sigma = self.a_sigma(t)
        return self.both(a, self.d(t), sigma)

    def denoise(self, t: Array) -> tuple[Array, Array, Array]:
        """What multiplies u_t, and -DCT(hat_eps), in the mean of u_s; the deviation of what is added. HS Eq. 18, 23."""
        alpha_s, sigma_s = self.alpha_sigma(self.earlier(t, self.total))
        alpha_t, sigma_t = self.alpha_sigma(t)
        with np.errstate(all="ignore"):  # a slip may divide by 0
            a = self.ratio(alpha_t, alpha_s)
            added = sigma_t**2 - a**2 * sigma_s**2
            before = np.maximum(sigma_s**2, self.delta)
            precision = 1 / before + 1 / np.maximum(sigma_t**2 / a**2 - sigma_s**2, self.delta)
            variance = 1 / np.maximum(precision, self.delta)
            of_guess = self.guess(alpha_t, alpha_s) * variance / before
            return (
                a * variance / (added + self.delta) + of_guess,
                of_guess * sigma_t,
                self.fresh(variance, added, sigma_s),
            )


COSINE = "limit_min * t + limit_max: the angle is rescaled, HS app. A.1 get_noise_scaling_cosine"
WIDTH = "sigma_blur = sigma_blur_max * sin(t * pi / 2)^2, HS Eq. 25"
SCALING = "scaling = exp(-labda * dissipation_time) * (1 - min_scale) + min_scale, HS Eq. 26"
ALPHA = "alpha = a * freq_scaling, and sigma as it is, HS Eq. 27"
BLURRING_SLIPS = (
    slip(
        "blur-from-sigma_t",
        "takes the width of the blur from sigma_t, the noise: HS app. A.1's misprint",
        f"{TIME}, with {WIDTH}",
        width=lambda lines, t, sigma: sigma,
        misprint="hs-dissipation-time",
    ),
    slip(
        "blur-as-sin",
        "lets the blur grow as sin, for sin^2 (the other schedule of HS Table 4 is blur sin)",
        WIDTH,
        width=WIDTHS["sin"],
    ),
    slip(
        "blur-as-sin2",
        "lets the blur grow as sin^2, for sin (the other schedule of HS Table 4 is blur sin2)",
        "sigma_blur = sigma_blur_max * sin(t * pi / 2), HS Table 4",
        width=WIDTHS["sin2"],
    ),
    slip(
        "blur-constant",
        "blurs by sigma_blur_max at every t",
        WIDTH,
        width=lambda lines, t, sigma: lines.sigma_max + 0 * t,
    ),
    slip(
        "blur-linear", "lets the width of the blur grow as t", WIDTH, width=lambda lines, t, sigma: lines.sigma_max * t
    ),
    slip("no-floor", "leaves d_min out, so that alpha comes down to 0", SCALING, scaling=lambda decay, d_min: decay),
    slip(
        "floor-added",
        "adds d_min without the factor 1 - d_min",
        SCALING,
        scaling=lambda decay, d_min: decay + d_min,
    ),
    slip(
        "floor-clipped",
        "clips at d_min in place of adding it",
        SCALING,
        scaling=lambda decay, d_min: np.maximum(decay, d_min),
    ),
    slip("clipped-angle", "clips the log-SNR where the paper rescales the angle", COSINE, angle=clipped),
    slip(
        "unbounded-angle",
        "has cos(pi t / 2) and sin(pi t / 2) without the limits of the log-SNR",
        COSINE,
        angle=lambda lines, t: _wave(t * np.pi / 2),
        misprint="hs-angle",
    ),
    slip(
        "limit-not-subtracted",
        "does not subtract limit_max from limit_min",
        "limit_min = arctan(exp(-0.5 * logsnr_min)) - limit_max, HS app. A.1 get_noise_scaling_cosine",
        angle=not_subtracted,
    ),
    slip(
        "limits-without-half",
        "leaves 0.5 out of the limits, so that the log-SNR goes twice as far",
        "limit_max = arctan(exp(-0.5 * logsnr_max)), HS app. A.1 get_noise_scaling_cosine",
        angle=without_half,
    ),
    slip(
        "variance-for-deviation",
        "gives the variance sigma^2 for the standard deviation sigma",
        "sigma = sqrt(sigmoid(-logsnr)), HS app. A.1 get_noise_scaling_cosine",
        root=lambda a, sigma: (a, sigma**2),
    ),
    slip(
        "no-roots",
        "leaves out both square roots: a^2 and sigma^2 for a and sigma",
        "sqrt(sigmoid(logsnr)), sqrt(sigmoid(-logsnr)), HS app. A.1 get_noise_scaling_cosine",
        root=lambda a, sigma: (a**2, sigma**2),
    ),
    slip(
        "swapped",
        "has the signal's factor and the noise's the wrong way round",
        "sqrt(sigmoid(logsnr)), sqrt(sigmoid(-logsnr)), in this order, HS app. A.1 get_noise_scaling_cosine",
        root=lambda a, sigma: (sigma, a),
    ),
    slip("no-blur", "leaves the blur out of alpha", ALPHA, both=lambda a, d, sigma: (a + 0 * d, sigma)),
    slip("no-signal-scale", "leaves a_t out of alpha", ALPHA, both=lambda a, d, sigma: (d, sigma)),
    slip(
        "variance-preserving",
        "takes sigma from sqrt(1 - alpha^2), one for each frequency: that is Lee's process",
        ALPHA,
        both=lambda a, d, sigma: (a * d, np.sqrt(np.maximum(1 - (a * d) ** 2, 0))),
    ),
)
NOISE_SLIPS = (
    slip(
        "noise-transformed-back",
        "adds eps before the IDCT, so that the eps it returns is not the noise in z_t",
        "z_t = IDCT(alpha * x_freq) + sigma * eps, HS app. A.1 diffuse",
        noised=lambda lines, sigma, eps: lines.transform[1](sigma * eps),
    ),
    slip(
        "no-noise",
        "adds no noise",
        "z_t = IDCT(alpha * x_freq) + sigma * eps, HS app. A.1 diffuse",
        noised=lambda lines, sigma, eps: 0 * eps,
    ),
)
LAST = "mu_denoise + IDCT(sqrt(sigma2_denoise) * eps), HS app. A.1 denoise, Eq. 18"
MEAN = "coeff_term2 * (u_t - sigma_t * DCT(hat_eps)), coeff_term2 = alpha_st * sigma2_denoise / sigma_s^2, HS Eq. 23"
DENOISE_SLIPS = (
    slip(
        "variance-for-deviation-of-step",
        "multiplies fresh noise by its variance, not by the root of it",
        LAST,
        fresh=lambda variance, added, sigma_s: variance,
    ),
    slip(
        "deviation-for-variance-of-step",
        "reads Eq. 22 as printed, with the standard deviation for the variance",
        LAST,
        fresh=lambda variance, added, sigma_s: variance**0.25,
        misprint="hs-eq-22-variance",
    ),
    slip(
        "noise-of-the-way-there",
        "adds the noise of the step from s to t, sigma_ts",
        LAST,
        fresh=lambda variance, added, sigma_s: np.sqrt(np.maximum(added, 0)),
    ),
    slip("noise-of-the-marginal", "adds noise of sigma_s", LAST, fresh=lambda variance, added, sigma_s: sigma_s),
    slip("no-fresh-noise", "adds no noise", LAST, fresh=lambda variance, added, sigma_s: 0 * variance),
    slip(
        "ratio-upside-down",
        "has alpha_s / alpha_t for alpha_t / alpha_s",
        "alpha_ts = alpha_t / alpha_s, HS app. A.1 denoise",
        ratio=lambda alpha_t, alpha_s: alpha_s / alpha_t,
        guess=lambda alpha_t, alpha_s: alpha_t / alpha_s,
    ),
    slip(
        "guess-not-divided",
        "takes u_t - sigma_t DCT(hat_eps) for u_x: it is not divided by alpha_t",
        MEAN,
        guess=lambda alpha_t, alpha_s: alpha_s,
    ),
    slip(
        "eps-not-transformed",
        "subtracts hat_eps as it is, in pixels, from coefficients",
        MEAN,
        heard=lambda lines, eps: eps,
    ),
    slip(
        "two-steps",
        "goes two steps back: off by one",
        "get_alpha_sigma(t - 1 / T), HS app. A.1 denoise",
        earlier=lambda t, total: t - 2 / total,
    ),
    slip(
        "step-the-wrong-way",
        "takes t + 1 / T for s",
        "get_alpha_sigma(t - 1 / T), HS app. A.1 denoise",
        earlier=lambda t, total: t + 1 / total,
    ),
)


# --- IHDM ----------------------------------------------------------------------------------------------------


def log_spaced(lines: Dissipation) -> Array:
    """sigma_B of k = 0 .. K: none, then K widths."""
    return np.concatenate([[0.0], np.geomspace(lines.sigma_min, lines.sigma_max, lines.steps)])


@dataclass(frozen=True, kw_only=True)
class Dissipation(Heat):
    """IHDM's blur of step k of K, without its noise: HS Eq. 9, Rissanen et al. 2022."""

    sigma_max: float
    sigma_min: float
    steps: int
    widths: Callable[[Dissipation], Array] = log_spaced
    index: Callable[[Array], Array] = lambda k: k

    def alpha_sigma(self, t: Array) -> tuple[Array, Array]:
        """t: the steps k."""
        widths = self.widths(self)
        k = np.clip(self.index(t), 0, len(widths) - 1).astype(int)
        return self.decay(widths[k]), np.zeros_like(t, dtype=float)


SPACING = "sigma_B of k = 0 is 0, and of k = 1 .. K exp(linspace(log(sigma_min), log(sigma_max), K)), HS sec. 2.2"
DISSIPATION_SLIPS = (
    slip(
        "no-zero-in-front",
        "has no 0 in front of the widths, so that k = 0 blurs already: off by one",
        SPACING,
        index=lambda k: k + 1,
    ),
    slip("step-behind", "is a step behind, k - 1 for k: off by one", SPACING, index=lambda k: k - 1),
    slip(
        "linear-widths",
        "spaces the widths evenly, not their logarithms",
        SPACING,
        widths=lambda lines: np.concatenate([[0.0], np.linspace(lines.sigma_min, lines.sigma_max, lines.steps)]),
    ),
)


# --- Lee -----------------------------------------------------------------------------------------------------


def _eigenbasis(lines: Lee, boundary: str) -> tuple[Array, Array, Array]:
    """(eigenvalues of W (H, W), its eigenvectors along rows, and along columns: a vector a row)."""
    kernel = gaussian_kernel(lines.kernel_sigma)
    if boundary == "circular":
        rows, columns = (np.linalg.eigh(kernel_matrix(n, kernel, boundary)) for n in lines.size)
        return rows[0][:, None] * columns[0][None, :], rows[1].T, columns[1].T
    basis = Separable(lines.size, kernel, boundary)
    along_rows, along_columns = basis.matrices()
    return basis.eigenvalues[0, 0].numpy(), along_rows.numpy(), along_columns.numpy()


EIGEN: dict[str, Callable[[Lee], tuple[Array, Array, Array]]] = {
    "zero": lambda lines: _eigenbasis(lines, "zero"),
    "symmetric": lambda lines: _eigenbasis(lines, "symmetric"),
    "circular": lambda lines: _eigenbasis(lines, "circular"),
}


def _f(lines: Lee, i: Array) -> Array:
    power = ("linear", "quadratic", "cubic", "quartic")
    with np.errstate(divide="ignore"):
        if lines.f_type == "log":
            logarithmic: Array = lines.f_max * np.log(i) / np.log(lines.steps)
            return logarithmic
    out: Array = lines.f_max * (i / lines.steps) ** (1 + power.index(lines.f_type))
    return out


def _to(table: Array, i: Array) -> Array:
    """Sums of a table of steps 1 .. N up to step i."""
    sums = np.concatenate([[0.0], np.cumsum(table)])
    out: Array = sums[np.clip(i, 0, len(table)).astype(int)]
    return out


@dataclass(frozen=True, kw_only=True)
class Lee(Listing):
    """Lee Eq. 2 to 5, Prop. 1: x_i - mean = U (I - A-bar_i)^(1/2) U' eps. Times are steps i = 1 .. N.

    spread: what `marginal` gives for the variance I - A-bar.
    """

    f_max: float
    f_type: str
    kernel_sigma: float
    steps: int
    eigen: Callable[[Lee], tuple[Array, Array, Array]] = EIGEN["zero"]
    blurred: Callable[[Lee, Array], Array] = lambda lines, i: _to(_f(lines, np.arange(1, lines.steps + 1)), i)
    index: Callable[[Array], Array] = lambda i: i
    left: Callable[[Array, Array, Array], Array] = lambda a, eigenvalues, f: np.sqrt(a) * eigenvalues**f
    rest: Callable[[Array, Array], Array] = lambda mean, a: 1 - mean**2
    spread: Callable[[Array], Array] = lambda variance: variance

    def marginal(self, i: Array) -> tuple[Array, Array]:
        """(A-bar^(1/2), variance), (N, H, W)."""
        betas, i = np.linspace(1e-4, 0.02, self.steps), self.index(i)
        a = np.exp(_to(np.log1p(-betas), i))
        mean = self.left(a, self.eigen(self)[0], self.blurred(self, i))
        return mean, self.spread(np.maximum(self.rest(mean, a) + 0 * mean, 0))

    def alpha_sigma(self, t: Array) -> tuple[Array, Array]:
        mean, variance = self.marginal(t)
        return mean, np.sqrt(variance)

    def filtered(self, factor: Array, x: Array) -> Array:
        _, rows, columns = self.eigen(self)
        out: Array = rows.T @ (factor * (rows @ x @ columns.T)) @ columns
        return out


A_BAR = "A-bar_i is the product of A_1 .. A_i, A_j = (1 - beta_j) D^(2 f(j)), Lee Eq. 3 and Prop. 1"
VARIANCE = "the variance I - A-bar_i, Lee Eq. 3"
W = "W with zeros outside, as in the released code of Lee (boundary symmetric, if that is what you mean)"
LEE_SLIPS = (
    slip(
        "variance-squared",
        "squares the variance: Lee Eq. 15's misprint",
        VARIANCE,
        spread=lambda v: v**2,
        misprint="lee-eq-15-square",
    ),
    slip("deviation-for-variance", "gives the standard deviation for the variance", VARIANCE, spread=np.sqrt),
    slip(
        "variance-for-deviation",
        "multiplies eps by the variance, not by the root of it",
        "(I - A-bar_i)^(1/2), Lee Eq. 4",
        spread=np.square,
    ),
    slip(
        "one-step-of-blur",
        "blurs by D^f(i), the i-th step's alone, where the steps' exponents add up",
        A_BAR,
        blurred=lambda lines, i: _f(lines, i),
    ),
    slip(
        "no-square-of-D",
        "has D^f(j) for D^(2 f(j)) in A_j",
        A_BAR,
        left=lambda a, eigenvalues, f: np.sqrt(a) * eigenvalues ** (f / 2),
    ),
    slip(
        "no-root-of-A",
        "has A-bar for its root in the mean",
        "A-bar_i^(1/2), Lee Eq. 3",
        left=lambda a, eigenvalues, f: a * eigenvalues ** (2 * f),
        rest=lambda mean, a: 1 - mean,
    ),
    slip(
        "isotropic-noise",
        "has the noise 1 - alpha-bar of all frequencies alike",
        VARIANCE,
        rest=lambda mean, a: 1 - a,
    ),
    slip("step-behind", "is a step behind, with the product up to i - 1: off by one", A_BAR, index=lambda i: i - 1),
    slip(
        "step-ahead",
        "is a step ahead, with the product up to i + 1, as in Lee's beta_{i+1}",
        A_BAR,
        index=lambda i: i + 1,
        misprint="lee-beta-n-plus-1",
    ),
    slip(
        "f-from-zero",
        "counts f from 0, f((i - 1) / N): off by one",
        "f(i) = f(N) (i / N)^4, i = 1 .. N, Lee app. B",
        blurred=lambda lines, i: _to(_f(lines, np.arange(lines.steps)), i),
    ),
    slip(
        "kernel-wraps",
        'lets the kernel wrap round, as "circular symmetric" in Lee sec. 2.2 reads',
        W,
        eigen=EIGEN["circular"],
        misprint="lee-circular",
    ),
    slip("kernel-mirrors", "mirrors the picture at its border", W, eigen=EIGEN["symmetric"]),
    slip(
        "kernel-zeros",
        "has zeros outside the picture",
        "W that mirrors the picture at its border, as boundary symmetric asks",
        eigen=EIGEN["zero"],
    ),
)
