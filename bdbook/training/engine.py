"""Where a training runs: device, precision, processes.

Alone, torch is enough. Launched as several processes (accelerate launch -m bdbook train ...), Hugging Face Accelerate
starts them, wraps the network and averages its gradients. A training draws the whole batch of a step on every process
and takes its own part, and samples are made in chunks with a seed each: so the number of processes changes neither
the batches nor the images.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bdbook import cores
from bdbook.errors import unknown
from bdbook.training import profiles

if TYPE_CHECKING:
    from accelerate import Accelerator

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16}
# Images that are sampled together, from one seed. As many on every device, since sums depend on how many there are.
CHUNK = 64


@dataclass(frozen=True)
class Engine:
    """One process of a training or an evaluation.

    autocast: dtype of the network's arithmetic, None for float32 (transforms are float32 always). compiler: a backend
    of torch.compile ("inductor"), or None. accelerator: where several processes work together.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    autocast: torch.dtype | None = None
    compiler: str | None = None
    accelerator: Accelerator | None = None

    @property
    def processes(self) -> int:
        return 1 if self.accelerator is None else self.accelerator.num_processes

    @property
    def rank(self) -> int:
        return 0 if self.accelerator is None else self.accelerator.process_index

    @property
    def is_main(self) -> bool:
        """Whether this is the process that prints and writes."""
        return self.rank == 0

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """A context that the first process passes before the others: what it downloads, they find."""
        with nullcontext() if self.accelerator is None else self.accelerator.main_process_first():
            yield

    def wrap(self, net: nn.Module) -> nn.Module:
        """The network to train with: the same parameters, their gradients averaged over the processes."""
        if self.compiler is not None:
            net.compile(backend=self.compiler)  # in place: its parameters keep their names
        return net if self.accelerator is None else self.accelerator.prepare_model(net)

    def compile_for_sampling(self, net: nn.Module) -> nn.Module:
        """The network to sample with: as it is, or compiled; on a GPU into CUDA graphs, which spares their launches."""
        if self.compiler is None:
            return net
        graphs = {"mode": "reduce-overhead"} if self.device.type == "cuda" else {}
        net.compile(backend=self.compiler, **graphs)
        return Graphed(net)

    def accumulating(self, wrapped: nn.Module, more_follow: bool) -> AbstractContextManager[None]:
        """A context for one part of a batch: gradients are exchanged after the last."""
        if self.processes == 1 or not more_follow:
            return nullcontext()
        assert isinstance(wrapped, nn.parallel.DistributedDataParallel)  # by `wrap`
        return wrapped.no_sync()

    def gather(self, mine: Tensor) -> Tensor:
        """(n, ...) of each process -> (processes n, ...), in order of rank, on each of them."""
        return mine if self.accelerator is None or self.processes == 1 else self.accelerator.gather(mine)

    def place(self, images: Tensor) -> Tensor:
        """The images on the device if they take at most half of what is free there, else where they are."""
        if self.device.type != "cuda":
            return images
        free, _ = torch.cuda.mem_get_info(self.device)
        return images.to(self.device) if images.numel() * images.element_size() <= free / 2 else images

    @torch.no_grad()
    def in_chunks(self, count: int, work: Callable[[int, slice], Tensor]) -> Tensor:
        """work(number, rows) for each chunk of at most 64 of `count` rows, shared among the processes: (count, ...).

        The result is on the CPU, whole on every process, and the same bits for any number of them.
        """
        starts = range(0, count, CHUNK)
        mine = [
            (rows, work(number, rows).cpu())
            for number, rows in enumerate(slice(start, min(start + CHUNK, count)) for start in starts)
            if number % self.processes == self.rank
        ]
        if self.processes == 1:
            return torch.cat([part for _, part in mine])
        return self._exchange(count, mine)

    def _exchange(self, count: int, mine: list[tuple[slice, Tensor]]) -> Tensor:
        from torch import distributed

        # A process without a chunk learns the shape from the first one, which always has one.
        shape: list[tuple[int, ...]] = [tuple(mine[0][1].shape[1:]) if mine else ()]
        distributed.broadcast_object_list(shape, src=0)
        whole = torch.zeros(count, *shape[0], device=self.device)
        for rows, part in mine:
            whole[rows] = part.to(self.device)
        distributed.all_reduce(whole)  # the others have zeros there: adding them changes nothing
        return whole.cpu()


class Graphed(nn.Module):
    """A network whose answers last: a CUDA graph writes each one where the one before it was."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        torch.compiler.cudagraph_mark_step_begin()
        return self.net(x, t).clone()


SINGLE_PROCESS = Engine()


def current_engine(profile: str, precision: str | None = None, compiled: bool = False) -> Engine:
    """The engine of this process: of a profile's device, and of as many processes as were launched.

    precision: fp32 or bf16; default: bf16 on a GPU that has it, else fp32. compiled: run the network through
    torch.compile. Threads of the CPU are as many as there are cores for this process, or fewer (bdbook.cores).
    """
    device = profiles.device(profile)
    cores.limit()
    if precision is None:
        precision = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    if compiled:
        _require_compiler(device)
    autocast, compiler = PRECISIONS[precision], "inductor" if compiled else None
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Engine(device, autocast, compiler)
    accelerator = _accelerator(device)
    return Engine(accelerator.device, autocast, compiler, accelerator)


def shutdown() -> None:
    """Take leave of the other processes, if there are any: one that just ends may be aborted by its own threads."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def _require_compiler(device: torch.device) -> None:
    """Raise unless what torch.compile hands its code to is there: it would be missed after the data are loaded."""
    usual: tuple[str, ...]
    if device.type == "cuda":
        language, variable, usual = "C", "CC", ("cc", "gcc", "clang")  # for Triton
    else:
        language, variable, usual = "C++", "CXX", ("clang++" if sys.platform == "darwin" else "g++",)
    named = os.environ.get(variable)
    if not any(map(shutil.which, [named] if named else usual)):
        what = f"{named}, which {variable} names," if named else f"a {language} compiler ({' or '.join(usual)})"
        raise ValueError(
            f"torch.compile needs {what} and none was found: leave out --compile; or install one (apt-get install g++ "
            f"on Debian, xcode-select --install on a Mac), or name yours in {variable}"
        )


def _accelerator(device: torch.device) -> Accelerator:
    from accelerate import Accelerator
    from accelerate.utils import DistributedType

    accelerator = Accelerator(cpu=device.type == "cpu")
    plain = (DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)
    if accelerator.distributed_type not in plain:
        raise ValueError(
            f"accelerate was configured for {accelerator.distributed_type.value}; bdbook trains with whole copies of "
            "the network in each process (MULTI_GPU or MULTI_CPU): choose no DeepSpeed and no FSDP in its config"
        )
    return accelerator
