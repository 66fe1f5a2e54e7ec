"""Small faults put into the functions of the ledger, one at a time: does a test that the ledger names notice?

    python tests/mutants.py [-j 2] [ENTRY ...]     what survives, of all entries or of some (make mutants)
    python tests/mutants.py --list [ENTRY ...]     the mutants alone, none of them run

For each entry of book/equations.yml, each function under `code` is changed in one place; then the tests that the entry
names run, and the mutant is killed if one of them fails. Entries with the same function and tests share theirs.

What is changed: a sign (+ and -, a minus dropped, * and /), an exponent or a factor (powers, roots, a divisor squared,
constants and results doubled, sin and cos), an index or an order (t and s, alpha and sigma, i - 1 and i, operands of a
comparison, two arguments of a call). Where: in the function, in its class's methods where the name is a class, and in
the private helpers of its module that it calls; in what computes, that is, not in docstrings, annotations, messages,
conditions that only raise, calls of checks, and numbers that name an axis.

mutmut and cosmic-ray mutate a package and run one command for all of it. Neither can ask whether *these* tests see a
fault of *this* function, nor start from a process that has imported torch, without which a mutant costs ten seconds. So
this forks, and writes nothing: first the library is imported and the tests are collected once, and in each child one
function's code is exchanged; what survives that is run again in a child that imports the library with the change.

Mutants that compute the same, or what nobody could tell apart, are in mutants_equivalent.yml with the reason, by
function, line and change. Results are kept in _build/mutants.json: killed ones are not run again while the
module and the tests' files are the same.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import gc
import hashlib
import importlib
import importlib.util
import inspect
import json
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType

import yaml

ROOT = Path(__file__).resolve().parents[1]
LEDGER = ROOT / "book" / "equations.yml"
EQUIVALENT = Path(__file__).with_name("mutants_equivalent.yml")
KEPT = ROOT / "_build" / "mutants.json"

# Calls that check or tell, and arguments that name an axis or a shape: no mathematics.
CHECKS = re.compile(r"_?(check|require|needs|unknown|show)")
SHAPES = {"flatten", "mean", "sum", "unsqueeze", "squeeze", "cumsum", "cumprod", "reshape", "expand", "view", "cat"}
SHAPES |= {"zeros", "ones", "zeros_like", "full", "randn", "randint", "flip", "movedim", "getattr", "range"}
# Calls whose arguments may come in any order, or whose order is a matter of types or of a network's parts.
ANY_ORDER = {"min", "max", "hypot", "broadcast_shapes", "map", "__setattr__", "scatter_add", "Sequential"}
SIGNS = {ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*"}
COMPARED = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "=="}
FUNCTIONS = {"sin": "cos", "cos": "sin", "cosh": "sinh", "exp": "expm1", "expm1": "exp", "log1p": "log"}
# Names that stand beside each other, the one exchanged for the other where both are in the function.
EXCHANGED = {"t": "s", "s": "t", "alpha_t": "alpha_s", "alpha_s": "alpha_t", "sigma_t": "sigma_s", "sigma_s": "sigma_t"}
EXCHANGED |= {"alpha": "sigma", "sigma": "alpha", "carry": "refresh", "height": "width"}
LIMIT = 60  # seconds of a mutant beyond five times what its tests take: a loop that never ends is noticed too


@dataclass(frozen=True)
class Mutant:
    """A change of one place: `old` at `start` of the module's text becomes `new`."""

    function: str  # dotted, as in the ledger
    path: str  # of the module, below ROOT
    kind: str  # sign, exponent or index
    line: str  # the line's text, stripped
    number: int  # of the line
    start: int
    old: str
    new: str

    @property
    def change(self) -> str:
        return f"{self.old} -> {self.new}"

    def applied(self, source: str) -> str:
        assert source[self.start : self.start + len(self.old)] == self.old
        return source[: self.start] + self.new + source[self.start + len(self.old) :]


# --- what is mutated -----------------------------------------------------------------------------------------


