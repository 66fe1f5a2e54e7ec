"""Do posterior samples hold the truth as often as they say? Exactly, by the rule, and with trained networks.

    python results/laboratory/coverage.py

Of a mixture fitted to Fashion-MNIST the posterior given a blurred, noisy view is known, and the rule of
`posteriors.sample` is measured against it, with the exact denoiser. With recorded networks the truths are test images;
some others say by how much what was drawn must be stretched. Last, the blur was wider than was assumed. What is
in coverage.json already is kept, so that an interrupted run goes on; a block takes a minute or two of a quiet core.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from few_calls import plain_of, quick, untransformed
from safetensors.torch import save
from torch import Tensor
from tqdm import tqdm

from bdbook import data, posteriors, processes
from bdbook.evaluation import coverage
from bdbook.evaluation.coverage import Stretch
from bdbook.files import write_atomically
from bdbook.mixtures import Mixture
from bdbook.page import recorded
from bdbook.posteriors import View
from bdbook.processes import Process
from bdbook.training import records, runs
from bdbook.transforms import DCT, Pixel

HERE = Path(__file__).parent
FILE = HERE / "coverage.json"
PICTURES = FILE.with_suffix(".safetensors")
SIZE = 16
WIDTHS, NOISES = (1.0, 2.0), (0.02, 0.1)
# Views of the mixture's own images (by the rule half as many), images drawn for each, the steps of a walk, and images
# that are walked at once.
COUNT, DRAWN, STEPS, AT_ONCE = 500, 39, 10, 2500
# Test images, those that the stretch is fitted to, images drawn for each, and the steps, with a network.
TESTED, FITTED, DRAWN_BY_NETWORK, STEPS_OF_NETWORK = 200, 60, 19, 8
NETWORKS = ("fashion-cosine", "fashion-blurring")
TRAINED_AT = 1.0, 0.02
# Pictures to show: the first test images, samples of each, and the blur.
SHOWN, SAMPLES, SHOWN_AT = 4, 16, (1.5, 0.02)
# How much wider the blur was than is assumed.
WIDER = 1.5
PROCESSES: dict[str, Callable[[], Process]] = {
    "cosine": lambda: processes.cosine_diffusion(DCT(SIZE)),
    "HS, 5 px": lambda: processes.blurring_diffusion(SIZE, 5.0),
}


def measured(drawn: Tensor, truth: Tensor) -> dict:
    """Coverage, and how far one drawn image and the mean of all lie from the truth, root mean square."""
    found = coverage.measure(drawn, truth, basis=DCT(SIZE))
    single, mean = ((x - truth).square().mean().sqrt().item() for x in (drawn, drawn.mean(0)))
    return found.as_dict() | {"rmse": float(f"{single:.5g}"), "rmse_of_mean": float(f"{mean:.5g}")}


def seen(truth: Tensor, view: View, seed: int) -> Tensor:
    """What is seen of the truths, with noise of this seed."""
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(seed), dtype=truth.dtype)
    return view.sample(truth, noise)


def exact(mixture: Mixture, width: float, noise: float) -> dict:
    """The posterior of the mixture itself."""
    truth = mixture.sample(COUNT, torch.Generator().manual_seed(0))
    view = View.blurred(SIZE, width, noise)
    posterior = posteriors.of_mixture(mixture, view, seen(truth, view, 1))
    return measured(posterior.sample(DRAWN, torch.Generator().manual_seed(2)), truth)


def by_rule(mixture: Mixture, process: Process, errors: str, width: float, noise: float) -> dict:
    """The rule, with the exact denoiser and P of the Gaussian or as it was measured; in the basis, as `few_calls`."""
    truth = mixture.sample(COUNT // 2, torch.Generator().manual_seed(0))
    view = View.blurred(SIZE, width, noise)
    y = DCT(SIZE).forward(seen(truth, view, 1))
    ours, plain = untransformed(mixture), plain_of(process)
    view = View(Pixel(), view.gain, noise)
    denoiser, random = quick(ours, plain), torch.Generator().manual_seed(2)
    times = posteriors.grid(process, mixture.gaussian(), STEPS)
    spread = None
    if errors == "measured":
        others = ours.sample(COUNT, torch.Generator().manual_seed(3))
        spread = posteriors.measured_errors(denoiser, others, times, random)
    drawn = posteriors.sample(denoiser, ours.gaussian(), view, y, times, DRAWN, random, spread, AT_ONCE)
    back = torch.stack([DCT(SIZE).inverse(each) for each in drawn])
    return measured(back, truth)


def by_network(name: str, wider: float) -> dict:
    """A recorded network on test images; the blur that made the views is `wider` times the one assumed.

    Its errors are measured on the images that the stretch is fitted to.
    """
    run = runs.load(recorded.folder_of(name))
    images = data.load("fashion", SIZE, count=TESTED + FITTED, split="test")
    width, noise = TRAINED_AT
    view = View.blurred(SIZE, width, noise)
    times = posteriors.grid(run.denoiser.process, run.spectrum, STEPS_OF_NETWORK)
    random = torch.Generator().manual_seed(2)
    others, truth = images[TESTED:], images[:TESTED]
    spread = posteriors.measured_errors(run.denoiser, others, times, random)

    def drawn(of: Tensor, made_by: View) -> Tensor:
        y = seen(of, made_by, 1)
        return posteriors.sample(
            run.denoiser, run.spectrum, view, y, times, DRAWN_BY_NETWORK, random, spread, progress=True
        )

    found = drawn(truth, View.blurred(SIZE, wider * width, noise))
    told = measured(found, truth)
    if wider == 1:
        stretch = Stretch.fit(drawn(others, view), others, basis=DCT(SIZE))
        told |= {"stretch": list(stretch.factors), "stretched": measured(stretch(found), truth)}
    return told


def pictures(name: str) -> dict[str, Tensor]:
    """Test images, what is seen of them, and what may lie behind it by a network: bytes, (B, C, H, W) each."""
    run = runs.load(recorded.folder_of(name))
    truth, view = data.load("fashion", SIZE, count=SHOWN, split="test"), View.blurred(SIZE, *SHOWN_AT)
    times, y = posteriors.grid(run.denoiser.process, run.spectrum, STEPS_OF_NETWORK), seen(truth, view, 1)
    drawn = posteriors.sample(
        run.denoiser, run.spectrum, view, y, times, SAMPLES, torch.Generator().manual_seed(2), progress=True
    )
    return {"truth": as_bytes(truth), "seen": as_bytes(y), "drawn": torch.stack([as_bytes(x) for x in drawn])}


def as_bytes(images: Tensor) -> Tensor:
    """(B, C, H, W) in [-1, 1] as uint8."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().byte()


