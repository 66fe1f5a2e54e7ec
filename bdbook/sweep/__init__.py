"""Sweeps: trainings, or chapters, at every point of a grid, on as many machines as a Ray cluster has.

points.py    grid files and their points; needs no Ray
cluster.py   working at them, on Ray
table.py     what comes of it
"""

from bdbook.sweep.cluster import run
from bdbook.sweep.points import read
from bdbook.sweep.table import DONE, place, table

__all__ = ["DONE", "place", "read", "run", "table"]
