"""Datasets: what they promise (range, shape, repeatability, spectra), and files as people really have them."""

import colorsys
import re
import warnings
from importlib.resources import files

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.fft import dct
from scipy.stats import kstest
from sklearn.datasets import load_digits

from bdbook import data
from bdbook.data import embedded
from bdbook.errors import unknown

NAMES = ["digits", "photos", "leaves", "gaussian"]


def says(*words):
    return pytest.raises(ValueError, match=".*".join(re.escape(word) for word in words))


def coefficients(images):
    """Orthonormal DCT-II by an explicit sum over one axis after the other, float64."""
    x = images.double().numpy()
    return dct(dct(x, axis=-1, norm="ortho"), axis=-2, norm="ortho")


# --- every embedded dataset -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("split", ["train", "test"])
def test_shape_and_range(name, channels, split):
    images = data.load(name, (12, 20), channels, count=40, split=split)
    assert images.shape == (40, channels, 12, 20)
    assert images.dtype == torch.float32
    assert images.is_contiguous()
    assert images.isfinite().all()
    if name != "gaussian":
        assert images.min() >= -1
        assert images.max() <= 1
        assert images.max() - images.min() > 1  # of the range, not of half of it or of 0..255


@pytest.mark.parametrize("name", NAMES)
def test_repeatable_and_a_smaller_count_is_the_beginning(name):
    images = data.load(name, 8, count=30, seed=3)
    data._embedded.cache_clear()
    assert torch.equal(images, data.load(name, 8, count=30, seed=3))
    assert torch.equal(images[:7], data.load(name, 8, count=7, seed=3))


@pytest.mark.parametrize("name", ["photos", "leaves", "gaussian"])
def test_seeds_and_splits_differ(name):
    first = data.load(name, 8, count=30, seed=3)
    for other in (data.load(name, 8, count=30, seed=4), data.load(name, 8, count=30, seed=3, split="test")):
        assert not any(torch.equal(a, b) for a in first for b in other if a.std() > 0.05)


def test_writing_to_the_images_does_not_change_the_next():
    images = data.load("digits", 8, count=5)
    before = images.clone()
    images.zero_()
    assert torch.equal(data.load("digits", 8, count=5), before)


@pytest.mark.parametrize(
    ("name", "count"), [("digits", 1438), ("leaves", 8192), ("gaussian", 16384), ("photos", 16384)]
)
def test_default_counts(name, count):
    assert len(data.load(name, 2)) == count


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"name": "photo"},
            [
                "unknown dataset 'photo'",
                "'photos'",
                "digits, emoji, fashion, fashion-mnist, gaussian, leaves, lsun",
                "photos",
                "a folder",
            ],
        ),
        ({"name": "/no/such/folder"}, ["no folder '/no/such/folder'", "/no/such/folder does not exist"]),
        ({"split": "tset"}, ["unknown split 'tset'", "'test'"]),
        ({"channels": 4}, ["channels", "1 (grey) or 3 (colour)", "4"]),
        ({"count": 0}, ["count", "at least 1", "0"]),
        ({"count": 1439}, ["digits, split 'train', has 1438 images, 1439 were asked for"]),
        ({"size": 0}, ["size", "0"]),
        ({"name": "photos", "size": 500, "split": "test"}, ["test part", "500x500", "smaller size"]),
    ],
)
def test_errors(arguments, words):
    with says(*words):
        data.load(**{"name": "digits", "size": 8, **arguments})


def test_unknown_without_a_near_name():
    message = str(unknown("thing", "zzz", ["beta", "alpha"]))
    assert message == "unknown thing 'zzz'. Known: alpha, beta."


# --- digits ---------------------------------------------------------------------------------------------------


def test_digits_at_their_own_size_are_scikit_learns():
    raw = load_digits().images
    images = torch.cat([data.load("digits", 8, split=split) for split in ("train", "test")])
    assert len(images) == 1797
    np.testing.assert_allclose(images[:, 0].numpy(), raw / 8 - 1, atol=1e-6)
    assert abs(len(data.load("digits", 8, split="test")) - 1797 / 5) < 1