@cache
def text_of(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@cache
def tree_of(path: str) -> ast.Module:
    return ast.parse(text_of(path))


def module_of(name: str) -> tuple[str, list[str]]:
    """The file of a dotted name's module, below ROOT, and the rest of the name."""
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        for path in ("/".join(parts[:cut]) + ".py", "/".join(parts[:cut]) + "/__init__.py"):
            if (ROOT / path).is_file():
                return path, parts[cut:]
    raise ValueError(f"{name} is in no module of {ROOT}")


def found(body: list[ast.stmt], name: str) -> ast.stmt | None:
    """The function or class of that name, behind `name = Other` too."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return node
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and ast.unparse(node.targets[0]) == name:
            return found(body, node.value.id)
    return None


def functions(name: str) -> tuple[str, list[ast.FunctionDef]]:
    """The module's file and the functions that a name of the ledger stands for; none for a constant."""
    path, rest = module_of(name)
    module = tree_of(path).body
    node: ast.stmt | None = None
    body = module
    for part in rest:
        node = found(body, part)
        if node is None:
            return path, []
        body = node.body  # type: ignore[attr-defined]
    chosen = [node] if isinstance(node, ast.FunctionDef) else [n for n in body if isinstance(n, ast.FunctionDef)]
    chosen = [each for each in chosen if not CHECKS.match(each.name)]
    for each in chosen:  # grows while it is read
        for call in ast.walk(each):
            called = call.func.id if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) else ""
            helper = found(module, called) if called.startswith("_") and not CHECKS.match(called) else None
            if isinstance(helper, ast.FunctionDef) and helper not in chosen:
                chosen.append(helper)
    return path, chosen


def mutants(name: str) -> list[Mutant]:
    """All mutants of a function, or of a class's methods, by its dotted name."""
    path, chosen = functions(name)
    source, made = text_of(path), []
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    lines = source.splitlines()

    def place(number: int, column: int) -> int:
        return starts[number - 1] + len(lines[number - 1].encode()[:column].decode())

    for function in chosen:
        known = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
        known |= {argument.arg for argument in function.args.args}
        for node in computing(function):
            old = source[place(node.lineno, node.col_offset) : place(node.end_lineno, node.end_col_offset)]
            for kind, new in changes(node, known):
                start = place(node.lineno, node.col_offset)
                made.append(Mutant(name, path, kind, lines[node.lineno - 1].strip(), node.lineno, start, old, new))
    return list(dict.fromkeys(made))


def computing(function: ast.FunctionDef) -> Iterator[ast.expr]:
    """The expressions that compute, each with `ast.walk`'s nodes; and `return` for what is returned."""

    def walk(node: ast.AST) -> Iterator[ast.AST]:
        if isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr | ast.Import | ast.ImportFrom):
            return
        if isinstance(node, ast.If) and all(isinstance(each, ast.Raise) for each in node.body):
            for each in node.orelse:
                yield from walk(each)
            return
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if CHECKS.match(called) or called in ("isinstance", "hasattr", "allclose"):
                return
            if called in SHAPES:
                yield from walk(node.func)
                for each in node.args:
                    if not isinstance(each, ast.Constant | ast.UnaryOp | ast.Tuple):
                        yield from walk(each)
                return
        if isinstance(node, ast.Subscript):
            yield from walk(node.value)
            return
        if isinstance(node, ast.FunctionDef | ast.Lambda | ast.AnnAssign):
            inside = (
                node.body
                if isinstance(node, ast.FunctionDef)
                else [node.value if isinstance(node, ast.AnnAssign) else node.body]
            )
            for each in inside:
                if each is not None:
                    yield from walk(each)
            return
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return
        yield node
        for child in ast.iter_child_nodes(node):
            yield from walk(child)

    # Of defaults, what is measured: how many steps or channels is no mathematics.
    yield from (each for each in function.args.defaults if type(getattr(each, "value", None)) is float)
    for statement in function.body:
        for node in walk(statement):
            if isinstance(node, ast.Return) and node.value is not None:
                parts = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
                for part in parts:
                    if any(isinstance(each, ast.BinOp) for each in ast.walk(part)):
                        part.returned = True  # type: ignore[attr-defined]
            if isinstance(node, ast.expr):
                yield node


