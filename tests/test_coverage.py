"""Coverage from ranks: without bias at every number of samples, in the exact case what is nominal; the stretch."""

import json
import math

import coverage as study
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bdbook import posteriors
from bdbook.evaluation import coverage
from bdbook.evaluation.coverage import Coverage, Stretch
from bdbook.mixtures import Mixture
from bdbook.page import plots, recorded
from bdbook.posteriors import View
from bdbook.transforms import DCT

NARROW = 0.5  # what is drawn spreads so much less than the truth


def of_one_law(samples, count, side=8, seed=0, spread=1.0):
    """(drawn, truth): independent normal numbers, those drawn with another spread."""
    random = torch.Generator().manual_seed(seed)
    drawn = spread * torch.randn(samples, count, 1, side, side, generator=random, dtype=torch.float64)
    return drawn, torch.randn(count, 1, side, side, generator=random, dtype=torch.float64)


@given(samples=st.integers(1, 50), level=st.floats(0.01, 0.99))
def test_the_weights_of_the_ranks_have_the_level_as_their_mean(samples, level):
    """Ranks are uniform where samples are right: then coverage has no bias, however few there are."""
    assert coverage._weights(samples, level).mean().item() == pytest.approx(level, abs=1e-12)


@pytest.mark.parametrize("samples", [1, 4, 16, 39])
def test_samples_of_the_truths_own_law_cover_what_is_nominal(samples):
    found = coverage.measure(*of_one_law(samples, 2000))
    off = (found.measured - torch.tensor(found.levels, dtype=torch.float64)).abs()
    assert (off <= 4.5 * found.errors + 1e-9).all(), "of one sample every rank counts alike, without an error"
    assert found.errors.max() < 0.02
    # Ranks are uniform, by chi squared of as many pixels as there are.
    expected = 2000 * 64 / (samples + 1)
    chi2 = ((found.ranks[0] * 2000 * 64 - expected) ** 2 / expected).sum().item()
    assert chi2 < samples + 5 * math.sqrt(2 * samples)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
def test_with_39_samples_it_is_the_interval_between_two_of_the_sorted(level):
    drawn, truth = of_one_law(39, 300, seed=1, spread=NARROW)
    found = coverage.measure(drawn, truth, (level,))
    ordered, tail = np.sort(drawn.numpy(), 0), round(40 * (1 - level) / 2)
    low, high = ordered[tail - 1], ordered[39 - tail]
    held = (truth.numpy() >= low) & (truth.numpy() <= high)
    assert found.measured[0, 0].item() == pytest.approx(held.mean(), abs=1e-9)
    assert found.widths[0, 0].item() == pytest.approx((high - low).mean(), abs=1e-9)
    assert found.measured[0, 0] < level - 0.1, "too narrow, and seen"


def test_the_error_is_that_of_images_and_not_of_pixels():
    """Pixels that are all alike in an image say as much as one."""
    drawn, truth = of_one_law(39, 400, side=1)
    many = coverage.measure(drawn.expand(-1, -1, -1, 5, 5), truth.expand(-1, -1, 5, 5), bands=1)
    for level, error in zip(many.levels, many.errors[0].tolist()):
        assert error == pytest.approx((level * (1 - level) / 400) ** 0.5, rel=0.15)


def test_equals_are_no_bias():
    """Where all that is drawn equals the truth any place may be its own."""
    same = torch.zeros(9, 500, 1, 4, 4)
    found = coverage.measure(same, same[0])
    assert (found.measured[0] - torch.tensor(found.levels)).abs().max() < 0.03


def test_bands_are_of_frequency():
    """Samples that spread too little at high frequencies alone are found there."""
    drawn, truth = of_one_law(39, 300)
    basis = DCT(8)
    fine = coverage._index(basis, 5, truth).reshape(1, 1, 8, 8) >= 3
    u = torch.where(fine, NARROW, 1.0) * basis.forward(drawn.flatten(0, 1))
    found = coverage.measure(basis.inverse(u).reshape(drawn.shape), truth)
    low, high = found.measured[1:4], found.measured[4:]
    assert (low - torch.tensor(found.levels)).abs().max() < 0.03
    assert high[:, 1].max() < 0.65


def test_the_exact_posterior_of_a_mixture_covers_within_two_points():
    mixture = recorded.mixture("fashion")
    view, random = View.blurred(16, 1.0, 0.1), torch.Generator().manual_seed(5)
    truth = mixture.sample(400, random)
    seen = view.sample(truth, torch.randn(truth.shape, generator=random, dtype=torch.float64))
    found = coverage.measure(posteriors.of_mixture(mixture, view, seen).sample(39, random), truth)
    assert found.worst < 0.02
    assert found.errors.max() < 0.012


def test_a_stretch_makes_narrow_samples_right_on_other_images():
    drawn, truth = of_one_law(39, 600, seed=2, spread=NARROW)
    stretch = Stretch.fit(drawn[:, :300], truth[:300])
    np.testing.assert_allclose(stretch.factors, 1 / NARROW, rtol=0.1)
    others = drawn[:, 300:], truth[300:]
    before, after = coverage.measure(*others), coverage.measure(stretch(others[0]), others[1])
    assert before.worst > 0.2
    nominal = torch.tensor(after.levels, dtype=torch.float64)
    assert ((after.measured - nominal).abs() <= 4.5 * after.errors).all()
    torch.testing.assert_close(stretch(drawn).mean(0), drawn.mean(0))


