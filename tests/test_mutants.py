"""Faults put into a dozen functions are noticed by the ledger's tests, and the tool that puts them there works."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import mutants
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_a_dozen_faults_are_noticed_by_the_tests_of_their_entries():
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    for name in [name for name in environment if name.startswith(("PYTEST_", "COV_"))]:
        del environment[name]
    done = subprocess.run(
        [sys.executable, "tests/mutants.py", "--sample"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    words = [line.partition(":")[0] for line in done.stdout.splitlines() if line.startswith(("killed:", "survived:"))]
    assert words == ["killed"] * len(mutants.SAMPLE) + ["survived"], done.stdout + done.stderr
    assert done.returncode == 0


def test_a_second_try_has_a_library_of_its_own(tmp_path, monkeypatch):
    """A default is no code of a function, so a fault in it is seen by those who import the module anew, and only so."""
    (tmp_path / "made_for_mutants.py").write_text("def f(x=1.0):\n    return x\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(mutants, "ROOT", tmp_path)
    monkeypatch.setattr(mutants.SourceFileLoader, "get_data", mutants.SourceFileLoader.get_data)
    monkeypatch.setattr(mutants.SourceFileLoader, "path_stats", mutants.SourceFileLoader.path_stats)
    import made_for_mutants

    assert made_for_mutants.f() == 1
    mutants.forget()
    mutants.read_changed(tmp_path / "made_for_mutants.py", "def f(x=2.0):\n    return x\n")
    assert importlib.import_module("made_for_mutants").f() == 2
    del sys.modules["made_for_mutants"]


def changes(code: str, tmp_path, monkeypatch) -> set[tuple[str, str]]:
    """(kind, change) of every mutant of the function f in a module of this text."""
    (tmp_path / "made.py").write_text(code)
    monkeypatch.setattr(mutants, "ROOT", tmp_path)
    for cached in (mutants.text_of, mutants.tree_of):
        cached.cache_clear()
    found = mutants.mutants("made.f")
    for mutant in found:
        compile(mutant.applied(code), "made.py", "exec")
        assert mutant.applied(code) != code
    for cached in (mutants.text_of, mutants.tree_of):
        cached.cache_clear()
    return {(mutant.kind, mutant.change) for mutant in found}


def test_signs_exponents_and_indices_are_changed(tmp_path, monkeypatch):
    found = changes("def f(t, s, i):\n    x = -t * s**2 + (i - 1)\n    return x\n", tmp_path, monkeypatch)
    expected = {
        ("sign", "-t * s**2 + (i - 1) -> ((-t * s ** 2) - (i - 1))"),
        ("sign", "-t * s**2 -> ((-t) / (s ** 2))"),
        ("sign", "-t -> (t)"),
        ("exponent", "s**2 -> (s)"),
        ("exponent", "s**2 -> ((s) ** ((2) + 1))"),
        ("exponent", "2 -> 4"),
        ("index", "t -> s"),
        ("index", "s -> t"),
        ("index", "i - 1 -> (i)"),
    }
    assert expected <= found


def test_what_computes_nothing_is_left_alone(tmp_path, monkeypatch):
    code = '''
def f(x: int, n: int = None):
    """Half of x - 1, or x ** 2."""
    check_it(x - 1)
    if x < 0:
        raise ValueError(f"x was {x - 1}; expected x > {2 * n}")
    return x.mean(1)
'''
    assert changes(code, tmp_path, monkeypatch) == set()


def test_a_name_is_a_function_a_method_or_a_class_with_the_private_helpers_that_it_calls():
    def names(name: str) -> list[str]:
        return [each.name for each in mutants.functions(name)[1]]

    assert names("bdbook.samplers.lee_euler") == ["lee_euler"]
    assert names("bdbook.processes.Process.transition") == ["transition"]
    assert {"alpha", "sigma", "_log_a"} <= set(names("bdbook.processes.ddpm"))
    assert names("bdbook.losses.loss") == ["loss", "_error"]
    assert names("bdbook.samplers.RULES") == []


def test_every_place_in_the_list_of_what_nobody_can_see_is_still_there():
    every = {}
    for (name, _), ids in mutants.units(mutants.entries()).items():
        for mutant in mutants.mutants(name):
            every.setdefault((mutant.line, mutant.change), []).append((mutant, ids))
    for each in mutants.equivalent():
        here = [
            pairs
            for (line, change), pairs in every.items()
            if line == each["line"] and each["change"] in (change, "any")
        ]
        assert any(mutants.is_known(mutant, ids, [each]) for pairs in here for mutant, ids in pairs), each
        assert each["why"].endswith(".")


def test_an_equivalent_mutant_is_known_by_its_line_and_change_alone():
    mutant = mutants.by_hand(*mutants.SAME[1:])
    one = {"function": mutant.function, "line": mutant.line, "change": mutant.change, "why": "It is the same."}
    assert mutants.is_known(mutant, ["hs-eq-16"], [one])
    assert mutants.is_known(mutant, ["hs-eq-16"], [one | {"change": "any", "function": mutant.path}])
    assert mutants.is_known(mutant, ["hs-eq-16"], [one | {"entries": ["hs-eq-16"]}])
    assert not mutants.is_known(mutant, ["hs-eq-16", "hs-eq-15"], [one | {"entries": ["hs-eq-16"]}])
    assert not mutants.is_known(mutant, ["hs-eq-16"], [one | {"line": "a = 1"}])


def test_functions_of_the_ledger_have_mutants_but_where_there_is_nothing_to_compute():
    names = {name for name, _ in mutants.units(mutants.entries())}
    without = {name.removeprefix("bdbook.") for name in names if not mutants.mutants(name)}
    only_hand_on = {"denoiser.Estimate.mean", "denoiser.PredictX0", "denoiser.PredictEps.target"}
    assert without == only_hand_on | {"transforms.Rotation.inverse"}
    assert len(names) > 50
