"""bdbook check."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import tyro

from bdbook import conformance
from bdbook.cli.telling import tell
from bdbook.conformance.calling import in_a_line
from bdbook.errors import unknown

EXAMPLES = "such as my_diffusion:get_alpha_sigma or code/my_diffusion.py:diffuse"
# The exit statuses of a check that was done; one that could not be is 2, as everywhere.
CONFORMS, DEVIATES = 0, 1
# Fields of the command that are no settings of a paper's.
OWN = ("function", "kind", "size", "json")


@dataclass(frozen=True)
class Check:
    """Compare your function with a paper's, and name what is wrong with it. It runs the module, and the function.

    The exit status is 0 where it conforms, 1 where it deviates, 2 where it cannot be checked.
    """

    function: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODULE:FUNCTION")]
    """A module's name or a .py file, and a function in it."""
    kind: Annotated[str | None, tyro.conf.arg(name="as")] = None
    """What it is: frequency-scaling, noise-scaling, alpha-sigma, diffuse, denoise, dct, idct (HS), lee-marginal,
    lee-diffuse, ihdm-blur; default: by its name, where that is the name in HS app. A.1."""
    size: tuple[int, ...] | None = None
    """Side of the images in pixels, or height and width; default: 32, Lee's 64."""
    sigma_max: float | None = None
    """Of HS and IHDM: the largest blur, sigma_B,max, in pixels; default: 20, IHDM's 24."""
    d_min: float | None = None
    """Of HS; default: 0.001."""
    blur: str | None = None
    """Of HS: sin2 or sin; default: sin2."""
    sigma_min: float | None = None
    """Of IHDM: the least blur, in pixels; default: 0.5."""
    f_max: float | None = None
    """Of Lee: f(N); default: 0.14."""
    f_type: str | None = None
    """Of Lee: quartic, log, linear, quadratic or cubic; default: quartic."""
    kernel_sigma: float | None = None
    """Of Lee: width of the kernel in pixels; default: 0.4."""
    boundary: str | None = None
    """Of Lee: zero or symmetric; default: zero, as in the released code."""
    steps: int | None = None
    """Lee's N, IHDM's K, the T of HS's denoise; default: 1000, IHDM's 200."""
    json: bool = False
    """Print the report as JSON."""

    def run(self) -> int:
        given = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in OWN}
        with beside(self.function):
            function = load(self.function)
            report = conformance.check(function, self.kind, size=self._size(), **given)
        tell(json.dumps(report.as_dict(), indent=1) if self.json else report)
        return CONFORMS if report.conforms else DEVIATES

    def _size(self) -> tuple[int, int] | None:
        if self.size is None:
            return None
        if len(self.size) not in (1, 2):
            raise ValueError(
                f"size was {' '.join(map(str, self.size))}; expected a side, or height and width: --size 32 48"
            )
        return self.size[0], self.size[-1]


def _parts(target: str) -> tuple[str, str]:
    module, _, name = target.rpartition(":")
    if not module or not name:
        raise ValueError(f"the function was {target!r}; expected MODULE:FUNCTION, {EXAMPLES}")
    return module, name


@contextlib.contextmanager
def beside(target: str) -> Iterator[None]:
    """While its code runs, what lies beside a file, or in this folder, can be imported, as where Python runs it."""
    module, _ = _parts(target)
    folder = str(Path(module).resolve().parent) if module.endswith(".py") else str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def load(target: str) -> Callable[..., Any]:
    """The function MODULE:FUNCTION, from a module that is run for it, which is said before. ValueError says why not."""
    name, attribute = _parts(target)
    file = Path(name) if name.endswith(".py") else None
    if file is not None and not file.is_file():
        raise ValueError(f"{file} is no file; expected MODULE:FUNCTION, {EXAMPLES}")
    print(f"bdbook check runs {name}, and {attribute} in it", file=sys.stderr, flush=True)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            module = importlib.import_module(name) if file is None else _run(file)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{name} could not be imported: {in_a_line(error)}") from error
    try:
        function = functools.reduce(getattr, attribute.split("."), module)
    except AttributeError:
        there = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise unknown(f"function of {name}", attribute, there) from None
    if not callable(function):
        raise ValueError(f"{target} is {type(function).__name__}; expected a function")
    return function


def _run(file: Path) -> ModuleType:
    """A file as a module of its own."""
    spec = importlib.util.spec_from_file_location(f"checked_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # as dataclasses and pickles in it expect
    spec.loader.exec_module(module)
    return module
