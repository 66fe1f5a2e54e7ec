"""A log-SNR that is clipped to [-10, 10]."""

import torch


def get_noise_scaling_cosine(t):
    logsnr = (-2 * torch.log(torch.tan(t * torch.pi / 2))).clamp(-10, 10)
    return logsnr.sigmoid().sqrt(), (-logsnr).sigmoid().sqrt()
