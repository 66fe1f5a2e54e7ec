"""Samples against real images: each measure against another's, the floor, and what each measure sees."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from sklearn.metrics.pairwise import polynomial_kernel

from bdbook import data
from bdbook.data import fashion
from bdbook.evaluation import checks, fair, joint, metrics, neighbours
from bdbook.page.verdict import MEASURES

COUNT, REFERENCE, HELD_OUT = 640, 1500, 200


def small(name, size=16, channels=1):
    """`fair.real` with references that are quick to measure against, and fewer training images to be near to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fair, "REFERENCE", REFERENCE)
        patch.setattr(fair, "HELD_OUT", HELD_OUT)
        real = fair.real.__wrapped__(name, size, channels)
    return real.trained_on(real.near.training[:4000])


@pytest.fixture(scope="module")
def photos():
    return small("photos")


@pytest.fixture(scope="module")
def clothes():
    if not fashion.DEBIAN.is_dir() and os.environ.get("CI") != "true":
        pytest.skip("needs the package dataset-fashion-mnist")
    return small("fashion")


@pytest.fixture(scope="module")
def held_out():
    """Photographs that are in no part of `photos`."""
    return data.load("photos", 16, count=COUNT, seed=7)


# --- each measure is that of the other modules ---------------------------------------------------------------------


def test_each_measure_is_that_of_images_one_by_one(photos, held_out):
    images, reference = held_out + 0.02, photos.training.images
    found = photos.measures(images)["samples"]
    net = photos.training.judge.features
    assert found["frechet"] == pytest.approx(metrics.frechet(images, reference, net), rel=1e-3)
    expected = neighbours.precision_recall(images, reference, net)
    assert {name: found[name] for name in expected} == expected
    assert found["sliced_wasserstein"] == metrics.sliced_wasserstein(images, reference)
    assert found["whitened"] == joint.sliced_wasserstein(images, reference, photos.training.spectrum)
    assert found["spectrum"] == metrics.spectrum_distance(images, reference)
    assert found["bands"] == metrics.band_ratio(images, reference).tolist()
    distance = neighbours.nearest(images, photos.near.training).mean().item()
    assert found["nearest_distance"] == distance
    usual = neighbours.nearest(photos.near.held_out[:HELD_OUT], photos.near.training).mean().item()
    assert found["nearest"] == pytest.approx(distance / usual)
    assert (found["count"], found["pictures"]) == (COUNT, REFERENCE)


