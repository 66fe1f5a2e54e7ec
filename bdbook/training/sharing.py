"""A run as a folder to share, as the Hugging Face hub expects one: weights, config and a model card. No pickle.

weights.safetensors   averaged weights and spectrum, with the record and a checksum of all
config.json           the same record and checksum, in plain sight
README.md             the card: what it is, how it was trained and measured, how to use it, what it is not good for
samples.png           where the run has it

`runs.load` reads the folder as it reads a run's, and refuses one whose parts do not fit each other. The path of a
folder of pictures and the fingerprints of its files stay behind.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from bdbook import data
from bdbook.data import fashion, huggingface
from bdbook.files import write_atomically
from bdbook.processes import Degradation
from bdbook.recipes import pasted
from bdbook.training import checkpoints, runs
from bdbook.training.runs import CONFIG, GIVEN, Run
from bdbook.transforms import lengths

WEIGHTS, CARD, SAMPLES, METRICS = "weights.safetensors", "README.md", "samples.png", "metrics.json"
# Names of licences as the hub spells them: mit, cc-by-4.0, apache-2.0.
LICENCE = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*")
# The hub's names for what is done here.
GENERATES, RESTORES = "unconditional-image-generation", "image-to-image"


def share(
    source: Path | str,
    folder: Path | str,
    licence: str | None = None,
    process: Degradation | None = None,
    net: nn.Module | None = None,
) -> Path:
    """Write the folder of a run, or of a file of weights; the folder.

    licence: under which the weights are given, as the hub spells it ("mit", "cc-by-4.0"); None: the card says that
    there is none. process, net: your own that it was trained with, as for `runs.load`. Raises ValueError where there is
    no run that can be loaded, or where the folder holds something; then nothing is written.
    """
    source, folder = Path(source), Path(folder)
    if licence is not None and not LICENCE.fullmatch(licence):
        raise ValueError(f"licence was {licence!r}; expected a name as the hub spells it, e.g. mit or cc-by-4.0")
    _require_empty(folder)
    run, (file, _, header) = runs.load(source, process=process, net=net), runs.newest(source)
    beside = source if source.is_dir() else source.parent
    record, metrics = without_places(header["record"]), _metrics(beside / METRICS, header["step"])
    picture = beside / SAMPLES
    folder.mkdir(parents=True, exist_ok=True)
    checksum = checkpoints.copy_weights(folder / WEIGHTS, file, record)
    config = runs.config_of(checksum, {"record": record, "step": header["step"]})
    write_atomically(folder / CONFIG, json.dumps(config, indent=1) + "\n")
    if picture.is_file():
        shutil.copyfile(picture, folder / SAMPLES)
    write_atomically(folder / CARD, card(run, record, metrics, licence, picture.is_file()))
    return folder


def without_places(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record without the folder of pictures that it names: they become images that were handed over."""
    plain: dict[str, Any] = json.loads(json.dumps(record))
    if _is_set(plain["data"]):
        return plain
    plain.get("pictures", {}).pop("fingerprints", None)
    for place in (plain, plain["recipe"], plain["identity"].get("recipe", {})):
        if "data" in place and not _is_set(place["data"]):
            place["data"] = GIVEN
    return plain


def card(
    run: Run, record: Mapping[str, Any], metrics: Mapping[str, Any], licence: str | None = None, pictured: bool = False
) -> str:
    """The model card, in Markdown below the lines that the hub reads.

    record: of the run, `without_places`. metrics: what was recorded of this very step; may be empty. pictured: whether
    samples.png lies beside it.
    """
    given = f"The weights are under the licence `{licence}`." if licence else "No licence is given for the weights."
    parts = [
        "\n".join(["---", *_front(run, record, licence), "---"]),
        f"# {run.recipe.name}",
        f"A {'generator' if run.denoiser.process.noisy else 'restorer'} of images of shape {_shape(run)}, channels "
        f"first, trained with bdbook to undo {_process(run)}. {given} This card is made of the run's record.",
        *(["![samples](samples.png)"] if pictured else []),
        "## How it was trained",
        _table(["", ""], _training(run, record)),
        *_measures(metrics),
        "## How to use it",
        *_uses(run, record),
        "## What it is not good for",
        "\n".join(f"- {limit}" for limit in _limits(run, record, metrics)),
    ]
    return "\n\n".join(parts) + "\n"


