"""The plugin that notes what the ledger's tests call sees a test that calls nothing, and lets through one that does."""

import sys
from functools import partial

import ledger_calls
import pytest

ENTRY = {"id": "lee-eq-0", "code": ["bdbook.schedules.linear_beta"], "test": ["tests/test_made_up.py::test_it"]}
CALLS = "from bdbook.schedules import linear_beta\n\ndef test_it():\n    assert len(linear_beta(3)) == 3\n"
CALLS_NOT = "def test_it():\n    assert len([1, 2, 3]) == 3\n"
OF_A_CLASS = "from bdbook.processes import ddpm\n\ndef test_it():\n    ddpm(5).alpha(0.2)\n"


def session(folder, text: str, entry: dict, *options: str) -> tuple[int, ledger_calls.LedgerCalls]:
    """pytest in this process, of one file of tests and one entry: its status, and the plugin afterwards."""
    (folder / "tests").mkdir(exist_ok=True)
    (folder / "tests" / "test_made_up.py").write_text(text)
    plugin = ledger_calls.LedgerCalls([entry])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        patch.setattr(ledger_calls, "unseen", partial(ledger_calls.unseen, root=folder))
        patch.chdir(folder)
        for name in [name for name in sys.modules if name == "test_made_up"]:
            patch.delitem(sys.modules, name)
        quiet = ["-p", "no:cacheprovider", "-p", "no:terminal", "--rootdir", str(folder), "-c", "/dev/null"]
        status = pytest.main([*quiet, *options, "tests/test_made_up.py"], plugins=[plugin])
        sys.modules.pop("test_made_up", None)
    return int(status), plugin


def test_a_test_that_does_not_call_fails_the_session_and_is_named(tmp_path):
    status, plugin = session(tmp_path, CALLS_NOT, ENTRY)
    assert status == 1
    words = "lee-eq-0: bdbook.schedules.linear_beta is called by none of tests/test_made_up.py::test_it"
    assert plugin.found == [words]


def test_a_test_that_calls_is_let_through(tmp_path):
    status, plugin = session(tmp_path, CALLS, ENTRY)
    assert (status, plugin.found) == (0, [])
    assert plugin.calls == {"tests/test_made_up.py::test_it": {"bdbook.schedules.linear_beta"}}


def test_importing_is_not_calling(tmp_path):
    mentions = "from bdbook.schedules import linear_beta\n\ndef test_it():\n    assert callable(linear_beta)\n"
    assert session(tmp_path, mentions, ENTRY)[0] == 1


def test_a_table_that_is_remembered_does_not_hide_the_function(tmp_path):
    from bdbook.processes import ddpm

    ddpm(5).alpha(0.2)  # remembers log a_i of five steps
    entry = ENTRY | {"code": ["bdbook.schedules.linear_beta", "bdbook.processes.ddpm", "bdbook.processes.ddpm.alpha"]}
    assert session(tmp_path, OF_A_CLASS, entry)[0] == 0
    other = ENTRY | {"code": ["bdbook.processes.soft_diffusion"]}
    assert session(tmp_path, OF_A_CLASS, other)[0] == 1


def test_what_cannot_be_called_is_read_by_its_name(tmp_path):
    entry = ENTRY | {"code": ["bdbook.processes.IHDM_DELTA"]}
    assert session(tmp_path, CALLS, entry)[0] == 1
    reads = "from bdbook.processes import IHDM_DELTA\n\ndef test_it():\n    assert IHDM_DELTA == 0.025\n"
    assert session(tmp_path, reads, entry)[0] == 0


def test_nothing_is_decided_where_a_test_failed_was_skipped_or_was_left_out(tmp_path):
    assert session(tmp_path, CALLS_NOT, ENTRY | {"test": [*ENTRY["test"], "tests/test_made_up.py::test_other"]})[0] == 0
    failed = session(tmp_path, "def test_it():\n    assert False\n", ENTRY)
    assert (failed[0], failed[1].found) == (1, [])
    skipped = "import pytest\n\ndef test_it():\n    pytest.skip()\n"
    assert session(tmp_path, skipped, ENTRY)[1].found == []
    assert session(tmp_path, CALLS_NOT, ENTRY, "-k", "it")[0] == 0


def test_every_name_of_the_ledger_is_something_that_can_be_seen():
    plugin = ledger_calls.plugin()
    for name in sorted(set().union(*plugin.names.values())):
        assert ledger_calls.codes(ledger_calls.thing(name)), name
    assert len(plugin.names) > 70


def test_the_suite_runs_with_the_plugin(request):
    assert isinstance(request.config.pluginmanager.get_plugin("ledger_calls"), ledger_calls.LedgerCalls)
