"""What a training would cost, against counts by hand, the training's own tensors and a clock that is made up."""

import copy
import re
from dataclasses import replace

import pytest
import torch
from torch import nn

from bdbook import recipes, training
from bdbook.recipes import Recipe
from bdbook.training import cost as module
from bdbook.training.cost import Budget, budget, report, saved_for_backward
from bdbook.unet import UNetConfig

UNET = UNetConfig(size=8, channels=8, multipliers=(1, 2), blocks=1, attention=(2,), head_dim=8)
# A degradation without a basis' matrix products, so that all arithmetic is the network's.
PLAIN = Recipe(
    "plain",
    data="none",
    process="noise",
    settings={"steps": 10},
    predicts="x0",
    unet=UNET,
    rule="tacos",
    sample_steps=None,
    batch=8,
    steps={"cpu": 100, "gpu": 200},
)


class Ticks:
    """A clock that says `step` seconds more each time it is asked."""

    def __init__(self, step):
        self.now, self.step = 0.0, step

    def __call__(self):
        self.now += self.step
        return self.now


@pytest.fixture
def quick(monkeypatch):
    """Steps that seem to last so long that only one image at a time is timed."""
    monkeypatch.setattr(module, "clock", Ticks(2.0))


def unet_flops(c, batch):
    """Two for each multiply-add of the layers, forward and backward, summed from the UNet's description.

    A backward pass forms the gradients of weights and of inputs: twice the work, but for the first convolution and
    the first layer of the time, whose inputs need none. Attention forms scores and mixes, and 5 products backward.
    """
    side = [c.size // f for f in c.factors]

    def conv(a, b, out, kernel, passes=3):
        return 2 * batch * a * b * kernel**2 * out**2 * passes

    def linear(a, b, rows, passes=3):
        return 2 * batch * a * b * rows * passes

    def residual(a, b, level):
        n = side[level]
        return (
            conv(a, b, n, 3) + conv(b, b, n, 3) + linear(4 * c.channels, 2 * b, 1) + (conv(a, b, n, 1) if a != b else 0)
        )

    def attention(a, level):
        n = side[level] ** 2
        return linear(a, 3 * a, n) + linear(a, a, n) + 2 * batch * n * n * a * (2 + 5)

    def block(a, b, level):
        return residual(a, b, level) + (attention(b, level) if c.factors[level] in c.attention else 0)

    total = linear(c.channels, 4 * c.channels, 1, 2) + linear(4 * c.channels, 4 * c.channels, 1)
    total += conv(c.in_channels, c.widths[0], side[0], 3, 2)
    now, skips, last = c.widths[0], [c.widths[0]], len(side) - 1
    for level, width in enumerate(c.widths):
        for _ in range(c.blocks):
            total += block(now, width, level)
            now = width
            skips.append(now)
        if level < last:
            total += conv(now, now, side[level + 1], 3)
            skips.append(now)
    total += block(now, now, last) + residual(now, now, last)
    for level in range(last, -1, -1):
        width = c.widths[level]
        for i in range(c.blocks + 1):
            total += block(now + skips.pop(), width, level)
            now = width
            if i == c.blocks and level > 0:  # a 4x4 kernel at each pixel that is seen
                total += conv(now, now, side[level], 4)
    return total + conv(now, c.out_channels, side[0], 3)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "unet",
    [
        UNET,
        replace(UNET, multipliers=(1, 2, 2), blocks=2, attention=(2, 4), in_channels=3, out_channels=3, size=16),
        replace(UNET, attention=()),
    ],
)
def test_work_is_that_of_the_layers(unet):
    found = budget(replace(PLAIN, unet=unet))
    assert found.flops == unet_flops(unet, batch=8)


@pytest.mark.usefixtures("quick")
def test_work_of_one_convolution(monkeypatch):
    """2 multiply-adds x 3x3 taps x pixels, forward and for the weights' gradient; the input needs none."""

    class One(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, x, t):
            return self.conv(x)

    monkeypatch.setattr(Recipe, "build_net", lambda self: One())
    found = budget(PLAIN)
    assert found.flops == 8 * 2 * (2 * 9 * 64)
    assert found.parameters == 10
    assert found.state_bytes == 5 * 40
    # Saved: the input, and the error that is squared.
    assert found.activation_bytes == 8 * (64 + 64) * 4


def test_activations_of_a_tiny_module():
    """What each layer's backward pass needs: see the terms."""
    net = nn.Sequential(nn.Linear(8, 16), nn.SiLU(), nn.Linear(16, 4))
    with saved_for_backward(net) as found:
        loss = (net(torch.randn(5, 8)) ** 2).sum()
    # Linear's input; SiLU's input; the second Linear's input; what is squared. Weights are not activations.
    assert sum(found.values()) == 5 * (8 + 16 + 16 + 4) * 4
    loss.backward()
    assert all(p.grad is not None for p in net.parameters())


