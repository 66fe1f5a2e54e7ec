"""Where x_T comes from: functions (count, generator) -> x_T, (count, C, *axes) float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bdbook.oracle import Gaussian
from bdbook.pixels import as_float, subsample_evenly
from bdbook.processes import Degradation, Process
from bdbook.shapes import Images
from bdbook.times import Time
from bdbook.transforms import shape_in_words

Prior = Callable[[int, torch.Generator], Images]

# Numbers a mixture is fitted to at most: the images that are left must be simple.
LARGEST_MIXTURE = 64
# Of a larger set about so many pictures, evenly spread, are looked at.
LOOKED_AT = 20000


@dataclass(frozen=True)
class Normal:
    """White noise of shape (C, *axes): DDPM, HS and Lee at t = 1."""

    shape: tuple[int, ...]
    std: float = 1.0

    def __call__(self, count: int, generator: torch.Generator) -> Images:
        return self.std * torch.randn(count, *self.shape, generator=generator, device=generator.device)


normal = Normal


def of_process(process: Degradation, shape: tuple[int, ...], spectrum: Gaussian, images: Callable[[], Tensor]) -> Prior:
    """Where a walk of this process begins, as its `start` says; shape: (C, *axes).

    process: drawn, where something is. spectrum: of the data, in the process's basis. images: called for training
    images where the prior is made of them.
    """
    start = process.start
    if start.kind == "noise":
        return Normal(shape)
    if start.kind == "marginal":
        if not isinstance(process, Process):
            raise ValueError(f"{process.name} starts from a marginal, which only a Process has; give it another start")
        return marginal(spectrum, process, shape[0])
    if start.kind == "mixture":
        return fitted(process, images(), symmetry_breaking=start.noise)
    return blurred_data(process, images(), delta=start.noise)


def blurred_data(process: Degradation, images: Tensor, delta: float, t: Time = 1.0) -> Prior:
    """D(x, t) of images drawn from `images`, plus white noise delta. Source: Rissanen et al. 2022.

    images: training images, (N, C, *axes), uint8 or in [-1, 1]; at t = 1 little more than their mean grey remains.
    """
    pick = _picks(images, process.basis.dims)

    def draw(count: int, generator: torch.Generator) -> Images:
        x = pick(count, generator)
        return process.mean(x, t) + delta * torch.randn(x.shape, generator=generator, device=generator.device)

    return draw


def images(pictures: Tensor) -> Prior:
    """Pictures drawn from `pictures` (N, C, H, W): a second data set to begin at, as animorphosis does."""
    return _picks(pictures)


def _picks(pictures: Tensor, dims: int = 2) -> Prior:
    _require_images(pictures, dims)

    def draw(count: int, generator: torch.Generator) -> Images:
        chosen = torch.randint(len(pictures), (count,), generator=generator, device=generator.device)
        return as_float(pictures[chosen.to(pictures.device)].to(generator.device)).float()

    return draw


@dataclass(frozen=True)
class FlatColour:
    """One colour for all of an image (C, *axes), uniform in [-1, 1]: where masks can end. Source: Bansal sec. 5.3."""

    shape: tuple[int, ...]

    def __call__(self, count: int, generator: torch.Generator) -> Images:
        one = (count, self.shape[0], *[1 for _ in self.shape[1:]])
        colour = 2 * torch.rand(one, generator=generator, device=generator.device) - 1
        return colour.expand(count, *self.shape).clone()


flat_colour = FlatColour


def fitted(degradation: Degradation, pictures: Tensor, components: int = 1, symmetry_breaking: float = 0.0) -> Prior:
    """D(x, 1) of fully degraded pictures, from a Gaussian mixture over the few numbers that are left of each.

    After blur to the end these are the channel means (C numbers), after pixelation the blocks (2 x 2 x C). They are
    found by looking: the coefficients that differ between the degraded pictures. symmetry_breaking: standard
    deviation of white noise added once (0.002 in the paper), without which all pixels of a flat start stay alike.
    Source: Bansal sec. 5.2, 5.3.
    """
    from sklearn.mixture import GaussianMixture  # a second to import, and only generation needs it

    basis = degradation.basis
    _require_images(pictures, basis.dims)
    some = as_float(subsample_evenly(pictures, LOOKED_AT))
    u = basis.forward(degradation.mean(some.double(), 1.0)).cpu()
    varies = u.var(0, correction=0) > 1e-9
    found = int(varies.sum())
    if not 1 <= found <= LARGEST_MIXTURE:
        raise ValueError(
            f"{found} numbers differ between the pictures that {degradation.name} leaves at t = 1; a mixture is "
            f"fitted to 1 to {LARGEST_MIXTURE}. Degrade further (blur: to_mean=True, boundary='circular'), or start "
            "from priors.blurred_data"
        )
    if len(pictures) <= max(found, components):
        raise ValueError(f"{len(pictures)} pictures are too few for {components} Gaussians over {found} numbers")
    mixture = GaussianMixture(components, random_state=0).fit(u[:, varies].numpy())
    weights, means = torch.from_numpy(mixture.weights_), torch.from_numpy(mixture.means_)
    factors = torch.linalg.cholesky(torch.from_numpy(mixture.covariances_))
    rest = u.mean(0)

    def draw(count: int, generator: torch.Generator) -> Images:
        device = generator.device
        which = torch.multinomial(weights.to(device), count, replacement=True, generator=generator)
        white = torch.randn(count, found, 1, generator=generator, device=device, dtype=torch.float64)
        numbers = means.to(device)[which] + (factors.to(device)[which] @ white).squeeze(-1)
        coefficients = rest.to(device).expand(count, *rest.shape).clone()
        coefficients[:, varies.to(device)] = numbers
        x = basis.inverse(coefficients).float()
        return x + symmetry_breaking * torch.randn(x.shape, generator=generator, device=device)

    return draw


def _require_images(pictures: Tensor, dims: int) -> None:
    if pictures.ndim != dims + 2 or len(pictures) == 0:
        raise ValueError(
            f"images had shape {tuple(pictures.shape)}; expected {shape_in_words(dims, 'N')} with at least one, not an "
            "empty set"
        )


def marginal(gaussian: Gaussian, process: Process, channels: int = 1, t: Time = 1.0) -> Prior:
    """The exact distribution of z_t when data are `gaussian`: for white-noise processes nearly `normal`."""
    mean, variance = (m.float() for m in gaussian.marginal(process, t))

    def draw(count: int, generator: torch.Generator) -> Images:
        device = generator.device
        shape = torch.broadcast_shapes((count, channels, *[1] * process.basis.dims), variance.shape)
        noise = torch.randn(shape, generator=generator, device=device)
        return process.basis.inverse(mean.to(device) + variance.sqrt().to(device) * noise)

    return draw
