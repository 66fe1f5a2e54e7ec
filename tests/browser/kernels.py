"""Asking a notebook's kernel, past the page, for what it knows."""

import ast
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from jupyter_client import BlockingKernelClient


@contextmanager
def asking(folder: Path, timeout: float = 180) -> Iterator[Callable]:
    """`ask(expression, code="")` -> the value of a literal, after running the code, in the one kernel that keeps its
    connection file in the folder.
    """
    client = BlockingKernelClient()

    def ask(expression: str, code: str):
        if not client.channels_running:
            (file,) = folder.glob("kernel-*.json")
            client.load_connection_file(str(file))
            client.start_channels()
        options = {"store_history": False, "user_expressions": {"value": expression}}
        answer = client.execute_interactive(code, timeout=timeout, **options)["content"]
        if answer["status"] != "ok":
            pytest.fail("\n".join(answer["traceback"]))
        return ast.literal_eval(answer["user_expressions"]["value"]["data"]["text/plain"])

    with ThreadPoolExecutor(1) as thread:  # playwright has the event loop of this one
        yield lambda expression, code="": thread.submit(ask, expression, code).result()
        thread.submit(client.stop_channels).result()
