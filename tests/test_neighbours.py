"""Precision, recall and the nearest training image against loops and a k-d tree."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from bdbook import data
from bdbook.evaluation import features, metrics, neighbours
from bdbook.evaluation.checks import Unmeasurable


def share_among(x, others, k):
    """Share of x within the distance of any of the others to its k-th neighbour: Kynkaanniemi et al. 2019, Eq. 1."""
    inside = 0
    for point in x:
        for number, other in enumerate(others):
            radius = sorted(np.linalg.norm(other - o) for m, o in enumerate(others) if m != number)[k - 1]
            if np.linalg.norm(point - other) <= radius:
                inside += 1
                break
    return inside / len(x)


def points(count, dimension, seed, spread=1.0):
    return spread * np.random.default_rng(seed).standard_normal((count, dimension))


@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 4), st.floats(0.1, 4))
def test_precision_and_recall_are_the_loops(seed, dimension, k, spread):
    a, b = points(17, dimension, seed, spread), points(17, dimension, seed + 1)
    found = neighbours.among(torch.from_numpy(a), torch.from_numpy(b), k)
    assert found == {"precision": share_among(a, b, k), "recall": share_among(b, a, k)}


@given(st.integers(0, 1000), st.integers(1, 4))
def test_exchanged_sets_exchange_precision_and_recall(seed, k):
    a, b = (torch.from_numpy(points(12, 2, s)) for s in (seed, seed + 1))
    there, back = neighbours.among(a, b, k), neighbours.among(b, a, k)
    assert (there["precision"], there["recall"]) == (back["recall"], back["precision"])


def test_of_unequal_sets_the_first_of_the_larger_are_taken():
    a, b = torch.from_numpy(points(30, 3, 0)), torch.from_numpy(points(90, 3, 1))
    assert neighbours.among(a, b) == neighbours.among(a, b[:30])
    assert neighbours.among(a, b) != neighbours.among(a, b[60:])


def test_of_images_they_are_those_of_their_features():
    a, b = data.load("digits", 16, count=40), data.load("digits", 16, count=40, split="test")
    seen = [features.digit_features()(metrics.quantise(x)).double().numpy() for x in (a, b)]
    found = neighbours.precision_recall(a, b)
    assert found["precision"] == pytest.approx(share_among(*seen, 3))
    assert found["recall"] == pytest.approx(share_among(*seen[::-1], 3))
    assert 0 < found["precision"] < 1
    assert neighbours.precision_recall(a, a) == {"precision": 1.0, "recall": 1.0}


def test_too_few_for_a_neighbour_are_refused():
    a = data.load("digits", 16, count=3)
    with pytest.raises(Unmeasurable, match="distance to neighbour 3 needs 4 images, but got 3"):
        neighbours.precision_recall(a, a)
    with pytest.raises(ValueError, match="neighbours was 0; expected at least 1"):
        neighbours.precision_recall(a, a, neighbours=0)


# --- the nearest training image -----------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [7, 8192])
def test_the_nearest_is_that_of_a_tree(chunk, monkeypatch):
    monkeypatch.setattr(neighbours, "CHUNK", chunk)
    training, images = data.load("photos", 8, count=300), data.load("photos", 8, count=50, split="test")
    tree = cKDTree(training.double().flatten(1).numpy())
    expected = tree.query(images.double().flatten(1).numpy())[0] / 8  # of 64 pixels
    np.testing.assert_allclose(neighbours.nearest(images, training).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("shift", [0.0, 1e-3, 0.05])
def test_a_copy_is_as_far_as_it_was_shifted(shift):
    """Also where the distance is less than what float32 leaves of the products that find it."""
    training = data.load("digits", 16, count=200)
    found = neighbours.nearest(training[5:25] + shift, training)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), shift, atol=1e-7)


def test_training_images_may_be_pixels_as_they_are_stored():
    training, images = data.load("photos", 8, count=100), data.load("photos", 8, count=20, split="test")
    stored = metrics.quantise(training)
    expected = neighbours.nearest(images, stored.float() / 127.5 - 1)
    torch.testing.assert_close(neighbours.nearest(images, stored), expected, rtol=0, atol=1e-7)


def test_images_of_another_shape_have_no_nearest():
    with pytest.raises(ValueError, match=r"images were \(1, 8, 8\) and training \(1, 16, 16\); expected equal"):
        neighbours.nearest(torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 16, 16))