def jobs() -> dict[str, Callable[[], dict]]:
    """Name -> what measures it."""
    mixture = Mixture.load(HERE / "fashion.safetensors")
    found: dict[str, Callable[[], dict]] = {}
    places = [(width, noise, f"{width:g} px, noise {noise:g}") for width in WIDTHS for noise in NOISES]
    for width, noise, at in places:
        found[f"exact, {at}"] = partial(exact, mixture, width, noise)
    assumed = "{:g} px, noise {:g}".format(*TRAINED_AT)
    first, second = NETWORKS
    found[f"{first}, {assumed}"] = partial(by_network, first, 1.0)
    found[f"{first}, {assumed}, blur {WIDER:g} times as wide"] = partial(by_network, first, WIDER)
    found[f"{second}, {assumed}"] = partial(by_network, second, 1.0)
    for width, noise, at in places:
        for system, make in PROCESSES.items():
            for errors in ("Gaussian", "measured") if system == "cosine" else ("measured",):
                key = f"rule, {system}, {errors} errors, {at}"
                found[key] = partial(by_rule, mixture, make(), errors, width, noise)
    return found


def main() -> None:
    """Add what is missing to the file, one block after the other."""
    found = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    for key, work in tqdm({k: v for k, v in jobs().items() if k not in found}.items(), "blocks"):
        began = time.monotonic()
        found[key] = work() | {"seconds": round(time.monotonic() - began)} | records.made_here()
        lines = (f"{json.dumps(each)}: {json.dumps(what)}" for each, what in found.items())
        write_atomically(FILE, "{\n" + ",\n".join(lines) + "\n}\n")
    if not PICTURES.exists():
        write_atomically(PICTURES, save(pictures(NETWORKS[0])))


if __name__ == "__main__":
    main()
