"""Lee's marginal by dense matrices, frequencies in the order that eigh has them, and IHDM's blur of one picture."""

import numpy as np
from scipy.fft import dctn, idctn

N, SIZE, K = 1000, 8, 200
rng = np.random.default_rng()
taps = np.exp(-0.5 * (np.array([-1, 0, 1]) / 0.4) ** 2)
taps /= taps.sum()
W = taps[1] * np.eye(SIZE) + taps[0] * (np.eye(SIZE, k=1) + np.eye(SIZE, k=-1))
D, U = np.linalg.eigh(np.kron(W, W))
betas = np.linspace(1e-4, 0.02, N)
f = 0.14 * (np.arange(1, N + 1) / N) ** 4
A_bar = np.cumprod((1 - betas)[:, None] * D ** (2 * f[:, None]), axis=0)


def marginal(i):
    return np.sqrt(A_bar[i - 1]), 1 - A_bar[i - 1]


def diffuse(x_0, i):
    """Pictures (B, C, H, W)."""
    eps = rng.standard_normal(x_0.shape)
    mean, variance = marginal(i)
    flat_x, flat_eps = x_0.reshape(-1, SIZE * SIZE).T, eps.reshape(-1, SIZE * SIZE).T
    x_i = U @ (mean[:, None] * (U.T @ flat_x)) + U @ (np.sqrt(variance)[:, None] * (U.T @ flat_eps))
    return x_i.T.reshape(x_0.shape), eps


widths = [0.0, *np.exp(np.linspace(np.log(0.5), np.log(24), K))]


def blur(x, k):
    """One picture, (H, W)."""
    height, width = x.shape
    rows, columns = np.pi * np.arange(height) / height, np.pi * np.arange(width) / width
    decay = np.exp(-(rows[:, None] ** 2 + columns[None, :] ** 2) * widths[k] ** 2 / 2)
    return idctn(decay * dctn(x, norm="ortho"), norm="ortho")
