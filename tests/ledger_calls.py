"""Do the tests that the ledger names really call what the ledger names? Noted while the ordinary suite runs.

A plugin of pytest, registered in conftest.py. While a test runs that book/equations.yml names, every Python function
that begins is noted (by sys.monitoring, or sys.setprofile before Python 3.12). The test's report says which names of
the ledger were called, from xdist's workers too. At the end the session fails if all tests of an entry ran and passed
and a name under its `code` was called by none of them. What counts as a call:

- a function or a method: its own code began;
- a class: one of its own methods, a written or generated __init__ included;
- what cannot be called, a constant or a module: the file of one of the entry's tests reads it by its last name.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
LEDGER = ROOT / "book" / "equations.yml"
NOTED = "ledger_calls"
UNSEEN = 1  # the exit status of a session that fails


def thing(name: str) -> object:
    """What a dotted name means."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:  # from the class's own dictionary where it is there: a property is no value
            found = vars(found)[part] if part in getattr(found, "__dict__", {}) else getattr(found, part)
        return found
    raise ImportError(name)


def codes(found: object) -> frozenset[CodeType]:
    """The code objects of which one must begin; none for what cannot be called."""
    if inspect.isclass(found):
        return frozenset().union(*(codes(each) for each in vars(found).values() if not inspect.isclass(each)))
    for attribute in ("__func__", "fget", "func"):  # class method, property, cached property
        found = getattr(found, attribute, None) or found
    found = inspect.unwrap(found) if callable(found) else found
    return frozenset([found.__code__]) if inspect.isfunction(found) else frozenset()


@contextmanager
def noted() -> Iterator[set[CodeType]]:
    """The code objects that begin inside."""
    begun: set[CodeType] = set()
    if sys.version_info >= (3, 12):
        monitoring, tool = sys.monitoring, 4
        monitoring.use_tool_id(tool, NOTED)

        def start(code: CodeType, _) -> object:
            begun.add(code)
            return monitoring.DISABLE

        monitoring.register_callback(tool, monitoring.events.PY_START, start)
        monitoring.restart_events()
        monitoring.set_events(tool, monitoring.events.PY_START)
        try:
            yield begun
        finally:
            monitoring.set_events(tool, 0)
            monitoring.free_tool_id(tool)
        return
    add, before = begun.add, sys.getprofile()

    def called(frame, event, _) -> None:
        if event == "call":
            add(frame.f_code)

    sys.setprofile(called)
    try:
        yield begun
    finally:
        sys.setprofile(before)


def forget() -> None:
    """Empty what functions of the library remember: what an earlier test asked for would not be computed again."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "bdbook":
            for each in vars(module).values():
                if hasattr(each, "cache_clear") and getattr(each, "__module__", "") == name:
                    each.cache_clear()


def unseen(entries: list[dict], calls: dict[str, set[str]], passed: Iterable[str], root: Path = ROOT) -> list[str]:
    """A sentence for each name of an entry, all of whose tests passed, that none of them called.

    calls: test -> the names of the ledger that it called.
    """
    told = []
    for entry in entries:
        if not entry["test"] or not set(entry["test"]) <= set(passed):
            continue
        seen = set().union(*(calls.get(test, set()) for test in entry["test"]))
        for name in entry["code"]:
            if codes(thing(name)):
                missing = name not in seen
            else:
                files = {test.partition("::")[0] for test in entry["test"]}
                word = re.compile(rf"\b{name.rpartition('.')[2]}\b")
                missing = not any(word.search((root / file).read_text(encoding="utf-8")) for file in files)
            if missing:
                told.append(f"{entry['id']}: {name} is called by none of {', '.join(entry['test'])}")
    return told


class LedgerCalls:
    """The plugin."""

    def __init__(self, entries: list[dict]):
        self.entries = entries
        self.names: dict[str, set[str]] = {}  # test -> names that one of its entries has under code
        for entry in entries:
            for test in entry["test"]:
                self.names.setdefault(test, set()).update(entry["code"])
        self.calls: dict[str, set[str]] = {}
        self.outcomes: dict[str, set[str]] = {}
        self.whole = True
        self.found: list[str] = []

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_call(self, item):
        test = item.nodeid.partition("[")[0]
        if test not in self.names:
            yield
            return
        forget()
        with noted() as begun:
            yield
        called = sorted(name for name in self.names[test] if codes(thing(name)) & begun)
        item.user_properties.append((NOTED, called))

    def pytest_runtest_logreport(self, report):
        test = report.nodeid.partition("[")[0]
        if test in self.names and (report.when == "call" or report.outcome != "passed"):
            self.outcomes.setdefault(test, set()).add(report.outcome)
            for name, called in report.user_properties:
                if name == NOTED:
                    self.calls.setdefault(test, set()).update(called)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session, exitstatus):
        config = session.config
        if hasattr(config, "workerinput"):  # xdist's controller decides
            return
        chosen = config.getoption("keyword", "") or any("[" in word for word in config.args)
        passed = [test for test, outcomes in self.outcomes.items() if outcomes == {"passed"}]
        self.found = [] if chosen else unseen(self.entries, self.calls, passed)
        if self.found and exitstatus == 0:
            session.exitstatus = UNSEEN

    def pytest_terminal_summary(self, terminalreporter):
        if self.found:
            terminalreporter.section("book/equations.yml names tests that do not call its functions", red=True)
            for line in self.found:
                terminalreporter.line(line)


def plugin(ledger: Path = LEDGER) -> LedgerCalls:
    return LedgerCalls(yaml.safe_load(ledger.read_text(encoding="utf-8")))