def test_a_storage_saved_twice_counts_once():
    x = torch.randn(6, requires_grad=True)
    with saved_for_backward(nn.Identity()) as found:
        y = (x * x[:3].repeat(2)) * x.view(2, 3).view(6)
    assert len(found) == 3  # x, whatever its views; the repeated half; the first product
    assert sum(found.values()) == 3 * 6 * 4
    y.sum().backward()


def test_measuring_changes_no_gradient():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 5), nn.Sigmoid(), nn.Linear(5, 2))
    twin, x = copy.deepcopy(net), torch.randn(4, 3)
    with saved_for_backward(net):
        net(x).square().sum().backward()
    twin(x).square().sum().backward()
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(net.parameters(), twin.parameters()))


@pytest.mark.usefixtures("quick")
def test_parameters_and_state_are_the_trainings():
    found = budget(PLAIN)
    images = torch.rand(4, 1, 8, 8)
    state = training.start(PLAIN, images)
    next(training.train(PLAIN, images, state))
    held = [*state.net.parameters(), *state.ema.parameters(), *(p.grad for p in state.net.parameters())]
    for moments in state.optimizer.state.values():
        held += [moments["exp_avg"], moments["exp_avg_sq"]]
    assert found.state_bytes == sum(x.numel() * x.element_size() for x in held)
    assert found.parameters == sum(p.numel() for p in state.net.parameters())


@pytest.mark.usefixtures("quick")
def test_activations_are_those_of_a_step():
    """Drawn on from one and two images, against a step of all eight."""
    images = torch.rand(8, 1, 8, 8)
    state = training.start(PLAIN, images)
    with saved_for_backward(state.net) as saved:
        next(training.train(PLAIN, images, state))
    assert budget(PLAIN).activation_bytes == pytest.approx(sum(saved.values()), rel=0.02)


@pytest.mark.usefixtures("quick")
def test_costs_grow_with_the_batch():
    small, middle, large = (budget(PLAIN, batch=n) for n in (4, 8, 12))
    assert (small.batch, large.batch) == (4, 12)
    assert large.flops == 3 * small.flops
    assert large.step_seconds == pytest.approx(3 * small.step_seconds)
    assert large.seconds == 100 * large.step_seconds
    assert large.state_bytes == small.state_bytes
    first, second, third = (x.activation_bytes for x in (small, middle, large))
    assert third - second == second - first > 0
    assert large.memory_bytes == large.state_bytes + third


@pytest.mark.usefixtures("quick")
def test_parts_share_the_memory_but_not_the_work():
    whole, parts = budget(PLAIN), budget(replace(PLAIN, accumulate=4))
    assert parts.activation_bytes == budget(PLAIN, batch=2).activation_bytes < whole.activation_bytes
    assert (parts.flops, parts.step_seconds) == (whole.flops, whole.step_seconds)


@pytest.mark.parametrize(
    ("tick", "probe"),
    # A step is doubled while it takes less than half a second; 8 is the whole batch.
    [(2.0, 1), (0.01, 8)],
)
def test_time_is_the_clocks(monkeypatch, tick, probe):
    monkeypatch.setattr(module, "clock", Ticks(tick))
    found = budget(PLAIN)
    assert found.probe == probe
    assert found.probe_seconds == pytest.approx(tick)
    assert found.step_seconds == pytest.approx(tick * 8 / probe)
    assert found.seconds == pytest.approx(100 * tick * 8 / probe)


def test_time_is_a_median(monkeypatch):
    lasting = iter([3.0, 50.0, 7.0])
    monkeypatch.setattr(module, "_timed", lambda *_: next(lasting))
    assert budget(PLAIN).probe_seconds == 7.0


def test_little_memory_times_few_images(monkeypatch):
    monkeypatch.setattr(module, "clock", Ticks(0.01))
    each = budget(PLAIN, batch=2).activation_bytes - budget(PLAIN, batch=1).activation_bytes
    monkeypatch.setattr(module, "ROOM", 3.5 * each)
    assert budget(PLAIN).probe == 3


def test_time_is_measured():
    """By the machine's own clock."""
    plain = budget(PLAIN)
    assert 0 < plain.probe_seconds < 60
    assert plain.seconds > 0


