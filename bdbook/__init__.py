"""bdbook: diffusion models that blur. One process, one step; see the book for the mathematics."""

__version__ = "0.1.0"
