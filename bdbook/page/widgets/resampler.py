"""Sliders that drive Python: a walk that begins again whenever one of them moves."""

from __future__ import annotations

import asyncio
import base64
import html
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import ipywidgets
import torch
import traitlets

if TYPE_CHECKING:
    from bdbook.samplers import Step

PAUSE = 0.15  # s: a slider that still moves is waited for
FRAME = 0.1  # s between two pictures of a walk
PIXELS = 4  # on the screen, each pixel of a sample


class Resampler(ipywidgets.VBox):
    """Samples of a network, drawn again by Python while the reader drags.

    It needs a kernel. The first walk is taken at once, and a page without a kernel shows where it ended. Later ones
    run between the kernel's other work: a cell that runs is finished first.

    Parameters
    ----------
    walk : function of the controls' values that returns the steps of a walk from t = 1 to 0, such as
        `samplers.sample` does; images (B, 1 or 3, H, W) in [-1, 1].
    columns : of the grid in which the images are shown.
    **controls : name of an argument of `walk` -> an ipywidget whose `value` it takes, which is shown here; or a pair
        (figure, trait) to follow a figure that is shown elsewhere.
    """

    x = traitlets.Instance(torch.Tensor, allow_none=True)  # the images of the last walk that was finished
    state = traitlets.Unicode("")  # waiting, sampling, done, stopped or failed

    def __init__(self, walk: Callable[..., Iterator[Step]], columns: int = 8, **controls):
        self._walk, self._columns = walk, columns
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:  # a script: every change is followed at once
            self._loop = None
        self._followed = {
            name: control if isinstance(control, tuple) else (control, "value") for name, control in controls.items()
        }
        self._progress = ipywidgets.FloatProgress(max=1.0, description="walk")
        self._stop = ipywidgets.Button(description="Stop", disabled=True)
        self._words, self._picture = ipywidgets.HTML(), ipywidgets.HTML()
        shown = [control for control in controls.values() if not isinstance(control, tuple)]
        row = ipywidgets.HBox([self._progress, self._stop, self._words])
        super().__init__([*shown, row, self._picture])
        self._walk_at_once()
        self._stop.on_click(lambda _: self.stop())
        for control, trait in self._followed.values():
            control.observe(lambda _: self._moved(), trait)

    def values(self) -> dict:
        """What the controls say: the arguments of the next walk."""
        return {name: getattr(control, trait) for name, (control, trait) in self._followed.items()}

    def stop(self) -> None:
        """Give up the walk that is under way."""
        self._in_loop(self._give_up)

    # A front end may deliver what the reader does in a thread of its own; walks are begun and ended in the loop only.

    def _in_loop(self, work: Callable[[], None]) -> None:
        if self._loop is None:
            work()
        else:
            self._loop.call_soon_threadsafe(work)

    def _moved(self) -> None:
        self._in_loop(self._begin if self._loop else self._walk_at_once)

    def _begin(self) -> None:
        if self._task is not None:
            self._task.cancel()
        assert self._loop is not None  # by `_moved`
        self._task = self._loop.create_task(self._run())

    def _give_up(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
            self._tell("stopped")

    async def _run(self) -> None:
        self._tell("waiting")
        await asyncio.sleep(PAUSE)
        for _ in self._steps():
            await asyncio.sleep(0)  # the kernel hears of a further move, or of Stop

    def _walk_at_once(self) -> None:
        for _ in self._steps():
            pass

    def _steps(self) -> Iterator[None]:
        """Take a walk, showing it as it goes; pauses after each step."""
        began = shown = time.monotonic()
        self._tell("sampling", 0.0)
        step = None
        try:
            for step in self._walk(**self.values()):
                if time.monotonic() - shown > FRAME:
                    self._show(step)
                    self._tell("sampling", 1 - step.t)
                    shown = time.monotonic()
                yield
        except (ValueError, RuntimeError) as error:  # what the library says of such values
            self._tell("failed", words=str(error))
            return
        if step is None:
            return self._tell("failed", words="the walk had no steps")
        self._show(step)
        self.x = step.x
        self._tell("done", 1.0, f"{time.monotonic() - began:.1f} s on {step.x.device}")

    def _show(self, step: Step) -> None:
        from bdbook import pixels

        picture = base64.b64encode(pixels.png(step.x, self._columns, enlarge=1)).decode()
        width = PIXELS * (self._columns * (step.x.shape[-1] + 1) - 1)
        self._picture.value = (
            f'<img alt="{len(step.x)} images at t = {step.t:.3f}" src="data:image/png;base64,{picture}" '
            f'style="width: {width}px; max-width: 100%; image-rendering: pixelated">'
        )

    def _tell(self, state: str, part: float | None = None, words: str = "") -> None:
        self.state = state
        if part is not None:
            self._progress.value = part
        self._words.value = html.escape(words or state)
        self._stop.disabled = state not in ("waiting", "sampling")

    def _repr_mimebundle_(self, **kwargs) -> dict:
        values = ", ".join(f"{name} = {value}" for name, value in self.values().items())
        still = f"{self._picture.value}<p>{html.escape(values)}. Under a kernel there are sliders here.</p>"
        return super()._repr_mimebundle_(**kwargs) | {"text/html": still}
