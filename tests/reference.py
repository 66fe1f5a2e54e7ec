"""What several tests compare with, written with scipy and numpy alone."""

import numpy as np
import scipy.fft


def dct(x):
    """Orthonormal DCT-II over the last two axes."""
    return scipy.fft.dctn(x, type=2, norm="ortho", axes=(-2, -1))


def idct(u):
    """Its inverse."""
    return scipy.fft.idctn(u, type=2, norm="ortho", axes=(-2, -1))


def lam(size):
    """Squared frequencies of HS app. A.1, written out again: (H, W)."""
    h, w = size
    return (np.pi * np.arange(h) / h)[:, None] ** 2 + (np.pi * np.arange(w) / w)[None, :] ** 2
