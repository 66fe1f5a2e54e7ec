"""bdbook spectrum."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from bdbook import spectra
from bdbook.cli.telling import tell
from bdbook.files import write_atomically

# How the sigmas are given to each; {sigmas} are N numbers from large to small.
GIVEN = {
    "diffusers": "scheduler.set_timesteps(sigmas=[{sigmas}, 0.0])",
    "k-diffusion": "sigmas = torch.tensor([{sigmas}, 0.0])  # e.g. sample_dpmpp_2m(model, x, sigmas)",
    "numpy": "sigmas = np.array([{sigmas}, 0.0])",
}


@dataclass(frozen=True)
class Spectrum:
    """The power spectrum of your own data, and which process, rule and steps fit it.

    A folder of pictures or of sounds, an array (.npy, .npz:NAME, read by memory map where it can be), latents
    (.safetensors:NAME), or a sound (.wav). Nothing is unpickled.
    """

    path: tyro.conf.Positional[str]
    """A folder, or a file .npy, .npz, .safetensors or .wav; :NAME for one of several arrays in it."""
    layout: str | None = None
    """Of an array: a letter for each of its axes, N samples, C channels, X one with frequencies: NCXX, NX, XXX, ..."""
    window: tuple[int, ...] | None = None
    """Cut samples into windows of so many values, one number or one an axis."""
    size: int | None = None
    """Of a folder of pictures: the side that they are cut and resized to; default: as the smallest, at most 64."""
    circles: tuple[int, ...] = ()
    """Axes that wrap around, counted from 0, as longitude."""
    limit: int = 20_000
    """Samples to read at most, spread evenly over all."""
    calls: int = 10
    """Evaluations of the network a sample, for which to advise."""
    sigmas: Literal["diffusers", "k-diffusion", "numpy"] | None = None
    """Print the sigmas for a network that knows white noise, as a line of Python."""
    json: Path | None = None
    """Write all numbers to this file."""
    html: Path | None = None
    """Write a page with the figure to this file; it needs nothing else and no network."""

    def run(self) -> None:
        if self.calls < 1:
            raise ValueError(f"calls was {self.calls}; expected at least 1 evaluation of the network a sample")
        asked = {name: getattr(self, name) for name in ("layout", "window", "size", "circles", "limit")}
        found = spectra.of(self.path, **asked, progress=True)
        tell(f"{found}\n")
        advised = spectra.advise(found, self.calls)
        tell(advised)
        if self.sigmas is not None:
            order = 2 if self.sigmas != "diffusers" else 1
            numbers = ", ".join(f"{sigma:.6g}" for sigma in advised.sigmas[order])
            tell(f"\n# {found.name}, scaled; order {order}\n{GIVEN[self.sigmas].format(sigmas=numbers)}")
        if self.json is not None:
            write_atomically(self.json, json.dumps(spectra.as_dict(found, advised), indent=1) + "\n")
            tell(f"\nnumbers: {self.json}")
        if self.html is not None:
            from bdbook.page import spectrum_page

            write_atomically(self.html, spectrum_page.html(found, advised, asked))
            tell(f"page: {self.html}")
