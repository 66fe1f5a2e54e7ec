"""The papers' own systems at the papers' own size, as far as they say what they did: for days on a large GPU.

    ddpm-cifar10                                              Ho et al. 2020
    ihdm-mnist, -cifar10, -lsun-church128, -afhq256           Rissanen et al. 2022, its code
    hs-cifar10, -church64, -church128                         HS sec. 6, app. A.2, Table 5
    lee-bedroom64 (also lee-lsun64), lee-church64             Lee app. B, G
    bansal-{mnist,cifar10,celeba}-{deblur,inpaint,superres}   Bansal app. A.1-A.3
    bansal-{cifar10,celeba}-{recolour,desnow}                 Bansal app. A.4, A.5
    bansal-{celeba,afhq}-{generate,noise}                     Bansal sec. 5.2, 5.1
    bansal-celeba-generate-inpaint                            Bansal sec. 5.3
    soft-celeba64                                             Daras et al. 2022

All predict what their paper predicts. `notes` says what a paper leaves open and how that was settled here, `table`
how many parameters each network has. bdbook.training.cost says what one would cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, TypedDict

import torch

from bdbook import cold
from bdbook.errors import unknown
from bdbook.recipes.recipe import Recipe
from bdbook.unet import UNet, UNetConfig

# Where no clipping of gradients is reported: a norm that none reaches.
UNCLIPPED = 1e9


class Channels(TypedDict):
    """Settings of a network for images of so many channels."""

    in_channels: int
    out_channels: int


RGB: Channels = {"in_channels": 3, "out_channels": 3}


def _steps(paper: int) -> Mapping[str, int]:
    """Optimisation steps per profile: the paper's, whatever the machine."""
    return {"smoke": 20, "cpu": paper, "gpu": paper}


# --- Ho et al. 2020 -------------------------------------------------------------------------------------------

# Attention at 16 px, which is factor 2 of 32; the time is added; one head. Source: Ho et al. 2020 app. B.
_HO_UNET = UNetConfig(
    size=32,
    channels=128,
    multipliers=(1, 2, 2, 2),
    blocks=2,
    attention=(2,),
    heads=1,
    dropout=0.1,
    scale_shift=False,
    middle_attention=True,
    **RGB,
)
DDPM = Recipe(
    "ddpm-cifar10",
    data="cifar10",
    process="ddpm",
    settings={"steps": 1000},
    predicts="eps",
    unet=_HO_UNET,
    sample_steps=None,
    learning_rate=2e-4,
    warmup=5000,
    batch=128,
    flip=True,
    ema=0.9999,
    steps=_steps(800_000),
)


# --- Rissanen et al. 2022 (IHDM) ------------------------------------------------------------------------------


def _ihdm(name: str, data: str, sigma_max: float, steps: int, unet: UNetConfig, **fields) -> Recipe:
    # sigma_B from 0.5 px up; noise 0.01 of data in [0, 1] is 0.02 of data in [-1, 1].
    settings = {"sigma_max": sigma_max, "sigma_min": 0.5, "steps": steps, "noise": 0.02}
    common = {"learning_rate": 2e-4, "warmup": 5000, "batch": 128, "ema": 0.999, "steps": _steps(1_300_000)}
    return Recipe(
        name,
        data=data,
        process="heat_dissipation",
        settings=settings,
        predicts="less_blurred",
        unet=unet,
        rule="ihdm",
        sample_steps=None,
        **{**common, **fields},
    )


# Source: the released code's configurations, but for the two blocks of LSUN (HS sec. 6.1).
_IHDM_CIFAR10 = replace(_HO_UNET, blocks=4, attention=(4, 8))
_IHDM_LARGE = replace(_HO_UNET, size=128, multipliers=(1, 2, 3, 4, 5), blocks=2, attention=(4, 8, 16))
_IHDM_MNIST = replace(_IHDM_CIFAR10, size=28, in_channels=1, out_channels=1, multipliers=(1, 2, 2), attention=(4,))
_SLOW = {"learning_rate": 2e-5, "batch": 32}
IHDM = (
    _ihdm("ihdm-mnist", "mnist", 20.0, 100, _IHDM_MNIST),
    _ihdm("ihdm-cifar10", "cifar10", 24.0, 200, _IHDM_CIFAR10),
    _ihdm("ihdm-lsun-church128", "lsun-church", 64.0, 400, _IHDM_LARGE, **_SLOW),
    _ihdm(
        "ihdm-afhq256",
        "afhq",
        128.0,
        200,
        replace(_IHDM_LARGE, size=256, blocks=3, dropout=0.3),
        ema=0.9999,
        **_SLOW,
    ),
)


# --- Hoogeboom and Salimans (HS) ------------------------------------------------------------------------------


def _hs(name: str, data: str, learning_rate: float, batch: int, **unet: Any) -> Recipe:
    return Recipe(
        name,
        data=data,
        process="blurring_diffusion",
        settings={"sigma_max": 20.0, "d_min": 1e-3, "blur": "sin2", "logsnr_min": -10.0, "logsnr_max": 10.0},
        predicts="eps",
        unet=UNetConfig(blocks=3, resblock_updown=True, **RGB, **unet),
        sample_steps=1000,
        learning_rate=learning_rate,
        warmup=5000,
        batch=batch,
        flip=True,
        ema=0.9999,
        steps=_steps(2_000_000),
    )


