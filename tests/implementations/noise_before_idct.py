"""The noise is added to the coefficients, and what is returned is not what is in the picture."""

from right_listing import DCT, IDCT, get_alpha_sigma, rng


def diffuse(x, t):
    alpha, sigma = get_alpha_sigma(t)
    eps = rng.standard_normal(x.shape)
    return IDCT(alpha * DCT(x) + sigma * eps), eps