def test_the_kernel_distance_is_scikit_learns_kernel_over_all_pairs(photos, held_out):
    seen = replace(photos.training, images=held_out[:200])
    x, y = seen.features.numpy(), photos.training.features.numpy()
    within = [polynomial_kernel(z, degree=3, coef0=1) for z in (x, y)]
    within = sum((k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in within)
    expected = within - 2 * polynomial_kernel(x, y, degree=3, coef0=1).mean()
    assert fair.kernel(seen, photos.training) == pytest.approx(expected, rel=1e-6)


def test_under_test_the_reference_is_the_test_split_whitened_by_the_training(photos, held_out):
    found, pictures = (
        photos.measures(held_out)["test"]["samples"],
        data.load("photos", 16, count=REFERENCE, split="test"),
    )
    assert torch.equal(photos.test.images, pictures)
    assert found["sliced_wasserstein"] == metrics.sliced_wasserstein(held_out, pictures)
    assert found["whitened"] == joint.sliced_wasserstein(held_out, pictures, photos.training.spectrum)
    assert "nearest" not in found


def test_the_floor_is_of_as_many_training_images_that_are_not_the_reference(photos, held_out):
    found = photos.measures(held_out[:300])
    every = data.load("photos", 16)
    assert torch.equal(photos.training.images, every[-REFERENCE:])
    floor = every[-REFERENCE - 300 : -REFERENCE]
    for row, reference in ((found["floor"], every[-REFERENCE:]), (found["test"]["floor"], photos.test.images)):
        assert row["sliced_wasserstein"] == metrics.sliced_wasserstein(floor, reference)
        assert (row["count"], row["pictures"]) == (300, REFERENCE)
    expected = neighbours.nearest(photos.near.held_out[HELD_OUT:], photos.near.training).mean().item()
    assert found["floor"]["nearest_distance"] == pytest.approx(expected)


def test_real_images_are_at_the_floor(photos, held_out):
    found = photos.measures(held_out)
    for name in ("frechet", "sliced_wasserstein", "whitened"):
        assert found["samples"][name] < 1.5 * found["floor"][name], name
    for name in ("precision", "recall"):
        assert found["samples"][name] > found["floor"][name] - 0.05, name
    assert found["floor"]["nearest"] == pytest.approx(1, abs=0.15)


def test_what_belongs_to_real_images_is_computed_once(photos, held_out, monkeypatch):
    photos.measures(held_out[:100])
    seen, of = [], metrics.features_of
    monkeypatch.setattr(metrics, "features_of", lambda images, net: seen.append(len(images)) or of(images, net))
    photos.measures(held_out[100:200])
    assert seen == [100]


def test_every_measure_has_its_sentence_and_every_sentence_its_measure(photos, held_out):
    found = set(photos.measures(held_out[:100])["samples"]) | {"score"}
    assert found - {"bands", "count", "pictures", "nearest_distance"} == set(fair.SEES)
    assert set(fair.SEES) <= set(MEASURES)


# --- what is refused, and words ------------------------------------------------------------------------------------


def test_of_images_with_nan_each_measure_says_so(photos, held_out):
    broken = held_out[:50].clone()
    broken[3, 0, 2, 2] = torch.nan
    found = photos.measures(broken)
    for row in (found["samples"], found["test"]["samples"]):
        assert row["frechet"] == row["whitened"] == row["bands"][4] == "not finite: 1 of 50"
        assert row["count"] == 50
    assert found["samples"]["nearest"] == "not finite: 1 of 50"
    assert isinstance(found["floor"]["whitened"], float)
    assert "not finite: 1 of 50" in fair.table(found)


def test_of_one_image_there_is_what_there_is(photos, held_out):
    row = photos.measures(held_out[:1])["samples"]
    assert (row["frechet"], row["kernel"], row["recall"]) == ("too few: 1 of 65", "too few: 1 of 10", "too few: 1 of 4")
    assert row["bands"] == ["too few: 1 of 2"] * 5
    assert isinstance(row["sliced_wasserstein"], float)


def test_images_of_another_shape_and_too_many_are_refused(photos):
    with pytest.raises(ValueError, match=r"images were \(1, 8, 8\) and the real images \(1, 16, 16\); expected equal"):
        photos.measures(torch.zeros(4, 1, 8, 8))
    spare = len(photos.spare)
    with pytest.raises(ValueError, match=f"there were {spare + 1} images; expected 1 to {spare}: photos has so many"):
        photos.measures(torch.zeros(spare + 1, 1, 16, 16))


def test_other_data_have_no_fair_measures():
    with pytest.raises(ValueError, match=r"'digits' has no features made for it.*expected fashion, photos, leaves"):
        fair.real("digits", 16)


def test_the_nearest_is_looked_for_among_what_was_trained_on(photos, held_out):
    few = photos.trained_on(held_out[:20])
    assert few.measures(held_out[:20])["samples"]["nearest"] == 0
    assert photos.measures(held_out[:20])["samples"]["nearest"] > 0.5
    assert few.training is photos.training
    assert photos.trained_on(photos.near.training.clone()) is photos


def test_the_table_has_each_references_samples_and_floor(photos, held_out):
    found = photos.measures(held_out[:100])
    lines = fair.table(found).splitlines()
    assert [line[:10].strip() for line in lines[1:]] == ["samples", "floor", "test", "test floor"]
    for line, row in zip(lines[1:], [found["samples"], found["floor"], *found["test"].values()], strict=True):
        assert f"{row['precision']:.3f}" in line
        assert f"{row['whitened']:.4f}" in line
    assert "score" not in lines[0], "photographs have no classes"


# --- what each measure sees ----------------------------------------------------------------------------------------


def noisy(images, deviation):
    return images + deviation * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))


def blurred(images, width):
    return torch.from_numpy(gaussian_filter(images.numpy(), (0, 0, width, width), mode="nearest"))


