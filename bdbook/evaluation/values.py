"""Samples of series and volumes, measured: what asks for no picture.

A set is (N, C, *axes), floating point, as stored: nothing is clamped or rounded. Half of the data are compared with the
other half too, which is what a perfect sampler would have, the *floor*.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from bdbook.evaluation import checks, joint, metrics, neighbours
from bdbook.evaluation.checks import or_words
from bdbook.evaluation.generation import Protocol, samples
from bdbook.oracle import Gaussian
from bdbook.training import records
from bdbook.training.engine import SINGLE_PROCESS, Engine
from bdbook.training.runs import Run
from bdbook.transforms import LETTERS, lengths

BANDS = 5
AS_USUAL = Protocol()


def measures(found: Tensor, reference: Tensor, spectrum: Gaussian, training: Tensor | None = None) -> dict[str, Any]:
    """All the numbers of one set against another, both (N, C, *axes); in place of one that does not exist stand words.

    sliced_wasserstein: in units of a value; whitened: of the deviation of a coefficient by the spectrum, in whose basis
    bands are too; energy: of whitened coordinates, unbiased. bands: variance over the reference's, the lowest first;
    spectrum: the root mean square of their logarithms. nearest: mean distance to the nearest of training, (M, C,
    *axes), the root of the mean square over values. count, data: how many there were.
    """
    found, reference = (checked(x, name) for x, name in ((found, "samples"), (reference, "data")))
    a, b = (joint.whitened(x, spectrum) for x in (found, reference))
    over, under = (
        or_words(metrics.variance_by_band, x.double().cpu(), BANDS, spectrum.basis) for x in (found, reference)
    )
    words = next((each for each in (over, under) if isinstance(each, str)), None)
    return {
        "sliced_wasserstein": or_words(metrics.sliced, _rows(found), _rows(reference), 256, 0),
        "whitened": or_words(metrics.sliced, a, b, 256, 0),
        "energy": or_words(joint.energy_apart, a, b),
        "spectrum": words or or_words(metrics.spectra_apart, over, under),
        "bands": [words] * BANDS if words else _ratios(over, under),
        **({} if training is None else {"nearest": neighbours.nearest(*map(_flat, (found, training))).mean().item()}),
        "count": len(found),
        "data": len(reference),
    }


def compare(
    run: Run,
    data: Tensor,
    protocol: Protocol = AS_USUAL,
    training: Tensor | None = None,
    engine: Engine = SINGLE_PROCESS,
    progress: bool = False,
) -> dict[str, dict[str, Any]]:
    """`measures` of a run's samples, as many as half of the data unless the protocol says how many, against that half.

    data: (M, C, *axes) that were not trained on, which are taken in turn for the one half and the other; the other
    half's own measures are the floor. training: what was trained on, for the distance to the nearest; None for what
    the run was given, if it knows. Raises ValueError for data of another shape, for fewer than four, and for training
    data that are not the run's.
    """
    shape = run.recipe.channels, *lengths(run.recipe.size)
    training = run.given if training is None else training
    for x, name in ((data, "data"), (training, "training")):
        if x is not None and tuple(x.shape[1:]) != shape:
            raise ValueError(f"{name} had shape {tuple(x.shape)}; {run.recipe.name} is for (N, {str(shape)[1:]}")
    if len(data) < 4:
        raise ValueError(f"data were {len(data)}; expected at least 4, of which one half is compared with the other")
    if training is not None:
        known = run.record["identity"]
        if len(training) != known["count"] or records.fingerprint(training) != known["images"]:
            raise ValueError(
                f"training was not what {run.recipe.name} was trained on, {known['count']} by the record; give the "
                "same array, in the same order and type"
            )
    floor, reference = data[0::2], data[1::2]
    drawn = samples(run, protocol.drawn(len(reference)), protocol, engine, progress)
    return {
        "samples": measures(drawn, reference, run.spectrum, training),
        "floor": measures(floor, reference, run.spectrum, training),
    }


def words(run: Run, protocol: Protocol, source: str) -> str:
    """How `compare` does it, to print beside its numbers."""
    return (
        f"{run.recipe.name}: {protocol.walk(run)}; against half of {source}, whose other half is the floor; values as "
        f"they are; energy and whitened sliced W2 in deviations of the training data's coefficients; "
        f"seed {protocol.seed}"
    )


def table(rows: dict[str, dict[str, Any]]) -> str:
    """`compare` as text with aligned columns."""
    columns = [
        ("sliced_wasserstein", "sliced W2", 9, ".4f"),
        ("whitened", "whitened", 8, ".4f"),
        ("energy", "energy", 8, ".4f"),
        ("spectrum", "spectrum", 8, ".3f"),
        *([("nearest", "nearest", 8, ".4f")] if "nearest" in rows["samples"] else []),
        ("count", "N", 6, "d"),
        ("data", "data", 6, "d"),
    ]
    bands = [" ".join(checks.cell(ratio, ".2f") for ratio in row["bands"]) for row in rows.values()]
    ends = ["variance over the data's, lowest band first", *bands]
    return "\n".join(f"{line}   {end}" for line, end in zip(checks.aligned(rows, columns), ends))


def checked(x: Tensor, name: str) -> Tensor:
    """A set (N, C, *axes) as floating point on the CPU, finite; else ValueError."""
    if x.ndim - 2 not in LETTERS or not x.is_floating_point():
        raise ValueError(f"{name} had shape {tuple(x.shape)} and dtype {x.dtype}; expected (N, C, *axes) in floats")
    checks.require_finite(x, name)
    return x.detach().cpu()


def _ratios(over: Tensor, under: Tensor) -> list[float | str]:
    return [x / y if y > 0 else "constant" for x, y in zip(over.tolist(), under.tolist())]


def _rows(x: Tensor) -> Tensor:
    return x.double().flatten(1)


def _flat(x: Tensor) -> Tensor:
    """(N, 1, 1, values): to a nearest neighbour axes are nothing."""
    return x.detach().cpu().float().flatten(1)[:, None, None]
