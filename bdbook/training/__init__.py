"""From a recipe to a run folder.

fit.py          train into a run folder
loop.py         the training loop
folders.py      who may write to a run folder
stopping.py     signals, and a loss that runs away
checkpoints.py  the state of a training on disk
records.py      what a run was
runs.py         a trained model
sharing.py      a trained model as a folder for others
engine.py       device, precision, processes
profiles.py     how much to compute
cost.py         what a training would take
"""

from bdbook.training.fit import fit
from bdbook.training.loop import Batch, State, draw_batch, draw_times, generator_for, start, train, update_ema
from bdbook.training.runs import Run
from bdbook.training.runs import load as load_run

__all__ = [
    "Batch",
    "Run",
    "State",
    "draw_batch",
    "draw_times",
    "fit",
    "generator_for",
    "load_run",
    "start",
    "train",
    "update_ema",
]
