"""What every measure refuses, takes, and says where there is no number."""

import json
import math
import pickle
import re
import warnings

import numpy as np
import pytest
import torch

from bdbook import data, pixels
from bdbook.evaluation import checks, generation, metrics, neighbours, restoration
from bdbook.likelihood import Bound

MEASURES = {
    "frechet": (metrics.frechet, ("images", "reference")),
    "kernel_distance": (metrics.kernel_distance, ("images", "reference")),
    "inception_score": (metrics.inception_score, ("images",)),
    "spectrum_distance": (metrics.spectrum_distance, ("images", "pictures")),
    "band_variance": (metrics.band_variance, ("images",)),
    "band_ratio": (metrics.band_ratio, ("samples", "data")),
    "fidelity": (metrics.fidelity, ("images", "truth")),
    "sliced_wasserstein": (metrics.sliced_wasserstein, ("images", "pictures")),
    "precision_recall": (neighbours.precision_recall, ("images", "reference")),
}
OF_TWO = [name for name, (_, names) in MEASURES.items() if len(names) == 2]
NEEDS_TWO = [name for name in MEASURES if name not in ("fidelity", "sliced_wasserstein", "precision_recall")]


def digits(count=40):
    return data.load("digits", 16, count=count, split="test").clone()


def numbers(found):
    return list(found.values()) if isinstance(found, dict) else torch.as_tensor(found).flatten().tolist()


def each(function):
    """A test of every measure, for each place that a broken set can take."""
    places = [(name, place) for name, (_, names) in MEASURES.items() for place in range(len(names))]
    return pytest.mark.parametrize(("name", "place"), places)(function)


def asked(name, place, broken, count=40):
    """Call a measure with the broken set in one place and digits in the other."""
    measure, names = MEASURES[name]
    return measure(*(broken if number == place else digits(count) for number in range(len(names))))


@each
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused_with_its_images(name, place, value):
    broken = digits()
    broken[3, 0, 2, 2] = broken[17, 0, 0, 0] = value
    expected = rf"^{MEASURES[name][1][place]} had NaN or infinity in 2 of 40 images \(number 3, 17, from 0\)"
    with pytest.raises(ValueError, match=expected):
        asked(name, place, broken)


@each
def test_floats_of_0_to_255_are_refused_with_what_to_do(name, place):
    argument = MEASURES[name][1][place]
    scaled = pixels.quantise(digits()).float()
    for wrong in (scaled, scaled / 100):
        with pytest.raises(ValueError, match=rf"^{argument} lay in \[0, .*give {argument} / 127.5 - 1, or uint8"):
            asked(name, place, wrong)


@each
@pytest.mark.parametrize("dtype", [torch.bool, torch.int16, torch.int64, torch.int8])
def test_whole_numbers_but_uint8_are_refused(name, place, dtype):
    with pytest.raises(ValueError, match=rf"^{MEASURES[name][1][place]} had dtype {dtype}; expected floating point"):
        asked(name, place, digits().to(dtype))


@each
def test_arrays_and_other_shapes_are_refused(name, place):
    argument = MEASURES[name][1][place]
    with pytest.raises(ValueError, match=rf"^{argument} was ndarray; expected a tensor, e.g. torch.from_numpy"):
        asked(name, place, digits().numpy())
    with pytest.raises(ValueError, match=rf"{argument}.* \(40, 16, 16\).*expected"):
        asked(name, place, digits()[:, 0])
    with pytest.raises(ValueError, match=r"0\).*expected"):
        asked(name, place, digits()[..., :0])


@pytest.mark.parametrize("name", OF_TWO)
@pytest.mark.parametrize("shape", [(1, 32, 32), (1, 16, 12), (3, 16, 16)])
def test_sets_of_other_sizes_or_channels_are_refused(name, shape):
    measure, _ = MEASURES[name]
    with pytest.raises(ValueError, match=re.escape(str(shape)[1:-1]) + r".*expected (equal|the same)"):
        measure(digits(), torch.zeros(40, *shape))


@pytest.mark.parametrize("name", NEEDS_TWO)
def test_one_image_is_too_few(name):
    measure, names = MEASURES[name]
    with pytest.raises(checks.Unmeasurable, match=r"N of 2 or more") as told:
        measure(*(digits()[:1] for _ in names))
    assert told.value.words == "too few: 1 of 2"


@pytest.mark.parametrize("name", MEASURES)
def test_8_bit_pixels_mean_what_they_mean_as_floats(name):
    measure, names = MEASURES[name]
    byte = [pixels.quantise(data.load("digits", 16, count=40, split=split)) for split in ("train", "test")]
    floats = [byte.float() / 127.5 - 1 for byte in byte]
    if len(names) == 1:
        byte, floats = byte[:1], floats[:1]
    np.testing.assert_allclose(numbers(measure(*byte)), numbers(measure(*floats)), rtol=1e-4, atol=1e-7)
    if len(names) == 2:
        np.testing.assert_allclose(numbers(measure(byte[0], floats[1])), numbers(measure(*floats)), rtol=1e-4)


