"""The network: shapes, parameter counts of the papers, attention against softmax by hand, initialisation."""

import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal

from bdbook.transforms import Circle, lengths
from bdbook.unet import Attention, Down, Residual, UNet, UNetConfig, Up, groups, time_features

# Of one, two and three axes.
AXES = [(8,), (8, 8), (4, 2, 6)]
CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
SMALL = UNetConfig(size=8, channels=8, multipliers=(1, 2), blocks=1, attention=(2,), head_dim=8)


def small(**changes):
    return UNetConfig(**{**SMALL.__dict__, **changes})


def build(config, seed=0):
    torch.manual_seed(seed)
    return UNet(config)


def awake(config, seed=0):
    """A network in general position: no parameter is zero, so that nothing is hidden by the initialisation."""
    net = build(config, seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net


def parameters(config):
    with torch.device("meta"):
        return sum(p.numel() for p in UNet(config).parameters())


LEE = UNetConfig(
    size=64, in_channels=3, out_channels=3, channels=128, multipliers=(1, 2, 3, 4), blocks=3, attention=(4, 8), heads=4
)
HS = {"in_channels": 3, "out_channels": 3, "blocks": 3, "resblock_updown": True}
HS_CIFAR10 = UNetConfig(size=32, channels=256, multipliers=(1, 1, 1), attention=(2, 4), head_dim=256, dropout=0.2, **HS)
HS_LSUN64 = UNetConfig(
    size=64, channels=128, multipliers=(1, 2, 3, 4), attention=(2, 4, 8), head_dim=64, dropout=0.2, **HS
)
HS_LSUN128 = UNetConfig(
    size=128, channels=64, multipliers=(1, 2, 4, 6, 8), attention=(4, 8, 16), head_dim=64, dropout=0.1, **HS
)


def adm_count(channels, widths, blocks, attended, image):
    """Parameters of the ADM layout, summed from its description layer by layer (no learnt variance)."""

    def conv(a, b, side):
        return a * b * side * side + b

    def residual(a, b):
        skip = conv(a, b, 1) if a != b else 0
        return 2 * a + conv(a, b, 3) + conv(4 * channels, 2 * b, 1) + 2 * b + conv(b, b, 3) + skip

    def attention(a):
        return 2 * a + conv(a, 3 * a, 1) + conv(a, a, 1)

    total = conv(channels, 4 * channels, 1) + conv(4 * channels, 4 * channels, 1) + conv(image, widths[0], 3)
    now, skips = widths[0], [widths[0]]
    for level, width in enumerate(widths):
        for _ in range(blocks):
            total += residual(now, width) + (attention(width) if level in attended else 0)
            now = width
            skips.append(now)
        if level < len(widths) - 1:
            total += conv(now, now, 3)
            skips.append(now)
    total += 2 * residual(now, now) + attention(now)
    for level, width in reversed(list(enumerate(widths))):
        for _ in range(blocks + 1):
            total += residual(now + skips.pop(), width) + (attention(width) if level in attended else 0)
            now = width
        total += conv(now, now, 3) if level > 0 else 0
    return total + 2 * now + conv(now, image, 3)


def test_lee_has_as_many_parameters_as_published():
    count = parameters(LEE)
    assert f"{count / 1e6:.2f}" == "121.06"
    assert count == adm_count(128, [128, 256, 384, 512], 3, {2, 3}, 3)


@pytest.mark.parametrize(("change", "millions"), [("scale_shift", "115.94"), ("resblock_updown", "129.38")])
def test_the_count_tells_the_layouts_apart(change, millions):
    other = UNetConfig(**{**LEE.__dict__, change: not getattr(LEE, change)})
    assert f"{parameters(other) / 1e6:.2f}" == millions


@pytest.mark.parametrize("config", [HS_CIFAR10, HS_LSUN64, HS_LSUN128])
def test_table_5_of_hs_builds(config):
    """On the meta device: shapes are checked, nothing is computed."""
    with torch.device("meta"):
        net = UNet(config)
        out = net(torch.empty(2, 3, config.size, config.size), torch.empty(2))
    assert out.shape == (2, 3, config.size, config.size)
    # 7 residual blocks a level, one more for each change of size (down and up), two in the middle (HS app. A.2).
    levels = len(config.multipliers)
    found = [type(module).__name__ for module in net.modules()]
    assert found.count("Residual") == 7 * levels + 2 * (levels - 1) + 2
    # Attention after each of those 7 where Table 5 has it, and once in the middle.
    assert found.count("Attention") == 7 * len(config.attention) + 1


@given(
    st.integers(1, 3),
    st.lists(st.integers(1, 3), min_size=1, max_size=3),
    st.integers(1, 2),
    st.lists(st.integers(1, 3), min_size=1, max_size=3),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2),
)
def test_shapes(channels, multipliers, blocks, sides, updown, scale_shift, attended):
    factor = 2 ** (len(multipliers) - 1)
    config = UNetConfig(
        size=tuple(side * factor for side in sides),
        in_channels=channels,
        out_channels=channels + 1,
        channels=6,
        multipliers=tuple(multipliers),
        blocks=blocks,
        attention=tuple(2**k for k in range(min(attended, len(multipliers)))),
        heads=2,
        resblock_updown=updown,
        scale_shift=scale_shift,
    )
    x = torch.randn(2, channels, *config.size)
    net = awake(config)
    assert config.dims == len(sides)
    out = net(x, torch.rand(2))
    assert out.shape == (2, channels + 1, *config.size)
    assert out.isfinite().all()
    assert out.abs().max() > 0