def _require_empty(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; expected a folder to write to, as --out")
    if folder.is_dir() and (held := sorted(each.name for each in folder.iterdir())):
        raise ValueError(f"{folder} is not empty, it holds {held[0]}; choose a new folder, as --out")


def _is_set(name: str) -> bool:
    """Whether this is a data set by name, or images that were handed over: no place on a machine."""
    return name == GIVEN or data.recorded(name) != name


def _metrics(path: Path, step: int) -> dict[str, Any]:
    """What was measured of this step; nothing where it is of another one."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found if found.get("step") == step else {}


def _shape(run: Run) -> tuple[int, ...]:
    return (run.recipe.channels, *lengths(run.recipe.size))


def _process(run: Run) -> str:
    """The process as one writes it; of a recipe by its name and what is not usual."""
    recipe = run.recipe
    if not isinstance(recipe.process, str):
        return f"`{pasted.written(recipe.process)}`"
    return f"`{recipe.process}({', '.join(f'{name}={value!r}' for name, value in recipe.settings.items())})`"


def _front(run: Run, record: Mapping[str, Any], licence: str | None) -> Iterator[str]:
    """The lines of YAML."""
    yield "library_name: bdbook"
    if len(_shape(run)) == 3:
        yield f"pipeline_tag: {GENERATES if run.denoiser.process.noisy else RESTORES}"
    if licence:
        yield f"license: {licence}"
    hub = "fashion-mnist" if record["data"] == fashion.NAME else record["data"]
    if hub in huggingface.DATASETS:
        yield f"datasets:\n- {huggingface.DATASETS[hub].repository}"
    yield "tags:\n- diffusion\n- blur"


def _training(run: Run, record: Mapping[str, Any]) -> dict[str, str]:
    """What the card says of the training, in rows."""
    recipe, known = run.recipe, record["identity"]
    source = "one's own, which are not here" if record["data"] == GIVEN else f"bdbook's data set `{record['data']}`"
    rows = {
        "data": f"{known['count']:,} images, {source}" if "count" in known else f"images, {source}",
        "recipe": f"`{recipe.name}`: predicts {recipe.predicts}, loss {recipe.loss}, in {recipe.domain}",
        "network": f"{sum(each.numel() for each in run.denoiser.net.parameters()):,} parameters, weights averaged",  # type: ignore[attr-defined]
        "steps": f"{run.record['step']:,} of {recipe.batch} images, seed {known['seed']}",
        "device": f"{record['device']}, {record['precision']}, {record['wall_s'] / 60:.0f} minutes",
        "made": f"{record['date']}, bdbook {record['versions']['bdbook']}, torch {record['versions']['torch']}",
    }
    return rows | ({"commit": f"`{record['commit']}`"} if record.get("commit") else {})


def _measures(metrics: Mapping[str, Any]) -> list[str]:
    """Tables of what was measured, each with the words of its protocol."""
    told = []
    for name, protocol in (("restoration", metrics.get("protocol")), ("quality", metrics.get("sample_protocol"))):
        if name in metrics and protocol is not None:
            of = {each: values for each, values in metrics[name].items() if each != "test"}
            rows = {measure: [_number(of[each].get(measure)) for each in of] for measure in _shared(of)}
            words = protocol["in words"] if isinstance(protocol, Mapping) else protocol
            told += [_table([name, *of], rows), f"Measured: {words}."]
    if metrics.get("bits"):
        told.append(
            "Bits per dimension, at most: {mean:.3f} (standard error {standard_error:.3f}).".format(**metrics["bits"])
        )
    return ["## Measured", *told] if told else []


def _shared(columns: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The measures that are numbers, in the order of the first column that has them."""
    return list(dict.fromkeys(key for each in columns.values() for key, value in each.items() if _number(value)))


def _number(value: Any) -> str:
    """A measure, or how many; nothing for what is no number."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else ""


def _table(head: list[str], rows: Mapping[str, str | list[str]]) -> str:
    lines = [head, ["---"] * len(head)]
    lines += [[name, *([row] if isinstance(row, str) else row)] for name, row in rows.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _uses(run: Run, record: Mapping[str, Any]) -> list[str]:
    """How to load it and let it draw, as code that runs."""
    recipe, process = run.recipe, run.denoiser.process
    own = [
        name for name, there in (("net", recipe.net is not None), ("process", _needs_giving(recipe.process))) if there
    ]
    if process.start.kind in ("images", "mixture") and record["data"] == GIVEN:
        own.append("images")
    load = f"run = load_run({', '.join(['FOLDER', *(f'{name}={name}' for name in own)])})"
    made = f"({', '.join(map(str, ('B', *_shape(run))))}) in [-1, 1]"
    asked = [f"images = run.draw(8, seed=0)  # {made}"]
    if not process.noisy:
        asked = [f"restored = run.denoiser(degraded, 1.0)  # both {made}"]
    given = f"`{'`, `'.join(own)}`: yours, as in the training; they are not in the folder. " if own else ""
    told = [
        _code("from bdbook import load_run", "", load, *asked),
        f"{given}`FOLDER` is this folder; of one on the hub it is what `huggingface_hub.snapshot_download(NAME)` "
        "gives. The files are safetensors, JSON and text: nothing is unpickled, and loading refuses weights that do "
        "not fit the config.",
    ]
    if process.start.kind == "noise" and process.noisy and len(_shape(run)) == 3:
        told += [
            "In a pipeline of diffusers:",
            _code(
                "from diffusers import DDPMPipeline",
                "from bdbook.adapters import predictor",
                "from bdbook.adapters.scheduler import BlurringScheduler",
                "",
                f'scheduler = BlurringScheduler.of(run.denoiser, rule="{recipe.rule}")',
                f"model = predictor(run.denoiser, {_shape(run)}, steps=len(scheduler))",
                "pipeline = DDPMPipeline(model, scheduler)",
                f"images = pipeline(8, num_inference_steps={recipe.sample_steps or len(process.times()) - 1}).images",
            ),
        ]
    return told


def _needs_giving(process: str | Degradation) -> bool:
    """Whether a process is of a class or a function of one's own, which a record cannot hold."""
    if isinstance(process, str):
        return False
    try:
        return pasted.read(pasted.written(process)) != process
    except ValueError:
        return True


def _code(*lines: str) -> str:
    return "\n".join(["```python", *lines, "```"])


def _limits(run: Run, record: Mapping[str, Any], metrics: Mapping[str, Any]) -> Iterator[str]:
    """What nobody should expect of it, as far as its record tells."""
    seen = run.record["step"] * run.recipe.batch
    passes = f", {seen / record['identity']['count']:.2g} times over the data" if "count" in record["identity"] else ""
    yield f"Other sizes or channels than {_shape(run)}: it was trained on these alone."
    yield f"Anything but what its data show; it saw {seen:,} images{passes}, and no text and no labels."
    if run.denoiser.process.noisy:
        yield "Images that must be new: a network can repeat what it was trained on."
    else:
        yield "Other degradations than its own; and evidence: what it restores is likely, and not what was there."
    if not (metrics.get("quality") or metrics.get("restoration")):
        yield "A judgement of how good it is: nothing is recorded that was measured at this step."
    yield "Comparisons of methods by this one training: another seed gives other numbers."
