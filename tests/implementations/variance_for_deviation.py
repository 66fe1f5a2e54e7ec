"""A step whose fresh noise is multiplied by the variance."""

import torch
from right_torch import dct, get_alpha_sigma, idct


def denoise(z_t, t, neural_net, T=100):
    alpha_t, sigma_t = get_alpha_sigma(t)
    alpha_s, sigma_s = get_alpha_sigma(t - 1 / T)
    a = alpha_t / alpha_s
    sigma2_ts = sigma_t**2 - a**2 * sigma_s**2
    variance = 1 / (1 / sigma_s**2 + a**2 / sigma2_ts)
    u_t, u_eps = dct(z_t), dct(neural_net(z_t, t))
    mu = variance * (a / sigma2_ts * u_t + (u_t - sigma_t * u_eps) / a / sigma_s**2)
    return idct(mu + variance * torch.randn(z_t.shape))
