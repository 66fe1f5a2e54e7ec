"""From a recipe to a run folder.

loop.py      the training loop
runs.py      a run folder, and a trained model read from it
engine.py    device, precision, processes
profiles.py  how much to compute
cost.py      what a training would take
"""

from bdbook.training.loop import Batch, State, draw_batch, draw_times, generator_for, start, train, update_ema

__all__ = ["Batch", "State", "draw_batch", "draw_times", "generator_for", "start", "train", "update_ema"]
