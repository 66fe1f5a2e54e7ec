"""The embedded feature network names digits, and the Frechet distance on it is the textbook's."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from bdbook import data
from bdbook.evaluation import features, metrics


def test_the_stored_network_names_digits():
    assert features.accuracy(features.digit_features()) > 0.95
    assert features.accuracy(features.DigitFeatures()) < 0.5


def test_a_short_training_learns():
    assert features.accuracy(features.fit(steps=150)) > 0.8


def test_channels_give_features_of_their_own():
    x = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    together = features.digit_features()(x)
    apart = [features.digit_features()(x[:, c : c + 1]) for c in range(3)]
    assert together.shape == (3, 96)
    torch.testing.assert_close(together, torch.cat(apart, 1))


def test_frechet_is_the_distance_of_two_gaussians():
    a, b = data.load("digits", 16, count=300), data.load("digits", 16, split="test")
    fa, fb = (features.digit_features()(metrics.quantise(x)).double().numpy() for x in (a, b))
    ca, cb = np.cov(fa.T), np.cov(fb.T)
    expected = ((fa.mean(0) - fb.mean(0)) ** 2).sum() + np.trace(ca + cb - 2 * sqrtm(ca @ cb).real)
    assert metrics.frechet(a, b) == pytest.approx(expected, rel=1e-2, abs=1e-2)
    assert metrics.frechet(a, a) == pytest.approx(0, abs=1e-2)


def test_frechet_takes_any_features():
    class Means(torch.nn.Module):
        def forward(self, images):
            return images.float().mean((2, 3))

    a = torch.full((50, 2, 12, 12), -1.0) + 0.1 * torch.randn(50, 2, 1, 1, generator=torch.Generator().manual_seed(0))
    moved = metrics.frechet(a + 0.5, a, Means())
    shift = np.diff([metrics.quantise(x).float().mean((2, 3)).numpy().mean(0) for x in (a, a + 0.5)], axis=0)
    assert moved == pytest.approx((shift**2).sum(), rel=0.05)


def test_frechet_needs_two_images():
    with pytest.raises(ValueError, match=r"images had shape \(1, 1, 16, 16\).*N of 2 or more"):
        metrics.frechet(torch.zeros(1, 1, 16, 16), torch.zeros(4, 1, 16, 16))


def test_larger_images_are_averaged():
    """What is finer than 16 pixels can show is hardly there for the network; who picks pixels would see it all."""
    small = torch.randint(60, 196, (4, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    blocks = small.repeat_interleave(3, 2).repeat_interleave(3, 3)
    fine = 60 * (1 - 2 * (torch.arange(48)[:, None] % 2)).expand(48, 48)
    plain, striped = (features.digit_features()(x.byte()) for x in (blocks, blocks + fine))
    assert (striped - plain).norm() < 0.1 * plain.norm()


def test_colours_are_named_by_their_mean():
    digits = metrics.quantise(data.load("digits", 16, count=20))
    colour = torch.cat([digits, digits // 2, torch.zeros_like(digits)], 1)
    grey = colour.float().mean(1, keepdim=True) / 127.5 - 1
    torch.testing.assert_close(features.digit_logits()(colour), features.digit_features().logits(grey))


def test_training_shows_digits_at_each_of_25_places(monkeypatch):
    digit, labels = data.load("digits", 16, count=1), features.labels("train")
    monkeypatch.setattr(data, "digits", lambda size: digit.expand(len(labels), 1, 16, 16))
    shown, logits = [], features.DigitFeatures.logits

    def noted(self, grey):
        shown.append(grey[0, 0].numpy())
        return logits(self, grey)

    monkeypatch.setattr(features.DigitFeatures, "logits", noted)
    features.fit(steps=200)
    framed = np.pad(digit[0, 0].numpy(), 2, constant_values=-1.0)
    shifted = [framed[y : y + 16, x : x + 16] for y in range(5) for x in range(5)]
    found = [[k for k, each in enumerate(shifted) if np.array_equal(each, image)] for image in shown]
    assert all(len(places) == 1 for places in found), "each is the digit at one place"
    assert len({places[0] for places in found}) == 25
