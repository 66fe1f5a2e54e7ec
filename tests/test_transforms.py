"""Bases against scipy and against the operators that they are said to diagonalise."""

import numpy as np
import pytest
import scipy.fft
import torch
from dimensions import KINDS, sizes, unit_images
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from bdbook.transforms import (
    DCT,
    Circle,
    Colour,
    Haar,
    Hartley,
    Pixel,
    Separable,
    axes_of,
    gaussian_kernel,
    height_width,
    kernel_matrix,
    lengths,
)

SIDES = st.integers(2, 64)
SIZES = [(1, 1), (2, 3), (5, 4), (7, 7), (32, 32), (33, 64)]
SIZES += [(1,), (2,), (33,), (256,), (1, 1, 1), (2, 3, 4), (8, 5, 16)]
KERNEL = gaussian_kernel(0.4)
# bf16 keeps 8 bits: a matrix product that slipped into autocast would be off by about 1e-2.
FLOAT32 = 5e-6


def images(size, seed=0, count=2, channels=3):
    return np.random.default_rng(seed).standard_normal((count, channels, *lengths(size)))


def axes(x):
    return tuple(range(2, x.ndim))


def scipy_dct(x):
    return scipy.fft.dctn(x, type=2, norm="ortho", axes=axes(x))


def bases(size):
    yield from (Pixel(len(size)), DCT(size), Haar(size), Hartley(size), Colour(3, len(size)))
    yield from (Separable(size, KERNEL, boundary) for boundary in ("zero", "symmetric"))
    yield Separable(size, (0.1, 0.2, 0.4, 0.2, 0.1), "zero")


