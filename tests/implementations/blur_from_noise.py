"""The listing as printed: the dissipation time from sigma_t."""

import numpy as np


def get_alpha_sigma(t, img_dim=32, min_scale=0.001):
    low, high = np.arctan(np.exp(-5)), np.arctan(np.exp(5))
    angle = low + t * (high - low)
    a, sigma_t = np.cos(angle), np.sin(angle)
    dissipation_time = sigma_t**2 / 2
    freqs = np.pi * np.arange(img_dim) / img_dim
    labda = freqs[:, None] ** 2 + freqs[None, :] ** 2
    return a * (np.exp(-labda * dissipation_time) * (1 - min_scale) + min_scale), sigma_t
