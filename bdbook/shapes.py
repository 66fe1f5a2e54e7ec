"""Shapes as types: along which axes a tensor has its numbers, and of what kind these are.

    B images of a batch   C channels   *axes of pixels or of frequencies, one to three: H, W of a picture

In one call an axis has one length wherever its letter stands; one with # may have length 1 instead, and is broadcast.
Float is every floating-point type, half precision too. An annotation is for the reader, and for the tests, under which
every call of the core is checked (tests/checked.py); at run time nothing looks at it.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64, Real, UInt8
from torch import Tensor

# In pixels, data in [-1, 1]; the same before they are lifted to float32; and what a basis makes of them, u = V' x.
Images = Float[Tensor, "B C *axes"]
AnyImages = Real[Tensor, "B C *axes"]
Coefficients = Float[Tensor, "B C *axes"]
# A loss, a bound: one number for each image.
PerImage = Float[Tensor, "B"]
# An alpha, a sigma, a carry: what coefficients are multiplied by; and the same before it takes their precision.
Scale = Float[Tensor, "#B #C *#axes"]
PerFrequency = Float64[Tensor, "#B #C *#axes"]
# Squared frequencies, eigenvalues: of a basis, the same for every image.
OfBasis = Float64[Tensor, "1 1 *axes"]
# Times that are given image axes; a walk's, decreasing; and those that a schedule takes, of any shape.
Expanded = Float64[Tensor, "B 1 *#axes"]
Grid = Float64[Tensor, "times"]
Numbers = Float[Tensor, "*shape"]
AnyNumbers = Real[Tensor, "*shape"]
Elementwise = Float64[Tensor, "*shape"]
# A number for each step, or for each band of frequencies.
Row = Float64[Tensor, "count"]
# 8-bit pixels as a network's images lie, as files hold them, and of one picture.
Bytes = UInt8[Tensor, "*shape"]
Pixels = UInt8[np.ndarray, "B H W C"]
Picture = UInt8[np.ndarray, "height width C"]