@pytest.fixture(scope="module")
def seen(clothes):
    """name -> (samples' measures, floor's), of what is done to clothes that are not in the reference."""
    with checks.doubts():
        every, kinds = clothes.spare[-8000:], data.fashion.labels("train", 60_000 - REFERENCE)[-8000:]
        real = every[:COUNT]
        fields = clothes.training.spectrum.sample(COUNT, torch.Generator().manual_seed(0)).float()
        chances = clothes.training.judge.logits(metrics.quantise(every)).softmax(1)
        clearest = every[chances.argmax(0)]  # of each kind
        sets = {
            "real": real,
            "noise": noisy(real, 0.05),
            "blur": blurred(real, 0.5),
            "fields": fields,
            "half nothing": torch.cat([real[: COUNT // 2], fields[: COUNT // 2]]),
            "half of the kinds": every[kinds < 5][:COUNT],
            "nine kinds": every[kinds != 6][:COUNT],
            "one kind": every[kinds == 6][:COUNT],
            "one of each": clearest.repeat(COUNT // 10, 1, 1, 1),
            "less contrast": 0.8 * (real + 1) - 1,
        }
        found = {name: clothes.measures(images) for name, images in sets.items()}
    return {name: (each["samples"], each["floor"]) for name, each in found.items()}


def times_floor(seen, name, measure):
    samples, floor = seen[name]
    return samples[measure] / floor[measure]


def below_floor(seen, name, measure):
    samples, floor = seen[name]
    return floor[measure] - samples[measure]


def test_what_frechet_and_kernel_see(seen, photos, held_out):
    for name in ("half of the kinds", "nine kinds", "fields", "half nothing", "blur"):
        assert times_floor(seen, name, "frechet") > 1.5, name
        assert seen[name][0]["kernel"] > 2 * abs(seen[name][1]["kernel"]), name
    assert times_floor(seen, "real", "frechet") < 1.3
    assert times_floor(seen, "noise", "frechet") < times_floor(seen, "noise", "spectrum"), "that of clothes past it"
    textured = photos.measures(noisy(held_out, 0.05))
    more = [textured["samples"][name] / textured["floor"][name] for name in ("frechet", "spectrum")]
    assert more[0] > more[1], "that of textures looks for it"


def test_what_the_score_sees(seen):
    assert below_floor(seen, "fields", "score") > 3
    assert below_floor(seen, "one kind", "score") > 3
    assert seen["one of each"][0]["score"] > 9.9


def test_what_precision_sees(seen):
    assert below_floor(seen, "fields", "precision") > 0.2
    assert below_floor(seen, "half nothing", "precision") > 0.1
    for name in ("one kind", "half of the kinds", "nine kinds", "blur"):
        assert below_floor(seen, name, "precision") < 0.08, name


def test_what_recall_sees(seen):
    for name in ("half of the kinds", "one of each", "blur"):
        assert below_floor(seen, name, "recall") > 0.2, name
    assert below_floor(seen, "nine kinds", "recall") < 0.05
    assert below_floor(seen, "half nothing", "recall") < 0.1


def test_what_sliced_and_whitened_see(seen):
    for name in ("half of the kinds", "less contrast", "fields", "blur"):
        assert times_floor(seen, name, "sliced_wasserstein") > 1.5, name
    assert times_floor(seen, "noise", "sliced_wasserstein") == pytest.approx(
        times_floor(seen, "real", "sliced_wasserstein"), rel=0.05
    )
    for name in ("half of the kinds", "less contrast", "blur"):
        assert times_floor(seen, name, "whitened") > 2, name
    assert seen["fields"][0]["whitened"] < 0.6 * seen["blur"][0]["whitened"]


def test_what_the_spectrum_sees(seen):
    for name in ("noise", "blur"):
        assert seen[name][0]["spectrum"] > 0.05 > seen[name][1]["spectrum"], name
    assert seen["noise"][0]["bands"][4] > 1.1 > max(seen["noise"][0]["bands"][:3])
    assert seen["fields"][0]["spectrum"] < 0.05


def test_what_the_nearest_image_sees(clothes):
    copies, new = clothes.near.training[:COUNT], clothes.near.held_out
    near = clothes.near
    assert near.of(copies)["nearest"] == 0
    assert near.of(new)["nearest"] == pytest.approx(1, abs=0.1)
    assert near.of(noisy(copies, 0.1))["nearest"] == pytest.approx(0.6, abs=0.1)


def test_textures_are_told_from_fields_of_the_same_spectrum(photos):
    """What a spectrum does not see, the features do."""
    fields = photos.training.spectrum.sample(COUNT, torch.Generator().manual_seed(0)).float()
    found = photos.measures(fields)
    assert found["samples"]["spectrum"] < 0.05
    assert found["samples"]["precision"] < found["floor"]["precision"] - 0.5
    assert found["samples"]["frechet"] > 100 * found["floor"]["frechet"]
    digits = [metrics.frechet(x, photos.training.images) for x in (fields, photos.spare[-COUNT:])]
    assert digits[0] / digits[1] < found["samples"]["frechet"] / found["floor"]["frechet"], "digit features see less"


# --- a run ---------------------------------------------------------------------------------------------------------
