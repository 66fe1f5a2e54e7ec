"""The real part of a Fourier transform for a DCT."""

import torch


def DCT(x):
    return torch.fft.fft2(x).real
