"""Blurring diffusion in PyTorch, single precision, channels first, one time an image; `denoise` by HS Eq. 18."""

import math

import torch

SIZE, MAX_BLUR = 16, 10.0
k = torch.arange(SIZE)
COSINES = torch.cos(torch.pi * k[:, None] * (2 * k + 1) / (2 * SIZE)) * math.sqrt(2 / SIZE)
COSINES[0] /= math.sqrt(2)


def dct(x):
    return COSINES @ x.float() @ COSINES.T


def idct(u):
    return COSINES.T @ u.float() @ COSINES


def get_alpha_sigma(t):
    t = t.float()[:, None, None, None]
    low, high = math.atan(math.exp(-5)), math.atan(math.exp(5))
    angle = low + t * (high - low)
    freq = torch.pi * torch.arange(SIZE) / SIZE
    tau = (MAX_BLUR * torch.sin(torch.pi * t / 2) ** 2) ** 2 / 2
    d = 0.999 * torch.exp(-(freq[:, None] ** 2 + freq**2) * tau) + 0.001
    return torch.cos(angle) * d, torch.sin(angle)


def diffuse(x, t):
    alpha, sigma = get_alpha_sigma(t)
    return idct(alpha * dct(x)) + sigma * torch.randn(x.shape)


def denoise(z_t, t, s, hat_eps):
    alpha_t, sigma_t = get_alpha_sigma(t)
    alpha_s, sigma_s = get_alpha_sigma(s)
    u_t, a = dct(z_t), alpha_t / alpha_s
    u_x = (u_t - sigma_t * dct(hat_eps)) / alpha_t
    carry = a * sigma_s**2 / sigma_t**2
    tau = sigma_s * torch.sqrt(1 - a**2 * sigma_s**2 / sigma_t**2)
    return idct(alpha_s * u_x + carry * (u_t - alpha_t * u_x) + tau * torch.randn(z_t.shape))
