"""Sizes of images of one, two and three axes, with two ends or around, for what holds in all of them."""

import math

import torch
from hypothesis import strategies as st

from bdbook.transforms import Circle, lengths

# The largest side by the number of axes.
LARGEST = {1: 64, 2: 64, 3: 8}


def sides(dims, least=2):
    axis = st.integers(least, LARGEST[dims])
    return st.tuples(*[st.one_of(axis, axis.map(Circle))] * dims)


# Unequal sides of each kind, by chance.
sizes = st.integers(1, 3).flatmap(sides)
# A series, one around a circle, a picture, one that wraps from left to right, a volume, one that wraps.
KINDS = [(30,), (Circle(30),), (6, 5), (5, Circle(6)), (3, 2, 5), (2, Circle(5), 3)]


def unit_images(size):
    """Every image with one pixel of 1 and the others 0, (count, 1, *axes) float64."""
    count = math.prod(lengths(size))
    return torch.eye(count, dtype=torch.float64).reshape(count, 1, *lengths(size))