def test_digits_grow_by_bilinear_interpolation():
    """torch's bilinear interpolation with half-pixel centres is an independent implementation of PIL's."""
    small, large = data.load("digits", 8, count=50), data.load("digits", 24, count=50)
    expected = torch.nn.functional.interpolate(small, size=24, mode="bilinear", align_corners=False)
    torch.testing.assert_close(large, expected, atol=1e-5, rtol=0)


def test_colour_digits_are_grey():
    images = data.load("digits", 8, channels=3, count=5)
    assert torch.equal(images[:, 0], images[:, 1])
    assert torch.equal(images[:, 0], images[:, 2])


# --- photos ---------------------------------------------------------------------------------------------------


def slope(images):
    """Exponent of the spectrum: log variance against log frequency, over the middle frequencies."""
    variance = coefficients(images).var(axis=0).mean(axis=0)
    side = len(variance)
    n = np.hypot(*np.mgrid[:side, :side])
    middle = (n >= 1) & (n < 0.75 * side)
    return np.polyfit(np.log(n[middle]), np.log(variance[middle]), 1)[0]


@pytest.mark.parametrize("name", ["photos", "leaves"])
@pytest.mark.parametrize("size", [16, 32])
def test_spectra_fall_as_those_of_natural_images(name, size):
    assert -3 < slope(data.load(name, size, count=800)) < -1.5
    assert abs(slope(torch.randn(800, 1, size, size))) < 0.1  # the measure itself: white noise is flat


def found_in(patch, part):
    """Whether a patch (h, w) occurs as it is, upright or mirrored, in a part of a photograph."""
    h, w = patch.shape
    for p in (patch, patch[:, ::-1]):
        corners = (part[: 1 - h, : 1 - w] == p[0, 0]) & (part[h - 1 :, w - 1 :] == p[-1, -1])
        if any(np.array_equal(part[y : y + h, x : x + w], p) for y, x in np.argwhere(corners)):
            return True
    return False


@pytest.mark.parametrize("split", ["train", "test"])
def test_unreduced_patches_are_pixels_of_the_right_part_of_a_photograph(split, monkeypatch):
    monkeypatch.setattr(embedded, "REDUCTION", (1.0, 1.0))
    images = data.photos(12, 1, count=12, split=split)
    patches = np.rint((images[:, 0].numpy() + 1) * 127.5).astype(np.uint8)
    whole = []
    for package, name in embedded.COLOUR_PHOTOGRAPHS + embedded.GREY_PHOTOGRAPHS:
        with (files(package) / name).open("rb") as file:
            whole.append(np.asarray(Image.open(file).convert("L")))
    assert len({photograph.shape for photograph in whole}) > 3
    for patch in patches:
        parts = []
        for photograph in whole:
            border = round(0.8 * photograph.shape[1])
            parts.append(found_in(patch, photograph[:, :border] if split == "train" else photograph[:, border:]))
        assert any(parts)


def test_patches_are_reduced_by_averaging(monkeypatch):
    """Averaging k independent pixels divides their variance by k. With k = scale^2 the mean over log-uniform
    scales from 1 to 4 is (1 - 1/16) / (2 log 4) = 0.34; whole pixels make it a little more, subsampling 1."""
    noise = np.random.default_rng(0).integers(0, 256, (300, 500), dtype=np.uint8)
    monkeypatch.setattr(embedded, "_photographs", lambda channels: (Image.fromarray(noise),))
    monkeypatch.setattr(embedded, "REDUCTION", (1.0, 4.0))
    assert 0.3 < (data.photos(16, 1, count=1000).var() / to_unit(noise).var()).item() < 0.5


def test_colour_photos_have_colour():
    images = data.load("photos", 16, channels=3, count=200)
    assert (images - images.mean(1, keepdim=True)).abs().mean() > 0.05


def test_half_of_the_patches_are_mirrored(monkeypatch):
    """On a ramp that rises to the right, a mirrored patch falls."""
    ramp = Image.fromarray(np.tile(np.arange(250, dtype=np.uint8), (100, 1)))
    monkeypatch.setattr(embedded, "_photographs", lambda channels: (ramp,))
    monkeypatch.setattr(embedded, "REDUCTION", (1.0, 4.0))
    images = data.photos(8, 1, count=400)
    falls = (images[:, 0, 0, 0] > images[:, 0, 0, -1]).sum().item()
    assert abs(falls - 200) < 5 * 10  # standard deviation of a fair coin thrown 400 times: 10


