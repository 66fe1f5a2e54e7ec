"""Settings that all tests share; shapes of the core's functions are checked while they run."""

from pathlib import Path

import ledger_calls
from hypothesis import settings
from jaxtyping import install_import_hook

# derandomize: the same examples on every run and machine; no database, so no folder of leftovers.
settings.register_profile("bdbook", max_examples=50, deadline=None, derandomize=True, database=None)
settings.load_profile("bdbook")

LIBRARY = Path(__file__).resolve().parents[1] / "bdbook"
CORE = [f"bdbook.{path.stem}" for path in LIBRARY.glob("*.py") if path.stem not in ("__init__", "__main__", "cli")]


def pytest_collection_modifyitems(items):
    """What takes long comes first."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_configure(config):
    """Shapes are checked in the library's own tests, from before anything imports it; beside Chromium it costs time."""
    if config.getoption("markexpr") != "browser":
        install_import_hook(CORE, "checked.shapes")
        config.pluginmanager.register(ledger_calls.plugin(), "ledger_calls")
