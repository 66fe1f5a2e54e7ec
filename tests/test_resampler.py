"""The figure that samples in Python: its walks, what interrupts them, and what it says."""

import asyncio
import base64
import io
import re
from types import SimpleNamespace

import ipywidgets
import numpy as np
import pytest
import torch
from PIL import Image

from bdbook import pixels, samplers
from bdbook.page import live
from bdbook.page.widgets import BlurringSlider, Resampler, resampler


def walk(rho=1.0, steps=5, seed=0):
    denoiser = live.run_of("fashion-ddpm").denoiser
    random = torch.Generator().manual_seed(seed)
    start = torch.randn(2, 1, 16, 16, generator=random)
    return samplers.sample(denoiser, start, denoiser.process.times(steps), samplers.partial_carry(rho), random)


def counted(count=40):
    """A walk that counts how many were begun and how many steps were taken, and needs no network."""
    seen = SimpleNamespace(begun=[], taken=0)

    def steps(level):
        seen.begun.append(level)
        for i in range(count):
            seen.taken += 1
            yield samplers.Step(1 - (i + 1) / count, torch.full((1, 1, 4, 4), level), None)

    return steps, seen


def slider(value=0.0):
    return ipywidgets.FloatSlider(value, min=-1, max=1)


async def settled(figure):
    while figure.state in ("waiting", "sampling"):
        await asyncio.sleep(0.01)


def shown(figure) -> np.ndarray:
    picture = re.search(r'base64,([^"]+)"', figure._picture.value)[1]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))))


def test_the_first_walk_is_the_librarys_and_is_shown():
    figure = Resampler(walk, 2, rho=ipywidgets.FloatSlider(0.5, max=1), steps=ipywidgets.IntSlider(4))
    expected = samplers.last(walk(0.5, 4)).x
    assert torch.equal(figure.x, expected)
    np.testing.assert_array_equal(shown(figure), pixels.grid(expected, 2).squeeze())
    assert figure.state == "done"
    assert "2 images at t = 0.000" in figure._repr_mimebundle_()["text/html"]
    assert "rho = 0.5, steps = 4. Under a kernel" in figure._repr_mimebundle_()["text/html"]


def test_a_rule_and_an_order_are_chosen_as_numbers_are():
    run = live.run_of("fashion-blurring")
    start = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    rules = {"flow": run.flow(), "DDIM": samplers.ddim}

    def chosen(rule, order):
        return samplers.sample(run.denoiser, start, run.denoiser.process.times(5), rules[rule], order=order)

    rule, order = ipywidgets.Dropdown(options=list(rules), value="DDIM"), ipywidgets.Dropdown(options=[1, 2])
    figure = Resampler(chosen, rule=rule, order=order)
    by_ddim = figure.x
    rule.value, order.value = "flow", 2
    assert torch.equal(figure.x, samplers.last(chosen("flow", 2)).x)
    assert not torch.allclose(figure.x, by_ddim, atol=0.1)
    assert "rule = flow, order = 2. Under a kernel" in figure._repr_mimebundle_()["text/html"]


def test_in_a_script_every_change_is_followed_at_once():
    steps, seen = counted()
    control = slider()
    figure = Resampler(steps, level=control)
    control.value = 0.5
    assert seen.begun == [0, 0.5]
    assert (figure.x == 0.5).all()


def test_of_many_moves_in_a_row_the_last_one_is_walked():
    async def drag():
        steps, seen = counted()
        control = slider()
        figure = Resampler(steps, level=control)
        for level in (0.1, 0.2, 0.3, 0.4):
            control.value = level
            await asyncio.sleep(resampler.PAUSE / 10)
        assert figure.state == "waiting"
        assert not figure._stop.disabled
        await settled(figure)
        return figure, seen

    figure, seen = asyncio.run(drag())
    assert seen.begun == [0, 0.4]
    assert (figure.x == 0.4).all()
    assert figure._progress.value == 1


def test_a_move_interrupts_the_walk_that_is_under_way():
    async def drag():
        steps, seen = counted(10_000)
        control = slider()
        figure = Resampler(steps, level=control)
        before = seen.taken
        control.value = 0.1
        while seen.taken < before + 3:
            await asyncio.sleep(0)
        control.value = 0.2
        await asyncio.sleep(0.01)
        await settled(figure)
        return figure, seen

    figure, seen = asyncio.run(drag())
    assert seen.begun == [0, 0.1, 0.2]
    assert 20_000 < seen.taken < 30_000
    assert figure.state == "done"
    assert (figure.x == 0.2).all()


def test_stop_gives_up_the_walk_and_keeps_the_last_images():
    async def stop():
        steps, seen = counted(100_000)
        control = slider()
        figure = Resampler(steps, level=control)
        control.value = 0.1
        while len(seen.begun) < 2:
            await asyncio.sleep(0)
        figure._stop.click()
        await asyncio.sleep(0.05)
        taken = seen.taken
        await asyncio.sleep(0.05)
        assert seen.taken == taken
        return figure

    figure = asyncio.run(stop())
    assert figure.state == "stopped"
    assert figure._stop.disabled
    assert (figure.x == 0).all()


def test_moves_from_another_thread_are_walked_in_the_loop():
    async def drag():
        steps, _ = counted()
        control = slider()
        figure = Resampler(steps, level=control)
        await asyncio.to_thread(lambda: setattr(control, "value", 0.7))
        await asyncio.sleep(0.01)
        await settled(figure)
        return figure

    assert (asyncio.run(drag()).x == 0.7).all()


def test_a_figure_that_is_shown_elsewhere_may_be_followed():
    steps, _ = counted()
    blur = BlurringSlider(t=0.25)
    figure = Resampler(steps, level=(blur, "t"))
    blur.t = 0.75
    assert (figure.x == 0.75).all()
    assert blur not in figure.children


@pytest.mark.parametrize(
    ("steps", "words"),
    [(lambda level: walk(rho=level), "rho was -0.5; expected a part of DDIM"), (lambda level: iter(()), "no steps")],
)
def test_what_is_wrong_is_said(steps, words):
    figure = Resampler(steps, level=slider(-0.5))
    assert figure.state == "failed"
    assert words in figure._words.value
    assert figure._stop.disabled


def test_every_picture_of_the_walk_is_shown_with_how_far_it_is(monkeypatch):
    monkeypatch.setattr(resampler, "FRAME", -1.0)  # each step is late
    steps, _ = counted(4)
    figure, bars, words = Resampler(steps, level=slider()), [], []
    figure._progress.observe(lambda change: bars.append(change.new), "value")
    figure._picture.observe(lambda change: words.append(re.search(r"at t = ([\d.]+)", change.new)[1]), "value")
    figure.children[0].value = 0.5
    assert bars == [0, 0.25, 0.5, 0.75, 1]
    assert words == ["0.750", "0.500", "0.250", "0.000"]


def test_few_pictures_are_shown_of_a_fast_walk(monkeypatch):
    monkeypatch.setattr(resampler, "FRAME", 1e9)
    steps, _ = counted(4)
    figure, seen = Resampler(steps, level=slider()), []
    figure._picture.observe(lambda change: seen.append(change.new), "value")
    figure.children[0].value = 0.5
    assert len(seen) == 1, "the last"


@pytest.mark.parametrize("columns", [1, 2, 5])
def test_each_pixel_is_four_on_the_screen(columns):
    def steps(level):
        yield samplers.Step(0.0, torch.full((5, 1, 4, 6), level), None)

    figure = Resampler(steps, columns, level=slider())
    assert f"width: {4 * shown(figure).shape[1]}px" in figure._picture.value
