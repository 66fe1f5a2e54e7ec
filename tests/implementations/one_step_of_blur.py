"""Blur by the i-th step's exponent alone."""

from right_lee_and_ihdm import D, U, betas, f, np, rng


def noised(x, i):
    a = np.prod(1 - betas[:i]) * D ** (2 * f[i - 1])
    flat, eps = x.reshape(-1, len(D)).T, rng.standard_normal(x.shape)
    mean, noise = np.sqrt(a)[:, None] * (U.T @ flat), np.sqrt(1 - a)[:, None] * (U.T @ eps.reshape(-1, len(D)).T)
    return (U @ (mean + noise)).T.reshape(x.shape)
