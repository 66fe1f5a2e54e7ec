"""No floor, and a log-SNR without its limits."""

import numpy as np

frequency = np.pi * np.arange(32) / 32


def get_alpha_sigma(t):
    tau = (20 * np.sin(t * np.pi / 2) ** 2) ** 2 / 2
    d = np.exp(-(frequency[:, None] ** 2 + frequency**2) * tau)
    return np.cos(t * np.pi / 2) * d, np.sin(t * np.pi / 2)
