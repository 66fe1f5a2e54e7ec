"""Blur that comes down to nothing."""

import torch

freq = torch.pi * torch.arange(32) / 32


def get_frequency_scaling(t):
    tau = 0.5 * (20 * torch.sin(t * torch.pi / 2) ** 2) ** 2
    return torch.exp(-(freq[:, None] ** 2 + freq[None, :] ** 2) * tau.reshape(-1, 1, 1, 1))
