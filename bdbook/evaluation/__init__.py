"""Comparing what is drawn or restored with data.

checks.py       what a measure takes, and its words where there is no number
metrics.py      numbers that compare two sets of images
joint.py        numbers that see how coefficients go together
neighbours.py   precision and recall, and copies of training images
features.py     which feature network stands for which images; that of digits
classifiers.py  the networks of clothes and textures, and how they are trained
fair.py         samples against real images, beside what real images get
generation.py   a generating run, measured by one protocol
restoration.py  a restorer, measured by one protocol; what it generates
restored.py     a folder of restored pictures, and what is done already
pictures.py     picture files, read and written whole
tiling.py       restoring one's own pictures, at any size
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    [
        "checks",
        "classifiers",
        "fair",
        "features",
        "generation",
        "joint",
        "metrics",
        "neighbours",
        "pictures",
        "restoration",
        "restored",
        "tiling",
    ],
)
