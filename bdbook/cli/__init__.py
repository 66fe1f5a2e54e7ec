"""The command `bdbook`, also python -m bdbook: the library in the same words, a file for each of its commands."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import Any

import tyro

from bdbook import __version__, errors
from bdbook.cli.doctor import Doctor
from bdbook.cli.evaluate import Evaluate
from bdbook.cli.recipes import Recipes
from bdbook.cli.restore import Restore
from bdbook.cli.sample import Sample
from bdbook.cli.sweep import Sweep
from bdbook.cli.train import Train
from bdbook.training import engine

COMMANDS: dict[str, Callable[..., Any]] = {
    "train": Train,
    "sample": Sample,
    "evaluate": Evaluate,
    "restore": Restore,
    "sweep": Sweep,
    "recipes": Recipes,
    "doctor": Doctor,
}


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments == ["--version"]:
        print(f"bdbook {__version__}")
        return 0
    if arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        print(f"bdbook: {errors.unknown('command', arguments[0], COMMANDS)}", file=sys.stderr)
        return 2
    command = tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="bdbook", args=arguments)
    try:
        command.run()
    except KeyboardInterrupt:
        print("bdbook: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except (ValueError, OSError, FloatingPointError, ModuleNotFoundError) as error:
        print(f"bdbook: {error}", file=sys.stderr)
        return 2
    finally:
        engine.shutdown()
    return 0
