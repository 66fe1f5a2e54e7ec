"""A series is a picture of one row, and a picture a volume of one slice: the same numbers, whatever is computed."""

import itertools

import numpy as np
import pytest
import torch

from bdbook import likelihood, losses, mixtures, oracle, processes, samplers, timegrids
from bdbook.denoiser import EPS, X0, Denoiser
from bdbook.learning import descent
from bdbook.samplers import last, sample
from bdbook.transforms import DCT, Circle, lengths

# The same pixels with more and more axes.
SIZES = {
    "series": [(8,), (8, 1), (1, 1, 8)],
    "ring": [(Circle(9),), (1, Circle(9)), (Circle(9), 1, 1)],
    "picture": [(4, 6), (1, 4, 6), (4, 1, 6)],
    "globe": [(4, Circle(6)), (Circle(1), 4, Circle(6))],
}
PROCESSES = {
    "cosine": lambda size: processes.cosine_diffusion(DCT(size)),
    "blurring": lambda size: processes.blurring_diffusion(size, sigma_max=2.0),
    "lee": lambda size: processes.blur_diffusion(size, f_max=0.6, f_type="log", steps=24, boundary="symmetric"),
    "soft": lambda size: processes.soft_diffusion(size, sigma_max=2.0),
    "heat": lambda size: processes.heat_dissipation(size, sigma_max=2.0, steps=24),
    "flow": lambda size: processes.heat_flow(size, rate=0.2),
    "equal": lambda size: processes.equal_snr(law(DCT(size)), kappa=0.4),
}


def law(basis):
    """Data whose variance falls with frequency."""
    generator = np.random.default_rng(0)
    mean = generator.standard_normal(basis.freq2.numel()).reshape(basis.freq2.shape)
    return oracle.Gaussian(basis, 0.2 / (0.1 + basis.freq2), 0.1 * torch.from_numpy(mean))


def images(size, count=6, seed=1):
    x = np.random.default_rng(seed).uniform(-1, 1, (count, 2, np.prod(lengths(size))))
    return torch.from_numpy(x).reshape(count, 2, *lengths(size))


def all_the_same(compute, kind):
    """compute(size) gives the same numbers, in the same order, however many axes the size has."""
    first, *others = ([torch.as_tensor(part).flatten() for part in compute(size)] for size in SIZES[kind])
    for other in others:
        for ours, theirs in zip(first, other, strict=True):
            close = 1e-10 if ours.dtype == torch.float64 else 1e-5
            torch.testing.assert_close(ours, theirs, rtol=close, atol=close)


@pytest.mark.parametrize(("name", "kind"), list(zip(PROCESSES, itertools.cycle(SIZES))))
def test_the_laboratory_and_the_walks(name, kind):
    def compute(size):
        process = PROCESSES[name](size)
        data = law(process.basis)
        rules = [samplers.ancestral, samplers.ddim, samplers.analytic(data.variance), samplers.coloured(data.variance)]
        rules += [samplers.matched(data.variance), samplers.flow(data), samplers.flow(data, eta=0.5)]
        times = process.times(6)
        for place, rule in enumerate(rules):
            error = data.sampler_error(process, times, rule, order=1 + place % 2)
            yield from (error.mean, error.variance)
        generator = torch.Generator().manual_seed(0)
        for rule, order in itertools.product((samplers.ancestral, samplers.flow(data)), (1, 2)):
            walk = sample(data.denoiser(process), images(size), times, rule, generator, order, clip=order == 2)
            yield last(walk).x
        yield data.clock(process, times)

    all_the_same(compute, kind)


@pytest.mark.parametrize("kind", SIZES)
def test_flow_needs_one_step(kind):
    """Whatever the axes: for Gaussian data nothing is lost, under every process that begins with noise."""
    for size, name in itertools.product(SIZES[kind], PROCESSES):
        process = PROCESSES[name](size)
        data = law(process.basis)
        error = data.sampler_error(process, torch.tensor([1.0, 0.25]), samplers.flow(data))
        torch.testing.assert_close(error.ratio, torch.ones_like(error.ratio), rtol=1e-9, atol=0)


@pytest.mark.parametrize("kind", SIZES)
def test_losses_bounds_and_grids(kind):
    def compute(size):
        process = PROCESSES["blurring"](size)
        data = law(process.basis)
        x, noise = images(size), images(size, seed=2)
        t = torch.linspace(0.1, 0.9, len(x)).double()
        for predicts, of in itertools.product((X0, EPS, data.prediction()), losses.LOSSES.values()):
            yield of(Denoiser(lambda x, t: 0.3 * x, process, predicts), x, t, noise)
        generator = torch.Generator().manual_seed(0)
        bound = likelihood.bound(data.denoiser(process), x, generator, steps=50)
        yield bound.total_bits.float()  # networks are asked in single precision
        yield from (timegrids.log_snr(process, 5), timegrids.spectral(process, data, 5))
        yield timegrids.equal_angle(process, data, 5)
        yield descent(process, t, data.variance, EPS).gain(0.3)

    all_the_same(compute, kind)


@pytest.mark.parametrize("kind", SIZES)
def test_mixtures(kind):
    def compute(size):
        mixture = mixtures.Mixture.fit(DCT(size), images(size, count=60), components=3)
        process = PROCESSES["blurring"](size)
        yield from (mixture.weights, mixture.means, mixture.variances)
        yield from (mixture.gaussian().variance, mixture.log_density(images(size), process, 0.3))
        yield mixture.sample(20, torch.Generator().manual_seed(0))
        yield mixture.denoiser(process)(images(size), 0.6)

    all_the_same(compute, kind)
