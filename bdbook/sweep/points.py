"""Grid files, and what their points are: a training or a chapter with its settings, checked before anything starts.

    recipe: digits-blurring
    vary: {sigma_max: [0.5, 5, 10], seed: [0, 1]}

Keys under vary and fixed: a setting of the recipe's process, a field of the recipe, `recipe` or `seed`; or, where
`chapter` stands for `recipe`, the chapter's parameters.
"""

from __future__ import annotations

import ast
import hashlib
import itertools
import json
import os
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import Field, asdict, dataclass, fields, is_dataclass, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType, NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints
from urllib.parse import quote

from bdbook import data, denoiser, losses, recipes, samplers, training
from bdbook.errors import unknown
from bdbook.evaluation import generation, restoration
from bdbook.files import shipped
from bdbook.recipes import Recipe
from bdbook.training import checkpoints, engine, profiles, records

CHAPTERS = shipped("notebooks")
# Fields of a recipe that a grid can set; of the others, settings and steps have their own places.
FIELDS = {
    k: v
    for k, v in get_type_hints(Recipe).items()
    if k not in ("name", "process", "settings", "unet", "steps", "net", "shape")
}
# Seconds that a process may take to notice that its machine was given up, and to let go of its folder.
OF_THE_DATA = ("size", "basis", "variance", "name")  # settings of a process that its data decide
LOST = 120.0
LONGEST_NAME = 255  # bytes, on the file systems that are used; percent-encoded, a name has a byte a character
WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", NoneType: "null"}


@dataclass(frozen=True)
class Training:
    """A point that trains and evaluates. varied: what tells it from the other points, by key."""

    varied: Mapping[str, Any]
    recipe: Recipe
    seed: int
    steps: int
    profile: str
    protocol: generation.Protocol | restoration.Protocol
    checkpoint_every: int = 500

    KEYS = ("recipe", "vary", "fixed", "training_steps", "profile", "evaluate", "checkpoint_every")

    @classmethod
    def from_grid(cls, grid: Mapping, varied: Mapping, fixed: Mapping) -> Training:
        chosen = {**fixed, **varied}
        base = recipes.get(typed("recipe", chosen.pop("recipe", grid.get("recipe")), str))
        seed = typed("seed", chosen.pop("seed", 0), int)
        if seed < 0:
            raise ValueError(f"seed was {seed}; expected 0 or more")
        hints = settings(base) | FIELDS
        for key in chosen:
            if key not in hints:
                raise unknown(f"setting of {base.name}", key, [*hints, "recipe", "seed"])
        chosen = {key: typed(key, value, hints[key]) for key, value in chosen.items()}
        recipe = changed(base, chosen)
        profile = profiles.resolve(typed("profile", grid.get("profile"), str | None))
        steps = positive("training_steps", grid.get("training_steps", recipe.steps[profile]))
        every = positive("checkpoint_every", grid.get("checkpoint_every", cls.checkpoint_every))
        told = chosen | {"recipe": base.name, "seed": seed}
        asked = protocol(recipe, part(grid, "evaluate"))
        return cls({key: told[key] for key in varied}, recipe, seed, steps, profile, asked, every)

    def asked(self) -> dict:
        """All that decides the row."""
        what = {"recipe": self.recipe.as_dict(), "evaluate": asdict(self.protocol)}
        return what | {"seed": self.seed, "steps": self.steps, "profile": self.profile}

    def reached(self, folder: Path) -> int:
        """The step of the last checkpoint."""
        return max((int(path.stem.removeprefix("step-")) for path in checkpoints.found(folder)), default=0)

    def work(self, folder: Path) -> dict:
        """Train from where the folder stands, evaluate; {"step": ..., measure: number}."""
        where = engine.current_engine(self.profile)
        if why := refusal(self, folder):
            raise ValueError(f"{folder} {why}; choose another --out")
        run = training.fit(
            self.recipe,
            folder=folder,
            seed=self.seed,
            steps=self.steps,
            profile=self.profile,
            engine=where,
            checkpoint_every=self.checkpoint_every,
            resume=None,
            wait=LOST,
        )
        found: dict[str, Any]
        if isinstance(self.protocol, restoration.Protocol):
            ways = restoration.evaluate(run, self.protocol, where)
            counts = [measured.pop("count") for measured in ways.values()]
            found = {f"{way} {name}": value for way in reversed(ways) for name, value in ways[way].items()}
            found["count"] = counts[0]
        else:
            found = generation.of_samples(run, self.protocol, where)
            found |= {f"band {number}": ratio for number, ratio in enumerate(found.pop("bands"), 1)}
        return {"step": self.steps, **found}