def changes(node: ast.expr, known: set[str]) -> Iterator[tuple[str, str]]:
    """(kind, new text) of each change of one expression."""
    text = ast.unparse
    if getattr(node, "returned", False):
        yield "exponent", f"2 * ({text(node)})"
    if isinstance(node, ast.BinOp):
        left, right = f"({text(node.left)})", f"({text(node.right)})"
        if type(node.op) in SIGNS:
            yield "sign", f"({left} {SIGNS[type(node.op)]} {right})"
        if isinstance(node.op, ast.Add | ast.Sub) and isinstance(node.right, ast.Constant):
            yield "index", left
        if isinstance(node.op, ast.Sub):
            yield "index", f"({right} - {left})"
        if isinstance(node.op, ast.Div):
            yield "exponent", f"({left} / {right} ** 2)"
        if isinstance(node.op, ast.Pow):
            yield "exponent", left
            yield "exponent", f"({left} ** ({right} + 1))"
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "sign", f"({text(node.operand)})"
    if isinstance(node, ast.Constant) and type(node.value) in (int, float) and node.value:
        yield "exponent", repr(2 * node.value)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        called = node.func.attr
        if called == "sqrt" and node.args:
            yield "exponent", f"({text(node.args[0])})"
        if called == "sqrt" and not node.args:
            yield "exponent", f"({text(node.func.value)})"
        if called in FUNCTIONS and node.args:
            yield "exponent", f"{text(node.func.value)}.{FUNCTIONS[called]}({', '.join(map(text, node.args))})"
    if isinstance(node, ast.Call) and len(node.args) >= 2 and not any(isinstance(a, ast.Starred) for a in node.args):
        *before, one, two = node.args
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if text(one) != text(two) and called not in ANY_ORDER:
            rest = [text(each) for each in node.keywords]
            yield "index", f"{text(node.func)}({', '.join([*map(text, before), text(two), text(one), *rest])})"
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in COMPARED:
        yield "index", f"({text(node.left)} {COMPARED[type(node.ops[0])]} {text(node.comparators[0])})"
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and EXCHANGED.get(node.id) in known:
        yield "index", EXCHANGED[node.id]
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and node.attr in ("alpha", "sigma"):
        yield "index", f"{text(node.value)}.{EXCHANGED[node.attr]}"


# --- running -------------------------------------------------------------------------------------------------


def imported() -> None:
    """What tests import and no mutant changes: once, before the first fork."""
    import hypothesis  # noqa: F401
    import mpmath  # noqa: F401
    import pytest  # noqa: F401
    import sympy  # noqa: F401
    import torch

    with contextlib.suppress(ImportError):
        import beartype  # noqa: F401

    torch.set_num_threads(1)


def read_changed(path: Path, source: str) -> None:
    """From here on the module in `path` is imported from `source`, whatever is cached."""
    get_data, path_stats = SourceFileLoader.get_data, SourceFileLoader.path_stats

    def data(self, asked):
        return source.encode() if Path(asked) == path else get_data(self, asked)

    def stats(self, asked):
        if Path(asked) == path:
            raise OSError("no cache of what is changed")
        return path_stats(self, asked)

    SourceFileLoader.get_data, SourceFileLoader.path_stats = data, stats  # type: ignore[method-assign]


def forget() -> None:
    """Import anew, from here on, what lies in this repository: the library and the tests, but for this file."""
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None) or ""
        if path.startswith(f"{ROOT}{os.sep}") and ".venv" not in path and name != "__main__":
            del sys.modules[name]


def child(mutant: Mutant | None, tests: list[str], log: Path) -> int:
    """The tests in a fork of this process, of a library imported with the mutant; the process's id."""

    def work() -> int:
        sys.dont_write_bytecode = True
        forget()
        if mutant is not None:
            read_changed(ROOT / mutant.path, mutant.applied(text_of(mutant.path)))
        return session(["-x", "--durations=0", *tests])

    return forked(work, log)


def session(arguments: list[str], plugins: tuple = ()) -> int:
    """pytest in this process, of the library beside these tests."""
    import pytest

    os.chdir(ROOT)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # one of them takes longer to import than most tests to run
    library = importlib.util.find_spec("bdbook")
    if library is None or library.origin != str(ROOT / "bdbook" / "__init__.py"):
        return 71  # tests of another copy of the library would see no mutant
    return int(pytest.main(["-p", "no:cacheprovider", *arguments], plugins=list(plugins)))


def forked(work: Callable[[], int], log: Path) -> int:
    """`work` in a fork of this process, whose status is what it returns; the process's id."""
    process = os.fork()
    if process:
        return process
    status = 70
    try:
        to = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(to, 1), os.dup2(to, 2)
        status = work()
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(status)


