"""A notebook that goes on where the installation lacks something: a sentence in the place of what needs it."""

from __future__ import annotations

import symtable
import sys
from collections.abc import Callable
from typing import Any


class GoingOn:
    """In IPython's shell: a cell that wants what is not installed says so, and those below it run all the same.

    told: error -> the sentence to show for it, or None for an error like any other. A cell below that uses a name which
    the cell did not come to make is left out in the same way.
    """

    def __init__(self, shell: Any, told: Callable[[BaseException | None], str | None]):
        self.shell, self.told = shell, told
        self.left_out: dict[str, str] = {}  # name -> why
        self.show = shell.showtraceback
        shell.showtraceback = self.showtraceback
        shell.events.register("post_run_cell", self.after)

    def why(self, error: BaseException | None) -> str | None:
        return self.left_out.get(str(error.name)) if isinstance(error, NameError) else self.told(error)

    def showtraceback(self, exc_tuple: Any = None, *rest: Any, **options: Any) -> None:
        why = self.why((exc_tuple or sys.exc_info())[1])
        if why is None:
            self.show(exc_tuple, *rest, **options)
            return
        if "matplotlib.pyplot" in sys.modules:
            sys.modules["matplotlib.pyplot"].close("all")  # half a figure, which the notebook would show
        print(f"Left out: {why}")

    def after(self, result: Any) -> None:
        """IPython's event after a cell: without an error in its result a front end runs the next one."""
        why = self.why(result.error_in_exec)
        if why is not None:
            cell = symtable.symtable(self.shell.transform_cell(result.info.raw_cell), "cell", "exec")
            bound = {name.get_name() for name in cell.get_symbols() if name.is_assigned() or name.is_imported()}
            self.left_out |= dict.fromkeys(bound - self.shell.user_ns.keys(), why)
            result.error_in_exec = None
