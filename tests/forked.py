"""Commands in processes of their own, which can be killed, without importing torch for each: a server that forks.

    server = Server(); told = server.run(["train", ...], folder, kill_after=0.3)

The server imports the library once, alone and with one thread; each command runs in a fork of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SERVED = """
import json, os, signal, sys, time, traceback
import torch
torch.set_num_threads(1)
import bdbook.cli.evaluate, bdbook.cli.restore, bdbook.evaluation.features, bdbook.evaluation.metrics
import safetensors.torch, torchmetrics.image.fid, torchmetrics.image.kid, torchmetrics.functional.image
from bdbook import data
from bdbook.cli import main
data.load("digits", 16)  # remembered

def work(asked):
    told = os.open(asked["told"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(told, 1), os.dup2(told, 2)
    os.chdir(asked["folder"])
    status = 70
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        status = main(asked["arguments"])
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except SystemExit as error:
        status = error.code
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(status)

# A process that is just being forked, or about to end, is no command: what comes then is not for it.
signal.signal(signal.SIGINT, signal.SIG_IGN)
print("ready", flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if child == 0:
        work(asked)
    if asked["kill_after"] is not None:
        time.sleep(asked["kill_after"])
        os.kill(child, asked["signal"])
    _, status = os.waitpid(child, 0)
    print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)
"""


@dataclass(frozen=True)
class Told:
    """How a command ended: its status, negative for a signal, and all that it printed."""

    status: int
    text: str


class Server:
    def __init__(self, scratch: Path):
        self.told = Path(scratch) / "told.txt"
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def run(self, arguments: list[str], folder: Path, kill_after: float | None = None, signal: int = 9) -> Told:
        """Run `bdbook ARGUMENTS` in a folder; kill_after: seconds until it is sent a signal."""
        asked = {
            "arguments": arguments,
            "folder": str(folder),
            "told": str(self.told),
            "kill_after": kill_after,
            "signal": signal,
        }
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        return Told(int(self._line()), self.told.read_text(errors="replace"))

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
