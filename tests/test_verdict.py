"""The rule by which recorded runs agree: every measure, every seed, and the dissenters by name."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdbook.page import recorded
from bdbook.page.recorded import Recorded
from bdbook.page.verdict import MEASURES, Verdict, measured, verdict

RATIOS = ("detail", "variance", "nearest", "density")
MORE = ("score", "ssim", "precision", "recall", "coverage")
BEST = {name: 1.0 if name in RATIOS else 9.0 if name in MORE else 0.1 for name in MEASURES}
WORST = {name: 7.0 if name in RATIOS else 1.0 for name in MEASURES}


def run(seed: int = 0, bits: float | None = None, **samples: float) -> Recorded:
    metrics = {"quality": {"samples": samples}, "bits": None if bits is None else {"mean": bits}}
    return Recorded(Path(f"a-seed{seed}"), metrics, {"identity": {"seed": seed}})


def test_all_agree_none_agrees_and_one_dissents():
    one, other = run(frechet=1.0, score=8.0), run(frechet=2.0, score=5.0)
    assert verdict([one], [other]) == Verdict(("frechet, seed 0", "score, seed 0"), ())
    assert verdict([other], [one]).word == "not seen"
    mixed = verdict([one], [run(frechet=2.0, score=9.0)])
    assert (mixed.word, mixed.dissenting) == ("mixed", ("score, seed 0",))
    assert str(mixed) == "mixed: 1 of 2 comparisons agree; against it: classifier score (seed 0)"


def test_dissenters_are_named_with_their_seeds():
    agreeing = tuple(f"{name}, seed {seed}" for name in ("recall", "score") for seed in (0, 1, 2))
    found = Verdict(
        (*agreeing, "bits, seed 0"), ("frechet, seed 0", "bits, seed 1", "frechet, seed 2", "kernel, seed 1")
    )
    assert found.dissenters == "Fréchet distance (seeds 0, 2); bits, kernel distance (seed 1)"
    assert found.total == 11
    always = Verdict(agreeing, tuple(f"{name}, seed {seed}" for name in ("bits", "whitened") for seed in (0, 1, 2)))
    assert always.dissenters == "bits, whitened sliced W2 (every seed)"


def test_where_most_dissent_those_that_agree_are_named():
    dissenting = tuple(f"{name}, seed {seed}" for name in ("frechet", "score", "bits", "recall") for seed in (0, 1))
    assert Verdict((), dissenting).dissenters == "every measure"
    assert Verdict(("kernel, seed 1",), dissenting).dissenters == "all but kernel distance (seed 1)"
    assert Verdict((), ("frechet, seed 0", "bits, seed 0")).dissenters == "Fréchet distance, bits (seed 0)"


@pytest.mark.parametrize("name", MEASURES)
def test_each_measure_knows_what_is_better(name):
    one, other = ({"bits": value[name]} if name == "bits" else {name: value[name]} for value in (BEST, WORST))
    assert verdict([run(**one)], [run(**other)]).word == "seen"
    assert verdict([run(**other)], [run(**one)]).word == "not seen"
    assert verdict([run(**one)], [run(**one)]).word == "not seen", "an equal value is no better"


def test_a_ratio_is_off_by_its_logarithm():
    assert verdict([run(variance=0.5)], [run(variance=2.1)]).word == "seen"
    assert verdict([run(variance=0.5)], [run(variance=1.9)]).word == "not seen"
    assert verdict([run(variance=0.0)], [run(variance=1e-9)]).word == "not seen"


def test_runs_are_paired_by_seed():
    better = [run(seed, frechet=value) for seed, value in ((0, 1.0), (1, 5.0))]
    worse = [run(seed, frechet=value) for seed, value in ((1, 6.0), (0, 2.0), (2, 0.0))]
    assert verdict(better, worse).agreeing == ("frechet, seed 0", "frechet, seed 1")


def test_a_single_run_is_compared_with_each_seed_of_the_other():
    several = [run(seed, frechet=value) for seed, value in ((0, 1.0), (1, 3.0))]
    found = verdict(several, [run(0, frechet=2.0)])
    assert (found.agreeing, found.dissenting) == (("frechet, seed 0",), ("frechet, seed 1",))
    assert verdict([run(0, frechet=2.0)], several).dissenting == ("frechet, seed 0",)


def test_what_is_wrong_is_said():
    with pytest.raises(ValueError, match=r"measures were fid; expected some of frechet, kernel"):
        verdict([run(frechet=1.0)], [run(frechet=2.0)], ["fid"])
    with pytest.raises(ValueError, match="none of score in common"):
        verdict([run(frechet=1.0)], [run(frechet=2.0)], ["score"])
    with pytest.raises(ValueError, match=r"share no seed: \[0\] and \[1\]"):
        verdict([run(0, frechet=1.0)], [run(1, frechet=2.0)])


@given(st.lists(st.tuples(st.floats(0.1, 9), st.floats(0.1, 9)), min_size=1, max_size=6))
def test_turned_round_every_agreement_dissents(pairs):
    better, worse = ([run(k, frechet=pair[end]) for k, pair in enumerate(pairs)] for end in (0, 1))
    there, back = verdict(better, worse), verdict(worse, better)
    assert len(there.agreeing) + len(there.dissenting) == len(pairs)
    assert set(there.agreeing) <= set(back.dissenting)
    assert len(there.agreeing) == sum(a < b for a, b in pairs)


def test_a_recorded_run_has_its_samples_and_its_bits():
    found = measured(recorded.read("fashion-cosine"))
    features = {"frechet", "kernel", "score", "precision", "recall", "density", "coverage"}
    assert set(found) == features | {"sliced_wasserstein", "whitened", "nearest", "spectrum", "bits"}
    assert all(map(math.isfinite, found.values()))
