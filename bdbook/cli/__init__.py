"""The command `bdbook`, also python -m bdbook: the library in the same words, a file for each of its commands."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from typing import Any

import torch
import tyro

from bdbook import __version__, errors
from bdbook.cli.check import Check
from bdbook.cli.doctor import Doctor
from bdbook.cli.evaluate import Evaluate
from bdbook.cli.recipes import Recipes
from bdbook.cli.restore import Restore
from bdbook.cli.sample import Sample
from bdbook.cli.share import Share
from bdbook.cli.spectrum import Spectrum
from bdbook.cli.sweep import Sweep
from bdbook.cli.train import Train
from bdbook.training import engine

COMMANDS: dict[str, Callable[..., Any]] = {
    "train": Train,
    "sample": Sample,
    "evaluate": Evaluate,
    "restore": Restore,
    "share": Share,
    "sweep": Sweep,
    "spectrum": Spectrum,
    "recipes": Recipes,
    "check": Check,
    "doctor": Doctor,
}
LESS_MEMORY = "take a batch in more parts (train: --accumulate), or --profile cpu"


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit status. A mistake is told in a line, and a traceback is a mistake of the library's."""
    arguments = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names that the locale cannot write are told with escapes
            stream.reconfigure(errors="backslashreplace")
    try:
        return _run(arguments)
    except BrokenPipeError:  # `bdbook recipes | head`: who reads has read enough
        _write_nowhere()
        return 141  # as of a program that SIGPIPE ends
    except KeyboardInterrupt:
        return _say("interrupted", 130)
    except errors.PartlyDone as error:
        return _say(error, error.status)
    except (ValueError, OSError, FloatingPointError, ModuleNotFoundError) as error:
        return _say(error)
    except torch.OutOfMemoryError as error:
        return _say(f"the GPU's memory is full ({_first_line(error)}); {LESS_MEMORY}")
    except RuntimeError as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        return _say(f"torch.compile failed: {_first_line(error)}; leave out --compile")


def _run(arguments: list[str]) -> int:
    if arguments in (["--version"], ["-V"]):
        print(f"bdbook {__version__}")
        return 0
    if arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        raise errors.unknown("command", arguments[0], COMMANDS)
    try:
        command = tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="bdbook", args=arguments or ["--help"])
        status = command.run()
    finally:
        engine.shutdown()
        sys.stdout.flush()  # here, where a pipe that nobody reads is no traceback
    return status or 0


def _say(error: Exception | str, status: int = 2) -> int:
    print(f"bdbook: {error}", file=sys.stderr)
    return status


def _write_nowhere() -> None:
    """What is left to print goes to nobody: Python would complain once more when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
