"""Trained networks for the page: the settings of all of a kind, the weights of each, and what a walk needs."""

from __future__ import annotations

import base64
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bdbook import cold, priors
from bdbook.denoiser import Spectral
from bdbook.processes import PROCESSES, EqualSNR, Process, has_size
from bdbook.training.loop import generator_for
from bdbook.training.runs import Run
from bdbook.transforms import DCT, Pixel, Rotation2D, height_width, unwrapped
from bdbook.unet import UNet

# Starts that are pictures, of which a seed picks one for each image.
CENTRES = 64


def net_of(run: Run) -> nn.Module:
    """The network of a run."""
    net = run.denoiser.net
    assert isinstance(net, nn.Module)  # a recipe builds one
    return net


def network(net: nn.Module) -> dict:
    """The settings of a network as bdbook/page/js/unet.js takes them, which computes it."""
    if not isinstance(net, UNet):
        raise ValueError(f"the page computes a UNet of bdbook/unet.py; this network is a {type(net).__name__}")
    c = net.config
    if c.dims != 2 or c.around or c.resblock_updown or not c.scale_shift or c.channels % 2:
        raise ValueError(
            "the page computes a UNet of pictures without circles, with scale_shift, without resblock_updown, and with "
            f"channels in pairs; this one is {c}"
        )
    return asdict(c)


def weights(net: nn.Module) -> bytes:
    """All of state_dict in its order, one after another, in half precision, as recorded runs keep them."""
    return b"".join(_bytes(tensor, "<f2") for tensor in net.state_dict().values())


def walk(run: Run, begin: tuple[Tensor, Tensor] | None = None) -> dict:
    """What a walk needs besides the network, as JSON: the process, what is predicted, the spectrum, where x_T is.

    x_T = centre + V (spread V' noise), with one of the centres, white noise, and one spread per coefficient: `begin`,
    or None for `start`, which may need the images that the run was trained on.
    """
    recipe = run.recipe
    height, width = height_width(unwrapped(recipe.size))
    if height != width or recipe.channels != 1:
        raise ValueError(
            f"images of {recipe.name} are {recipe.channels} x {height} x {width}; the page walks squares of one channel"
        )
    centres, spread = start(run) if begin is None else begin
    # Of the data, which samples should have; under that of spectral preconditioning there is a floor (Recipe).
    predicts = run.denoiser.predicts
    variance = predicts.variance0 if isinstance(predicts, Spectral) else run.spectrum.variance
    return {
        "recipe": recipe.name,
        **_system(run),
        "size": width,
        "predicts": recipe.predicts,
        "rule": recipe.rule,
        "steps": recipe.sample_steps,
        "centres": _base64(centres),
        "spread": _base64(spread),
        "mean": _base64(run.denoiser.process.basis.inverse(run.spectrum.mean)),
        "variance": _base64(variance),
    }


# The settings that bdbook/page/js/processes.js knows of each system, all in the DCT or in Lee's own basis.
IN_THE_PAGE: dict[str, tuple[str, ...]] = {
    "ddpm": ("steps",),
    "cosine_diffusion": (),
    "heat_dissipation": ("sigma_max", "sigma_min", "steps", "noise"),
    "blurring_diffusion": ("sigma_max", "d_min", "blur"),
    "blur_diffusion": ("f_max", "f_type", "kernel_sigma", "steps", "boundary"),
    "soft_diffusion": ("sigma_max", "noise_min", "noise_max"),
}


def _system(run: Run) -> dict:
    """The process by name and settings where the page knows it, else as tables at the times of the walk."""
    recipe, process = run.recipe, run.denoiser.process
    size = unwrapped(recipe.size)  # the page's own processes know no circles
    for name, known in IN_THE_PAGE.items():
        if isinstance(process, PROCESSES[name]):
            place = {"size": size} if has_size(name) else {"basis": DCT(size)}
            settings = {key: getattr(process, key) for key in known}
            if PROCESSES[name](**place, **settings) == process:  # no other setting differs from what the page has
                return {"process": name, "settings": settings}
    if isinstance(process, EqualSNR) and process == EqualSNR(DCT(size), process.variance, name=process.name):
        return {"process": "equal_snr", "settings": {"variance": _base64(torch.tensor(process.variance))}}
    if recipe.process == "blur":  # mirrored, one kernel again and again, to the mean
        settings = {key: recipe.settings[key] for key in ("steps", "std", "width")}
        fixed: dict[str, Any] = {"growth": "constant", "boundary": "symmetric", "to_mean": True}
        if cold.blur(size, **settings, **fixed) == process:
            return {"process": "blur", "settings": settings}
    if not isinstance(process, Process) or not isinstance(process.basis, Rotation2D | Pixel):
        raise ValueError(
            f"the page cannot walk {process.name}: it knows those with an alpha and a sigma for each coefficient of "
            "a basis along rows and columns"
        )
    height, width = height_width(size)
    basis = process.basis
    rows, cols = basis.matrices() if isinstance(basis, Rotation2D) else (torch.eye(height), torch.eye(width))
    steps = process.steps or recipe.sample_steps or 250
    times = process.times(steps).flip(0)
    tables = {
        name: _base64(torch.cat([schedule(t.item()).expand(1, 1, height, width) for t in times]))
        for name, schedule in (("alpha", process.alpha), ("sigma", process.sigma))
    }
    return {"process": "table", "settings": {"steps": steps, "rows": _base64(rows), "cols": _base64(cols), **tables}}


def start(run: Run) -> tuple[Tensor, Tensor]:
    """(centres (K, C, H, W), spread (1, C, H, W)) of where the process starts. See `processes.Start`."""
    recipe, process = run.recipe, run.denoiser.process
    shape = (1, recipe.channels, *height_width(unwrapped(recipe.size)))
    begins, random = process.start, generator_for(0, "centres")
    if begins.kind == "images":
        return priors.blurred_data(process, run.images(), delta=0.0)(CENTRES, random), torch.full(shape, begins.noise)
    if begins.kind == "mixture":
        return priors.fitted(process, run.images())(CENTRES, random), torch.full(shape, begins.noise)
    if begins.kind == "marginal" and isinstance(process, Process):
        mean, variance = run.spectrum.marginal(process, 1.0)
        return process.basis.inverse(mean.expand(shape)), variance.sqrt().expand(shape)
    return torch.zeros(shape), torch.ones(shape)


def _bytes(tensor: Tensor, kind: str = "<f4") -> bytes:
    return np.ascontiguousarray(tensor.detach().cpu().numpy(), dtype=kind).tobytes()


def _base64(tensor: Tensor) -> str:
    """32-bit floats, little-endian."""
    return base64.b64encode(_bytes(tensor)).decode()