@dataclass(frozen=True)
class Chapter:
    """A point that executes a chapter with papermill."""

    varied: Mapping[str, Any]
    notebook: Path
    parameters: Mapping[str, Any]

    KEYS = ("chapter", "vary", "fixed")

    @classmethod
    def from_grid(cls, grid: Mapping, varied: Mapping, fixed: Mapping) -> Chapter:
        chosen = {**fixed, **varied}
        name = typed("chapter", chosen.pop("chapter", grid.get("chapter")), str)
        chapters = {path.stem: path for path in CHAPTERS.glob("*.ipynb")}
        if name not in chapters:
            raise unknown(f"chapter in {CHAPTERS}", name, chapters)
        papermill = needed("papermill", 'pip install "bdbook[chapters]"')
        known = papermill.inspect_notebook(str(chapters[name]))
        for key, value in chosen.items():
            if key not in known:
                raise unknown(f"parameter of {name}", key, [*known, "chapter"])
            default = ast.literal_eval(known[key]["default"])
            typed(key, value, str | None if default is None else type(default))
        profiles.resolve(chosen.get("profile"))
        return cls(dict(varied), chapters[name], chosen)

    @property
    def profile(self) -> str:
        return profiles.resolve(self.parameters.get("profile"))

    def asked(self) -> dict:
        source = hashlib.sha256(self.notebook.read_bytes()).hexdigest()[:16]
        return {"chapter": self.notebook.stem, "source": source, "parameters": dict(self.parameters)}

    def reached(self, folder: Path) -> int:
        """0: a chapter has no checkpoints."""
        return 0

    def work(self, folder: Path) -> dict:
        """Execute it beside where it will lie, then move it in."""
        papermill = needed("papermill", 'pip install "bdbook[chapters]"')
        partial = folder / f"{self.notebook.stem}.partial.ipynb"
        try:
            papermill.execute_notebook(
                str(self.notebook),
                str(partial),
                dict(self.parameters),
                kernel_name="python3",
                cwd=str(self.notebook.parent),
                progress_bar=False,
            )
        except papermill.PapermillExecutionError as error:  # which cannot travel from one process to another
            raise RuntimeError(f"{error.ename}: {error.evalue}; the chapter as far as it got: {partial}") from None
        os.replace(partial, folder / self.notebook.name)
        return {}


Point = Training | Chapter


def refusal(point: Point, folder: Path) -> str:
    """Why a point that is not finished cannot be taken up in a folder, as it stands; nothing where it can."""
    if not isinstance(point, Training):
        return ""
    if not checkpoints.found(folder):
        return "holds weights and no checkpoint to go on from" if (folder / "weights.safetensors").exists() else ""
    # Another configuration comes first: its number of steps says nothing.
    with suppress(OSError, ValueError, KeyError, TypeError):  # what is damaged, the training itself complains of
        stored = records.as_identified_now(json.loads((folder / "record.json").read_text())["identity"])
        asked = records.as_identified_now({"recipe": point.recipe.as_dict(), "seed": point.seed})
        was, is_now = ({**each["recipe"], "seed": each["seed"]} for each in (stored, asked))
        differ = [key for key in is_now if key != "name" and was.get(key) != is_now[key]]
        if differ:
            return "is of " + ", ".join(f"{key} {was.get(key)} (asked: {is_now[key]})" for key in differ)
    reached = point.reached(folder)
    return f"has {reached} steps, more than {point.steps}" if reached > point.steps else ""


def read(path: Path) -> list[Point]:
    """The points of a grid file. Raises ValueError with the file, and the line and column where it is no YAML."""
    yaml = needed("yaml")
    try:
        content = Path(path).read_text(encoding="utf-8")
        grid, tree = yaml.safe_load(content), yaml.compose(content, yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ValueError(f"{path}{place}: {getattr(error, 'problem', error)}; expected YAML") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text: {error}; expected YAML in UTF-8") from error
    except (ValueError, RecursionError) as error:  # of numbers with thousands of digits, lists within lists
        raise ValueError(f"{path}: {error}; expected a grid such as those in results/grids") from error
    if isinstance(tree, yaml.MappingNode):  # of keys that stand twice, the first would be lost without a word
        for node in [tree, *(value for _, value in tree.value if isinstance(value, yaml.MappingNode))]:
            for number, (key, _) in enumerate(node.value):
                if key.value in [other.value for other, _ in node.value[:number]]:
                    raise ValueError(f"{path}, line {key.start_mark.line + 1}: {key.value} is there already; leave one")
    try:
        made = points(grid)
        longest = max(map(name_of, made), key=len)
        if len(longest) > LONGEST_NAME:
            raise ValueError(f"the point {longest} has too long a name for a folder; vary fewer keys, or shorter ones")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return made


def points(grid: Mapping) -> list[Point]:
    """Every combination of what varies, the last key fastest; all of it checked, nothing computed."""
    if not isinstance(grid, dict):
        raise ValueError(f"the grid was {grid!r}; expected the keys recipe (or chapter) and vary")
    vary, fixed = part(grid, "vary"), part(grid, "fixed")
    everywhere = [*grid, *vary, *fixed]
    kind = Chapter if "chapter" in everywhere else Training
    for key in grid:
        if key not in kind.KEYS:
            raise unknown("key of a grid", key, kind.KEYS)
    base = kind.KEYS[0]
    if base not in everywhere:
        raise ValueError("the grid names neither a recipe nor a chapter; add e.g. recipe: digits-blurring")
    twice = [key for key in (base, *vary) if (key in fixed) + (key in vary) + (key == base and key in grid) > 1]
    if twice:
        raise ValueError(f"{twice[0]} stands in two places; leave it in one")
    if not vary:
        raise ValueError("vary was empty; expected at least one key with a list, e.g. seed: [0, 1]")
    for key, values in vary.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"{key} was {values!r} under vary; expected a list of one value or more, e.g. [0, 1]")
    made = [kind.from_grid(grid, dict(zip(vary, values)), fixed) for values in itertools.product(*vary.values())]
    name, times = Counter(map(name_of, made)).most_common(1)[0]
    if times > 1:
        raise ValueError(f"the point {name} is there {times} times; take the repeated value out")
    return made


