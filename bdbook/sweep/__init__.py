"""Sweeps: trainings, or chapters, at every point of a grid, on as many machines as a Ray cluster has.

points.py    grid files and their points; needs no Ray
cluster.py   working at them, on Ray
table.py     what comes of it
"""

from bdbook.sweep.cluster import DONE, run
from bdbook.sweep.points import read
from bdbook.sweep.table import table

__all__ = ["DONE", "read", "run", "table"]
