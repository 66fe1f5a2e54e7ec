"""Trained networks for the page: one graph in ONNX for all of a kind, the weights of each, and what a walk needs.

The graph holds no weights: it names a place in a file called `WEIGHTS` for each, so that networks of one architecture
share it. In the page ONNX Runtime joins the two (bdbook/page/js/network.js).
"""

from __future__ import annotations

import base64
import io
import logging
import warnings
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bdbook import cold, priors
from bdbook.denoiser import Spectral
from bdbook.processes import PROCESSES, EqualSNR, Process, has_size
from bdbook.training.loop import generator_for
from bdbook.training.runs import Run
from bdbook.transforms import DCT, Pixel, Rotation2D, Size, height_width, unwrapped

OPSET = 18
WEIGHTS = "weights"
# Starts that are pictures, of which a seed picks one for each image.
CENTRES = 64


def graph(net: nn.Module, channels: int, size: Size) -> bytes:
    """An ONNX model (x (B, C, H, W), t (B,)) -> out, its weights in the external file `WEIGHTS`.

    Needs the packages onnx and onnxscript.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401, which torch.onnx wants
    except ModuleNotFoundError as error:
        what = f'the graph of a network needs {error.name}, which is missing: pip install "bdbook[page]"'
        raise ModuleNotFoundError(what, name=error.name) from error

    batch = torch.export.Dim.DYNAMIC
    example = torch.zeros(2, channels, *height_width(unwrapped(size))), torch.zeros(2)
    # It reports every stage on stdout, and every operator of packages that are not there.
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                net.eval(),
                example,
                dynamo=True,
                dynamic_shapes=({0: batch}, {0: batch}),
                opset_version=OPSET,
                input_names=["x", "t"],
                output_names=["out"],
                optimize=False,  # names and shapes of the weights stay the network's; the runtime optimises
                verbose=False,
            )
    finally:
        quiet.setLevel(level)
    assert program is not None  # under dynamo there is one
    model = program.model_proto
    places = _places(net)
    for tensor in model.graph.initializer:
        if tensor.name not in places:
            raise RuntimeError(f"{tensor.name} is in the graph but not in the network's state_dict")
        offset, length = places.pop(tensor.name)
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", WEIGHTS), ("offset", offset), ("length", length)):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, str(value)
    if places:
        raise RuntimeError(f"{', '.join(places)} of the network's state_dict are not in the graph")
    for node in model.graph.node:  # traces of the Python that made it, most of its size
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for value in model.graph.value_info:
        value.ClearField("metadata_props")
    return model.SerializeToString()


def net_of(run: Run) -> nn.Module:
    """The network of a run."""
    net = run.denoiser.net
    assert isinstance(net, nn.Module)  # a recipe builds one
    return net


def weights(net: nn.Module) -> bytes:
    """All of state_dict in its order, float32, one after another."""
    return b"".join(_bytes(tensor) for tensor in net.state_dict().values())


def _places(net: nn.Module) -> dict[str, tuple[int, int]]:
    """name -> (offset, length) in `weights`."""
    places, offset = {}, 0
    for name, tensor in net.state_dict().items():
        length = 4 * tensor.numel()
        places[name] = offset, length
        offset += length
    return places


def walk(run: Run, begin: tuple[Tensor, Tensor] | None = None) -> dict:
    """What a walk needs besides the network, as JSON: the process, what is predicted, the spectrum, where x_T is.

    x_T = centre + V (spread V' noise), with one of the centres, white noise, and one spread per coefficient: `begin`,
    or None for `start`, which may need the images that the run was trained on.
    """
    recipe = run.recipe
    height, width = height_width(unwrapped(recipe.size))
    if height != width or recipe.channels != 1:
        raise ValueError(
            f"images of {recipe.name} are {recipe.channels} x {height} x {width}; the page walks squares of one channel"
        )
    centres, spread = start(run) if begin is None else begin
    # Of the data, which samples should have; under that of spectral preconditioning there is a floor (Recipe).
    predicts = run.denoiser.predicts
    variance = predicts.variance0 if isinstance(predicts, Spectral) else run.spectrum.variance
    return {
        "recipe": recipe.name,
        **_system(run),
        "size": width,
        "predicts": recipe.predicts,
        "rule": recipe.rule,
        "steps": recipe.sample_steps,
        "centres": _base64(centres),
        "spread": _base64(spread),
        "mean": _base64(run.denoiser.process.basis.inverse(run.spectrum.mean)),
        "variance": _base64(variance),
    }


# The settings that bdbook/page/js/processes.js knows of each system, all in the DCT or in Lee's own basis.
IN_THE_PAGE: dict[str, tuple[str, ...]] = {
    "ddpm": ("steps",),
    "cosine_diffusion": (),
    "heat_dissipation": ("sigma_max", "sigma_min", "steps", "noise"),
    "blurring_diffusion": ("sigma_max", "d_min", "blur"),
    "blur_diffusion": ("f_max", "f_type", "kernel_sigma", "steps", "boundary"),
    "soft_diffusion": ("sigma_max", "noise_min", "noise_max"),
}


def _system(run: Run) -> dict:
    """The process by name and settings where the page knows it, else as tables at the times of the walk."""
    recipe, process = run.recipe, run.denoiser.process
    size = unwrapped(recipe.size)  # the page's own processes know no circles
    for name, known in IN_THE_PAGE.items():
        if isinstance(process, PROCESSES[name]):
            place = {"size": size} if has_size(name) else {"basis": DCT(size)}
            settings = {key: getattr(process, key) for key in known}
            if PROCESSES[name](**place, **settings) == process:  # no other setting differs from what the page has
                return {"process": name, "settings": settings}
    if isinstance(process, EqualSNR) and process == EqualSNR(DCT(size), process.variance, name=process.name):
        return {"process": "equal_snr", "settings": {"variance": _base64(torch.tensor(process.variance))}}
    if recipe.process == "blur":  # mirrored, one kernel again and again, to the mean
        settings = {key: recipe.settings[key] for key in ("steps", "std", "width")}
        fixed: dict[str, Any] = {"growth": "constant", "boundary": "symmetric", "to_mean": True}
        if cold.blur(size, **settings, **fixed) == process:
            return {"process": "blur", "settings": settings}
    if not isinstance(process, Process) or not isinstance(process.basis, Rotation2D | Pixel):
        raise ValueError(
            f"the page cannot walk {process.name}: it knows those with an alpha and a sigma for each coefficient of "
            "a basis along rows and columns"
        )
    height, width = height_width(size)
    basis = process.basis
    rows, cols = basis.matrices() if isinstance(basis, Rotation2D) else (torch.eye(height), torch.eye(width))
    steps = process.steps or recipe.sample_steps or 250
    times = process.times(steps).flip(0)
    tables = {
        name: _base64(torch.cat([schedule(t.item()).expand(1, 1, height, width) for t in times]))
        for name, schedule in (("alpha", process.alpha), ("sigma", process.sigma))
    }
    return {"process": "table", "settings": {"steps": steps, "rows": _base64(rows), "cols": _base64(cols), **tables}}


def start(run: Run) -> tuple[Tensor, Tensor]:
    """(centres (K, C, H, W), spread (1, C, H, W)) of where the process starts. See `processes.Start`."""
    recipe, process = run.recipe, run.denoiser.process
    shape = (1, recipe.channels, *height_width(unwrapped(recipe.size)))
    begins, random = process.start, generator_for(0, "centres")
    if begins.kind == "images":
        return priors.blurred_data(process, run.images(), delta=0.0)(CENTRES, random), torch.full(shape, begins.noise)
    if begins.kind == "mixture":
        return priors.fitted(process, run.images())(CENTRES, random), torch.full(shape, begins.noise)
    if begins.kind == "marginal" and isinstance(process, Process):
        mean, variance = run.spectrum.marginal(process, 1.0)
        return process.basis.inverse(mean.expand(shape)), variance.sqrt().expand(shape)
    return torch.zeros(shape), torch.ones(shape)


def _bytes(tensor: Tensor) -> bytes:
    return np.ascontiguousarray(tensor.detach().cpu().numpy(), dtype="<f4").tobytes()


def _base64(tensor: Tensor) -> str:
    """32-bit floats, little-endian."""
    return base64.b64encode(_bytes(tensor)).decode()