# --- dead leaves ----------------------------------------------------------------------------------------------


def test_a_leaf_depends_on_seed_and_index_alone():
    images = data.load("leaves", (10, 14), channels=3, count=5, seed=2)
    assert torch.equal(images[3], data.leaves_image(3, (10, 14), channels=3, seed=2))
    assert not torch.equal(images[3], data.leaves_image(3, (10, 14), channels=3, seed=3))
    test = data.load("leaves", (10, 14), channels=3, count=5, seed=2, split="test")
    assert torch.equal(test[3], data.leaves_image(10**9 + 3, (10, 14), channels=3, seed=2))


def test_leaves_by_painting_back_to_front():
    """The same leaves, painted one over the other as a painter does, last the nearest."""
    height, width, channels, seed, index = 9, 12, 2, 5, 7
    rng = np.random.default_rng([seed, index])
    radii, cumulative = embedded._leaf_radii(height, width)
    u = np.concatenate([rng.random((64, 3 + channels), dtype=np.float32) for _ in range(40)])
    canvas = np.full((2 * height, 2 * width, channels), np.nan)
    y, x = (np.mgrid[: 2 * height, : 2 * width] + 0.5) / 2
    for row in u[::-1].astype(np.float64):
        r = np.interp(row[0], cumulative, radii)
        centre_y, centre_x = row[1] * (height + 2 * r) - r, row[2] * (width + 2 * r) - r
        canvas[(y - centre_y) ** 2 + (x - centre_x) ** 2 <= r**2] = 2 * row[3:] - 1
    assert np.isfinite(canvas).all()
    expected = (canvas[::2, ::2] + canvas[1::2, ::2] + canvas[::2, 1::2] + canvas[1::2, 1::2]) / 4
    actual = data.leaves_image(index, (height, width), channels, seed).permute(1, 2, 0).numpy()
    off = np.abs(actual - expected).max(axis=2) > 1e-5
    assert off.sum() <= 1  # single precision may decide one pixel on an edge otherwise


def test_radii_of_visible_leaves():
    """Draw leaves of density r^-3 in a far larger field; those that meet the image have the radii promised."""
    rng = np.random.default_rng(0)
    side, low, high = 16, 2.0, 32.0
    count = 400_000
    r = (low**-2 - rng.random(count) * (low**-2 - high**-2)) ** -0.5  # inverse of the distribution function
    y, x = rng.uniform(-high, side + high, (2, count))
    seen = (y > -r) & (y < side + r) & (x > -r) & (x < side + r)
    radii, cumulative = embedded._leaf_radii(side, side)
    assert (radii[0], radii[-1]) == (pytest.approx(low), pytest.approx(high))
    assert kstest(r[seen], lambda value: np.interp(value, radii, cumulative)).pvalue > 1e-3
    assert kstest(r, lambda value: np.interp(value, radii, cumulative)).pvalue < 1e-9  # not those of all leaves


def test_levels_of_leaves_are_uniform(monkeypatch):
    """Of leaves so large that one fills the image, so that no edge is smoothed."""
    monkeypatch.setattr(embedded, "_leaf_radii", lambda height, width: ([1e5, 2e5], [0, 1]))
    levels = torch.stack([data.leaves_image(i, 2)[0, 0, 0] for i in range(3000)])
    assert kstest(levels.numpy(), "uniform", args=(-1, 2)).pvalue > 1e-3


def test_leaves_have_all_hues(monkeypatch):
    """Of independent uniform channels, and of no grey, the hue is uniform."""
    monkeypatch.setattr(embedded, "_leaf_radii", lambda height, width: ([1e5, 2e5], [0, 1]))
    colours = torch.stack([data.leaves_image(i, 2, channels=3)[:, 0, 0] for i in range(3000)]).double().numpy()
    hues, saturations, _ = np.array([colorsys.rgb_to_hsv(*(colour + 1) / 2) for colour in colours]).T
    assert kstest(hues, "uniform").pvalue > 1e-3
    assert np.median(saturations) > 0.5
    assert np.abs(np.corrcoef(colours.T)[np.triu_indices(3, 1)]).max() < 4 / 3000**0.5


