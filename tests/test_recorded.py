"""The recorded runs are whole, and what chapters and ledgers say of them in words follows from them, in every training.

No number of a record is typed here: chapters 8 to 10 are in test_recorded_cold.py, numbers of the prose in
test_told.py.
"""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from bdbook.page import recorded
from bdbook.page.verdict import MEASURES, verdict

FOLDERS = sorted(path.parent.name for path in recorded.RESULTS.glob("*-cpu*/metrics.json"))
ENDS = ("-plain", "")  # as in the paper, as in this book
BASES = ("cosine", "blurring")  # without blur and with 5 px
WIDE = ("blurring", "blurring-10px")
EIGHT = ("ddpm", "heat", "blurring", "blur", "soft", "cosine", "equal-snr", "from-mean")


# --- the records ---------------------------------------------------------------------------------------------


def leaves(tree):
    """The numbers of a record, at any depth."""
    if isinstance(tree, dict | list):
        for branch in tree.values() if isinstance(tree, dict) else tree:
            yield from leaves(branch)
    elif isinstance(tree, int | float):
        yield tree


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_record_is_whole(folder):
    name, seed = re.fullmatch(r"(.+)-cpu(?:-seed(\d+))?", folder).groups()
    run = recorded.read(name, seed=int(seed or 0))
    identity = run.record["identity"]
    assert (identity["recipe"]["name"], identity["seed"]) == (name, int(seed or 0))
    assert np.isfinite(list(leaves(run.metrics))).all()
    steps, losses = run.losses()
    assert steps == sorted(steps)
    assert run.metrics["step"] == steps[-1]
    assert np.isfinite(losses).all()
    assert list(run.folder.glob("*.png"))


THREE_TIMES = ["digits-from-mean", "digits-from-mean-plain", "digits-deblur", "photos-deblur"]


@pytest.mark.parametrize("name", THREE_TIMES)
def test_what_was_trained_three_times_has_every_seed_and_one_protocol(name):
    runs = recorded.seeds(name)
    assert [run.record["identity"]["seed"] for run in runs] == list(recorded.SEEDS)
    assert len({re.sub(r"seed \d+|'seed': \d+", "", str(run.metrics.get("sample_protocol"))) for run in runs}) == 1
    assert len({(run.record["data"], run.record["identity"]["count"], run.metrics["step"]) for run in runs}) == 1


@pytest.mark.parametrize("name", [f"fashion-{name}{end}" for name in EIGHT for end in ENDS])
def test_what_was_trained_several_times_has_one_protocol(name):
    """Seeds in their order, each of its own; all else the same, for every system."""
    runs = recorded.seeds(name)
    assert [run.record["identity"]["seed"] for run in runs] == list(recorded.SEEDS[: len(runs)])
    assert len(runs) > 1
    words = {re.sub(r"seed \d+|^[\w-]+: ", "", run.metrics["sample_protocol"]) for run in runs}
    usual = recorded.read("fashion-ddpm").metrics["sample_protocol"]
    (said,) = words
    assert said.partition("against")[2] == re.sub(r"seed \d+", "", usual).partition("against")[2]
    assert {(run.record["identity"]["count"], run.metrics["step"]) for run in runs} == {(60_000, 1500)}


def each(name: str, what: str = "frechet") -> np.ndarray:
    """A measure of the samples, of every training on clothes that there is: (trainings,) or (trainings, bands)."""
    return np.array([run.metrics["quality"]["samples"][what] for run in recorded.seeds(f"fashion-{name}")])


def bits(name: str) -> np.ndarray:
    return np.array([run.metrics["bits"]["mean"] for run in recorded.seeds(f"fashion-{name}")])


# --- what the spectrum already knows: chapter 13 --------------------------------------------------------------