def test_one_time_serves_the_batch():
    net, x = awake(SMALL), torch.randn(3, 1, 8, 8)
    torch.testing.assert_close(net(x, torch.tensor([0.3])), net(x, torch.full((3,), 0.3)))


@pytest.mark.parametrize("size", AXES)
def test_images_of_a_batch_do_not_mix(size):
    net, x, t = awake(small(size=size)).eval(), torch.randn(3, 1, *size), torch.rand(3)
    alone = torch.cat([net(x[i : i + 1], t[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(net(x, t), alone, atol=1e-5, rtol=1e-4)


def test_memory_layout_of_the_input_does_not_matter():
    net, x, t = awake(small(in_channels=3)), torch.randn(2, 3, 8, 8), torch.rand(2)
    torch.testing.assert_close(net(x, t), net(x.to(memory_format=torch.channels_last), t))


@pytest.mark.parametrize("size", AXES)
@pytest.mark.parametrize("updown", [False, True])
def test_output_is_exactly_zero_before_training(updown, size):
    net = build(small(resblock_updown=updown, size=size))
    assert net(torch.randn(4, 1, *size), torch.rand(4)).abs().max() == 0


@pytest.mark.parametrize("size", AXES)
@pytest.mark.parametrize("updown", [False, True])
def test_residual_blocks_and_attention_start_as_the_identity(updown, size):
    net = build(small(resblock_updown=updown, multipliers=(1, 1), size=size))
    x, emb = torch.randn(2, 8, *size), torch.randn(2, 32)
    torch.testing.assert_close(net.down[0](x, emb), x, rtol=0, atol=0)
    torch.testing.assert_close(net.middle(x, emb), x, rtol=0, atol=0)


@pytest.mark.parametrize("size", AXES)
@pytest.mark.parametrize("updown", [False, True])
@pytest.mark.parametrize("scale_shift", [False, True])
def test_every_parameter_learns(updown, scale_shift, size):
    """The zero layers wake up one after the other: the last first, then those that end blocks, then the rest."""
    net = build(small(resblock_updown=updown, scale_shift=scale_shift, size=size))
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    x, t, target = torch.randn(8, 1, *size), torch.rand(8), torch.randn(8, 1, *size)
    for step in range(3):
        optimiser.zero_grad()
        F.mse_loss(net(x, t), target).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
        alive = {name for name, p in net.named_parameters() if p.grad.abs().max() > 0}
        if step == 0:
            assert alive == {"last.weight", "last.bias"}
        optimiser.step()
    assert alive == {name for name, _ in net.named_parameters()}


def test_it_can_learn():
    """A target that depends on the image and on the time, which no constant fits."""
    net = build(SMALL)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    x, t = torch.randn(32, 1, 8, 8), torch.rand(32)
    target = torch.where(t > 0.5, 1.0, -1.0)[:, None, None, None] * x
    losses = []
    for _ in range(150):
        optimiser.zero_grad()
        loss = F.mse_loss(net(x, t), target)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


@pytest.mark.parametrize("scale_shift", [False, True])
@pytest.mark.parametrize("resample", [None, "down", "up"])
@pytest.mark.parametrize("size", AXES)
def test_residual_block_by_its_formula(scale_shift, resample, size):
    """Norm, SiLU, (resample,) convolution, time, norm, SiLU, convolution, plus the (resampled) input."""
    torch.manual_seed(0)
    pool = {1: torch.nn.AvgPool1d, 2: torch.nn.AvgPool2d, 3: torch.nn.AvgPool3d}[len(size)]
    layers = {None: None, "down": pool(2), "up": torch.nn.Upsample(scale_factor=2.0)}
    block = Residual(small(scale_shift=scale_shift, size=size), 8, 12, layers[resample]).double()
    w = {name: p.data.normal_() for name, p in block.named_parameters()}
    x, emb = torch.randn(2, 8, *size, dtype=torch.float64), torch.randn(2, 32, dtype=torch.float64)
    every = (slice(None), *[None] * len(size))

    def normalise(x, n):
        split = x.reshape(len(x), x.shape[1] // 4, -1)  # groups of four channels
        split = (split - split.mean(2, keepdim=True)) / (split.var(2, keepdim=True, correction=0) + 1e-5).sqrt()
        return split.view(x.shape) * w[f"norm{n}.weight"][every] + w[f"norm{n}.bias"][every]

    def resized(x):
        for axis in range(2, x.ndim):
            if resample == "down":
                x = x.unflatten(axis, (-1, 2)).mean(axis + 1)
            elif resample == "up":
                x = x.repeat_interleave(2, axis)
        return x

    def silu(x):
        return x / (1 + torch.exp(-x))

    def conv(x, name, padding):
        return CONV[len(size)](x, w[f"{name}.weight"], w[f"{name}.bias"], padding=padding)

    h = conv(resized(silu(normalise(x, 1))), "conv1", 1)
    time = (emb @ w["time.weight"].T + w["time.bias"])[(slice(None), *every)]
    h = normalise(h, 2) * (1 + time[:, :12]) + time[:, 12:] if scale_shift else normalise(h + time, 2)
    expected = conv(resized(x), "skip", 0) + conv(silu(h), "conv2", 1)
    torch.testing.assert_close(block(x, emb), expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("size", [(15,), (3, 5), (5, 1, 3)])
def test_attention_is_softmax_of_query_times_key(size):
    torch.manual_seed(0)
    heads, width, d = 3, 12, 4
    layer = Attention(width, heads).double()
    torch.nn.init.normal_(layer.project.weight)
    torch.nn.init.normal_(layer.project.bias)
    x = torch.randn(2, width, *size, dtype=torch.float64)
    expected = torch.empty_like(x)
    w, b = layer.qkv.weight.detach(), layer.qkv.bias.detach()
    for i in range(2):
        tokens = F.group_norm(x[i : i + 1], groups(width))[0].flatten(1).T  # (15, width); affine is 1, 0
        mixed = []
        for head in range(heads):
            q, k, v = (
                tokens @ w[part * width + head * d : part * width + (head + 1) * d].T
                + b[part * width + head * d : part * width + (head + 1) * d]
                for part in range(3)
            )
            scores = torch.exp(q @ k.T / math.sqrt(d))
            mixed.append(scores / scores.sum(1, keepdim=True) @ v)
        out = torch.cat(mixed, 1) @ layer.project.weight.detach().T + layer.project.bias.detach()
        expected[i] = x[i] + out.T.reshape(width, *size)
    torch.testing.assert_close(layer(x, None), expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("size", [(7,), (3, 4), (3, 1, 4)])
def test_up_is_nearest_neighbour_then_convolution(size):
    torch.manual_seed(0)
    up, x = Up(5, len(size)).double(), torch.randn(2, 5, *size, dtype=torch.float64)
    axes = tuple(range(2, x.ndim))
    kernel = up.conv.weight.transpose(0, 1).flip(axes)  # the same weights, as a plain convolution's
    doubled = x
    for axis in axes:
        doubled = doubled.repeat_interleave(2, axis)
    plain = CONV[len(size)](doubled, kernel, up.conv.bias, padding=1)
    torch.testing.assert_close(up(x, None), plain, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("size", [(8,), (4, 6), (2, 4, 6)])
def test_down_keeps_every_second_pixel_of_a_convolution(size):
    torch.manual_seed(0)
    down, x = Down(5, len(size)).double(), torch.randn(2, 5, *size, dtype=torch.float64)
    plain = CONV[len(size)](x, down.conv.weight, down.conv.bias, padding=1)
    torch.testing.assert_close(down(x, None), plain[(..., *[slice(None, None, 2)] * len(size))])


@pytest.mark.parametrize(("fewer", "more"), [((8,), (1, 8)), ((8,), (1, 8, 1)), ((4, 6), (4, 1, 6))])
def test_a_network_of_series_is_one_of_pictures_of_one_row(fewer, more):
    """With the kernels' middles in the place of the kernels: the zeros beyond an edge meet the rest of them."""
    settings = {"multipliers": (2,), "attention": (1,), "in_channels": 2, "out_channels": 2, "blocks": 2}
    large, little = awake(small(size=more, **settings)), build(small(size=fewer, **settings))
    wanted = {name: p.ndim for name, p in little.named_parameters()}
    new = [axis for axis, side in enumerate(more, 2) if side == 1]
    weights = {}
    for name, p in large.state_dict().items():
        for axis in reversed(new):
            if p.ndim > wanted[name]:
                p = p.select(axis, p.shape[axis] // 2)
        weights[name] = p
    little.load_state_dict(weights)
    x, t = torch.randn(3, 2, *fewer), torch.rand(3)
    torch.testing.assert_close(
        little(x, t).reshape(3, 2, *more), large(x.reshape(3, 2, *more), t), atol=1e-5, rtol=1e-4
    )


def test_names_of_parameters_do_not_depend_on_the_axes():
    """Nor their shapes, but for the kernels of convolutions: 3, 3x3 or 3x3x3."""
    for updown in (False, True):
        nets = [build(small(size=size, resblock_updown=updown)).state_dict() for size in AXES]
        assert list(nets[0]) == list(nets[1]) == list(nets[2])
        for parts in zip(*(net.values() for net in nets)):
            kernels = [part.shape[2:] for part in parts]
            assert len({part.shape[:2] for part in parts}) == 1
            assert kernels == [()] * 3 or kernels in ([(side,) * dims for dims in (1, 2, 3)] for side in (1, 3))


# Axes that wrap, alone and beside others.
AROUND = [(Circle(8),), (Circle(8), Circle(4)), (4, Circle(8)), (Circle(8), 4), (2, Circle(8), 4), (Circle(4),) * 3]


def turned(x, size, by):
    """Images rolled along the axes of a size that are circles."""
    axes = [axis for axis, side in enumerate(size, 2) if isinstance(side, Circle)]
    return x.roll([by] * len(axes), axes)


@pytest.mark.parametrize("size", AROUND)
@pytest.mark.parametrize("updown", [False, True])
def test_on_a_circle_a_turned_image_has_a_turned_output(updown, size):
    """By a multiple of the coarsest level's pixel; where nothing wraps, zeros tell where the seam was."""
    settings = {"size": size, "resblock_updown": updown, "blocks": 2, "middle_attention": True}
    net, x, t = awake(small(**settings)).double(), torch.randn(2, 1, *lengths(size)).double(), torch.rand(2).double()
    for by in (2, -2, 4):
        torch.testing.assert_close(net(turned(x, size, by), t), turned(net(x, t), size, by), atol=1e-10, rtol=1e-10)
    assert (net(turned(x, size, 1), t) - turned(net(x, t), size, 1)).abs().max() > 1e-3  # half a pixel of that level
    ends = awake(small(**settings | {"size": lengths(size)})).double()
    assert (ends(turned(x, size, 2), t) - turned(ends(x, t), size, 2)).abs().max() > 1e-3


def test_on_a_circle_in_single_precision():
    size = (Circle(16), Circle(16))
    net, x, t = awake(small(size=size)), torch.randn(2, 1, 16, 16), torch.rand(2)
    torch.testing.assert_close(net(turned(x, size, 6), t), turned(net(x, t), size, 6), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", AROUND)
def test_convolutions_wrap_as_scipys(size):
    """A residual block, down and up, each channel by scipy, of what numpy wrapped or continued by zeros."""
    torch.manual_seed(0)
    modes = ["wrap" if isinstance(side, Circle) else "constant" for side in size]
    net, x = awake(small(size=size)).double(), torch.randn(1, 8, *lengths(size), dtype=torch.float64)

    def correlated(x, kernels, bias):
        x, kernels = x[0].detach().numpy(), kernels.detach().numpy()
        for axis, mode in enumerate(modes, 1):
            x = np.pad(x, [(int(k == axis),) * 2 for k in range(x.ndim)], mode=mode)
        planes = [[signal.correlate(part, each, "valid") for part, each in zip(x, kernel)] for kernel in kernels]
        return torch.tensor(np.sum(planes, 1))[None] + bias.detach()[(None, ..., *[None] * len(size))]

    block = Residual(net.config, 8, 8)
    torch.nn.init.normal_(block.conv2.weight)
    block, emb = block.double(), torch.randn(1, 32, dtype=torch.float64)
    h = correlated(F.silu(block.norm1(x)), block.conv1.weight, block.conv1.bias)
    scale, shift = block.time(emb)[(..., *[None] * len(size))].chunk(2, 1)
    h = correlated(F.silu(block.norm2(h) * (1 + scale) + shift), block.conv2.weight, block.conv2.bias)
    torch.testing.assert_close(block(x, emb), x + h, atol=1e-11, rtol=1e-11)

    down, up = (kind(8, len(size), net.config.around).double() for kind in (Down, Up))
    half = correlated(x, down.conv.weight, down.conv.bias)[(..., *[slice(None, None, 2)] * len(size))]
    torch.testing.assert_close(down(x, None), half, atol=1e-11, rtol=1e-11)
    kernels = up.conv.weight.transpose(0, 1).flip(tuple(range(2, x.ndim)))
    doubled = x
    for axis in range(2, x.ndim):
        doubled = doubled.repeat_interleave(2, axis)
    torch.testing.assert_close(up(x, None), correlated(doubled, kernels, up.conv.bias), atol=1e-11, rtol=1e-11)


def test_what_does_not_wrap_is_as_it_was():
    """The same weights, names and bits as on axes with ends."""
    for size in AROUND:
        ends, seam = awake(small(size=lengths(size))), awake(small(size=size, wraps=False))
        around = UNet(small(size=size))
        around.load_state_dict(ends.state_dict())
        x, t = torch.randn(2, 1, *lengths(size)), torch.rand(2)
        assert torch.equal(ends(x, t), seam(x, t))
        assert not torch.equal(ends(x, t), around(x, t))


def test_time_features():
    t = torch.tensor([0.0, 0.25, 1.0])
    features = time_features(t, 7)
    assert features.shape == (3, 7)
    for i, time in enumerate(t.tolist()):
        for j in range(3):
            angle = 1000 * time * 10000 ** (-j / 3)
            assert features[i, j].item() == pytest.approx(math.cos(angle), abs=1e-4)
            assert features[i, 3 + j].item() == pytest.approx(math.sin(angle), abs=1e-4)
    assert (features[:, 6] == 0).all()


def test_time_keeps_its_phase_in_half_precision():
    """bfloat16 has 8 bits: 1000 t formed in it would be off by several radians."""
    t = torch.tensor([0.7109375])  # exact in bfloat16
    torch.testing.assert_close(time_features(t.bfloat16(), 8), time_features(t, 8))


@pytest.mark.parametrize("scale_shift", [False, True])
def test_time_matters(scale_shift):
    net, x = awake(small(scale_shift=scale_shift)), torch.randn(2, 1, 8, 8)
    a, b = net(x, torch.tensor([0.2])), net(x, torch.tensor([0.21]))
    assert (a - b).abs().max() > 1e-3


def test_same_seed_same_network():
    x, t = torch.randn(2, 1, 8, 8), torch.rand(2)
    a, b, c = awake(SMALL, 1)(x, t), awake(SMALL, 1)(x, t), awake(SMALL, 2)(x, t)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_dropout_only_in_training():
    net, x, t = awake(small(dropout=0.5)), torch.randn(2, 1, 8, 8), torch.rand(2)
    assert not torch.equal(net(x, t), net(x, t))
    net.eval()
    assert torch.equal(net(x, t), net(x, t))
    # Without it, the same weights in training are those of evaluation.
    twin = UNet(SMALL)
    twin.load_state_dict(net.state_dict())
    assert torch.equal(net(x, t), twin(x, t))


@pytest.mark.parametrize("size", [(8, 16), (4, 2), (24, 6)])
def test_other_sizes_than_the_one_it_was_made_for(size):
    assert awake(SMALL)(torch.randn(1, 1, *size), torch.rand(1)).shape == (1, 1, *size)


def test_bf16_autocast_stays_close():
    net, x, t = awake(small(in_channels=3)), torch.randn(4, 3, 8, 8), torch.rand(4)
    exact = net(x, t)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = net(x, t)
    out.float().square().mean().backward()
    assert (out - exact).abs().max() < 0.1 * exact.abs().max()
    assert all(p.grad.isfinite().all() for p in net.parameters())


def test_float64():
    net, x, t = awake(SMALL), torch.randn(2, 1, 8, 8), torch.rand(2)
    single = net(x, t)
    double = net.double()(x.double(), t.double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("channels", [1, 3, 4, 6, 20, 33, 48, 64, 96, 128, 384])
def test_groups_divide_the_channels(channels):
    found = groups(channels)
    assert channels % found == 0
    assert found == 1 or channels // found >= 4
    assert found <= 32
    if channels % 128 == 0:
        assert found == 32


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"size": 30, "multipliers": (1, 2, 2), "attention": ()}, ["30x30", "halved 2 times", "28x28 or 32x32"]),
        ({"size": (8, 9)}, ["8x9", "8x8 or 8x10"]),
        ({"size": (9,)}, ["an image of 9", "multiples of 2", "8 or 10 would do"]),
        ({"size": (4, 4, 5)}, ["4x4x5", "4x4x4 or 4x4x6"]),
        ({"size": (2, 2, 2, 2)}, ["image size was (2, 2, 2, 2)", "one to 3 axes"]),
        ({"size": 2, "multipliers": (1, 1, 1), "attention": ()}, ["2x2", "4x4 would do"]),
        ({"attention": (8,)}, ["factor 8", "(1, 2)", "size // r"]),
        ({"head_dim": 5}, ["16 channels", "head_dim 5"]),
        ({"heads": 3}, ["16 channels", "3 heads"]),
        ({"heads": 0}, ["16 channels", "0 heads"]),
        ({"dropout": 1.0}, ["dropout", "[0, 1)", "1.0"]),
        ({"multipliers": ()}, ["at least one multiplier"]),
        ({"blocks": 0}, ["blocks (0)", "at least 1"]),
    ],
)
def test_config_errors(changes, words):
    with pytest.raises(ValueError, match=".*".join(re.escape(word) for word in words)):
        small(**changes)


@pytest.mark.parametrize(
    ("x", "t", "words"),
    [
        ((2, 3, 8, 8), torch.rand(2), ["(B, 1, H, W)", "(2, 3, 8, 8)"]),
        ((1, 8, 8), torch.rand(2), ["(B, 1, H, W)", "(1, 8, 8)"]),
        ((2, 1, 7, 8), torch.rand(2), ["7x8", "6x8 or 8x8"]),
        ((2, 1, 8, 8), torch.rand(3), ["(2,) or (1,)", "(3,)"]),
        ((2, 1, 8, 8), torch.rand(()), ["(2,) or (1,)", "()"]),
        ((2, 1, 8, 8), torch.rand(2, 1), ["(2,) or (1,)", "(2, 1)"]),
        ((2, 1, 8, 8), torch.tensor([1, 2]), ["floats in [0, 1]", "int64"]),
    ],
)
def test_input_errors(x, t, words):
    with pytest.raises(ValueError, match=".*".join(re.escape(word) for word in words)):
        build(SMALL)(torch.randn(x), t)


@pytest.mark.parametrize(
    ("size", "x", "words"),
    [
        ((8,), (2, 1, 8, 8), ["(B, 1, L)", "(2, 1, 8, 8)"]),
        ((8,), (2, 1, 7), ["an image of 7", "6 or 8"]),
        ((4, 4, 4), (2, 1, 4, 4), ["(B, 1, D, H, W)", "(2, 1, 4, 4)"]),
    ],
)
def test_input_of_other_axes(size, x, words):
    with pytest.raises(ValueError, match=".*".join(re.escape(word) for word in words)):
        build(small(size=size))(torch.randn(x), torch.rand(2))
