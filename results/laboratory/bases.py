"""How far the cosine basis, Haar's and the pixels are from the data's own: the eigenvalues of correlation matrices.

    python results/laboratory/bases.py

For pictures of covariance C and an orthonormal basis V, with v the diagonal of V'CV, bases.json has the eigenvalues of
R = V'CV / sqrt(v v'), which are all that the errors of samplers depend on (chapter 18). They are all 1 in the basis of
C's eigenvectors alone. Photographs and dead leaves are measured themselves, 16x16, plus what rounding to 8 bits adds;
of Fashion-MNIST it is the mixture, whose components are diagonal in the cosine basis: kinder to it than the pictures.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from bdbook import data
from bdbook.files import write_atomically
from bdbook.mixtures import Mixture
from bdbook.pixels import ROUNDING
from bdbook.training import records
from bdbook.transforms import DCT, Basis, Haar, Pixel

HERE = Path(__file__).parent
FILE = HERE / "bases.json"
PIXELS = 16 * 16
BASES: dict[str, Basis] = {"cosine": DCT(16), "Haar": Haar(16), "pixels": Pixel()}


def of_pictures(name: str) -> tuple[Tensor, int]:
    """Covariance of pixels, (256, 256), and of how many pictures."""
    images = data.load(name, 16).double().flatten(1)
    return torch.cov(images.T) + ROUNDING * torch.eye(PIXELS, dtype=torch.float64), len(images)


def of_mixture(name: str) -> Tensor:
    """The exact covariance of pixels of a recorded mixture, (256, 256)."""
    mixture = Mixture.load(HERE / f"{name}.safetensors")
    weights, means = mixture.weights[:, None], mixture.means.flatten(1)
    apart = means - (weights * means).sum(0)
    within = torch.diag((weights * mixture.variances.flatten(1)).sum(0))
    matrix = matrix_of(mixture.basis)
    return matrix.T @ (within + (weights * apart).T @ apart) @ matrix


def matrix_of(basis: Basis) -> Tensor:
    """V', (256, 256): coefficients are V' x."""
    units = torch.eye(PIXELS, dtype=torch.float64).reshape(PIXELS, 1, 16, 16)
    return basis.forward(units).reshape(PIXELS, PIXELS).T


def eigenvalues(covariance: Tensor, basis: Basis) -> list[float]:
    """Those of the correlation matrix of the coefficients, ascending; their sum is 256."""
    matrix = matrix_of(basis)
    rotated = matrix @ covariance @ matrix.T
    deviations = rotated.diagonal().sqrt()
    found = torch.linalg.eigvalsh(rotated / deviations / deviations[:, None])
    return [float(f"{each:.8g}") for each in found.tolist()]


def main() -> None:
    """Write the file anew."""
    measured = {name: of_pictures(name) for name in ("photos", "leaves")} | {"fashion": (of_mixture("fashion"), None)}
    about = records.made_here()
    found = {
        name: {"eigenvalues": {each: eigenvalues(covariance, basis) for each, basis in BASES.items()}, "count": count}
        for name, (covariance, count) in measured.items()
    }
    lines = (f"{json.dumps(name)}: {json.dumps(of | about)}" for name, of in found.items())
    write_atomically(FILE, "{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
