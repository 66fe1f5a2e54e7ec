"""Walks of a mixture in whitened coordinates, where a process is its clocks and nothing else (chapter 18).

In the units of the data's own mean and variance per coefficient a component is N(M, V), and at the clock phi

    y ~ sum_k w_k N(cos phi M_k, C_k),     C_k = cos^2 phi V_k + sin^2 phi,
    F(y) = sin phi sum_k r_k(y) (M_k + cos phi (V_k - 1) y) / C_k.

Everything is a product of matrices, so that twenty thousand walks cost seconds, and can be differentiated, also by the
clocks. `kl` is how far the law that a walk draws is from the truth, in nats: see `Whitened.step`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from bdbook import processes
from bdbook.mixtures import Mixture
from bdbook.oracle import Gaussian

# Where every clock begins and ends: those of processes.equal_snr, whose log-SNR runs from 10 to -10.
FIRST = math.atan(math.exp(-5))
LAST = math.pi / 2 - FIRST
# Images that are walked at once, so that they stay in a core's cache.
ROWS = 512
# Responsibilities below it are none.
TINY = 1e-60


@dataclass(frozen=True)
class Whitened:
    """A mixture in whitened coordinates: weights (K,), means and variances (K, D), float64; spectrum: its Gaussian."""

    weights: Tensor
    means: Tensor
    variances: Tensor
    spectrum: Gaussian

    @classmethod
    def of(cls, mixture: Mixture) -> Whitened:
        """Of a mixture in which no coefficient is constant."""
        spectrum = mixture.gaussian()
        root = spectrum.variance.sqrt()
        means, variances = (mixture.means - spectrum.mean) / root, mixture.variances / spectrum.variance
        return cls(mixture.weights, means.flatten(1), variances.flatten(1), spectrum)

    def images(self, y: Tensor, phi: float = FIRST) -> Tensor:
        """Pictures cos(phi) m + sqrt(v) y of equal SNR, (B, C, H, W), of coordinates (B, D) at the clock phi."""
        u = y.reshape(-1, *self.spectrum.variance.shape[1:])
        return self.spectrum.basis.inverse(math.cos(phi) * self.spectrum.mean + self.spectrum.variance.sqrt() * u)

    def sample(self, count: int, phi: float, generator: torch.Generator) -> Tensor:
        """count exact draws at one clock for all coefficients, (count, D)."""
        labels = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        data, noise = (
            torch.randn(count, self.means.shape[1], generator=generator, dtype=torch.float64) for _ in range(2)
        )
        x = self.means[labels] + self.variances.sqrt()[labels] * data
        return math.cos(phi) * x + math.sin(phi) * noise

    def at(self, phi: Tensor) -> Marginal:
        """The law of y at clocks phi, (D,)."""
        return Marginal(self, phi.cos(), phi.sin())

    def step(self, y: Tensor, phi_t: Tensor, phi_s: Tensor, rule: str) -> tuple[Tensor, Tensor]:
        """One step of order 1 of "flow" or "ddim", and ln |det| of it, (B,).

        The derivative of a step y -> a y + b F is diag(d) + diag(b tan phi) G, d = a + b sin phi cos phi B, where G is
        the covariance of the components' scores under r(y) and B the mean of (V - 1) / C. Both diagonals are positive
        for these rules, so that no step folds, and one Cholesky factor of a K x K matrix gives the determinant.
        """
        law, turned = self.at(phi_t), phi_t - phi_s
        a, b = weights_of(turned, rule)
        shares = law.shares(y)
        d = a + b * law.sin * law.cos * (shares @ law.narrow)
        weight = b * law.sin / (law.cos * d)
        # Products of the scores -y / C_k + cos phi M_k / C_k of each two components, as one product of matrices.
        k, other = torch.triu_indices(len(law.precision), len(law.precision))
        squares = torch.cat([law.precision[k] * law.precision[other], law.linear[k] * law.linear[other]], 1)
        mixed = law.precision[k] * law.linear[other] + law.linear[k] * law.precision[other]
        products = torch.cat([weight * y**2, weight], 1) @ squares.T - (weight * y) @ mixed.T
        place = torch.empty(len(law.precision), len(law.precision), dtype=torch.long)
        place[k, other] = place[other, k] = torch.arange(len(k))
        products = products[:, place]
        # Centred, and weighed by the root of r, whose derivative at 0 does not exist.
        pulled = (products @ shares[..., None])[..., 0]
        products = products - pulled[:, None] - pulled[..., None] + (pulled * shares).sum(1)[:, None, None]
        root = shares.clamp_min(TINY).sqrt()
        gram = root[..., None] * products * root[:, None]
        factor = torch.linalg.cholesky(gram + torch.eye(gram.shape[-1], dtype=gram.dtype))
        determinant = d.log().sum(1) + 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1)
        return a * y + b * law.velocity(y, shares), determinant

    def walk(self, y: Tensor, clocks: Tensor, rule: str, order: int = 1) -> Tensor:
        """Where "flow" or "ddim" ends from y (B, D) along clocks (N + 1, D), at grid times that are equally spaced."""
        return torch.cat([self._walk(some, clocks, rule, order) for some in y.split(ROWS)])

    def _walk(self, y: Tensor, clocks: Tensor, rule: str, order: int) -> Tensor:
        before = None
        for phi_t, phi_s in pairwise(clocks):
            law = self.at(phi_t)
            found = law.velocity(y, law.shares(y))
            if rule == "ddim" and order == 2:  # it extrapolates the guess, by steps of the log-SNR
                found = law.cos * y + law.sin * found
            now = found
            if order == 2 and before is not None:
                phi_r, earlier = before
                half = 0.5 if rule == "flow" else 0.5 * _log_tan(phi_t, phi_s) / _log_tan(phi_r, phi_t)
                found = now + half * (now - earlier)
            before = phi_t, now
            if rule == "ddim" and order == 2:
                y = (phi_s.sin() * y + (phi_t - phi_s).sin() * found) / law.sin
            else:
                a, b = weights_of(phi_t - phi_s, rule)
                y = a * y + b * found
        return y

    def kl(self, y: Tensor, clocks: Tensor, rule: str) -> Tensor:
        """ln of the density of what a walk of order 1 draws over the true one, at each end, (B,), in nats.

        y: exact draws at the first clocks. Its mean is the Kullback-Leibler divergence of the sampled law from the
        true, without bias: steps do not fold, so the densities follow from the determinants.
        """
        density = self.at(clocks[0]).log_density(y)
        for phi_t, phi_s in pairwise(clocks):
            y, stretched = self.step(y, phi_t, phi_s, rule)
            density = density - stretched
        return density - self.at(clocks[-1]).log_density(y)


class Marginal:
    """The law of y at one set of clocks, with what its density, its responsibilities and F are made of."""

    def __init__(self, mixture: Whitened, cos: Tensor, sin: Tensor) -> None:
        self.cos, self.sin = cos, sin
        self.precision = 1 / (cos**2 * mixture.variances + sin**2)
        self.narrow = (mixture.variances - 1) * self.precision
        self.pull = mixture.means * self.precision
        mean = cos * mixture.means
        size = math.log(2 * math.pi) - self.precision.log() + mean**2 * self.precision
        self.constant = mixture.weights.log() - 0.5 * size.sum(1)
        self.linear = mean * self.precision

    def log_joint(self, y: Tensor) -> Tensor:
        """ln of w_k N(y; cos phi M_k, C_k), (B, K)."""
        return self.constant + y @ self.linear.T - 0.5 * y**2 @ self.precision.T

    def log_density(self, y: Tensor) -> Tensor:
        """ln of the density in whitened coordinates, (B,)."""
        return self.log_joint(y).logsumexp(1)

    def shares(self, y: Tensor) -> Tensor:
        """Responsibilities, (B, K)."""
        return self.log_joint(y).softmax(1)

    def velocity(self, y: Tensor, shares: Tensor) -> Tensor:
        """F, (B, D)."""
        return self.sin * (shares @ self.pull + self.cos * y * (shares @ self.narrow))


def weights_of(turned: Tensor, rule: str) -> tuple[Tensor, Tensor]:
    """(a, b) of a step y -> a y + b F over an angle."""
    if rule not in ("flow", "ddim"):
        raise ValueError(f'rule was {rule!r}; expected "flow" or "ddim"')
    return (torch.ones_like(turned), turned) if rule == "flow" else (turned.cos(), turned.sin())


def bent(spectrum: Gaussian, kappa: float, steps: int) -> Tensor:
    """The clocks of processes.equal_snr with this kappa at equally spaced times, (steps + 1, D)."""
    process = processes.equal_snr(spectrum, kappa=kappa)
    return spectrum.clock(process, process.times(steps)).expand(-1, *spectrum.variance.shape[1:]).flatten(1)


def _log_tan(phi_t: Tensor, phi_s: Tensor) -> Tensor:
    return phi_t.tan().log() - phi_s.tan().log()