@pytest.mark.parametrize("source", ["photos", "leaves"])
def test_plain_prediction_under_blur_explodes_and_spectral_does_not(source):
    def ratio(name, walk):
        (run,) = recorded.seeds(f"{source}-{name}")
        return np.array(run.metrics["band_ratio"][walk])

    walks = ("ancestral, 250 steps", "ancestral, 20 steps", "ddim, 20 steps")
    for walk in walks:
        assert np.all(ratio("blurring-plain", walk) > ratio("ddpm-plain", walk))
    plain, spectral = ratio("ddpm-plain", walks[0]), ratio("ddpm", walks[0])
    for near in (plain, spectral, ratio("blurring", walks[0])):
        assert np.all((near > 1 / 2) & (near < 1))
    assert np.all(ratio("blurring-plain", walks[0])[2:] > 1000), "orders of magnitude"
    # No difference: what is between the two is less than what both lack. With 20 steps of DDIM there is one.
    assert np.all(abs(np.log(plain / spectral)) < np.minimum(abs(np.log(plain)), abs(np.log(spectral))))
    assert np.all(ratio("ddpm-plain", walks[2]) > 1)
    assert np.all(abs(np.log(ratio("ddpm", walks[2]))) < np.log(ratio("ddpm-plain", walks[2])))


# --- eight systems: chapter 14 -------------------------------------------------------------------------------


def judge(better: str, worse: str):
    return verdict(recorded.seeds(f"fashion-{better}"), recorded.seeds(f"fashion-{worse}"))


def test_the_eight_systems():
    """What chapter 14 says of them beside the verdicts, which it reads from the records itself."""
    floor = [row["frechet"] for row in recorded.laboratory("floors")["fashion, 16 px, 1024"]["training"]]
    assert min(each(name + end).min() for name in EIGHT for end in ENDS) > 4 * max(floor)
    for end in ENDS:
        rest = [name + end for name in EIGHT[:-1]]
        assert min(each(f"from-mean{end}")) > max(each(name).max() for name in rest), "cold diffusion is the worst"
        assert min(each(f"from-mean{end}", "precision")) > max(each(name, "precision").max() for name in rest)
        kept = [name for name in rest if name != "soft-plain"]  # whose samples are too alike as well
        assert max(each(f"from-mean{end}", "recall")) < 0.1 < 0.4 < min(each(name, "recall").min() for name in kept)


def test_the_bound_prefers_noise():
    for name in ("ddpm", "cosine", "blurring", "blur", "equal-snr"):
        # Of the seeds that both have.
        assert all(a < b for a, b in zip(bits(f"{name}-plain"), bits(name)))
    for name in ("from-mean", "from-mean-plain", "heat-plain"):
        assert all(run.metrics["bits"] is None for run in recorded.seeds(f"fashion-{name}"))


def test_seven_systems_keep_the_variance():
    near = []
    for name in EIGHT[:-1]:
        for end in ENDS:
            ratios = each(name + end, "bands")
            near += list(((ratios > 1 / 2) & (ratios < 2)).flat)
            if name + end != "equal-snr-plain":
                assert np.all(ratios[:, 4] < 1), "what is lacking is lacking in the highest band"
    assert np.mean(near) > 0.95
    assert np.all(each("equal-snr-plain", "bands")[:, 3:] > 1)
    assert np.all(np.concatenate([each(f"from-mean{end}", "bands")[:, 1:] for end in ENDS]) < 1 / 2)


def test_by_what_preconditioning_is_ahead_and_by_what_behind():
    """In each training: of each system but IHDM, and of each but equal SNR."""

    def said(word: str, left_out: str) -> set[str]:
        systems = [name for name in EIGHT[:-1] if name != left_out]
        pairs = [(recorded.seeds(f"fashion-{name}"), recorded.seeds(f"fashion-{name}-plain")) for name in systems]
        measures = [name for name in MEASURES if name in pairs[0][0][0].metrics["quality"]["samples"]]
        return {name for name in measures if all(verdict(*pair, [name]).word == word for pair in pairs)}

    assert said("seen", "heat") == {"spectrum"}
    pairs = {
        name: [recorded.seeds(f"fashion-{name}{end}") for end in ENDS[::-1]] for name in EIGHT[:-1] if name != "heat"
    }
    by_sliced = {name: verdict(*pair, ["sliced_wasserstein"]).dissenting for name, pair in pairs.items()}
    assert {name: len(against) for name, against in by_sliced.items() if against} == {"soft": 1}
    assert said("not seen", "equal-snr") == {"precision", "density", "nearest"}