def test_it_is_told_written_and_drawn():
    found = coverage.measure(*of_one_law(19, 50))
    again = Coverage.of_dict(json.loads(json.dumps(found.as_dict())))
    torch.testing.assert_close(again.measured, found.measured, atol=1e-5, rtol=1e-4)
    text = str(found)
    assert "50 images, 19 drawn for each" in text
    assert "at 95%" in text
    assert "band 4" in text
    assert len(text.splitlines()) == 2 + len(found.names)
    _, ax = plt.subplots()
    plots.calibration(ax, {"drawn": found}, styles={"drawn": ("#123456", ":")})
    (line,) = [each.lines[0] for each in ax.containers if each.get_label() == "drawn"]
    np.testing.assert_allclose(line.get_ydata(), 100 * found.measured[0].numpy())
    assert (line.get_color(), line.get_linestyle()) == ("#123456", ":")
    assert "(groups" not in repr(found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drawn": torch.zeros(3, 2, 1, 8, 7)}, r"drawn had shape \(3, 2, 1, 8, 7\) and truth \(2, 1, 8, 8\)"),
        ({"drawn": torch.zeros(0, 2, 1, 8, 8)}, "S images drawn for each truth"),
        ({"drawn": torch.full((3, 2, 1, 8, 8), math.nan)}, "NaN or infinity"),
        ({"levels": (0.5, 1.0)}, r"levels were \(0.5, 1.0\); expected some between 0 and 1"),
        ({"levels": ()}, r"levels were \(\)"),
        ({"bands": 0}, "bands was 0"),
        ({"bands": 500}, "hold no frequency; expected fewer bands"),
    ],
)
def test_what_cannot_be_measured_is_refused(change, message):
    given = {"drawn": torch.zeros(3, 2, 1, 8, 8), "truth": torch.zeros(2, 1, 8, 8)} | change
    with pytest.raises(ValueError, match=message):
        coverage.measure(**given)


def test_a_stretch_takes_enough_samples():
    with pytest.raises(ValueError, match="5 images were drawn for each; expected at least 9 for the interval of 80%"):
        Stretch.fit(*of_one_law(5, 20))


# --- the study --------------------------------------------------------------------------------------------------


def test_a_stop_of_the_study_loses_nothing(monkeypatch, tmp_path):
    asked = []

    def job(name):
        def work():
            asked.append(name)
            if name == "b" and len(asked) < 3:
                raise KeyboardInterrupt
            return {"measured": [[0.5]]}

        return work

    monkeypatch.setattr(study, "FILE", tmp_path / "coverage.json")
    monkeypatch.setattr(study, "jobs", lambda: {name: job(name) for name in "ab"})
    with pytest.raises(KeyboardInterrupt):
        study.main()
    assert list(json.loads(study.FILE.read_text())) == ["a"]
    study.main()
    assert asked == ["a", "b", "b"]
    assert {"device", "date", "commit", "seconds"} < json.loads(study.FILE.read_text())["b"].keys()


def test_the_studys_walk_is_the_librarys(monkeypatch):
    """In the basis and by products of matrices: of one component both are exact."""
    monkeypatch.setattr(study, "COUNT", 40)
    monkeypatch.setattr(study, "DRAWN", 19)
    random = torch.Generator().manual_seed(0)
    variances = torch.rand(1, 1, 16, 16, generator=random, dtype=torch.float64)
    mixture = Mixture(DCT(16), torch.ones(1), variances - 0.5, variances)
    told = study.by_rule(mixture, study.PROCESSES["cosine"](), "Gaussian", 1.0, 0.1)
    monkeypatch.setattr(study, "COUNT", 20)
    exact = study.exact(mixture, 1.0, 0.1)
    assert told["count"] == exact["count"] == 20
    assert told["rmse"] == pytest.approx(exact["rmse"], rel=0.02)
    assert told["rmse_of_mean"] == pytest.approx(exact["rmse_of_mean"], rel=0.02)


def test_the_recorded_study_says_what_the_exact_case_must():
    """At every width and noise: the exact posterior within two points of what is nominal, in every band."""
    blocks = recorded.laboratory("coverage")
    exact = {name: Coverage.of_dict(told) for name, told in blocks.items() if name.startswith("exact")}
    assert len(exact) == len(study.WIDTHS) * len(study.NOISES)
    for name, found in exact.items():
        assert found.worst < 0.02, name
        assert found.count >= 500
        assert (found.samples + 1) % 40 == 0, "the levels are intervals between sorted samples"


def test_the_recorded_study_says_what_stretching_and_a_wrong_blur_do():
    """Networks: each band's intervals hold too many before, what they say after; of a wider blur too few."""
    blocks = recorded.laboratory("coverage")
    nominal = torch.tensor(study.coverage.LEVELS, dtype=torch.float64)
    for name in study.NETWORKS:
        (key,) = [key for key in blocks if key.startswith(name) and "times as wide" not in key]
        before, after = (Coverage.of_dict(told) for told in (blocks[key], blocks[key]["stretched"]))
        off = [(each.measured[1:] - nominal).abs() for each in (before, after)]
        assert off[1].mean() < 0.5 * off[0].mean()
        assert off[1].max() < 0.05
        assert (before.measured[1:4, :2] > nominal[:2]).all()
        assert before.count >= 200
        assert before.samples >= 16
    (wrong,) = [Coverage.of_dict(told) for key, told in blocks.items() if "times as wide" in key]
    assert wrong.measured[1, 1] < 0.5, "at 80 % and the lowest frequencies"


def test_the_recorded_walks_are_near_and_nearer_with_measured_errors():
    blocks = recorded.laboratory("coverage")
    worst = {key: Coverage.of_dict(told).worst for key, told in blocks.items() if key.startswith("rule")}
    assert len(worst) == 12
    assert max(worst.values()) < 0.1
    for key, off in worst.items():
        assert "Gaussian" in key or off < 0.05, key
        if "Gaussian" in key:
            assert worst[key.replace("Gaussian", "measured")] < off, key
