"""The walks in whitened coordinates of results/laboratory against the library's samplers, autograd and quadrature."""

from __future__ import annotations

import math

import best_clocks
import order
import pytest
import torch
import whitened
from whitened import FIRST, LAST, Whitened

from bdbook import mixtures, oracle, processes, samplers
from bdbook.evaluation import joint
from bdbook.page import recorded
from bdbook.transforms import DCT

SIDE = 4


@pytest.fixture(scope="module")
def mixture():
    """Three components of 4x4 pixels, none like another."""
    random = torch.Generator().manual_seed(3)
    means = 0.3 * torch.randn(3, 1, SIDE, SIDE, generator=random, dtype=torch.float64)
    variances = 0.002 + 0.2 * torch.rand(3, 1, SIDE, SIDE, generator=random, dtype=torch.float64) ** 4
    return mixtures.Mixture(DCT(SIDE), torch.tensor([0.2, 0.3, 0.5]), means, variances)


@pytest.fixture(scope="module")
def law(mixture):
    return Whitened.of(mixture)


def starts(law, count=5, seed=0):
    return law.sample(count, LAST, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("rule", ["flow", "ddim"])
@pytest.mark.parametrize("second", [1, 2])
def test_a_walk_is_that_of_the_samplers(mixture, law, rule, second):
    process = processes.equal_snr(law.spectrum, kappa=0.7)
    y = starts(law)
    x_T = law.images(y, LAST)
    named = samplers.flow(law.spectrum) if rule == "flow" else rule
    steps = samplers.sample(mixture.denoiser(process), x_T, process.times(6), named, order=second)
    end = law.walk(y, whitened.bent(law.spectrum, 0.7, 6), rule, second)
    assert (samplers.last(steps).x - law.images(end)).abs().max() < 1e-10


def test_a_draw_has_the_moments_and_the_density_of_the_mixture(mixture, law):
    process = processes.equal_snr(law.spectrum)
    y = law.sample(20_000, FIRST, torch.Generator().manual_seed(0))
    assert y.mean(0).abs().max() < 0.03
    assert (y.var(0) - 1).abs().max() < 0.05
    scale = 0.5 * law.spectrum.variance.log().sum()
    found = law.at(torch.full((SIDE**2,), FIRST, dtype=torch.float64)).log_density(y[:9]) - scale
    assert (found - mixture.log_density(law.images(y[:9]), process, 0.0)).abs().max() < 1e-9


@pytest.mark.parametrize("rule", ["flow", "ddim"])
@pytest.mark.parametrize("begin", [0, 1, 2])
def test_the_determinant_of_a_step_is_that_of_its_jacobian(law, rule, begin):
    phi_t, phi_s = whitened.bent(law.spectrum, -0.8, 3)[begin : begin + 2]
    y = law.sample(3, phi_t.mean().item(), torch.Generator().manual_seed(1))
    _, found = law.step(y, phi_t, phi_s, rule)
    for one, logarithm in zip(y, found, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda z: law.step(z[None], phi_t, phi_s, rule)[0][0], one)
        sign, right = torch.linalg.slogdet(jacobian)
        assert sign == 1
        assert abs(right - logarithm) < 1e-9


@pytest.mark.parametrize("rule", ["flow", "ddim"])
def test_no_step_folds(law, rule):
    """A step is, up to two positive scales per coefficient, the gradient of a convex function: see chapter 18."""
    random = torch.Generator().manual_seed(2)
    turns = torch.rand(2, SIDE**2, generator=random, dtype=torch.float64).sort(0, descending=True).values
    phi_t, phi_s = turns * math.pi / 2
    a, b = whitened.weights_of(phi_t - phi_s, rule)
    assert (a > b / phi_t.tan()).all()
    one, two = (3 * torch.randn(200, SIDE**2, generator=random, dtype=torch.float64) for _ in range(2))
    moved = (law.step(one, phi_t, phi_s, rule)[0] - law.step(two, phi_t, phi_s, rule)[0]) / (b * phi_t.tan())
    assert ((moved * (one - two)).sum(1) > 0).all()


def test_of_one_gaussian_the_divergence_is_the_closed_form():
    """DDIM multiplies y by cos h a step; the mean over starts of the formula's quadratic term is its only noise."""
    spectrum = oracle.Gaussian(DCT(SIDE), torch.ones(1, 1, SIDE, SIDE, dtype=torch.float64))
    one = mixtures.Mixture(DCT(SIDE), torch.ones(1), torch.zeros(1, 1, SIDE, SIDE), spectrum.variance)
    law, steps = Whitened.of(one), 5
    clocks, y = whitened.bent(law.spectrum, 0.0, steps), starts(Whitened.of(one), 4000)
    share = math.cos((LAST - FIRST) / steps) ** (2 * steps)
    formula = 0.5 * (y**2).sum(1) * (share - 1) - 0.5 * SIDE**2 * math.log(share)
    assert (law.kl(y, clocks, "ddim") - formula).abs().max() < 1e-9
    assert law.kl(y, clocks, "flow").abs().max() < 1e-9
    kl = spectrum.sampler_error(processes.equal_snr(spectrum), torch.linspace(1, 0, steps + 1), "ddim").kl.sum()
    assert abs(formula.mean() / kl - 1) < 0.1


def test_in_one_dimension_the_divergence_is_that_of_quadrature():
    """The density of the ends by differences of where a fine grid of starts arrives."""
    means, variances = (torch.tensor(numbers).reshape(2, 1, 1, 1) for numbers in ([-1.0, 0.5], [0.05, 0.2]))
    law = Whitened.of(mixtures.Mixture(DCT(1), torch.tensor([0.4, 0.6]), means, variances))
    clocks, y = whitened.bent(law.spectrum, 0.0, 4), torch.linspace(-6, 6, 40_001, dtype=torch.float64)[:, None]
    density = law.at(clocks[0]).log_density(y).exp()
    end = law.walk(y, clocks, "flow")[:, 0]
    assert (end.diff() > 0).all()
    stretched = torch.gradient(end, spacing=(y[:, 0],))[0]
    true = law.at(clocks[-1]).log_density(end[:, None])
    right = torch.trapezoid(density * (density.log() - stretched.log() - true), y[:, 0])
    found = torch.trapezoid(density * law.kl(y, clocks, "flow"), y[:, 0])
    assert right > 0.01
    assert abs(found / right - 1) < 1e-4


def test_clocks_of_free_numbers_are_monotone_and_keep_their_ends():
    place = processes.rank(DCT(8).freq2).flatten()
    free = torch.randn(6, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    clocks = best_clocks.clocks_of(free, place)
    assert clocks.shape == (8, 64)
    assert (clocks.diff(dim=0) < 0).all()
    assert (clocks[0] - LAST).abs().max() < 1e-12
    assert (clocks[-1] - FIRST).abs().max() < 1e-12
    one = best_clocks.clocks_of(free[:1], place)
    assert (one - one[:, :1]).abs().max() < 1e-12


def test_straight_clocks_are_a_softmax_of_equal_numbers():
    spectrum = oracle.Gaussian(DCT(8), torch.ones(1, 1, 8, 8))
    place, straight = processes.rank(DCT(8).freq2).flatten(), whitened.bent(spectrum, 0.0, 5)
    for bands in (1, 6):
        free = best_clocks.free_of(straight, place, bands)
        assert (best_clocks.clocks_of(free, place) - straight).abs().max() < 1e-12


@pytest.mark.parametrize("kappa", [-0.8, 0.8])
def test_a_straight_warp_that_is_bent_is_equal_snr_that_is_bent(law, kappa):
    place = processes.rank(law.spectrum.basis.freq2).flatten()
    warp = torch.linspace(LAST, FIRST, 6, dtype=torch.float64)
    assert (best_clocks.bent_warp(warp, place, kappa) - whitened.bent(law.spectrum, kappa, 5)).abs().max() < 1e-12


def test_a_descent_lowers_the_energy_distance(law, monkeypatch):
    """Of clocks that are bent on purpose: on samples that it has not seen, and by the library's measure."""
    monkeypatch.setitem(best_clocks.STEPS, 6, 25)
    place = processes.rank(law.spectrum.basis.freq2).flatten()
    first = best_clocks.free_of(whitened.bent(law.spectrum, 1.5, 4), place, 6)
    found = best_clocks.descend(law, place, "ddim", first, seed=0)
    y, true = starts(law, 1000, seed=9), law.sample(1000, FIRST, torch.Generator().manual_seed(8))
    before, after = (law.walk(y, best_clocks.clocks_of(each, place), "ddim") for each in (first, found))
    energy = [joint.energy_distance(law.images(x), law.images(true), law.spectrum) for x in (before, after)]
    assert energy[1] < 0.8 * energy[0]


def test_distances_are_those_of_cdist(law):
    x, y = starts(law, 20), starts(law, 30, seed=1)
    assert abs(best_clocks.distances(x, y) - torch.cdist(x, y).sum()) < 1e-9
    assert abs(best_clocks.distances(x, x) - torch.cdist(x, x).sum()) < 1e-2


def test_an_unknown_rule_is_named(law):
    with pytest.raises(ValueError, match='expected "flow" or "ddim"'):
        law.walk(starts(law), whitened.bent(law.spectrum, 0.0, 2), "heun")


def test_every_job_is_there_once_and_numbers_are_short():
    assert len(set(order.jobs())) == len(order.jobs())
    assert len(set(best_clocks.jobs())) == len(best_clocks.jobs())
    assert order.rounded({"a": [1.23456789, {"b": 2}]}) == {"a": [1.2346, {"b": 2}]}


def test_the_records_are_what_the_programs_compute():
    """One entry of each study again: the divergences from leaves at five calls."""
    law, calls = Whitened.of(recorded.mixture("leaves")), 5
    start = law.sample(order.COUNT, LAST, torch.Generator().manual_seed(0))[: order.DIVERGED["leaves"]]
    straight, bent = (law.kl(start, whitened.bent(law.spectrum, kappa, calls), "flow") for kappa in (0.0, 1.0))
    found = recorded.laboratory("order")["leaves, flow 1, 5 calls, seed 0"]["measured"]["1.0"]
    assert found["kl"] == pytest.approx(order.mean_and_error(bent), rel=1e-3)
    assert found["kl_above_straight"] == pytest.approx(order.mean_and_error(bent - straight), rel=1e-3)

    kept = recorded.laboratory("best_clocks")[f"leaves, flow, {calls} calls, 1 band"]["measured"]
    start, _ = best_clocks.drawn(law)
    warp = torch.tensor(kept["clocks"], dtype=torch.float64).T.expand(-1, law.means.shape[1])
    again = law.kl(start[: order.DIVERGED["leaves"] // 2], warp, "flow")
    assert kept["kl"] == pytest.approx(order.mean_and_error(again), rel=1e-2)


@pytest.mark.parametrize("name", ["order", "best_clocks"])
def test_every_job_is_recorded_and_says_how_it_came_about(name):
    found = recorded.laboratory(name)
    jobs = {
        "order": [f"{job[1]}, {job[2]} {job[3]}, {job[4]} calls, seed {job[0]}" for job in order.jobs()],
        "best_clocks": [str(job) for job in best_clocks.jobs()],
    }[name]
    assert sorted(found) == sorted(jobs)
    for each in found.values():
        assert each.keys() == {"measured", "commit", "seconds", "device", "date", "seed"}
