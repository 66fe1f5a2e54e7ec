"""The second exact laboratory: data that are a mixture of Gaussians, each diagonal in the same basis.

    u_x ~ sum_k w_k N(m_k, v_k),     u_t ~ sum_k w_k N(alpha_t m_k, alpha_t^2 v_k + sigma_t^2)

Such data have clusters, and coefficients that depend on each other, as pictures have and one Gaussian has not. Still
the best denoiser is a closed form: how probable each component is, given u_t, and one Wiener filter a component,

    E[u_x | u_t] = sum_k r_k(u_t) (m_k + g_k (u_t - alpha_t m_k)),     g_k = alpha_t v_k / (alpha_t^2 v_k + sigma_t^2).

So what a sampler gets wrong on a mixture is the sampler's alone, as in `oracle`; here it is seen by drawing samples.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float64, Int64
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from bdbook.denoiser import X0, Denoiser, Observed, Prediction, prediction, wiener
from bdbook.errors import unknown
from bdbook.files import write_atomically
from bdbook.oracle import Gaussian
from bdbook.pixels import ROUNDING, as_float
from bdbook.processes import Process
from bdbook.shapes import AnyImages, Coefficients, Images, PerImage
from bdbook.times import Time, expand
from bdbook.transforms import DCT, Basis, Circle, Colour, Haar, Hartley, Pixel, Separable, shape_in_words

# How probable each component is, and which it was, for each image.
Shares = Float64[Tensor, "B K"]
Labels = Int64[Tensor, "B"]
# Numbers of float64 that are worked on at once: they stay in a core's cache.
CHUNK = 2**18
# What the rounding of float32 may leave between the sum of the weights and 1.
NEARLY = 1e-6
# Images for each component, below which its variances are none.
LEAST = 2
# What a file can name.
BASES: dict[str, type[Basis]] = {basis.__name__: basis for basis in (Pixel, DCT, Hartley, Haar, Separable, Colour)}


@dataclass(frozen=True)
class Mixture:
    """Data whose coefficients in `basis` are N(means[k], variances[k]) with probability weights[k].

    weights: (K,), sum 1. means, variances: (K, C, *axes). Kept in float64. A variance of 0 is a coefficient that is
    known; a density exists then only where a process adds noise.
    """

    basis: Basis
    weights: Tensor
    means: Tensor
    variances: Tensor

    def __post_init__(self) -> None:
        for name in ("weights", "means", "variances"):
            object.__setattr__(self, name, getattr(self, name).double())
        weights, means, variances = self.weights, self.means, self.variances
        dims = self.basis.dims
        if weights.ndim != 1 or means.ndim != dims + 2 or means.shape != variances.shape or len(means) != len(weights):
            raise ValueError(
                f"weights had shape {tuple(weights.shape)}, means {tuple(means.shape)} and variances "
                f"{tuple(variances.shape)}; expected (K,) and twice {shape_in_words(dims, 'K')}"
            )
        if not (weights >= 0).all() or not abs(weights.sum().item() - 1) <= NEARLY:
            raise ValueError(
                f"weights went down to {weights.min():.3g}, their sum was {weights.sum():.7g}; expected numbers of 0 "
                "or more whose sum is 1: give weights / weights.sum()"
            )
        object.__setattr__(self, "weights", weights / weights.sum())
        if not (variances >= 0).all() or not variances.isfinite().all() or not means.isfinite().all():
            raise ValueError(
                f"variances went down to {variances.min():.3g}, and means from {means.min():.3g} to {means.max():.3g}; "
                "expected finite numbers, and variances of 0 or more"
            )
        self.basis.inverse(means[:1])  # complains now of another size, not at the first use

    @classmethod
    def fit(cls, basis: Basis, images: AnyImages, components: int, seed: int = 0, floor: float = ROUNDING) -> Mixture:
        """Fitted to images (N, C, *axes) by expectation maximisation from K-means (scikit-learn), on the CPU.

        floor: added to every variance, by default what rounding to 8 bits adds; with none, a component that holds a
        few equal images has a density without bound. The same seed gives the same mixture on one machine. Thirty
        components of 16,384 images of 256 pixels take some 25 seconds of one core, a hundred some 45.
        """
        from sklearn.mixture import GaussianMixture  # a second to import, and only a fit needs it

        if components < 1:
            raise ValueError(f"components was {components}; expected at least 1")
        if not floor > 0:
            raise ValueError(f"floor was {floor}; expected a variance above 0, e.g. pixels.ROUNDING, {ROUNDING:.2g}")
        if len(images) < LEAST * components:
            raise ValueError(
                f"{len(images)} images are too few for {components} components; expected at least {LEAST} for each, "
                "and hundreds of each to mean something: give more images or ask for fewer components"
            )
        u = basis.forward(as_float(images).double()).cpu()
        if not u.isfinite().all():
            raise ValueError("images had NaN or infinity; expected finite values in [-1, 1]: leave these images out")
        found = GaussianMixture(components, covariance_type="diag", reg_covar=floor, random_state=seed, max_iter=200)
        found.fit(u.flatten(1).numpy())
        means, variances = (torch.from_numpy(m).reshape(-1, *u.shape[1:]) for m in (found.means_, found.covariances_))
        return cls(basis, torch.from_numpy(found.weights_), means, variances)

    def sample(self, count: int, generator: torch.Generator) -> Images:
        """count images, (count, C, *axes) float64, on the generator's device."""
        return self.sample_labelled(count, generator)[0]

    def sample_labelled(self, count: int, generator: torch.Generator) -> tuple[Images, Labels]:
        """The same images as `sample`, and the component that each is of, (count,)."""
        device = generator.device
        labels = torch.multinomial(self.weights.to(device), count, replacement=True, generator=generator)
        shape = (count, *self.means.shape[1:])
        noise = torch.randn(shape, generator=generator, device=device, dtype=torch.float64)
        u = self.means.to(device)[labels] + self.variances.sqrt().to(device)[labels] * noise
        return self.basis.inverse(u), labels

    def gaussian(self) -> Gaussian:
        """The Gaussian with the same mean and variance of each coefficient."""
        weights = self.weights.reshape(-1, 1, *[1] * self.basis.dims)
        mean = (weights * self.means).sum(0, keepdim=True)
        variance = (weights * (self.variances + (self.means - mean) ** 2)).sum(0, keepdim=True)
        return Gaussian(self.basis, variance, mean)

    def marginal(self, process: Process, t: Time) -> Mixture:
        """The mixture of u_t at one time t: means alpha m_k, variances alpha^2 v_k + sigma^2, the same weights."""
        alpha, sigma = self._coefficients(process, t)
        variances = (alpha**2 * self.variances + sigma**2).expand_as(self.variances)
        return Mixture(self.basis, self.weights, alpha * self.means, variances)

    def log_density(self, images: AnyImages, process: Process | None = None, t: Time = 0.0) -> PerImage:
        """ln of the density of images (B, C, *axes), in nats per image, float64; with a process, of z_t at one time."""
        law = self if process is None else self.marginal(process, t)
        return law._log_joint(self.basis.forward(as_float(images).double())).logsumexp(1)

    def responsibilities(self, u_t: Coefficients, process: Process | None = None, t: Time = 0.0) -> Shares:
        """How probable each component is given coefficients u_t (B, C, *axes): (B, K) float64, each row of sum 1.

        Without a process u_t are coefficients of data.
        """
        law = self if process is None else self.marginal(process, t)
        return law._log_joint(u_t.double()).softmax(1)

    def posterior_mean(self, u_t: Coefficients, process: Process, t: Time) -> Coefficients:
        """E[u_x | u_t] of coefficients u_t (B, C, *axes) at one time t, float64."""
        alpha, sigma = self._coefficients(process, t)
        shares = self.responsibilities(u_t, process, t)
        gain, _ = wiener(alpha, sigma, self.variances)
        rest, gain = (
            (shares @ m.to(shares).flatten(1)).reshape(u_t.shape) for m in ((1 - alpha * gain) * self.means, gain)
        )
        return rest + gain * u_t

    def denoiser(self, process: Process, predicts: Prediction | str = X0) -> Denoiser:
        """The exact denoiser E[x0 | x_t], in the dtype of x_t, computed in float64.

        predicts: what its network says; by every parametrisation it is the same denoiser. With
        `oracle.Gaussian.prediction()` it says the F of spectral preconditioning, which is 0 for one component. Samplers
        use it through the same code as a trained network.
        """
        predicts = prediction(predicts)
        self._coefficients(process, process.times(1)[0])  # complains now of another basis

        def net(x_t: Tensor, t: Tensor) -> Tensor:
            x, t = x_t.double(), t.double()
            u_t = self.basis.forward(x)
            u_x = torch.empty_like(u_t)
            for time in t.unique().tolist():
                u_x[t == time] = self.posterior_mean(u_t[t == time], process, time)
            seen = Observed(process, x, u_t, t)
            noise = torch.where(seen.sigma > 0, (u_t - seen.alpha * u_x) / seen.sigma, 0.0)
            # All parametrisations are linear in x0 and noise: the mean of a target is the target of the means.
            return predicts.target(seen, self.basis.inverse(u_x), self.basis.inverse(noise)).to(x_t)

        return Denoiser(net, process, predicts)

    def save(self, path: str | Path) -> None:
        """Write it whole as a file of safetensors, with the name and the settings of its basis."""
        name = type(self.basis).__name__
        if BASES.get(name) is not type(self.basis):
            raise unknown("basis", name, BASES)
        basis = json.dumps({"name": name, **asdict(self.basis)})  # type: ignore[call-overload]
        tensors = {each: getattr(self, each).contiguous() for each in ("weights", "means", "variances")}
        write_atomically(Path(path), save(tensors, {"basis": basis}))

    @classmethod
    def load(cls, path: str | Path) -> Mixture:
        """Read what `save` wrote."""
        try:
            with safe_open(str(path), "pt") as file:
                settings = json.loads(file.metadata()["basis"])
                tensors = [file.get_tensor(name) for name in ("weights", "means", "variances")]
        except (SafetensorError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is no mixture ({error}); expected a file that Mixture.save wrote") from error
        if "size" in settings:  # JSON has no Circle
            settings["size"] = [Circle(**axis) if isinstance(axis, dict) else axis for axis in settings["size"]]
        return cls(BASES[settings.pop("name")](**settings), *tensors)

    def _log_joint(self, u: Tensor) -> Tensor:
        """ln of w_k N(u; m_k, v_k), (B, K)."""
        if not (self.variances > 0).all():
            raise ValueError(
                "a component has coefficients of variance 0, and there is no noise on them: there is no density. Give "
                "variances above 0, or a time at which the process has noise"
            )
        means, deviations = self.means.to(u), self.variances.sqrt().to(u)
        size = math.log(2 * math.pi) + self.variances.log()
        constant = (self.weights.log() - 0.5 * size.flatten(1).sum(1)).to(u)
        squares = u.new_empty(len(u), len(means))
        some = max(1, CHUNK // means.numel())
        for begin in range(0, len(u), some):
            whitened = (u[begin : begin + some].unsqueeze(1) - means) / deviations
            squares[begin : begin + some] = whitened.square().flatten(2).sum(2)
        return constant - 0.5 * squares

    def _coefficients(self, process: Process, t: Time) -> tuple[Tensor, Tensor]:
        """(alpha, sigma) at one time, each (1, C|1, *axes|1); raises where they are not of this basis."""
        if process.basis != self.basis:
            raise ValueError(
                f"the mixture is diagonal in {self.basis} but {process.name} in {process.basis}; "
                + (
                    f"make the process with basis={self.basis} (white noise is the same in every orthonormal basis)"
                    if isinstance(process.basis, Pixel)
                    else "fit one in the process's: Mixture.fit(process.basis, images, components)"
                )
            )
        if len(expand(t)) != 1:
            raise ValueError(f"got {len(expand(t))} times; expected one, the same for all images")
        return process.alpha(float(t)), process.sigma(float(t))