def test_8_bit_pixels_are_at_no_distance_from_themselves():
    byte = pixels.quantise(digits())
    assert metrics.frechet(byte, byte) == pytest.approx(0, abs=1e-2)
    assert metrics.frechet(byte, digits()) == pytest.approx(0, abs=1e-2)
    assert metrics.sliced_wasserstein(byte, byte) == 0


def test_quantise_leaves_8_bit_pixels_and_refuses_other_whole_numbers():
    byte = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    assert torch.equal(pixels.quantise(byte), byte)
    assert torch.equal(pixels.quantise(pixels.as_float(byte)), byte)
    with pytest.raises(ValueError, match=r"got torch\.int64"):
        pixels.quantise(byte.long())


# --- what is taken, with a word ------------------------------------------------------------------------------------


def test_overshoot_is_taken_without_a_word_and_most_of_all_pixels_beyond_with_one():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checks.images(digits() * 1.05)  # the background, most of the pixels, at -1.05
        checks.images(pixels.quantise(digits()))
        checks.images(torch.zeros(1, 1, 4, 4))
    half = torch.zeros(1, 1, 2, 2)
    half[0, 0, 0] = -1.2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checks.images(half)  # half of them, no more
    half[0, 0, 1, 0] = 3.0
    with pytest.warns(checks.DoubtfulWarning, match=r"^some: 75% of all pixels lie beyond \[-1, 1\].*from -1.2 to 3"):
        checks.images(half, "some")


def test_a_warning_points_at_who_asked():
    with pytest.warns(checks.DoubtfulWarning) as told:
        metrics.frechet(digits(), digits())
    assert {warning.filename for warning in told} == {__file__}