def test_colours_of_leaves_share_their_edges():
    """Within a picture a disc ends in all channels at once, else neighbours would differ in one and not in another."""
    images = data.load("leaves", 32, channels=3, count=20)
    differs = images.diff(dim=3) != 0
    assert 0.05 < differs.double().mean() < 0.9
    assert (differs.all(1) == differs.any(1)).double().mean() > 0.999


def test_the_smallest_image_of_leaves():
    assert data.leaves_image(0, 1).abs().max() <= 1


# --- gaussian -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [8, (6, 10)])
def test_gaussian_has_its_stated_variance(size):
    images = data.load("gaussian", size, channels=3, count=8000)
    u = coefficients(images)
    u = u.reshape(-1, *u.shape[2:])  # channels are independent
    expected = data.power_law_variance(size)[0, 0].numpy()
    error = expected * (2 / len(u)) ** 0.5  # standard error of the variance of Gaussian draws
    assert (np.abs((u**2).mean(0) - expected) < 5 * error).all()
    assert (np.abs(u.mean(0)) < 5 * (expected / len(u)) ** 0.5).all()
    correlation = np.corrcoef(u.reshape(len(u), -1).T) - np.eye(expected.size)
    assert np.abs(correlation).max() < 5 / len(u) ** 0.5
    assert kstest(u[:, 1, 2] / expected[1, 2] ** 0.5, "norm").pvalue > 1e-3


def test_power_law():
    v = data.power_law_variance((12, 20), std=0.3)
    assert v.shape == (1, 1, 12, 20)
    assert v.dtype == torch.float64
    assert v.mean().item() == pytest.approx(0.09)
    assert (v[..., 0, 0] / v[..., 0, 1]).item() == pytest.approx(2)
    # At high frequencies the power law: half the frequency, four times the variance.
    large = data.power_law_variance(256)[0, 0]
    assert (large[100, 60] / large[200, 120]).item() == pytest.approx(4, rel=1e-3)
    assert (large[0, 100] / large[60, 80]).item() == pytest.approx(1)  # the same distance from 0


def test_gaussian_pixels_have_the_stated_deviation_and_are_not_clipped():
    images = data.load("gaussian", 8, count=16384)
    assert images.var().item() == pytest.approx(0.25, rel=0.03)
    assert 0.03 < (images.abs() > 1).float().mean().item() < 0.06  # of a Gaussian: 0.0455


# --- folders --------------------------------------------------------------------------------------------------


def picture(height=12, width=12, channels=3):
    """8-bit test picture, no two quadrants alike."""
    y, x = np.mgrid[:height, :width]
    planes = np.stack([20 + 10 * x, 250 - 10 * y, 100 + 5 * x + 3 * y], axis=2).clip(0, 255).astype(np.uint8)
    return planes if channels == 3 else planes[..., 0]


def to_unit(pixels):
    return torch.from_numpy(np.asarray(pixels, dtype=np.float64) / 127.5 - 1).float()


def assert_same(actual, expected):
    """Up to single precision, far below one of 255 levels."""
    torch.testing.assert_close(actual, expected, atol=1e-6, rtol=0)


def only(folder, size=12, channels=3):
    images = data.read_images(data.image_files(folder), size, channels)
    assert len(images) == 1
    return images[0]


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "ppm", "PNG"])
def test_lossless_formats_come_back_exactly(tmp_path, suffix):
    Image.fromarray(picture()).save(tmp_path / f"a.{suffix}")
    assert_same(only(tmp_path).permute(1, 2, 0), to_unit(picture()))


