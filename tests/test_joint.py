"""Measures of joint structure against brute force, closed forms in one dimension, and laws that are known to differ."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from reference import dct
from scipy import stats
from scipy.spatial.distance import cdist

from bdbook.evaluation import joint, metrics
from bdbook.evaluation.checks import Unmeasurable
from bdbook.mixtures import Mixture
from bdbook.oracle import Gaussian
from bdbook.pixels import ROUNDING
from bdbook.transforms import DCT, Pixel

SIZE = (4, 4)
RNG = np.random.default_rng(0)
# Two clusters that a Gaussian of the same mean and variance has not; small, so that images lie in [-1, 1].
CLUSTERS = Mixture(
    DCT(SIZE),
    torch.tensor([0.7, 0.3]),
    torch.from_numpy(0.2 * RNG.choice([-1, 1], (2, 1, *SIZE))),
    torch.from_numpy(RNG.uniform(0.002, 0.01, (2, 1, *SIZE))),
)
SPECTRUM = CLUSTERS.gaussian()
ONE = Gaussian(Pixel(), torch.full((1, 1, 1, 1), 0.01), torch.full((1, 1, 1, 1), 0.1))


def generator(seed):
    return torch.Generator().manual_seed(seed)


def shifted(images, by):
    """Images whose whitened coordinates are all larger by `by`."""
    return images + SPECTRUM.basis.inverse(by * SPECTRUM.variance.sqrt())


def numbers(count, seed, shift=0.0):
    """Images of one pixel whose whitened coordinate is N(shift, 1)."""
    return 0.1 + 0.1 * (shift + torch.randn(count, 1, 1, 1, generator=generator(seed), dtype=torch.float64))


def test_whitening_is_of_the_dct_and_its_variance_has_a_floor():
    x = CLUSTERS.sample(10, generator(0))
    expected = (dct(x.numpy()) - SPECTRUM.mean.numpy()) / np.sqrt(SPECTRUM.variance.numpy())
    np.testing.assert_allclose(joint.whitened(x, SPECTRUM), expected.reshape(10, 16), rtol=0, atol=1e-12)
    still = replace(SPECTRUM, variance=torch.zeros(1, 1, *SIZE))
    expected = (dct(x.numpy()) - SPECTRUM.mean.numpy()) / np.sqrt(ROUNDING)
    np.testing.assert_allclose(joint.whitened(x, still), expected.reshape(10, 16), rtol=1e-10)


# --- energy distance ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 7, 512])
def test_energy_distance_is_scipys_distances(chunk, monkeypatch):
    monkeypatch.setattr(joint, "CHUNK", chunk)
    x, y = CLUSTERS.sample(30, generator(0)), shifted(CLUSTERS.sample(41, generator(1)), 0.2)
    a, b = (joint.whitened(z, SPECTRUM).numpy() for z in (x, y))
    within = [cdist(z, z).sum() / (len(z) * (len(z) - 1)) for z in (a, b)]
    expected = 2 * cdist(a, b).mean() - sum(within)
    assert joint.energy_distance(x, y, SPECTRUM) == pytest.approx(expected, abs=1e-7)


def closed_form(shift):
    """Energy distance of N(0, 1) and N(shift, 1): the mean of |N(shift, 2)| twice, less that of |N(0, 2)| twice."""
    apart = 2 / math.sqrt(math.pi) * math.exp(-(shift**2) / 4) + shift * math.erf(shift / 2)
    return 2 * apart - 4 / math.sqrt(math.pi)


def test_energy_distance_of_one_number_grows_as_the_closed_form_says():
    found = []
    for shift in (0.0, 0.3, 1.0, 2.0):
        each = [joint.energy_distance(numbers(400, s, shift), numbers(400, s + 100), ONE) for s in range(20)]
        error = np.std(each, ddof=1) / math.sqrt(20)
        assert abs(np.mean(each) - closed_form(shift)) < 4 * error
        found.append(np.mean(each))
    assert found == sorted(found)
    assert closed_form(0) == 0


def test_energy_distance_of_a_set_to_itself_is_a_little_below_0():
    x = CLUSTERS.sample(200, generator(0))
    y = joint.whitened(x, SPECTRUM).numpy()
    # The same N images count as pairs of different sets, N of them at no distance.
    assert joint.energy_distance(x, x, SPECTRUM) == pytest.approx(-2 * cdist(y, y).mean() / 199, abs=1e-6)


# --- sliced distance ------------------------------------------------------------------------------------------


def test_sliced_distance_is_that_of_the_whitened_numbers():
    x, y = CLUSTERS.sample(80, generator(0)), CLUSTERS.sample(60, generator(1))
    as_images = [0.01 * joint.whitened(z, SPECTRUM).reshape(-1, 1, *SIZE) for z in (x, y)]
    expected = 100 * metrics.sliced_wasserstein(*as_images, 40, 3)
    assert joint.sliced_wasserstein(x, y, SPECTRUM, 40, 3) == pytest.approx(expected, rel=1e-9)


def test_sliced_distance_of_a_shift_is_the_shift():
    x = CLUSTERS.sample(300, generator(0))
    assert joint.sliced_wasserstein(x, x, SPECTRUM) == 0
    assert joint.sliced_wasserstein(shifted(x, 0.3), x, SPECTRUM, 2000) == pytest.approx(0.3, rel=0.1)


def test_sliced_distance_of_one_number_is_the_difference_of_deviations():
    # W2 of N(0, 1) and N(0, 1.5^2) is 0.5.
    x, y = numbers(20_000, 0), 0.1 + 1.5 * (numbers(20_000, 1) - 0.1)
    assert joint.sliced_wasserstein(x, y, ONE, 2) == pytest.approx(0.5, abs=0.03)


# --- two samples ----------------------------------------------------------------------------------------------


def test_equal_laws_cannot_be_told_apart():
    count = 500
    each = [
        joint.two_sample_accuracy(
            CLUSTERS.sample(count, generator(s)), CLUSTERS.sample(count, generator(s + 50)), SPECTRUM
        )
        for s in range(6)
    ]
    error = 1 / math.sqrt(8 * count)
    assert all(abs(a - 0.5) < 4 * error for a in each)
    assert abs(np.mean(each) - 0.5) < 4 * error / math.sqrt(6)


def test_a_shift_and_a_scale_are_told():
    x, y = CLUSTERS.sample(400, generator(0)), CLUSTERS.sample(300, generator(1))
    assert joint.two_sample_accuracy(shifted(x, 1.0), y, SPECTRUM) > 0.9
    assert joint.two_sample_accuracy(2 * x, y, SPECTRUM) > 0.9


def test_clusters_are_told_from_a_gaussian_of_the_same_moments():
    x, y = SPECTRUM.sample(500, generator(0)), CLUSTERS.sample(500, generator(1))
    assert joint.two_sample_accuracy(x, y, SPECTRUM) > 0.8
    assert joint.two_sample_accuracy(x, y, SPECTRUM) == joint.two_sample_accuracy(x, y, SPECTRUM)
    energy = joint.floor(lambda a, b: joint.energy_distance(a, b, SPECTRUM), CLUSTERS.sample, 500)
    assert joint.energy_distance(x, y, SPECTRUM) > energy.mean + 6 * energy.deviation


def test_dependence_alone_is_told():
    # Each coefficient N(0, 1), all uncorrelated; but in one set half of them are the others, up to sign.
    white = Gaussian(DCT(SIZE), torch.full((1, 1, *SIZE), 0.01))
    x, y = (torch.randn(1000, 16, generator=generator(s), dtype=torch.float64) for s in (0, 1))
    x = torch.cat([x[:, :8], x[:, :8] * x[:, 8:].sign()], dim=1)
    x, y = (white.basis.inverse(0.1 * z.reshape(-1, 1, *SIZE)) for z in (x, y))
    assert joint.two_sample_accuracy(x, y, white) > 0.8


# --- under a mixture ------------------------------------------------------------------------------------------


def test_log_density_and_shares_are_scipys():
    x = CLUSTERS.sample(40, generator(0))
    u = dct(x.numpy()).reshape(40, 16)
    pdf = np.stack(
        [
            stats.multivariate_normal(m.flatten().numpy(), np.diag(v.flatten().numpy())).pdf(u)
            for m, v in zip(CLUSTERS.means, CLUSTERS.variances)
        ],
        1,
    ) * [0.7, 0.3]
    assert joint.negative_log_density(x, CLUSTERS) == pytest.approx(-np.log(pdf.sum(1)).mean(), rel=1e-9)
    shares = (pdf / pdf.sum(1, keepdims=True)).mean(0)
    assert joint.share_distance(x, CLUSTERS) == pytest.approx(0.5 * np.abs(shares - [0.7, 0.3]).sum(), abs=1e-6)


def test_a_lost_component_is_its_weight_in_the_wrong_place():
    x, labels = CLUSTERS.sample_labelled(4000, generator(0))
    assert joint.share_distance(x[labels == 0], CLUSTERS) == pytest.approx(0.3, abs=1e-3)
    assert joint.share_distance(x, CLUSTERS) < 4 * math.sqrt(0.7 * 0.3 / 4000)


def test_smooth_images_are_too_probable():
    x = CLUSTERS.sample(400, generator(0))
    truth = joint.negative_log_density(x, CLUSTERS)
    centres = CLUSTERS.basis.inverse(CLUSTERS.means)[torch.ones(400).long()]
    assert joint.negative_log_density(centres, CLUSTERS) < truth - 5
    assert joint.negative_log_density(SPECTRUM.sample(400, generator(1)), CLUSTERS) > truth + 5


# --- all together, and what true samples have -----------------------------------------------------------------


def test_floors_are_those_of_each_measure():
    floors = joint.floors(CLUSTERS, 60, repeats=3, seed=5)
    data, samples = CLUSTERS.sample(60, generator(1)), shifted(CLUSTERS.sample(60, generator(2)), 0.5)
    found = joint.compare(samples, data, CLUSTERS)
    assert found.keys() == floors.keys() == {"sliced_w2", "energy", "two_sample", "negative_log_density", "shares"}
    alone = joint.floor(lambda a, b: joint.energy_distance(a, b, SPECTRUM), CLUSTERS.sample, 60, 3, 5)
    assert alone == floors["energy"]
    random = generator(5)
    pairs = [(CLUSTERS.sample(60, random), CLUSTERS.sample(60, random)) for _ in range(3)]
    values = [joint.sliced_wasserstein(*pair, SPECTRUM, seed=5) for pair in pairs]
    assert floors["sliced_w2"].mean == pytest.approx(np.mean(values))
    assert floors["sliced_w2"].deviation == pytest.approx(np.std(values, ddof=1))
    for name in ("sliced_w2", "energy", "two_sample", "negative_log_density"):
        assert found[name] > floors[name].mean + 4 * floors[name].deviation, name


def test_floors_fall_with_more_images():
    few, many = (
        joint.floor(lambda a, b: joint.sliced_wasserstein(a, b, SPECTRUM), CLUSTERS.sample, count, 4)
        for count in (50, 800)
    )
    assert many.mean < few.mean / 3
    energy = joint.floor(lambda a, b: joint.energy_distance(a, b, SPECTRUM), CLUSTERS.sample, 100, 20)
    assert abs(energy.mean) < 4 * energy.deviation / math.sqrt(20)  # unbiased


# --- bad input ------------------------------------------------------------------------------------------------

GOOD = CLUSTERS.sample(30, generator(0))
COMPARING = [joint.energy_distance, joint.sliced_wasserstein, joint.two_sample_accuracy]
ALONE = [joint.negative_log_density, joint.share_distance]
BROKEN = GOOD.clone()
BROKEN[3, 0, 0, 0] = torch.nan


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (BROKEN, "samples had NaN or infinity in 1 of 30 images"),
        (127.5 * (GOOD.clamp(-1, 1) + 1), "looks like pixels of 0 to 255"),
        (GOOD.long(), "samples had dtype torch.int64"),
        (GOOD[0], "samples had shape"),
        (GOOD.numpy(), "samples was ndarray; expected a tensor"),
        (GOOD[:0], "samples had shape"),
    ],
)
def test_what_no_measure_takes_is_refused(samples, said):
    for measure in COMPARING:
        with pytest.raises(ValueError, match=said):
            measure(samples, GOOD, SPECTRUM)
    for measure in ALONE:
        with pytest.raises(ValueError, match=said):
            measure(samples, CLUSTERS)


def test_too_few_and_other_sizes_are_refused():
    with pytest.raises(Unmeasurable, match="distances within a set need two images, but got 1"):
        joint.energy_distance(GOOD[:1], GOOD, SPECTRUM)
    with pytest.raises(Unmeasurable, match="a classifier needs 20 of each, but got 19"):
        joint.two_sample_accuracy(GOOD, GOOD[:19], SPECTRUM)
    for measure in COMPARING:
        with pytest.raises(ValueError, match="expected equal"):
            measure(GOOD, GOOD[..., :3], SPECTRUM)
        with pytest.raises(ValueError, match="DCT was made for images of size"):
            measure(GOOD[..., :3], GOOD[..., :3], SPECTRUM)
    with pytest.raises(ValueError, match="projections was 0"):
        joint.sliced_wasserstein(GOOD, GOOD, SPECTRUM, 0)


@pytest.mark.filterwarnings("ignore:.*lie beyond:UserWarning")
def test_what_is_beyond_numbers_has_no_measure():
    for measure in COMPARING:
        with pytest.raises(Unmeasurable, match="so large that squares are no numbers"):
            measure(GOOD * 1e200, GOOD, SPECTRUM)
    with pytest.raises(Unmeasurable, match="so large that squares are no numbers"):
        joint.negative_log_density(GOOD * 1e200, CLUSTERS)


def test_pixels_of_files_are_taken():
    pixels = ((GOOD.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    assert abs(joint.energy_distance(pixels, GOOD, SPECTRUM)) < 1
    assert joint.negative_log_density(pixels, CLUSTERS) == pytest.approx(
        joint.negative_log_density(GOOD.clamp(-1, 1), CLUSTERS), abs=2
    )


def test_a_floor_needs_two_values():
    with pytest.raises(ValueError, match="repeats was 1; expected at least 2"):
        joint.floor(lambda a, b: 0.0, CLUSTERS.sample, 5, 1)
    with pytest.raises(ValueError, match="count was 0; expected at least 1"):
        joint.floors(CLUSTERS, 0)