@pytest.mark.parametrize("number", [1e4, 1e15, 1e30])
def test_huge_samples_are_measured(number):
    """A short training makes such."""
    wild = number * torch.randn(40, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    rows = {"samples": generation.measures(wild, digits(), digits=True)}
    assert np.isfinite([value for value in rows["samples"].values() if not isinstance(value, list)]).all()
    assert max(map(len, generation.table(rows).splitlines())) < 200
    assert np.isfinite(list(restoration.measures(wild, digits()).values())).all()


def test_what_no_number_can_hold_is_said():
    wild = torch.full((40, 1, 16, 16), 1e200, dtype=torch.float64)
    wild[::2] *= -1
    found = generation.measures(wild, digits())
    assert (found["sliced_wasserstein"], found["spectrum"], set(found["bands"])) == (
        "too large",
        "too large",
        {"too large"},
    )


# --- enough images -------------------------------------------------------------------------------------------------


class Means(torch.nn.Module):
    """Four features: of each quarter, the mean."""

    def forward(self, images):
        return torch.nn.functional.avg_pool2d(images.float(), 8).flatten(1)


def test_a_frechet_distance_needs_more_images_than_features_and_says_how_many_would_do():
    with pytest.raises(
        checks.Unmeasurable, match=r"^reference had 32 images.* 32 features needs more than 32, and 320"
    ):
        metrics.frechet(digits(), digits(32))
    with pytest.raises(ValueError, match=r"^images had 4 images.* of 4 features needs more than 4, and 40"):
        metrics.frechet(digits(4), digits(), Means())
    with pytest.raises(ValueError, match=r"of 96 features"):
        metrics.frechet(digits().repeat(1, 3, 1, 1), digits().repeat(1, 3, 1, 1))
    with pytest.warns(checks.DoubtfulWarning, match="images had 39 images for 4 features.* It needs 40 or more"):
        metrics.frechet(digits(39), digits(40), Means())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics.frechet(digits(40), digits(40), Means())


def test_the_recorded_protocol_has_enough():
    """Test digits, and samples in results/record.py, for as many features as digits have."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics.frechet(data.load("digits", 16, split="test"), data.load("digits", 16, count=1024))


@pytest.mark.parametrize("count", [1, 2, 32])
def test_of_too_few_images_a_table_says_so_and_the_rest(count):
    rows = {"samples": generation.measures(digits(count), digits(count), digits=True)}
    told = generation.table(rows)
    assert f"too few: {count} of {33 if count > 1 else 2}" in told
    assert rows["samples"]["sliced_wasserstein"] == 0
    if count > 1:
        assert all(ratio == pytest.approx(1) for ratio in rows["samples"]["bands"])
    assert not re.search(r"\b(nan|inf)\b", told)
    json.dumps(rows, allow_nan=False)


def test_tables_say_how_many_images_there_were():
    line = generation.table({"samples": generation.measures(digits(40), digits(36))}).splitlines()
    assert line[0].split("   variance")[0].split()[-2:] == ["N", "images"]
    assert line[1].split()[5:7] == ["40", "36"]
    line = restoration.table({"direct": restoration.measures(digits(36), digits(36))}).splitlines()
    assert (line[0].split()[-1], line[1].split()[-1]) == ("N", "36")


# --- constant images -----------------------------------------------------------------------------------------------


def test_images_that_are_all_the_same_have_words():
    same = digits()[:1].repeat(40, 1, 1, 1)
    flat = torch.linspace(-1, 1, 40).reshape(40, 1, 1, 1).expand(40, 1, 16, 16)
    black = torch.full((40, 1, 16, 16), -1.0)
    for images, pictures in ((digits(), same), (same, digits()), (black, black), (flat, black), (black, flat)):
        for rows, table in (
            ({"a": generation.measures(images, pictures, digits=True)}, generation.table),
            ({"a": restoration.measures(images, pictures)}, restoration.table),
            ({"a": restoration.novelty(images, pictures)}, None),
        ):
            json.dumps(rows, allow_nan=False)
            assert table is None or not re.search(r"\b(nan|inf)\b", table(rows)), rows
    assert generation.measures(same, digits())["spectrum"] == "constant"
    assert generation.measures(digits(), flat)["bands"][1:] == ["constant"] * 4
    assert isinstance(generation.measures(digits(), flat)["bands"][0], float)
    assert restoration.measures(digits(), flat)["detail"] == "constant"
    assert metrics.band_variance(same).tolist() == [0] * 5
    assert metrics.band_variance(flat)[1:].tolist() == [0] * 4
    with pytest.raises(ValueError, match=r"^data do not vary in frequency band 2, 3, 4, 5 of 5.*give images"):
        metrics.band_ratio(digits(), flat)
    with pytest.raises(ValueError, match=r"^images do not vary in frequency band 1, 2"):
        metrics.spectrum_distance(same, digits())


def test_identical_images_are_called_so():
    assert metrics.fidelity(digits(), digits()) == {"rmse": 0, "psnr": math.inf, "ssim": pytest.approx(1)}
    found = restoration.measures(digits(), digits())
    assert found["psnr"] == "identical"
    assert "identical" in restoration.table({"direct": found})


def test_pictures_too_small_for_a_window_are_said():
    with pytest.raises(checks.Unmeasurable, match="5x16 pixels; expected sides of 6 or more"):
        metrics.fidelity(torch.zeros(2, 1, 5, 16), torch.zeros(2, 1, 5, 16))
    metrics.fidelity(torch.zeros(2, 1, 6, 6), torch.zeros(2, 1, 6, 6))


def test_words_travel_between_processes():
    error = checks.Unmeasurable.because("images had 2 images", "too few: 2 of 33")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.words) == ("images had 2 images", "too few: 2 of 33")


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        ([3.0, 5.0], "4.000 +- 1.000 (2 images)"),
        ([3.0], "3.000 (one image: no standard error)"),
        ([3.0, math.inf, math.nan], "no number, the network rules 2 of 3 images out"),
    ],
)
def test_bits_are_told_with_their_images(bits, words):
    zero = torch.zeros(len(bits), dtype=torch.float64)
    bound = Bound(zero, zero, torch.tensor(bits, dtype=torch.float64) * math.log(2), 1)
    assert generation.bits_in_words(bound) == words


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (lambda x: metrics.band_variance(x, 0), "bands was 0; expected at least 1"),
        (lambda x: metrics.sliced_wasserstein(x, x, projections=0), "projections was 0; expected at least 1"),
        (lambda x: metrics.kernel_distance(x, x, subset=1), "subset was 1; expected at least 2"),
        (lambda x: metrics.inception_score(x, splits=0), "splits was 0; expected 1 to 40"),
        (lambda x: metrics.inception_score(x, splits=41), "splits was 41; expected 1 to 40"),
    ],
)
def test_settings_of_measures(measure, message):
    with pytest.raises(ValueError, match=message):
        measure(digits())


@pytest.mark.parametrize(("count", "places"), [(1, 4), (30, 50), (50, 30), (50, 50)])
def test_sets_of_unequal_number_are_compared_at_numpys_quantiles(count, places):
    columns = torch.randn(count, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64).sort(0).values
    expected = np.quantile(columns.numpy(), (np.arange(places) + 0.5) / places, axis=0)
    np.testing.assert_allclose(metrics.quantiles(columns, places), expected, rtol=1e-12, atol=1e-12)


# --- protocols -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [generation.Protocol, restoration.Protocol])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count": 0}, "count must be at least 1, got 0"),
        ({"count": -3}, "count must be at least 1, got -3"),
        ({"steps": 0}, "steps was 0; expected at least 1"),
        ({"split": "tset"}, "unknown split 'tset': did you mean 'test'"),
    ],
)
def test_a_protocol_that_makes_no_sense_is_refused(kind, changes, message):
    with pytest.raises(ValueError, match=message):
        kind(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": 0}, "samples was 0; expected at least 1"),
        ({"order": 3}, "order was 3; expected 1, or 2"),
        ({"rule": "dim"}, "unknown rule 'dim': did you mean 'ddim'"),
    ],
)
def test_a_protocol_of_samples_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        generation.Protocol(**changes)