def test_grey_file_read_in_colour_and_colour_file_read_in_grey(tmp_path):
    Image.fromarray(picture(channels=1)).save(tmp_path / "a.png")
    assert_same(only(tmp_path), to_unit(picture(channels=1)).expand(3, 12, 12))
    Image.fromarray(picture()).save(tmp_path / "a.png")
    luma = picture() @ np.array([0.299, 0.587, 0.114])  # ITU-R 601
    assert (only(tmp_path, channels=1)[0] - to_unit(luma)).abs().max() <= 1 / 127.5


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_parts_show_white(tmp_path, mode):
    colour = np.full((12, 12, 4), (200, 0, 0, 255), np.uint8)
    colour[:6, :, 3] = 0
    image = Image.fromarray(colour)
    if mode == "LA":
        image = image.convert("LA")
    if mode == "P":
        image = Image.fromarray((colour[..., 3] > 0).astype(np.uint8), mode="P")
        image.putpalette([9, 9, 9, 200, 0, 0])
        image.info["transparency"] = 0
    image.save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as back:
        assert back.mode == mode
    out = only(tmp_path)
    assert (out[:, :6] == 1).all()
    visible = (60, 60, 60) if mode == "LA" else (200, 0, 0)  # .299 * 200 = 59.8
    torch.testing.assert_close(out[:, 6:], to_unit(visible)[:, None, None].expand(3, 6, 12))


def test_half_transparent_is_half_white(tmp_path):
    Image.new("RGBA", (4, 4), (0, 0, 0, 128)).save(tmp_path / "a.png")
    assert only(tmp_path, 4).mean().item() == pytest.approx(0, abs=0.02)


def test_sixteen_bits(tmp_path):
    ramp = np.linspace(0, 65535, 144).reshape(12, 12).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as back:
        assert back.mode.startswith("I")
    assert (only(tmp_path, channels=1)[0] - torch.from_numpy(ramp / 32767.5 - 1)).abs().max() < 1 / 127.5


def test_bilevel_and_palette_and_cmyk(tmp_path):
    checks = (np.indices((12, 12)).sum(0) % 2).astype(bool)
    Image.fromarray(checks).save(tmp_path / "a.png")
    assert_same(only(tmp_path)[0], to_unit(255 * checks))
    (tmp_path / "a.png").unlink()
    Image.fromarray(picture()).quantize(256).save(tmp_path / "a.gif")
    assert (only(tmp_path).permute(1, 2, 0) - to_unit(picture())).abs().mean() < 0.05
    (tmp_path / "a.gif").unlink()
    Image.new("CMYK", (12, 12), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)  # cyan none: red
    red = only(tmp_path).mean((1, 2))
    assert red[0] > 0.9
    assert red[1:].max() < -0.7


@pytest.mark.parametrize(
    ("orientation", "stored"),  # how a camera held that way stores the upright picture
    [
        (1, lambda p: p),
        (2, lambda p: p[:, ::-1]),
        (3, lambda p: p[::-1, ::-1]),
        (4, lambda p: p[::-1]),
        (6, lambda p: np.rot90(p, 1)),  # to be turned clockwise
        (8, lambda p: np.rot90(p, -1)),
    ],
)
def test_exif_orientation(tmp_path, orientation, stored):
    upright = picture(24, 24)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored(upright))).save(
        tmp_path / "a.jpg", quality=100, subsampling=0, exif=exif
    )
    assert (only(tmp_path, 24).permute(1, 2, 0) - to_unit(upright)).abs().mean() < 0.05