def part(grid: Mapping, key: str) -> dict:
    """A mapping within the grid; empty where it is left out."""
    found = grid.get(key)
    if not isinstance(found, dict | None):
        raise ValueError(f"{key} was {found!r}; expected a mapping, e.g. {{seed: 0}}")
    return found or {}


def settings(recipe: Recipe) -> dict[str, Any]:
    """Key -> type of each setting of a recipe's process; of a restorer's, those that the recipe sets."""
    if recipe.is_cold:
        return {k: tuple[float, ...] if isinstance(v, tuple) else type(v) for k, v in recipe.settings.items()}
    system = type(recipe.outline())
    hints = get_type_hints(system)
    own: tuple[Field[Any], ...] = fields(system) if is_dataclass(system) else ()
    return {each.name: hints[each.name] for each in own if each.name not in OF_THE_DATA}


def changed(base: Recipe, changes: Mapping) -> Recipe:
    """The recipe with settings and fields replaced, which its name tells; raises ValueError where they do not fit."""
    fields = {k: v for k, v in changes.items() if k in FIELDS}
    own = {k: v for k, v in changes.items() if k not in FIELDS}
    name = ",".join([base.name, *(f"{key}={text(value)}" for key, value in changes.items())])
    recipe = replace(base, name=name, settings={**base.settings, **own}, **fields)
    recipe.outline()
    samplers.rule(recipe.rule)
    if recipe.predicts != "spectral":
        denoiser.prediction(recipe.predicts)
    if recipe.loss not in losses.LOSSES:
        raise unknown("loss", recipe.loss, losses.LOSSES)
    return recipe


def protocol(recipe: Recipe, asked: Mapping) -> generation.Protocol | restoration.Protocol:
    """How a recipe's runs are evaluated, where not asked otherwise as by `python -m bdbook evaluate`."""
    kind = restoration.Protocol if recipe.is_cold else generation.Protocol
    hints = get_type_hints(kind)
    for key in asked:
        if key not in hints:
            raise unknown("key of evaluate", key, hints)
    made = kind(**{key: typed(key, value, hints[key]) for key, value in asked.items()})
    data.check_request(recipe.channels, made.count, made.split)
    if isinstance(made, generation.Protocol):
        generation.check_rule(recipe, recipe.outline(), made.rule)
    # Complains now of steps that a table does not have, not after the training.
    recipe.outline().times(recipe.sample_steps if made.steps is None and not recipe.is_cold else made.steps)
    return made


def typed(key: str, value: Any, hint: Any) -> Any:
    """The value as its type has it: a whole number stands for a float, a list for a tuple."""
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    for kind in kinds:
        if kind is float and isinstance(value, int | float | str) and not isinstance(value, bool):
            with suppress(ValueError):  # YAML 1.1 takes 1e-3, which has no full stop, for a word
                number = float(value)
                if number == number:
                    return number
        elif get_origin(kind) is tuple and isinstance(value, list):
            return tuple(typed(key, item, get_args(kind)[0]) for item in value)
        elif type(value) is kind:
            return value
    expected = " or ".join(WORDS.get(kind, "a list of numbers") for kind in kinds)
    raise ValueError(f"{key} was {value!r}; expected {expected}")


def positive(key: str, value: Any) -> int:
    """A count, at least 1."""
    if typed(key, value, int) < 1:
        raise ValueError(f"{key} was {value}; expected at least 1")
    return value


def name_of(point: Point) -> str:
    """The name of a point's folder: its values, percent-encoded where a comma or a slash would mislead."""
    return ",".join(f"{key}={quote(text(value), safe='')}" for key, value in point.varied.items())


def text(value: Any) -> str:
    """A value as short as it can be told from others of its type."""
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)


def needed(module: str, how: str = 'pip install "bdbook[sweep]"') -> ModuleType:
    """Import what only sweeps need, or say how to get it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"a sweep needs {error.name}, which is missing: {how}", name=error.name) from error