class Collected:
    """A plugin that runs no test itself: it runs those of each job in a fork, where one function's code is exchanged.

    The library is imported and the tests are collected once for all mutants; what was made at import with the function
    as it was stays so, and so `survived` may be wrong here: those are run again, each with a library of its own.
    """

    def __init__(self, jobs: list, workers: int, ended: Callable[[int, int], None], minutes: float = math.inf):
        self.jobs, self.workers, self.ended, self.minutes = jobs, workers, ended, minutes

    def pytest_runtestloop(self, session) -> bool:
        self.session = session
        until = time.monotonic() + 60 * self.minutes
        gc.freeze()  # a child that collects garbage would copy all of this process's memory
        session.config.pluginmanager.get_plugin("capturemanager").suspend_global_capture(in_=True)
        for number, status, _ in run(self.jobs, self.workers, KEPT.parent, self.child, until):
            self.ended(number, status)
        return True

    def child(self, mutant: Mutant, tests: list[str], log: Path) -> int:
        def work() -> int:
            from _pytest.runner import runtestprotocol

            if not exchange(mutant):
                return 0
            items = sorted(
                (item for item in self.session.items if item.nodeid.partition("[")[0] in tests),
                key=lambda item: tests.index(item.nodeid.partition("[")[0]),
            )
            for item, after in zip(items, [*items[1:], None]):
                if any(report.failed for report in runtestprotocol(item, log=False, nextitem=after)):
                    return FAILED
            return 0 if items else 72

        return forked(work, log)


def exchange(mutant: Mutant) -> bool:
    """Give the function that holds the mutant its changed code; False where that cannot be done in place."""
    source = text_of(mutant.path)
    before, after = (codes(text, mutant.path) for text in (source, mutant.applied(source)))
    changed = [name for name in before if before[name] != after.get(name)]
    if not changed or list(before) != list(after):
        return False
    outer = min(changed, key=len)  # the others lie inside
    module = importlib.import_module(mutant.path.removesuffix(".py").replace("/", "."))
    thing = module
    for part in outer.split("."):
        thing = vars(thing).get(part)
        for attribute in ("fget", "__func__", "func"):  # property, class method, cached property
            thing = getattr(thing, attribute, None) or thing
    function = inspect.unwrap(thing) if callable(thing) else None
    if not inspect.isfunction(function) or function.__code__.co_freevars != after[outer].co_freevars:
        return False
    function.__code__ = after[outer]
    return True


def codes(source: str, path: str) -> dict[str, CodeType]:
    """Qualified name -> code, of all functions outside of functions, in the order of the module."""
    found: dict[str, CodeType] = {}

    def walk(code: CodeType) -> None:
        for each in code.co_consts:
            if isinstance(each, CodeType) and "<" not in each.co_qualname:
                if each.co_flags & inspect.CO_OPTIMIZED:  # a function; the body of a class is none
                    found[each.co_qualname] = each
                walk(each)

    walk(compile(source, str(ROOT / path), "exec"))
    return found


FAILED, NOT_COLLECTED = 1, 2


def verdict(status: int) -> str:
    """killed or survived, by pytest's status; a mutant that cannot be imported is killed, by a signal too."""
    if status == 0:
        return "survived"
    if status in (FAILED, NOT_COLLECTED, 3, 4) or status < 0:
        return "killed"
    raise RuntimeError(f"the tests of a mutant ended with status {status}")


def run(
    jobs: list, workers: int, folder: Path, begin: Callable = child, until: float = math.inf
) -> Iterator[tuple[int, int, str]]:
    """Of each job (mutant, tests, seconds it may take), as it ends: its number, its status and what it printed.

    begin: begins one, and returns the process's id. until: the time.monotonic() after which none is begun.
    """
    waiting, running = list(enumerate(jobs))[::-1], {}
    while running or (waiting and time.monotonic() < until):
        while waiting and len(running) < workers and time.monotonic() < until:
            number, (mutant, tests, limit) = waiting.pop()
            log = folder / f"{os.getpid()}-{number}.txt"
            running[begin(mutant, tests, log)] = number, time.monotonic() + limit, log
        time.sleep(0.02)
        for process, (number, end, log) in list(running.items()):
            ended, status = os.waitpid(process, os.WNOHANG)
            if not ended and time.monotonic() > end:
                os.kill(process, 9)
                ended, status = os.waitpid(process, 0)
            if ended:
                del running[process]
                told = log.read_text(errors="replace") if log.exists() else ""
                log.unlink(missing_ok=True)
                yield number, os.waitstatus_to_exitcode(status), told


def seconds(told: str) -> dict[str, float]:
    """Test -> seconds, all its cases together, from pytest's durations."""
    spent: dict[str, float] = {}
    for took, test in re.findall(r"^([\d.]+)s \w+ +(tests/[\w/]+\.py::\w+)", told, re.MULTILINE):
        spent[test] = spent.get(test, 0) + float(took)
    return spent