# HS Table 5, whose attention resolutions 8, 16 (and 32) are here factors of the side.
HS = (
    _hs(
        "hs-cifar10",
        "cifar10",
        2e-4,
        128,
        size=32,
        channels=256,
        multipliers=(1, 1, 1),
        attention=(2, 4),
        head_dim=256,
        dropout=0.2,
    ),
    _hs(
        "hs-church64",
        "lsun-church",
        1e-4,
        256,
        size=64,
        channels=128,
        multipliers=(1, 2, 3, 4),
        attention=(2, 4, 8),
        head_dim=64,
        dropout=0.2,
    ),
    _hs(
        "hs-church128",
        "lsun-church",
        1e-4,
        256,
        size=128,
        channels=64,
        multipliers=(1, 2, 4, 6, 8),
        attention=(4, 8, 16),
        head_dim=64,
        dropout=0.1,
    ),
)


# --- Lee et al. -----------------------------------------------------------------------------------------------

# Lee app. G, whose attention resolutions 4, 8 are factors (ADM's convention).
_LEE_UNET = UNetConfig(
    size=64, channels=128, multipliers=(1, 2, 3, 4), blocks=3, attention=(4, 8), heads=4, dropout=0.0, **RGB
)


def _lee(name: str, data: str, steps: int) -> Recipe:
    return Recipe(
        name,
        data=data,
        process="blur_diffusion",
        settings={"f_max": 0.14, "f_type": "quartic", "kernel_sigma": 0.4, "steps": 1000, "boundary": "zero"},
        predicts="eps",
        unet=_LEE_UNET,
        sample_steps=None,
        learning_rate=5e-5,
        warmup=0,
        batch=16,
        clip=UNCLIPPED,
        ema=0.9999,
        steps=_steps(steps),
    )


LEE = (
    _lee("lee-bedroom64", "lsun-bedroom", 450_000),
    _lee("lee-church64", "lsun-church", 600_000),
    _lee("lee-lsun64", "lsun-bedroom", 450_000),  # the bedroom one by its shorter name
)


# --- Bansal et al. --------------------------------------------------------------------------------------------

# The average of the authors forgets a factor 0.995 every 10 steps; one of every step that forgets as fast.
BANSAL_EMA = 0.995 ** (1 / 10)