@pytest.mark.parametrize("size", SIZES)
def test_dct_is_scipys(size):
    x = images(size)
    np.testing.assert_allclose(DCT(size).forward(torch.from_numpy(x)).numpy(), scipy_dct(x), rtol=0, atol=1e-12)
    back = scipy.fft.idctn(x, type=2, norm="ortho", axes=axes(x))
    np.testing.assert_allclose(DCT(size).inverse(torch.from_numpy(x)).numpy(), back, rtol=0, atol=1e-12)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_dct_in_float32_is_scipys_with_and_without_autocast(size, autocast):
    x = images(size)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        u = DCT(size).forward(torch.from_numpy(x).float())
        back = DCT(size).inverse(u)
    assert u.dtype == back.dtype == torch.float32
    np.testing.assert_allclose(u.numpy(), scipy_dct(x), rtol=0, atol=FLOAT32)
    np.testing.assert_allclose(back.numpy(), x, rtol=0, atol=FLOAT32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_lifted_to_float32(dtype):
    x = torch.from_numpy(images((9, 8))).to(dtype)
    for basis in bases((9, 8)):
        if isinstance(basis, Pixel):
            continue  # the identity has nothing to lift
        u = basis.forward(x)
        assert u.dtype == torch.float32
        torch.testing.assert_close(u, basis.forward(x.double()).float(), rtol=0, atol=FLOAT32)


@given(sizes, st.integers(0, 2**31))
def test_bases_are_orthonormal(size, seed):
    x = torch.from_numpy(images(size, seed, count=1))
    y = torch.from_numpy(images(size, seed + 1, count=1))
    for basis in bases(size):
        u = basis.forward(x)
        assert basis.dims == len(size) == basis.freq2.ndim - 2
        torch.testing.assert_close(basis.inverse(u), x, rtol=0, atol=1e-12)
        torch.testing.assert_close(u.square().sum(), x.square().sum(), rtol=1e-12, atol=0)  # Parseval
        torch.testing.assert_close((u * y).sum(), (x * basis.inverse(y)).sum(), rtol=0, atol=1e-10)  # V' is V^-1


@given(SIDES)
def test_axis_matrices_are_orthonormal(n):
    for basis in bases((n, n)):
        if isinstance(basis, Pixel | Colour):
            continue
        rows = basis.matrices()[0].numpy()
        np.testing.assert_allclose(rows @ rows.T, np.eye(n), rtol=0, atol=1e-13)
        if isinstance(basis, DCT | Haar):
            np.testing.assert_allclose(rows[0], 1 / np.sqrt(n), rtol=0, atol=1e-14)  # first the mean


@given(sizes, st.integers(0, 3))
def test_an_axis_of_length_1_changes_nothing(size, place):
    if len(size) < 3:
        x, longer = torch.from_numpy(images(size)), list(size)
        place = min(place, len(size))
        longer.insert(place, 1)
        for kind in (DCT, Haar, Hartley, Separable):
            of_more = kind(longer)
            u = kind(size).forward(x)
            torch.testing.assert_close(
                of_more.forward(x.unsqueeze(2 + place)).squeeze(2 + place), u, rtol=0, atol=1e-12
            )
            torch.testing.assert_close(of_more.freq2.squeeze(2 + place), kind(size).freq2, rtol=0, atol=0)


@given(sizes)
def test_a_product_of_series_has_the_product_of_their_coefficients(size):
    """And squared frequencies are the sum of theirs, on axes of every kind."""
    letters = "ijk"[: len(size)]
    outer = f"{','.join(letters)}->{letters}"
    for kind in (DCT, Haar, Hartley, Separable):
        along = [(kind((axis,)), images((axis,), seed)[:1, :1]) for seed, axis in enumerate(size)]
        expected = np.einsum(outer, *(basis.forward(torch.from_numpy(x))[0, 0].numpy() for basis, x in along))
        u = kind(size).forward(torch.from_numpy(np.einsum(outer, *(x[0, 0] for _, x in along)))[None, None])
        np.testing.assert_allclose(u[0, 0].numpy(), expected, rtol=0, atol=1e-11)
        frequencies = np.meshgrid(*(basis.freq2[0, 0].numpy() for basis, _ in along), indexing="ij")
        np.testing.assert_allclose(kind(size).freq2[0, 0].numpy(), sum(frequencies), rtol=1e-15)


@pytest.mark.parametrize("size", KINDS)
def test_the_laplacian_is_diagonal_in_the_dct(size):
    """Second differences, mirrored at ends or around: -(2 - 2 cos omega) for the frequency omega along each axis."""
    units = unit_images(size)
    count = len(units)
    laplacian = np.zeros((count, count))
    expected = np.zeros(lengths(size))
    for place, axis in enumerate(size):
        mode = "wrap" if isinstance(axis, Circle) else "reflect"
        laplacian += ndimage.correlate1d(units.numpy(), [1, -2, 1], axis=2 + place, mode=mode).reshape(count, count)
        omega = DCT((axis,)).freq2[0, 0].sqrt().numpy()
        expected += np.expand_dims(2 * np.cos(omega) - 2, [d for d in range(len(size)) if d != place])
    basis = DCT(size)
    v = basis.inverse(units).reshape(count, count).numpy()  # one basis vector a row
    np.testing.assert_allclose(v @ v.T, np.eye(count), rtol=0, atol=1e-13)
    np.testing.assert_allclose(v @ laplacian @ v.T, np.diag(expected.reshape(-1)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("length", [1, 2, 5, 8, 33])
def test_a_circle_has_the_frequencies_of_the_fft_in_pairs(length):
    basis = DCT((Circle(length),))
    omega = 2 * np.pi * np.abs(np.fft.fftfreq(length))
    np.testing.assert_allclose(basis.freq2[0, 0].numpy(), omega**2, rtol=1e-14)
    # What a coefficient and its partner hold of an image is what the Fourier coefficient of that frequency does.
    x = images((length,))
    energy = basis.forward(torch.from_numpy(x)).numpy() ** 2
    partner = -np.arange(length) % length
    spectrum = np.abs(np.fft.fft(x, norm="ortho")) ** 2
    np.testing.assert_allclose(energy + energy[..., partner], 2 * spectrum, rtol=0, atol=1e-12)
    # To turn the image around the circle changes nothing of that.
    turned = basis.forward(torch.from_numpy(np.roll(x, 3, axis=-1))).numpy() ** 2
    np.testing.assert_allclose(turned + turned[..., partner], energy + energy[..., partner], rtol=0, atol=1e-12)


def test_all_axes_of_hartleys_are_circles():
    x = torch.from_numpy(images((6, 5)))
    around = DCT((Circle(6), Circle(5)))
    torch.testing.assert_close(Hartley((6, 5)).forward(x), around.forward(x), rtol=0, atol=0)
    torch.testing.assert_close(Hartley((6, 5)).freq2, around.freq2, rtol=0, atol=0)


def test_an_axis_with_ends_is_no_circle():
    assert DCT((8, 8)) != DCT((8, Circle(8)))
    assert DCT((np.int64(8), Circle(np.int64(8)))) == DCT([8, Circle(8)])
    assert DCT(Circle(8)) == DCT((Circle(8), Circle(8)))
    assert repr(DCT((4, Circle(8)))) == "DCT(size=(4, Circle(length=8)))"


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((), r"image size was \(\); expected positive sides of one to 3 axes"),
        ((2, 3, 4, 5), r"image size was \(2, 3, 4, 5\); expected positive sides of one to 3 axes"),
        ((8, 0), r"image size was \(8, 0\); expected positive sides"),
        ((0,), r"\(64,\) for series, \(8, 16, 16\) for volumes"),
        ((3, Circle(0)), r"Circle\(48\) for an axis that wraps around"),
        (-1, "image size was -1; expected positive sides"),
    ],
)
def test_sizes_that_are_none_are_refused(size, words):
    for made in (DCT, Haar, Hartley, Separable, axes_of):
        with pytest.raises(ValueError, match=words):
            made(size)


@pytest.mark.parametrize("size", [(64,), (2, 3, 4), (8, Circle(8))])
def test_what_is_for_pictures_says_so(size):
    with pytest.raises(ValueError, match="this is for pictures alone: expected a height and a width"):
        height_width(size)


@pytest.mark.parametrize(
    ("basis", "shape", "words"),
    [
        (DCT((8,)), (2, 1, 9), r"DCT was made .* \(8,\), but got \(2, 1, 9\); make it with size=\(9,\)"),
        (DCT((8,)), (2, 1, 8, 8), r"but got \(2, 1, 8, 8\); expected \(B, C, L\)"),
        (DCT(8), (2, 8, 8), r"but got \(2, 8, 8\); expected \(B, C, H, W\)"),
        (Haar((2, 3, 4)), (3, 4), r"Haar was made .* but got \(3, 4\); expected \(B, C, D, H, W\)"),
        (Pixel(), (2, 1, 8), r"Pixel\(\) is for images \(B, C, H, W\), but got \(2, 1, 8\); .*: Pixel\(dims=1\)"),
        (Pixel(3), (2, 1, 8, 8), r"Pixel\(dims=3\) is for images \(B, C, D, H, W\)"),
        (Colour(3), (2, 3, 8), r"Colour\(channels=3\) is for images \(B, C, H, W\), but got \(2, 3, 8\)"),
    ],
)
def test_images_of_other_axes_are_refused(basis, shape, words):
    for transform in (basis.forward, basis.inverse):
        with pytest.raises(ValueError, match=words):
            transform(torch.zeros(shape))


def test_an_image_has_one_to_three_axes():
    for kind in (Pixel, lambda dims: Colour(3, dims)):
        for dims in (0, 4):
            with pytest.raises(ValueError, match=f"dims was {dims}; expected the number of an image's axes, 1 to 3"):
                kind(dims)


def test_square_and_pair_are_the_same_size():
    x = torch.from_numpy(images((8, 8)))
    torch.testing.assert_close(DCT(8).forward(x), DCT((8, 8)).forward(x), rtol=0, atol=0)
    for kind in (DCT, Haar, Separable):
        assert kind(8) == kind((8, 8)) == kind([8, 8]) == kind(np.int64(8))


def test_frequencies_are_in_radians_a_pixel():
    height, width = 5, 8
    expected = (np.pi * np.arange(height) / height)[:, None] ** 2 + (np.pi * np.arange(width) / width)[None] ** 2
    np.testing.assert_allclose(DCT((height, width)).freq2[0, 0].numpy(), expected, rtol=1e-15)
    # 8 pixels: the mean, one wavelet of 8, two of 4, four of 2.
    line = 2 * np.pi / np.array([np.inf, 8, 4, 4, 2, 2, 2, 2])
    np.testing.assert_allclose(Haar((1, 8)).freq2[0, 0, 0].numpy(), line**2, rtol=1e-15)
    assert not Pixel().freq2.any()
    assert not Colour().freq2.any()


@pytest.mark.parametrize(
    ("size", "block"),
    [((8, 16), 2), ((8, 16), 4), ((16, 8), 8), ((12, 20), 2), ((12, 20), 4), ((24,), 4), ((4, 8, 12), 4)],
)
def test_pixelation_is_a_mask_in_haar(size, block):
    x = images(size)
    means = x.reshape(2, 3, *(part for n in size for part in (n // block, block)))
    pixelated = means.mean(tuple(range(3, means.ndim, 2)))
    for axis in axes(x):
        pixelated = pixelated.repeat(block, axis)
    # The wavelets that are constant on blocks are those wider than one: frequency below 2 pi / block.
    keep = [Haar((n,)).freq2[0, 0].sqrt() < 2 * np.pi / block - 1e-9 for n in size]
    mask = torch.stack(torch.meshgrid(*keep, indexing="ij")).all(0).double()
    assert int(mask.sum()) == np.prod([n // block for n in size])
    basis = Haar(size)
    ours = basis.inverse(mask * basis.forward(torch.from_numpy(x)))
    np.testing.assert_allclose(ours.numpy(), pixelated, rtol=0, atol=1e-12)


def test_desaturation_is_a_mask_in_colour():
    x = images((4, 5))
    grey = np.broadcast_to(x.mean(1, keepdims=True), x.shape)
    basis = Colour(3)
    mask = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64).reshape(1, 3, 1, 1)
    ours = basis.inverse(mask * basis.forward(torch.from_numpy(x)))
    np.testing.assert_allclose(ours.numpy(), grey, rtol=0, atol=1e-14)


@pytest.mark.parametrize("kernel", [KERNEL, (0.1, 0.2, 0.4, 0.2, 0.1), gaussian_kernel(1.5)])
@pytest.mark.parametrize(("boundary", "mode"), [("zero", "constant"), ("symmetric", "reflect")])
@pytest.mark.parametrize("size", [(2, 3), (8, 8), (7, 12), (9,), (Circle(11),), (5, Circle(2)), (2, 4, Circle(6))])
def test_separable_diagonalises_scipys_convolution(kernel, boundary, mode, size):
    # scipy calls the half-sample mirror "reflect"; gaussian_kernel(1.5) is longer than the 2-pixel side.
    x = images(size)
    blurred = x
    for place, axis in enumerate(size, 2):
        blurred = ndimage.correlate1d(blurred, kernel, axis=place, mode="wrap" if isinstance(axis, Circle) else mode)
    basis = Separable(size, kernel, boundary)
    ours = basis.inverse(basis.eigenvalues * basis.forward(torch.from_numpy(x)))
    np.testing.assert_allclose(ours.numpy(), blurred, rtol=0, atol=1e-12)


def test_mirrored_blur_is_diagonal_in_the_dct():
    x = torch.from_numpy(images((6, 9)))
    torch.testing.assert_close(Separable((6, 9), KERNEL, "symmetric").forward(x), DCT((6, 9)).forward(x))


def test_zero_padding_eigenvalues_descend_and_match_the_authors():
    # Lee's 0.4 px kernel on 32 pixels: 0.9996 down to 0.8388 along one axis.
    values = Separable((32, 1), KERNEL).eigenvalues[0, 0, :, 0] / Separable((1, 1), KERNEL).eigenvalues.item() ** 0.5
    assert (values.diff() < 0).all()
    np.testing.assert_allclose(values[[0, -1]].numpy(), [0.9996, 0.8388], rtol=0, atol=1e-4)


def test_kernel_matrix_is_a_convolution():
    x = np.random.default_rng(0).standard_normal(6)
    for boundary, mode in (("zero", "constant"), ("symmetric", "reflect")):
        ours = kernel_matrix(6, (0.1, 0.2, 0.4, 0.2, 0.1), boundary) @ x
        np.testing.assert_allclose(ours, ndimage.correlate1d(x, [0.1, 0.2, 0.4, 0.2, 0.1], mode=mode), atol=1e-15)


def test_gaussian_kernel():
    np.testing.assert_allclose(KERNEL, (0.0404, 0.9192, 0.0404), rtol=0, atol=5e-5)  # Lee's released taps
    for sigma in (0.05, 0.4, 2.0):
        taps = np.array(gaussian_kernel(sigma))
        assert taps.sum() == pytest.approx(1, abs=1e-15)
        np.testing.assert_allclose(taps, taps[::-1], rtol=0, atol=1e-18)
    assert len(gaussian_kernel(2.0)) == 13
    assert len(gaussian_kernel(2.0, radius=3)) == 7


@pytest.mark.parametrize("kernel", [[0.25, 0.5, 0.25], np.array([0.25, 0.5, 0.25]), torch.tensor([0.25, 0.5, 0.25])])
def test_a_kernel_may_be_a_list_or_an_array(kernel):
    x = torch.from_numpy(images((4, 5)))
    torch.testing.assert_close(
        Separable((4, 5), kernel).forward(x), Separable((4, 5), (0.25, 0.5, 0.25)).forward(x), rtol=0, atol=0
    )


def test_gradients_pass_through():
    x = torch.from_numpy(images((4, 3), count=1)).requires_grad_()
    for basis in bases((4, 3)):
        assert torch.autograd.gradcheck(basis.forward, x)


def test_first_use_in_inference_mode_does_not_spoil_training():
    with torch.inference_mode():
        DCT((11, 3)).forward(torch.zeros(1, 1, 11, 3))  # a size that no other test uses: the cache is cold
    x = torch.randn(1, 1, 11, 3, requires_grad=True)
    DCT((11, 3)).forward(x).sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("kind", [DCT, Haar, Separable])
def test_scribbling_on_the_matrices_changes_nothing(kind):
    x = torch.from_numpy(images((5, 5)))
    basis = kind(5)
    for matrix in basis.matrices():
        matrix.zero_()
    torch.testing.assert_close(basis.inverse(basis.forward(x)), x, rtol=0, atol=1e-12)


def test_tf32_settings_are_left_as_they_were():
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    try:
        for allowed in (True, False):
            matmul.allow_tf32 = allowed
            DCT(4).forward(torch.zeros(1, 1, 4, 4))
            assert matmul.allow_tf32 is allowed
    finally:
        matmul.allow_tf32 = before


@pytest.mark.skipif(not getattr(torch.backends.cuda.matmul, "fp32_precision", None), reason="torch before 2.9")
def test_the_newer_tf32_switch_may_be_used():
    # torch refuses to read the old switch, allow_tf32, once the new one was set.
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    try:
        matmul.fp32_precision = "tf32"
        DCT(4).forward(torch.zeros(1, 1, 4, 4))
        assert matmul.fp32_precision == "tf32"
    finally:
        matmul.fp32_precision = before
