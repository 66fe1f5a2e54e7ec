"""The network: a UNet of the DDPM and ADM family (Ho et al. 2020; Dhariwal and Nichol 2021).

Residual blocks that know the time, self-attention at the coarse levels, a path down and a path up with skips.
It maps an image and a time to an image; what the output *means* is `denoiser`'s affair. An image has one, two or three
axes, series, picture or volume: the layers are the same, and torch has each for one, two and three. Along a `Circle`
convolutions wrap around; beyond the ends of other axes they see zeros.

With the settings of Lee's appendix G (64x64, RGB, 128 channels, multipliers 1, 2, 3, 4, 3 blocks, 4 heads,
attention at factors 4 and 8) it has 121,060,483 parameters: the appendix's "121M", and the 121.06 M of the
ADM code that Lee used. The count settles what the appendix leaves open: the time enters by scale and shift
(added instead, 115.94 M), convolutions resample (residual blocks, 129.38 M), queries, keys and values have
biases (without, 121.04 M) and the middle has attention (without, 120.01 M). It cannot tell whether three more
output channels learn the variance (121.06 M too).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bdbook.transforms import Basis, Circle, Size, at_least_float32, axes_of, lengths, shape_in_words

# By the number of axes.
CONV: Mapping[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
HALVED = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
AVERAGED = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
APPLY_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
# Channels last is the layout in which convolutions, norms and attention all work without reordering; torch has none of
# it for series.
LAYOUTS = {1: torch.contiguous_format, 2: torch.channels_last, 3: torch.channels_last_3d}


@dataclass(frozen=True)
class UNetConfig:
    """The knobs that HS Table 5 and Lee's appendix G turn.

    size         image side in pixels, or (height, width); (length,) for series, (depth, height, width) for volumes; a
                 `Circle` for an axis that wraps around. It takes any size of as many axes that halves often enough;
                 this one is checked at once, so that a mistake shows before training starts
    channels     width of the first level; level k has channels * multipliers[k] and 1/2**k of the side
    blocks       residual blocks a level on the way down; the way up has one more (HS app. A.2)
    attention    *downsampling factors* (powers of 2) that get self-attention, as in Lee's app. G. HS Table 5
                 lists resolutions instead: at size 32 its "8, 16" is the factors (2, 4)
    heads        heads of each attention; None: as many as `head_dim` asks for
    head_dim     channels a head (HS Table 5), when `heads` is None
    dropout      probability, before the second convolution of each residual block
    resblock_updown  residual blocks that resample (HS), or else a strided convolution down, and nearest
                 neighbour and a convolution up (Lee's "BigGAN up/downsampling: False")
    scale_shift  the time scales and shifts the normalised features; otherwise it is added before the norm
    middle_attention  attention in the middle even where the coarsest level has none (Ho et al.)
    wraps        convolutions go around the axes that are a `Circle`; otherwise they see zeros beyond its seam, as all
                 networks did that have nothing of this in their record
    """

    size: Size = 16
    in_channels: int = 1
    out_channels: int = 1
    channels: int = 32
    multipliers: tuple[int, ...] = (1, 2, 2)
    blocks: int = 1
    attention: tuple[int, ...] = (4,)
    heads: int | None = None
    head_dim: int = 32
    dropout: float = 0.0
    resblock_updown: bool = False
    scale_shift: bool = True
    middle_attention: bool = False
    wraps: bool = True

    def __post_init__(self) -> None:
        if not self.multipliers or min(self.multipliers) < 1 or self.channels < 1 or self.blocks < 1:
            raise ValueError(
                f"channels ({self.channels}), blocks ({self.blocks}) and every one of multipliers "
                f"({self.multipliers}) must be at least 1, and there must be at least one multiplier"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout}")
        check_size(lengths(self.size), self.factors[-1])
        for factor in self.attention:
            if factor not in self.factors:
                raise ValueError(
                    f"attention at downsampling factor {factor}, but {len(self.multipliers)} multipliers give "
                    f"the factors {self.factors}. A resolution r is the factor size // r"
                )
            self.heads_of(self.widths[self.factors.index(factor)])
        if self.middle_attention:
            self.heads_of(self.widths[-1])

    @property
    def dims(self) -> int:
        """How many axes the images have."""
        return len(lengths(self.size))

    @property
    def around(self) -> tuple[int, ...]:
        """The axes that convolutions go around, counted from 0."""
        return tuple(k for k, axis in enumerate(axes_of(self.size)) if self.wraps and isinstance(axis, Circle))

    @property
    def factors(self) -> tuple[int, ...]:
        """Downsampling factor of each level: 1, 2, 4, ..."""
        return tuple(2**level for level in range(len(self.multipliers)))

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(self.channels * multiplier for multiplier in self.multipliers)

    def heads_of(self, width: int) -> int:
        """Attention heads at a level of `width` channels."""
        heads = self.heads if self.heads is not None else width // self.head_dim
        if heads < 1 or width % heads or (self.heads is None and width % self.head_dim):
            asked = f"head_dim {self.head_dim}" if self.heads is None else f"{self.heads} heads"
            raise ValueError(f"attention on {width} channels cannot be split by {asked}: it must divide them")
        return heads


def older(stored: Mapping[str, Any]) -> dict[str, Any]:
    """What settings from a record said before they had a word for it: networks saw zeros beyond the seam of a Circle.

    stored: as JSON or `asdict` give a `UNetConfig`, where a Circle is a dict.
    """
    size = stored["size"]
    circles = [axis for axis in (size if isinstance(size, list | tuple) else [size]) if isinstance(axis, dict)]
    return {"wraps": False} if circles else {}


def check_size(sides: tuple[int, ...], factor: int) -> None:
    """Raise unless all sides halve down to the coarsest level without a remainder."""
    if any(side % factor for side in sides) or min(sides) < factor:
        near = [(max(side // factor, 1) * factor, -(-side // factor) * factor) for side in sides]
        would_do = " or ".join(dict.fromkeys("x".join(map(str, each)) for each in zip(*near)))
        raise ValueError(
            f"an image of {'x'.join(map(str, sides))} cannot be halved {factor.bit_length() - 1} times: all sides must "
            f"be multiples of {factor}. {would_do} would do, or fewer multipliers"
        )


def groups(channels: int) -> int:
    """Groups for GroupNorm: at most 32 (ADM), of at least 4 channels where there are as many."""
    return max(g for g in range(1, max(1, min(32, channels // 4)) + 1) if channels % g == 0)


def zero(layer: nn.Module) -> nn.Module:
    """The same layer with its parameters at zero, so that what it ends starts as the identity."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def time_features(t: Tensor, width: int) -> Tensor:
    """Sines and cosines of 1000 t at `width` / 2 frequencies from 1 down to 1e-4: (B,) -> (B, width).

    The 1000 makes t in [0, 1] look like the integer steps that these frequencies were made for.
    """
    half = width // 2
    t = t.to(torch.promote_types(t.dtype, torch.float32))  # in half precision 1000 t would lose its phase
    frequency = torch.exp(torch.arange(half, dtype=t.dtype, device=t.device) * (-math.log(1e4) / half))
    angle = 1000 * t[:, None] * frequency
    features = torch.cat([angle.cos(), angle.sin()], dim=1)
    return F.pad(features, (0, width % 2))


def beyond(dims: int, around: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """How a kernel of 3 gets its neighbours: zeros along each axis, and for `wrapped` what wraps, in torch's order."""
    zeros = tuple(0 if axis in around else 1 for axis in range(dims))
    return zeros, tuple(side for each in reversed(zeros) for side in (1 - each, 1 - each))


def wrapped(x: Tensor, sides: tuple[int, ...]) -> Tensor:
    """x (B, C, *axes) with the pixels from beyond the seams of its circles; x itself where there are none."""
    return F.pad(x, sides, mode="circular") if any(sides) else x


class Residual(nn.Module):
    """Norm, convolution, time, norm, convolution, plus the input; optionally at half or twice the size."""

    def __init__(self, c: UNetConfig, width_in: int, width: int, resample: nn.Module | None = None):
        super().__init__()
        self.scale_shift, self.dims = c.scale_shift, c.dims
        zeros, self.sides = beyond(c.dims, c.around)
        self.resample = resample or nn.Identity()
        self.norm1 = nn.GroupNorm(groups(width_in), width_in)
        self.conv1 = CONV[c.dims](width_in, width, 3, padding=zeros)
        self.time = nn.Linear(4 * c.channels, 2 * width if c.scale_shift else width)
        self.norm2 = nn.GroupNorm(groups(width), width)
        self.dropout = nn.Dropout(c.dropout)
        self.conv2 = zero(CONV[c.dims](width, width, 3, padding=zeros))
        self.skip = nn.Identity() if width_in == width else CONV[c.dims](width_in, width, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv1(wrapped(self.resample(F.silu(self.norm1(x))), self.sides))
        time = self.time(emb)[(..., *[None] * self.dims)]
        if self.scale_shift:
            scale, shift = time.chunk(2, dim=1)
            h = torch.addcmul(shift, self.norm2(h), 1 + scale)
        else:
            h = self.norm2(h + time)
        out: Tensor = self.skip(self.resample(x)) + self.conv2(wrapped(self.dropout(F.silu(h)), self.sides))
        return out


class Attention(nn.Module):
    """Self-attention over the pixels: x + project(softmax(Q K' / sqrt d) V) on normalised features."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(groups(width), width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = zero(nn.Linear(width, width))

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        batch, width, *sides = x.shape
        # With channels last in memory these are views: no copy on the way in or out.
        tokens = self.norm(x).movedim(1, -1).reshape(batch, math.prod(sides), width)
        q, k, v = self.qkv(tokens).view(batch, -1, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, -1, width)
        added: Tensor = self.project(mixed).view(batch, *sides, width).movedim(-1, 1)
        return x + added


class Down(nn.Module):
    """Half the size, by a strided convolution."""

    def __init__(self, width: int, dims: int = 2, around: tuple[int, ...] = ()):
        super().__init__()
        zeros, self.sides = beyond(dims, around)
        self.conv = CONV[dims](width, width, 3, stride=2, padding=zeros)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        half: Tensor = self.conv(wrapped(x, self.sides))
        return half


class Up(nn.Module):
    """Twice the size, by nearest neighbour and a convolution: both at once, of a picture for 4/9 of the work.

    A 3x3 kernel sees only 2x2 different pixels of an image whose pixels have been doubled. So the pair is a
    transposed convolution of stride 2, whose 4x4 kernel is the 3x3 one spread over 2x2 pixels.
    """

    def __init__(self, width: int, dims: int = 2, around: tuple[int, ...] = ()):
        super().__init__()
        self.dims, self.conv = dims, TRANSPOSED[dims](width, width, 3)
        zeros, self.sides = beyond(dims, around)
        # What a pixel from beyond the seam adds to lies beyond it too, but for its last two pixels.
        self.cut = tuple(1 if each else 3 for each in zeros)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        spread = 2**self.dims * AVERAGED[self.dims](self.conv.weight, 2, stride=1, padding=1)
        x = wrapped(x, self.sides)
        return APPLY_TRANSPOSED[self.dims](x, spread, self.conv.bias, stride=2, padding=self.cut)


class Chain(nn.ModuleList):
    """Layers of (x, emb), one after the other."""

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        for layer in self:
            x = layer(x, emb)
        return x


class UNet(nn.Module):
    """(x, t) -> (B, out_channels, *axes) for x (B, in_channels, *axes) and t (B,) or (1,) in [0, 1].

    Sides must be multiples of 2**(levels - 1). Convolutions see zeros beyond the ends of an axis. Along a circle they
    wrap: an image that is turned by a multiple of 2**(levels - 1) pixels has an output that is turned as far. The last
    layer starts at zero, and so does the output: a preconditioned denoiser is then exactly its Wiener filter before the
    first step of training.
    """

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config = c = config
        zeros, self.sides = beyond(c.dims, c.around)
        self.time = nn.Sequential(
            nn.Linear(c.channels, 4 * c.channels), nn.SiLU(), nn.Linear(4 * c.channels, 4 * c.channels)
        )

        def block(width_in: int, width: int, factor: int) -> list[nn.Module]:
            attention = [Attention(width, c.heads_of(width))] if factor in c.attention else []
            return [Residual(c, width_in, width), *attention]

        def down(width: int) -> nn.Module:
            return Residual(c, width, width, HALVED[c.dims](2)) if c.resblock_updown else Down(width, c.dims, c.around)

        def up(width: int) -> nn.Module:
            doubled = nn.Upsample(scale_factor=2.0)
            return Residual(c, width, width, doubled) if c.resblock_updown else Up(width, c.dims, c.around)

        width = c.widths[0]
        self.stem = CONV[c.dims](c.in_channels, width, 3, padding=zeros)
        self.down, skips = nn.ModuleList(), [width]
        for factor, level_width in zip(c.factors, c.widths):
            for _ in range(c.blocks):
                self.down.append(Chain(block(width, level_width, factor)))
                width = level_width
                skips.append(width)
            if factor != c.factors[-1]:
                self.down.append(down(width))
                skips.append(width)
        attends = c.middle_attention or factor in c.attention
        attention = [Attention(width, c.heads_of(width))] if attends else []
        self.middle = Chain([Residual(c, width, width), *attention, Residual(c, width, width)])
        self.up = nn.ModuleList()
        for factor, level_width in zip(reversed(c.factors), reversed(c.widths)):
            for i in range(c.blocks + 1):
                layers = block(width + skips.pop(), level_width, factor)
                width = level_width
                if i == c.blocks and factor > 1:
                    layers.append(up(width))
                self.up.append(Chain(layers))
        self.norm = nn.GroupNorm(groups(width), width)
        self.last = zero(CONV[c.dims](width, c.out_channels, 3, padding=zeros))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self._check(x, t)
        emb = F.silu(self.time(time_features(t, self.config.channels).to(self.stem.weight.dtype)))
        h = self.stem(wrapped(x, self.sides).contiguous(memory_format=LAYOUTS[self.config.dims]))
        skips = [h]
        for layer in self.down:
            h = layer(h, emb)
            skips.append(h)
        h = self.middle(h, emb)
        for layer in self.up:
            h = layer(torch.cat([h, skips.pop()], dim=1), emb)
        out: Tensor = self.last(wrapped(F.silu(self.norm(h)), self.sides))
        return out

    def _check(self, x: Tensor, t: Tensor) -> None:
        channels, dims = self.config.in_channels, self.config.dims
        if x.ndim != dims + 2 or x.shape[1] != channels:
            expected = shape_in_words(dims).replace("C", str(channels))
            raise ValueError(f"expected images of shape {expected}, got {tuple(x.shape)}")
        check_size(tuple(x.shape[2:]), self.config.factors[-1])
        if t.shape not in ((1,), (x.shape[0],)) or not t.is_floating_point():
            raise ValueError(
                f"expected times t as floats in [0, 1] of shape ({x.shape[0]},) or (1,), got {t.dtype} of shape "
                f"{tuple(t.shape)}"
            )


class InFrequencies(nn.Module):
    """A network that sees the coefficients of a basis instead of pixels, and says coefficients. Source: HS app. B.

    Around a `Circle` the coefficients are a circle too: the last is a wave of as many periods as the second.
    """

    def __init__(self, net: nn.Module, basis: Basis):
        super().__init__()
        self.net, self.basis = net, basis

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.basis.inverse(at_least_float32(self.net(self.basis.forward(x), t)))