def _bansal(
    data: str,
    what: str,
    factory: str,
    settings: Mapping,
    size: int,
    channels: int,
    part: int = 32,
    steps: int = 700_000,
) -> Recipe:
    return Recipe(
        f"bansal-{data}-{what}",
        data=data,
        process=factory,
        settings=dict(settings),
        predicts="x0",
        unet=UNetConfig(
            size=size,
            in_channels=channels,
            out_channels=channels,
            channels=64,
            multipliers=(1, 2, 4, 8),
            blocks=2,
            attention=tuple(factor for factor in (2, 4, 8) if size // factor <= 16),
            heads=4,
            scale_shift=False,
        ),
        rule="tacos",
        sample_steps=None,
        loss="l1",
        learning_rate=2e-5,
        warmup=0,
        batch=2 * part,
        accumulate=2,
        flip=data != "mnist",
        clip=UNCLIPPED,
        ema=BANSAL_EMA,
        steps=_steps(steps),
    )


def _from_preset(data: str, what: str, preset: str, **fields) -> Recipe:
    found = cold.PRESETS[preset]
    # MNIST at 32 px: 28 cannot be halved three times, and three halvings are said to end at 4x4 (Bansal app. A.3).
    size = 32 if data == "mnist" else found.size
    return _bansal(data, what, found.factory, found.settings, size, found.channels, **fields)


_INPAINT = {"part": 64, "steps": 60_000}  # Bansal app. A.2
BANSAL = (
    *(_from_preset(data, "deblur", f"blur-{data}") for data in ("mnist", "cifar10", "celeba")),
    *(_from_preset(data, "inpaint", f"inpainting-{data}", **_INPAINT) for data in ("mnist", "cifar10", "celeba")),
    _bansal("mnist", "superres", "super_resolution", {"steps": 3}, 32, 1),
    *(_from_preset(data, "superres", f"super-resolution-{data}") for data in ("cifar10", "celeba")),
    *(_from_preset(data, "recolour", f"colourisation-{data}") for data in ("cifar10", "celeba")),
    *(_from_preset(data, "desnow", f"snow-{data}") for data in ("cifar10", "celeba")),
    *(_from_preset(data, "generate", "blur-generation") for data in ("celeba", "afhq")),
    *(_from_preset(data, "noise", "noise") for data in ("celeba", "afhq")),
    _from_preset("celeba", "generate-inpaint", "inpainting-generation"),
)


# --- Daras et al. 2022 ----------------------------------------------------------------------------------------

SOFT = Recipe(
    "soft-celeba64",
    data="celeba",
    process="soft_diffusion",
    settings={"sigma_max": 20.0, "noise_min": 0.01, "noise_max": 1.0},
    predicts="residual",
    unet=replace(_HO_UNET, size=64, blocks=4, attention=(4,)),
    rule="momentum",
    sample_steps=1000,
    loss="soft",
    learning_rate=2e-4,
    warmup=5000,
    batch=128,
    flip=True,
    ema=0.9999,
    steps=_steps(500_000),
)


PAPERS = {recipe.name: recipe for recipe in (DDPM, *IHDM, *HS, *LEE, *BANSAL, SOFT)}

# Parameters in millions, as published: Ho et al. 2020 app. B; Lee app. G says 121 M, the network of its code 121.06 M.
PUBLISHED = {"ddpm-cifar10": 35.7, "lee-bedroom64": 121.06, "lee-church64": 121.06, "lee-lsun64": 121.06}

# What each paper leaves open, or says twice, and how it was settled. Keys: a recipe's name up to the first hyphen.
NOTES: Mapping[str, tuple[str, ...]] = {
    "ddpm": (
        "reverse variance: they sample CIFAR-10 with beta, the rule here is the posterior's (their other choice)",
    ),
    "ihdm": (
        "optimisation steps: 1.3 million is the code's upper limit; checkpoints were picked before it",
        "LSUN: HS (sec. 6.1) count 2 residual blocks a level, the code's configuration has 4; 2 here",
        "AFHQ-256: FFHQ-256's network and optimiser are taken, whose blur schedule it shares",
        "normalisation of images: theirs lie in [0, 1] with noise 0.01 and delta 0.0125, here in [-1, 1] with twice",
        "steps: the code never trains on the last step k = K, from which it samples; here all are trained",
    ),
    "hs": (
        "sampling steps: not stated; 1000",
        "optimisation steps: 2 million for CIFAR-10 (sec. 6.1), not stated for LSUN; the same",
        "warm-up, clipping, flips: not stated; Ho et al.'s (5000 steps, norm 1, flips)",
        "sigma_B,max: 20, the best of CIFAR-10 (Table 3) and the one of Tables 2 and 7; on 128 px 10 is better",
        "how the time enters: not stated; scale and shift, as in ADM, whose other knobs Table 5 names",
    ),
    "lee": (
        "learning rate: 5e-5 in app. B and in the code, 1e-5 in app. G; 5e-5",
        "f(N): 0.14 in the paper, 0.15 in the code's example; 0.14",
        "normalisation of images: the code's lie in [0, 1], here in [-1, 1], so the same noise is half as strong",
        "warm-up, clipping, flips: none reported, none in the code",
        "images are resized without cropping (app. B), so their sides' ratio changes",
        "sampler: the paper's Euler step is samplers.lee_euler; the recipe's rule is the exact posterior",
        "circular or zero boundary: the paper says the kernel is circular, the code pads with zeros; zeros",
    ),
    "bansal": (
        "network: theirs is made of ConvNeXt blocks with linear attention at every level (56.62 M parameters for RGB); "
        "the nearest here has residual blocks, as wide and as many on the way down, and full attention up to 16 px",
        "average of the weights: theirs is updated by 0.995 every 10 steps (from step 2000 on in the code), here by "
        "0.995^(1/10) every step",
        "batch: 32 in 2 parts is 64 images an optimisation step; inpainting 64 in 2 parts, 60,000 steps (app. A.2)",
        "MNIST: 28 px, but three halvings end at 4x4 and the code resizes; 32",
        "random crops and flips: stated for CIFAR-10 (app. A.3), the code's are for all, digits too; here flips of all "
        "but the digits, and no crops",
        "where the mask lies on CelebA: centred in sec. 4.2, random in app. A.2; centred",
        "warm-up, clipping: none reported",
        "generation by noise: fixed noise; for estimated noise sample with the rule ddim (cold.cosine_blend)",
    ),
    "soft": (
        "no code was released, and this book's schedules stand in: nothing but the loss, the residual and the sampler "
        "is the authors'",
        "network and optimiser: Ho et al.'s with 4 blocks; a guess, comparable with the others",
    ),
}


def notes(name: str) -> tuple[str, ...]:
    """What the source of a recipe of PAPERS leaves open, and how it was settled."""
    if name not in PAPERS:
        raise unknown("paper's recipe", name, PAPERS)
    return NOTES[name.partition("-")[0]]


def parameters(recipe: Recipe) -> int:
    """Parameters of a recipe's network, exactly and without memory for them."""
    return _count(recipe.unet)


@lru_cache
def _count(unet: UNetConfig) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in UNet(unet).parameters())


def table() -> str:
    """Parameters of every network of PAPERS, in millions, beside the published number where there is one."""
    width = max(map(len, PAPERS))
    lines = [f"{'recipe':{width}}  {'here':>10}  {'published':>10}"]
    for name, recipe in PAPERS.items():
        published = f"{PUBLISHED[name]:8.2f} M" if name in PUBLISHED else ""
        lines.append(f"{name:{width}}  {parameters(recipe) / 1e6:8.2f} M  {published:>10}".rstrip())
    return "\n".join(lines)
