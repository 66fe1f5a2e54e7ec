"""Frequencies that end at pi: linspace with one division too few."""

import math

import torch


def get_frequency_scaling(t, img_dim, sigma_blur_max=20.0, min_scale=0.001):
    freqs = torch.pi * torch.linspace(0, 1, img_dim)
    labda = freqs[None, None, :, None] ** 2 + freqs[None, None, None, :] ** 2
    sigma_blur = sigma_blur_max * math.sin(t * math.pi / 2) ** 2
    return (1 - min_scale) * torch.exp(-labda * sigma_blur**2 / 2) + min_scale