@pytest.mark.parametrize("name", ["fashion", "photos", "leaves"])
def test_the_fitted_mixtures(name):
    mixture = recorded.mixture(name)
    assert mixture.means.shape == (len(mixture.weights), 1, 16, 16)
    drawn = mixture.sample(50, torch.Generator().manual_seed(0))
    assert drawn.shape == (50, 1, 16, 16)


def test_what_the_laboratory_lacks_is_named(tmp_path):
    (tmp_path / "laboratory").mkdir()
    (tmp_path / "laboratory/order.json").write_text("{}")
    assert recorded.laboratory("order", tmp_path) == {}
    with pytest.raises(recorded.NotRecordedError, match=r"few_calls.json is not recorded; there is order.json"):
        recorded.laboratory("few_calls", tmp_path)


# --- ablations: chapter 15 -----------------------------------------------------------------------------------


def way(name: str, what: str = "frechet") -> dict[str, float]:
    """A measure of the first training on its way, by step."""
    return {step: m[what] for step, m in recorded.read(f"fashion-{name}").metrics["on_the_way"].items()}


@pytest.mark.parametrize("end", ENDS)
def test_more_blur(end):
    """What chapter 15 says beside the verdicts: from half a pixel on, the farther the wider, in every seed."""
    found = judge(f"cosine{end}", f"blurring{end}")
    assert found.word == "mixed"
    assert len(found.dissenting) <= 0.06 * found.total, "nearly every measure"
    least, little, some, much = (each(f"{name}{end}") for name in ("cosine", "blurring-0.5px", *WIDE))
    assert max(max(least), max(little)) < min(some)
    assert max(some) < min(much)


def test_of_ten_pixels_some_samples_explode_to_the_end_where_the_noise_is_predicted():
    assert each("blurring-10px-plain", "bands")[0, 4] > 1e4
    assert max(each(f"{name}{end}", "bands").max() for name in ("cosine", "blurring") for end in ENDS) < 2
    assert each("blurring-10px", "bands").max() < 2


def test_more_blur_converges_later():
    """HS sec. 6.2 after a sixth of the training, in every measure and under each parametrisation; most where noise is
    predicted, and there alone are variances orders of magnitude too large.
    """
    lag, most = {}, {}
    for end in ("-plain", "-x0", "-v", ""):
        pair = [recorded.read(f"fashion-{name}{end}") for name in ("cosine", "blurring")]
        runs = [replace(run, metrics={"quality": {"samples": run.metrics["on_the_way"]["250"]}}) for run in pair]
        assert verdict(runs[:1], runs[1:]).word == "seen", end
        for step in ("250", "500", "1000"):
            assert way(f"blurring{end}")[step] > 1.1 * way(f"cosine{end}")[step]
        lag[end] = way(f"blurring{end}")["250"] / way(f"cosine{end}")["250"]
        most[end] = max(way(f"blurring{end}", "bands")["250"])
    assert max(lag, key=lag.get) == "-plain"
    assert most["-plain"] > 1e6
    assert max(most[end] for end in ("-x0", "-v", "")) < 10


@pytest.mark.parametrize("base", BASES)
def test_what_to_predict(base):
    """HS sec. 2.1, 3, 4 and app. B, scaled down."""
    assert min(bits(f"{base}-x0")) > 10 * max(bits(f"{base}-plain"))


def test_lees_orders():
    """Lee Table 1 and Fig. 3, scaled down."""
    assert judge("blur", "blur-log").word == "seen"
    assert judge("blur", "blur-fine").word == "mixed"


def test_a_training_saw_every_picture_one_or_two_times():
    record = recorded.read("fashion-cosine").record
    identity = record["identity"]
    assert 1 < 1500 * identity["recipe"]["batch"] / identity["count"] < 2


def test_bent_clocks():
    """The order alone: no order wins in every measure."""
    for better, worse in (("coarse", "fine"), ("fine", "coarse")):
        assert judge(f"equal-snr-{better}", f"equal-snr-{worse}").word == "mixed"
    for bent in ("coarse", "fine"):
        assert judge("equal-snr", f"equal-snr-{bent}").word == "mixed"