@pytest.mark.usefixtures("quick")
def test_half_precision_saves_less():
    wide = replace(PLAIN, unet=replace(UNET, channels=16, size=16, attention=()))
    assert 0 < budget(wide, autocast=torch.bfloat16).activation_bytes < budget(wide).activation_bytes


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "name", ["photos-blurring", "digits-soft-plain", "photos-inpaint", "digits-cosine-frequencies"]
)
def test_every_kind_of_recipe_without_its_data(name, monkeypatch):
    monkeypatch.setattr("bdbook.data.load", None)
    assert budget(recipes.get(name), steps=7).seconds > 0


@pytest.mark.usefixtures("quick")
def test_global_randomness_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    budget(PLAIN)
    assert torch.equal(torch.rand(3), expected)


FOUND = Budget(
    recipe="lee-lsun64",
    device="the CPU (2 threads)",
    autocast=None,
    steps=450_000,
    batch=16,
    accumulate=2,
    parameters=121_060_483,
    state_bytes=5 * 4 * 121_060_483,
    activation_bytes=2**31,
    flops=int(3.6e12),
    probe=1,
    probe_seconds=5.0,
)


def test_report():
    text = report(FOUND)
    lines = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    assert lines[0] == ["lee-lsun64 on the CPU (2 threads), float32: 450,000 steps of 16 images in 2 parts"]
    assert ["parameters", "121,060,483", "counted"] in lines
    said = {line[0]: (line[1], line[2]) for line in lines if len(line) == 3}
    assert said["training state"] == ("2.25 GiB", "computed: weights, gradients, Adam's, average: x 5")
    assert said["activations"] == ("2.00 GiB", "measured at 1 and 2 images, for 8")
    assert said["memory"][0] == "4.25 GiB"
    assert said["work a step"] == ("3.6 TFLOP", "counted at 1 image, times 16")
    assert said["a timed step"] == ("5.0 s", "measured: median of 3 of 1 image")
    assert said["speed"][0] == "45.0 GFLOP/s"
    assert said["time a step"] == ("80.0 s", "computed: a timed step, times 16")  # 16 x 5 s
    assert said["time in all"] == ("416.7 days", "computed: 450,000 steps")  # 450,000 x 80 s
    assert "in proportion to the images" in text
    assert "upper estimate" not in report(replace(FOUND, probe=16))
    assert "bfloat16" in report(replace(FOUND, autocast=torch.bfloat16))
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.05, "50 ms"), (90.0, "90.0 s"), (150.0, "2.5 minutes"), (9e8, "28.5 years")]
)
def test_durations(seconds, words):
    assert module._duration(seconds) == words


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"device": "gpu"}, "unknown device 'gpu'.*Known: cpu, cuda"),
        ({"device": "cpu:x"}, "device was 'cpu:x'; expected cpu, cuda or cuda:0"),
        ({"device": "cuda:99"}, "device was cuda:99 and . CUDA devices were found; use cpu"),
        ({"batch": 0}, "batch was 0; expected at least 1 image"),
        ({"batch": -4}, "batch was -4; expected at least 1 image"),
        ({"steps": 0}, "steps was 0; expected at least 1"),
        ({"autocast": torch.float64}, "autocast was torch.float64; expected None"),
    ],
)
def test_bad_input(arguments, words):
    with pytest.raises(ValueError, match=words):
        budget(PLAIN, **arguments)


def test_batch_that_cannot_be_parted():
    with pytest.raises(ValueError, match="batch was 7, in 2 parts"):
        budget(replace(PLAIN, accumulate=2), batch=7)


def test_recipe_without_steps():
    with pytest.raises(ValueError, match="steps was None; expected at least 1"):
        budget(replace(PLAIN, steps={}))


@pytest.mark.parametrize(("tick", "timed"), [(0.7, [1]), (0.4, [1, 2, 4, 8])])
def test_a_step_is_doubled_while_it_takes_less_than_half_of_the_patience(monkeypatch, tick, timed):
    """PATIENCE is a second; the last count is timed TIMED times in all."""
    monkeypatch.setattr(module, "clock", Ticks(tick))
    counts, step = [], module._step

    def noted(*arguments):
        counts.append(arguments[-1])
        step(*arguments)

    monkeypatch.setattr(module, "_step", noted)
    assert budget(PLAIN).probe == timed[-1]
    assert counts == [1, 2, *timed, timed[-1], timed[-1]]  # the first two tell the memory


@pytest.mark.parametrize(("count", "words"), [(100 * 2**20, "100.00 MiB"), (154 * 2**20, "0.15 GiB")])
def test_memory_of_a_tenth_of_a_gibibyte_is_told_in_them(count, words):
    assert words in report(replace(FOUND, activation_bytes=count))
