"""The programs of the laboratory's studies of few calls and of bases, and that the records are what they make."""

import importlib.util
import math
from pathlib import Path

import pytest
import torch

from bdbook import denoiser, processes
from bdbook.mixtures import Mixture
from bdbook.page import recorded
from bdbook.transforms import DCT, Haar

LABORATORY = Path(__file__).resolve().parents[1] / "results/laboratory"


def program(name):
    found = importlib.util.spec_from_file_location(f"laboratory_{name}", LABORATORY / f"{name}.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


few_calls, bases = program("few_calls"), program("bases")


@pytest.fixture(scope="module")
def leaves() -> Mixture:
    return recorded.mixture("leaves")


@pytest.mark.parametrize("system", ["cosine", "IHDM", "HS, 20 px"])
def test_walks_without_transforms_end_where_the_librarys_do(leaves, system):
    few_calls.check(leaves, few_calls.PROCESSES[system](leaves.gaussian()))


def one_value(process):
    """An exact denoiser of data that are all 0.7: the flow is a straight line in u / alpha over sigma / alpha."""
    return denoiser.Denoiser(lambda x, t: torch.full_like(x, 0.7), process, denoiser.X0)


@pytest.mark.parametrize("calls", [2, 5, 6])
def test_heun_is_exact_on_a_straight_line(calls):
    process = few_calls.plain_of(processes.cosine_diffusion(DCT(16)))
    x_T = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    end = few_calls.heun(one_value(process), x_T, process, "uniform", calls)
    noise = (x_T - 0.7 * process.alpha(1.0)) / process.sigma(1.0)
    assert torch.allclose(end, 0.7 * process.alpha(0.0) + process.sigma(0.0) * noise, atol=1e-10)


@pytest.mark.parametrize(("system", "calls", "asked"), [("cosine", 6, 6), ("cosine", 5, 5), ("DDPM", 6, 5)])
def test_heun_calls_the_network_no_more_than_it_may(leaves, system, calls, asked):
    """DDPM ends without noise, where there is no slope: its last step has one call."""
    process, count = few_calls.PROCESSES[system](leaves.gaussian()), []
    plain = few_calls.plain_of(process)

    def counted(x, t):
        count.append(t)
        return torch.zeros_like(x)

    few_calls.heun(denoiser.Denoiser(counted, plain, denoiser.X0), torch.ones(1, 1, 16, 16), process, "uniform", calls)
    assert len(count) == asked


def test_heun_is_of_second_order(leaves):
    """Twice as many calls, a quarter of the error: where the data are one Gaussian, whose flow is S_0 / S_1 times u."""
    variance = torch.full((1, 1, 16, 16), 0.5, dtype=torch.float64)
    law = Mixture(DCT(16), torch.ones(1), torch.zeros_like(variance), variance)
    process = few_calls.PROCESSES["cosine"](law.gaussian())
    plain, x_T = few_calls.plain_of(process), torch.ones(1, 1, 16, 16, dtype=torch.float64)
    model = few_calls.quick(few_calls.untransformed(law), plain)
    first, last = (law.marginal(process, t).variances.sqrt() for t in (1.0, 0.0))
    errors = [
        (few_calls.heun(model, x_T, process, "log-SNR", calls) - last / first).abs().max() for calls in (100, 200)
    ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.2)


def test_a_walk_that_has_left_the_numbers_is_none(leaves):
    x = leaves.sample(30, torch.Generator().manual_seed(0))
    assert few_calls.measured(None, x, leaves) is None
    assert few_calls.measured(x * math.nan, x, leaves) is None
    assert few_calls.measured(x * 1e9, x, leaves) is None


@pytest.mark.filterwarnings("ignore::bdbook.evaluation.checks.DoubtfulWarning")
def test_the_record_is_what_the_program_makes(leaves, monkeypatch):
    """One block again, of one rule at five calls."""
    monkeypatch.setattr(few_calls, "RULES", {("uniform", 0): {"flow": 5}})
    mixture, process = few_calls.untransformed(leaves), few_calls.PROCESSES["equal SNR"](leaves.gaussian())
    found = few_calls.block(mixture, process, "uniform", 0)["flow"]["5"]
    entry = recorded.laboratory("few_calls")["leaves, equal SNR, uniform, seed 0"]
    assert entry["measures"] == list(few_calls.MEASURES)
    assert entry["count"] == few_calls.COUNT
    assert found == pytest.approx(entry["measured"]["flow"]["5"], rel=0.02)


def test_the_record_is_whole():
    names = recorded.laboratory("few_calls")
    made = {
        (name, system): few_calls.PROCESSES[system] for system in few_calls.PROCESSES for name in few_calls.MIXTURES
    }
    for name, system in made:
        assert f"{name}, {system}, floors" in names
        for grid, seed in few_calls.RULES:
            tabulated = system in ("DDPM", "IHDM")
            assert (f"{name}, {system}, {grid}, seed {seed}" in names) == (grid == "uniform" or not tabulated)


def test_eigenvalues_are_those_of_a_covariance_by_brute_force():
    """Pictures drawn from the mixture of clothes, in Haar's basis."""
    entry = recorded.laboratory("bases")["fashion"]["eigenvalues"]
    assert bases.eigenvalues(bases.of_mixture("fashion"), Haar(16)) == pytest.approx(entry["Haar"], rel=1e-5)
    images = recorded.mixture("fashion").sample(20_000, torch.Generator().manual_seed(0))
    drawn = torch.linalg.eigvalsh(torch.corrcoef(Haar(16).forward(images).flatten(1).T)).flip(0)[:5]
    assert drawn.tolist() == pytest.approx(entry["Haar"][::-1][:5], rel=0.05)
    for values in entry.values():
        assert sum(values) == pytest.approx(256)