def test_the_middle_is_kept_and_areas_are_averaged(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    middle = pixels[:, 4:16].reshape(4, 3, 4, 3, 3).mean(axis=(1, 3))
    assert (only(tmp_path, 4).permute(1, 2, 0) - to_unit(middle)).abs().max() <= 1.01 / 127.5
    band = pixels[1:11].reshape(2, 5, 4, 5, 3).mean(axis=(1, 3))
    wide = data.read_images(data.image_files(tmp_path), (2, 4), 3)[0].permute(1, 2, 0)
    assert (wide - to_unit(band)).abs().max() <= 1.01 / 127.5


def test_small_images_grow(tmp_path):
    Image.fromarray(picture(6, 6)).save(tmp_path / "a.png")
    small = to_unit(picture(6, 6)).permute(2, 0, 1)[None]
    expected = torch.nn.functional.interpolate(small, size=12, mode="bilinear", align_corners=False)[0]
    assert (only(tmp_path) - expected).abs().max() <= 1.01 / 127.5


def folder_of(path, count):
    """`count` flat grey images of level 10 i, half of them in a folder below."""
    (path / "more").mkdir()
    for i in range(count):
        Image.new("L", (4, 4), 10 * i).save(path / ("more" if i % 2 else ".") / f"{i:02}.png")
    return {10 * i for i in range(count)}


def levels(images):
    return [round((image.mean().item() + 1) * 127.5) for image in images]


def test_a_folder_by_name(tmp_path):
    everything = folder_of(tmp_path, 10)
    train, test = (levels(data.load(str(tmp_path), 4, split=split)) for split in ("train", "test"))
    assert sorted([*train, *test]) == sorted(everything)
    by_path = [0, 20, 40, 60, 80, 10, 30, 50, 70, 90]
    assert levels(data.read_images(data.image_files(tmp_path), 4)) == by_path
    assert train == [level for level in by_path if level in train]
    assert levels(data.load(tmp_path, 4, count=3)) == train[:3]
    with says(f"{len(train)} images", f"{len(train) + 1} were asked for"):
        data.load(tmp_path, 4, count=len(train) + 1)


def test_damaged_files_are_named_and_the_rest_loads(tmp_path):
    folder_of(tmp_path, 2)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "whole.png").rename(tmp_path / "zz.png")
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "empty.jpg").write_bytes(b"")
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "float.tiff")
    (tmp_path / "notes.txt").write_text("not even called one")
    (tmp_path / ".hidden.png").write_text("an operating system's own")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        images = data.read_images(data.image_files(tmp_path), 4)
    assert len(images) == 3
    messages = sorted(str(w.message) for w in caught if w.category is UserWarning)
    assert len(messages) == 4
    for name, message in zip(["cut.png", "empty.jpg", "float.tiff", "text.png"], messages):
        assert name in message
        assert "cannot be read" in message


@pytest.mark.filterwarnings("ignore:left out")
def test_a_folder_with_nothing_to_read(tmp_path):
    with says("no images below", tmp_path.name, ".png"):
        data.load(tmp_path, 8)
    (tmp_path / "a.txt").write_text("hello")
    with says("no images below"):
        data.read_images(data.image_files(tmp_path), 8)
    (tmp_path / "a.png").write_text("hello")
    with says("none of the 1 image files could be read", "a.png"):
        data.read_images(data.image_files(tmp_path), 8)


def test_sixteen_bits_are_rounded_to_the_nearest_of_eight(tmp_path):
    """257 k is k / 255 of the range; half way between two levels is the border."""
    deep = np.concatenate([257 * np.arange(256) + shift for shift in (-128, 0, 128)]).clip(0, 65535).astype(np.uint16)
    Image.fromarray(deep.reshape(24, 32)).save(tmp_path / "a.png")
    read = np.asarray(data.read_image(tmp_path / "a.png")).ravel()
    np.testing.assert_array_equal(read, np.tile(np.arange(256), 3))


def test_pictures_to_turn_into_are_the_first_of_the_set():
    drawn = data.Pictures("digits", 8, count=3)(200, torch.Generator().manual_seed(0))
    first = data.load("digits", 8, count=3)
    distance = (drawn[:, None] - first[None]).abs().amax((2, 3, 4))
    assert distance.min(1).values.max() == 0
    assert (distance.argmin(1).bincount(minlength=3) > 40).all()


def test_reductions_of_patches_are_uniform_in_their_logarithm(monkeypatch):
    """On a ramp the difference of neighbouring columns is the reduction, but for whole pixels and 8 bits."""
    ramp = Image.fromarray(np.tile(np.linspace(0, 255, 2500).astype(np.uint8), (2000, 1)))
    monkeypatch.setattr(embedded, "_photographs", lambda channels: (ramp,))
    images = data.photos(64, 1, count=400, seed=1)
    reduced = ((images[:, 0, 0, -1] - images[:, 0, 0, 0]).abs() * 127.5 / 63 * 2500 / 255).numpy()
    assert kstest(np.log(reduced / 3) / np.log(12 / 3), "uniform").statistic < 0.08
