"""That shapes are checked while testing: what is given and what comes out, by the annotations of the core."""

import subprocess
import sys
from dataclasses import dataclass

import jaxtyping
import pytest
import torch

from bdbook import losses, samplers
from bdbook.denoiser import X0, Denoiser
from bdbook.oracle import Gaussian
from bdbook.processes import Degradation, cosine_diffusion, ddpm
from bdbook.transforms import DCT, Pixel


@dataclass(frozen=True)
class Crops(Degradation):
    """Gives fewer rows than it is given, which no degradation may."""

    basis = Pixel()
    steps = None
    name = "crops"

    def degrade(self, u, t):
        return u[:, :, 1:]


def net(x, t):
    return x


VIOLATIONS = {
    "pixels without a batch": lambda: ddpm().mean(torch.zeros(8), 0.5),
    "a result of fewer rows": lambda: Crops().mean(torch.zeros(2, 1, 8, 8), 0.5),
    "whole numbers of a basis": lambda: DCT(8).inverse(torch.zeros(2, 1, 8, 8, dtype=torch.int64)),
    "noise for other images": lambda: losses.loss(
        Denoiser(net, cosine_diffusion(), X0), torch.zeros(2, 1, 8, 8), torch.ones(2), torch.zeros(3, 1, 8, 8)
    ),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_wrong_shape_is_caught(name):
    with pytest.raises(jaxtyping.TypeCheckError):
        VIOLATIONS[name]()


def test_right_shapes_pass():
    process, x = cosine_diffusion(DCT(8)), torch.zeros(2, 1, 8, 8)
    exact = Gaussian(DCT(8), torch.ones(1, 1, 8, 8))
    assert process.sample(x, torch.tensor([0.1, 0.9]), x).shape == x.shape
    assert samplers.last(samplers.sample(exact.denoiser(process), x, process.times(3))).x.shape == x.shape
    assert losses.loss(Denoiser(net, process, X0), x, torch.tensor([0.1, 0.9]), x).shape == (2,)


def test_nothing_is_checked_outside_of_tests():
    code = (
        "import torch; from bdbook.transforms import DCT; "
        "DCT(8).inverse(torch.zeros(2, 1, 8, 8, dtype=torch.int64)); print('nobody looked')"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.strip() == "nobody looked"
