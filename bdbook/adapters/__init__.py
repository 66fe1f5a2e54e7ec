"""Networks of diffusers as the book's, and the book's denoisers, tables, times and processes as diffusers'.

    net = from_diffusers(UNet2DModel.from_pretrained(name), steps=1000)
    walk = samplers.sample(Denoiser(net, ddpm(1000)), x_T, times, "ddim")

    scheduler = DDPMScheduler(num_train_timesteps=1000, trained_betas=betas(process), clip_sample=False)
    pipeline = DDPMPipeline(to_diffusers(denoiser, shape=(1, 16, 16)), scheduler)

    scheduler = BlurringScheduler.of(denoiser)
    pipeline = DDPMPipeline(predictor(denoiser, shape=(1, 16, 16), steps=1000), scheduler)

networks.py    networks as each other's
tables.py      an isotropic process as diffusers' own schedulers have it
scheduler.py   a scheduler of diffusers for every process: it alone imports diffusers, and is imported by its name

Step i of N, at t = i / N, is diffusers' timestep i - 1, i = 1..N; t = 0 has none. Schedulers of diffusers' own have one
alpha and one sigma for all frequencies, alpha^2 + sigma^2 = 1, and end at alpha = 1. So a process that blurs has no
counterpart among them; one that does not preserve the variance has, its x_t divided by sqrt(alpha_t^2 + sigma_t^2); and
where there is noise at t = 0, their last step goes on to x0_hat. `scheduler.BlurringScheduler` has all of it.
"""

from bdbook.adapters.networks import (
    Epsilon,
    FromDiffusers,
    Predictor,
    ToDiffusers,
    from_diffusers,
    predictor,
    to_diffusers,
)
from bdbook.adapters.tables import betas, sigmas, timesteps

__all__ = [
    "Epsilon",
    "FromDiffusers",
    "Predictor",
    "ToDiffusers",
    "betas",
    "from_diffusers",
    "predictor",
    "sigmas",
    "timesteps",
    "to_diffusers",
]