# --- the whole ------------------------------------------------------------------------------------------------


def entries(only: list[str] | None = None) -> list[dict]:
    every = yaml.safe_load(LEDGER.read_text(encoding="utf-8"))
    if unknown := set(only or []) - {entry["id"] for entry in every}:
        raise SystemExit(f"no entry {', '.join(sorted(unknown))} in {LEDGER}")
    return [entry for entry in every if entry["test"] and (not only or entry["id"] in only)]


def units(chosen: list[dict]) -> dict[tuple[str, tuple[str, ...]], list[str]]:
    """(function, tests) -> the entries that name both."""
    shared: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for entry in chosen:
        for name in entry["code"]:
            shared.setdefault((name, tuple(sorted(entry["test"]))), []).append(entry["id"])
    return shared


def equivalent() -> list[dict]:
    return yaml.safe_load(EQUIVALENT.read_text(encoding="utf-8")) or []


def is_known(mutant: Mutant, ids: list[str], known: list[dict]) -> bool:
    """Whether the list says why nothing can see this mutant."""
    return any(
        each["line"] == mutant.line and each["change"] in (mutant.change, "any")
        and each["function"] in (mutant.function, mutant.path) and set(ids) <= set(each.get("entries", ids))
        for each in known
    )  # fmt: skip


def digest(mutant: Mutant, tests: tuple[str, ...]) -> str:
    """Of all that decides: the module, the change, and the files of the tests."""
    files = sorted({test.partition("::")[0] for test in tests})
    parts = [mutant.function, mutant.applied(text_of(mutant.path)), *tests, *map(text_of, files)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]


# Entry, function, what stands there and what is put there: faults that tests once let through, and others like them.
SAMPLE = [
    ("lee-eq-7", "bdbook.samplers.lee_euler", "-eps_hat / sigma_t.to(u)", "-eps_hat / sigma_t.to(u) ** 2"),
    ("lee-eq-25", "bdbook.samplers.lee_euler", "(2 - a).to(u)", "(a - 0).to(u)"),
    ("lee-eq-12", "bdbook.samplers.lee_euler", "torch.sqrt(beta)", "(beta)"),
    ("lee-eq-24", "bdbook.processes.Process.transition", "return a, sigma_t", "return 2 * a - 1, sigma_t"),
    ("lee-eq-5", "bdbook.schedules.blur_exponent", "f_max * (i / steps)", "2 * f_max * (i / steps)"),
    ("hs-alg-1", "bdbook.priors.normal", "self.std * torch.randn", "2 * self.std * torch.randn"),
    ("hs-table-3", "bdbook.oracle.Gaussian.walk", "(after * tau) ** 2", "(after * tau)"),
    (
        "hs-table-3",
        "bdbook.oracle.Gaussian.walk",
        "weight**2 * variance + refreshed",
        "weight**2 * variance - refreshed",
    ),
    ("hs-eq-7", "bdbook.losses.bound_loss", "/ -fall", "/ fall"),
    ("hs-eq-26", "bdbook.schedules.frequency_scaling", "* decay + d_min", "* decay - d_min"),
    ("hs-eq-18", "bdbook.samplers.ancestral", "(sigma_s / sigma_t) ** 2", "(sigma_s / sigma_t)"),
    ("bansal-alg-2", "bdbook.samplers.tacos", "zero + 1", "zero"),
]
# The same in other words: nothing can notice.
SAME = ("hs-eq-16", "bdbook.processes.Process.transition", "sigma_t**2 - a**2", "sigma_t * sigma_t - a**2")


def by_hand(function: str, old: str, new: str) -> Mutant:
    """The mutant that has `new` where `old` stands once in a function."""
    path, chosen = functions(function)
    source = text_of(path)
    spans = [ast.get_source_segment(source, each) or "" for each in chosen]
    span = next(each for each in spans if old in each)
    if span.count(old) != 1:
        raise ValueError(f"{old!r} stands {span.count(old)} times in {function}; expected once")
    start = source.index(span) + span.index(old)
    number = source.count("\n", 0, start) + 1
    return Mutant(function, path, "index", source.splitlines()[number - 1].strip(), number, start, old, new)


