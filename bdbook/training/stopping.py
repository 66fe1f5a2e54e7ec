"""When a training stops before its last step: it was asked to, or its loss has run away."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# The mean of so many losses is compared with the lowest such mean before it, and with the first loss.
WINDOW, OVER_LOWEST, OVER_FIRST = 20, 100.0, 10.0


class Asked:
    """Whether Ctrl-C or SIGTERM has asked the training to stop. by: the signal, None until there is one."""

    def __init__(self) -> None:
        self.by: signal.Signals | None = None


@contextmanager
def listening(aloud: bool = False, deaf: bool = False) -> Iterator[Asked]:
    """A context in which the first signal is noted, for the training to end its step; a second one acts as usual.

    aloud: say at once that it was heard. deaf: let the first one pass, where another process of the same training saves
    for all. In a thread, where Python has no signals, nothing is noted.
    """
    asked = Asked()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    usual = {each: signal.getsignal(each) for each in SIGNALS}

    def restore() -> None:
        for each, handler in usual.items():
            signal.signal(each, handler)

    def note(number: int, frame: FrameType | None) -> None:
        restore()
        if deaf:
            return
        asked.by = signal.Signals(number)
        if aloud:  # not print: the signal may have come while it prints
            os.write(2, f"\n{asked.by.name}: a checkpoint is saved after this step; once more stops at once\n".encode())

    for each, handler in usual.items():
        if handler is not signal.SIG_IGN and handler is not None:  # as under nohup, or by a handler not of Python
            signal.signal(each, note)
    try:
        yield asked
    finally:
        restore()


def obey(asked: Asked) -> None:
    """Do what the signal would have done: KeyboardInterrupt, or the end of the process."""
    if asked.by is not None:
        sys.stdout.flush()
        signal.raise_signal(asked.by)


class Watch:
    """Looks after each loss whether the training has run away from what it had reached."""

    def __init__(self, before: Sequence[float] = ()):
        """before: mean losses that the log has of earlier steps."""
        self.recent: deque[float] = deque(maxlen=WINDOW)
        self.first = before[0] if before else None
        self.lowest = min(before, default=float("inf"))

    def look(self, step: int, loss: float) -> None:
        """Raise FloatingPointError where the mean of the last 20 losses is 100 times the lowest such mean."""
        self.first = loss if self.first is None else self.first
        self.recent.append(loss)
        if len(self.recent) < WINDOW:
            return
        mean = sum(self.recent) / WINDOW
        if mean > OVER_LOWEST * min(self.lowest, self.first) and mean > OVER_FIRST * self.first:
            raise FloatingPointError(
                f"the loss diverges: its mean over {WINDOW} steps is {mean:.3g} at step {step}, after it had been "
                f"{min(self.lowest, self.first):.3g}"
            )
        self.lowest = min(self.lowest, mean)
