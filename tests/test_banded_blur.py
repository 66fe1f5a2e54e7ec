"""Blurs of large pictures, band by band, are the products of dense matrices that those of small ones are."""

import dataclasses
from functools import reduce
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bdbook import degradations
from bdbook.degradations import RecursiveBlur
from bdbook.transforms import BOUNDARIES, gaussian_kernel, kernel_matrix


def by_matrices(kernels, boundary, n):
    return reduce(lambda product, taps: kernel_matrix(n, taps, boundary) @ product, kernels, np.eye(n))


TAPS = st.lists(st.floats(-1, 1), min_size=1, max_size=7).map(tuple)


@given(
    st.sampled_from(sorted(BOUNDARIES)),
    st.lists(TAPS, min_size=1, max_size=4).map(tuple),
    st.integers(1, 90),
    st.integers(1, 90),
    st.booleans(),
    st.integers(1, 8),
)
def test_bands_are_the_dense_products(boundary, kernels, height, width, to_mean, block):
    """Any taps, symmetric or not, an even number of them too, sides shorter than the kernel, times of a batch."""
    process = RecursiveBlur((height, width), kernels, boundary, to_mean)
    times = torch.arange(len(kernels) + 1) / len(kernels)
    x = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (len(times), 2, height, width)))
    dense = process.mean(x, times)
    with mock.patch.multiple(degradations, DENSE=0, BLOCK=block):
        degradations._banded.cache_clear()
        banded = process.mean(x, times)
        one = process.mean(x, times[1].item())[1]
    degradations._banded.cache_clear()
    largest = max(1.0, *(np.abs(taps).sum() ** 2 for taps in kernels)) ** len(kernels)
    torch.testing.assert_close(banded, dense, rtol=0, atol=1e-12 * largest)
    torch.testing.assert_close(one, banded[1], rtol=0, atol=1e-12 * largest)


@pytest.mark.parametrize("boundary", sorted(BOUNDARIES))
@pytest.mark.parametrize("stds", [(0.5,) * 20, (1.5, 2.0, 3.0), (0.1,)])
def test_a_wide_picture_is_blurred_as_by_matrices(boundary, stds):
    kernels = tuple(gaussian_kernel(std, 5) for std in stds)
    height, width = 40, 700
    x = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (1, 1, height, width)))
    down, across = (by_matrices(kernels, boundary, n) for n in (height, width))
    blurred = RecursiveBlur((height, width), kernels, boundary).mean(x, 1.0)
    np.testing.assert_allclose(blurred[0, 0], down @ x[0, 0].numpy() @ across.T, rtol=0, atol=1e-12)
    single = RecursiveBlur((height, width), kernels, boundary).mean(x.float(), 1.0)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single[0, 0], blurred[0, 0], rtol=0, atol=1e-6)


def test_a_large_blur_keeps_matrices_of_its_reach_only():
    kernels = (gaussian_kernel(0.5, 5),) * 20
    kept = degradations._Banded.of(4000, kernels, "reflect")
    different = {id(matrix): matrix.numel() for _, _, matrix in kept.blocks}
    assert sum(different.values()) < 4 * 4000
    assert [row for row, _, _ in kept.blocks] == sorted(row for row, _, _ in kept.blocks)
    assert sum(len(matrix) for _, _, matrix in kept.blocks) == 4000


def test_an_unknown_boundary_of_a_large_picture_is_named():
    with pytest.raises(ValueError, match=r"unknown boundary 'edge'\. Known: circular, reflect, symmetric, zero"):
        RecursiveBlur((8, 300), ((1.0,),), "edge").mean(torch.zeros(1, 1, 8, 300), 1.0)


def test_a_large_blur_to_the_mean_ends_there():
    process = RecursiveBlur((20, 300), ((0.25, 0.5, 0.25),) * 2, to_mean=True)
    x = torch.rand(2, 3, 20, 300)
    torch.testing.assert_close(process.mean(x, 1.0), x.mean((-2, -1), keepdim=True).expand_as(x), rtol=0, atol=1e-6)
    smaller = dataclasses.replace(process, to_mean=False)
    torch.testing.assert_close(process.mean(x, 0.5), smaller.mean(x, 0.5))