def sample() -> int:
    """Those of SAMPLE and SAME, by the tests of their entries; 0 where all are killed but SAME."""
    tests = {entry["id"]: entry["test"] for entry in entries()}
    # The tests that were written last first: they are the ones that look closest.
    jobs = [(by_hand(*words), tests[entry][::-1], LIMIT) for entry, *words in [*SAMPLE, SAME]]
    told: dict[int, int] = {}
    imported()
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    names = sorted({test for _, named, _ in jobs for test in named})
    session(["-q", *names], (Collected(jobs, 1, told.__setitem__),))
    for number, (mutant, _, _) in enumerate(jobs):
        print(f"{verdict(told[number])}: {mutant.function}: {mutant.change}")
    return int([verdict(told[number]) for number in range(len(jobs))] != [*["killed"] * len(SAMPLE), "survived"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("entries", nargs="*", metavar="ENTRY")
    parser.add_argument("-j", type=int, default=max(1, (os.cpu_count() or 1) // 2), help="mutants at once")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no more after so long: a fair sample")
    parser.add_argument("--list", action="store_true", help="the mutants, none of them run")
    parser.add_argument("--sample", action="store_true", help="a dozen of them, chosen by hand")
    asked = parser.parse_args()
    if asked.sample:
        return sample()
    known, shared = equivalent(), units(entries(asked.entries))
    every = [(mutant, tests, ids) for (name, tests), ids in shared.items() for mutant in mutants(name)]
    left = [each for each in every if not is_known(each[0], each[2], known)]
    if asked.list:
        for mutant, _, ids in left:
            print(f"{mutant.path}:{mutant.number} {mutant.kind}: {mutant.change}   ({', '.join(ids)})")
        return 0
    from tqdm import tqdm

    imported()
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    told = {}
    names = sorted({test for _, tests, _ in left for test in tests})
    ((_, status, printed),) = run([(None, names, 1800)], 1, KEPT.parent)
    if status:
        print(printed)
        raise SystemExit("the tests fail before anything is changed")
    spent = seconds(printed)
    jobs, keys = [], []
    # In an order that is the same each time and favours none: what is done when it is stopped is a fair sample.
    for mutant, tests, _ in sorted(left, key=lambda each: digest(each[0], each[1])):
        key = digest(mutant, tests)
        if kept.get(key) == "killed":
            told[key] = "killed"
        elif key not in keys:
            ordered = sorted(tests, key=lambda test: spent.get(test, 0))
            jobs.append((mutant, ordered, LIMIT + 5 * sum(spent.get(test, 0) for test in tests)))
            keys.append(key)
    with tqdm(total=len(jobs), unit="mutant", mininterval=5) as progress:

        def ended(number: int, status: int) -> None:
            told[keys[number]] = kept[keys[number]] = verdict(status)
            progress.set_postfix(survived=sum(word == "survived" for word in told.values()), refresh=False)
            KEPT.write_text(json.dumps(kept))

        def first(number: int, status: int) -> None:
            if verdict(status) == "killed":
                ended(number, status)
                progress.update()
            else:
                again.append(number)

        again: list[int] = []
        if jobs:
            session(["-q", *names], (Collected(jobs, asked.j, first, asked.minutes),))
        for number, status, _ in run([jobs[number] for number in again], asked.j, KEPT.parent):
            ended(again[number], status)
            progress.update()
    done = [each for each in left if digest(each[0], each[1]) in told]
    if len(done) < len(left):
        print(f"not run, for want of time: {len(left) - len(done)}")
    return table(len(every) - len(left), done, told)


def table(equivalents: int, done: list, told: dict[str, str]) -> int:
    """Print what survived and how many of each kind were killed; 1 where more than 2 in 100 survived."""
    survived = [each for each in done if told[digest(each[0], each[1])] == "survived"]
    for mutant, _, ids in survived:
        print(f"survived: {mutant.path}:{mutant.number} {mutant.kind} {mutant.function} ({', '.join(ids)})")
        print(f"    {mutant.line}\n    {mutant.change}")
    print(f"\n{'':10}{'killed':>8}{'survived':>10}{'percent':>9}    and {equivalents} that nothing can see")
    for kind in ("sign", "exponent", "index", "together"):
        of = [sum(kind in (each[0].kind, "together") for each in some) for some in (done, survived)]
        print(f"{kind:10}{of[0] - of[1]:8}{of[1]:10}{100 * of[1] / max(1, of[0]):9.1f}")
    return int(len(survived) > 0.02 * len(done))


if __name__ == "__main__":
    sys.exit(main())
