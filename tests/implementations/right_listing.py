"""HS app. A.1 in numpy, channels last as there, with its misprints mended."""

import numpy as np
from scipy.fft import dctn, idctn

img_dim, sigma_blur_max, T = 32, 20.0, 200
rng = np.random.default_rng()


def DCT(x):
    return dctn(x, axes=(1, 2), norm="ortho")


def IDCT(u):
    return idctn(u, axes=(1, 2), norm="ortho")


def get_frequency_scaling(t, min_scale=0.001):
    sigma_blur = sigma_blur_max * np.sin(t * np.pi / 2) ** 2
    dissipation_time = sigma_blur**2 / 2
    freqs = np.pi * np.linspace(0, img_dim - 1, img_dim) / img_dim
    labda = freqs[None, :, None, None] ** 2 + freqs[None, None, :, None] ** 2
    return np.exp(-labda * dissipation_time) * (1 - min_scale) + min_scale


def get_noise_scaling_cosine(t, logsnr_min=-10, logsnr_max=10):
    limit_max = np.arctan(np.exp(-0.5 * logsnr_max))
    limit_min = np.arctan(np.exp(-0.5 * logsnr_min)) - limit_max
    logsnr = -2 * np.log(np.tan(limit_min * t + limit_max))
    return np.sqrt(1 / (1 + np.exp(-logsnr))), np.sqrt(1 / (1 + np.exp(logsnr)))


def get_alpha_sigma(t):
    a, sigma = get_noise_scaling_cosine(t)
    return a * get_frequency_scaling(t), sigma


def diffuse(x, t):
    alpha, sigma = get_alpha_sigma(t)
    eps = rng.standard_normal(x.shape)
    return IDCT(alpha * DCT(x)) + sigma * eps, eps


def neural_net(z_t, t):
    raise NotImplementedError("not trained yet")


def denoise(z_t, t, delta=1e-8):
    alpha_s, sigma_s = get_alpha_sigma(t - 1 / T)
    alpha_t, sigma_t = get_alpha_sigma(t)
    alpha_ts = alpha_t / alpha_s
    sigma2_ts = sigma_t**2 - alpha_ts**2 * sigma_s**2
    kept = 1 / np.clip(sigma_s**2, delta, None) + 1 / np.clip(sigma_t**2 / alpha_ts**2 - sigma_s**2, delta, None)
    sigma2_denoise = 1 / np.clip(kept, delta, None)
    coeff_term1 = alpha_ts * sigma2_denoise / (sigma2_ts + delta)
    coeff_term2 = sigma2_denoise / alpha_ts / np.clip(sigma_s**2, delta, None)
    u_t = DCT(z_t)
    mu = IDCT(coeff_term1 * u_t) + IDCT(coeff_term2 * (u_t - sigma_t * DCT(neural_net(z_t, t))))
    return mu + IDCT(np.sqrt(sigma2_denoise) * rng.standard_normal(z_t.shape))
