"""A pretended CUDA device, for a PyTorch that has none: real numbers, and every tensor says where it lives.

    with pretended_cuda.device():
        torch.ones(2, device="cuda") + torch.ones(2)  # raises RuntimeError, as on a GPU

A tensor that is asked for on "cuda" is a `Claimed`: a wrapper that says cuda:0 around a tensor of the CPU, which does
the arithmetic. Every operation passes `run`, which unwraps what it is given, computes, and wraps what comes out; and
raises where a GPU would: at tensors of both devices in one operation, at a generator of the other device. Gradients
are real: `backward` walks what autograd has recorded, and every operation of it passes `run` too.

What it cannot tell: whatever real kernels do, their rounding, their speed and memory, what they leave undone until
somebody waits; torch.compile, CUDA graphs; several GPUs. The sizes of memory and the name that it reports are made up.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import _python_dispatch as dispatch
from torch.utils._pytree import tree_map_only

CUDA = torch.device("cuda", 0)
NAME, MEMORY = "pretended GPU", 80 << 30
COMPILERS = ("c++", "g++", "clang++")
NO_COMPILER = f"there is no C++ compiler ({', '.join(COMPILERS)}): apt-get install g++ on Debian"
GUARD = Path(__file__).with_suffix(".cpp")
aten = torch.ops.aten
# From one device to the other.
MOVES = (aten._to_copy.default, aten.copy_.default)
# A tensor of the GPU may be indexed by numbers of the CPU.
INDEXING = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default)
# Everything else takes single numbers of the CPU beside tensors of the GPU, but for these.
STRICT = (aten.stack.default, aten._fused_adam_.default)


class Claimed(torch.Tensor):
    """A tensor that says cuda:0. inner: the tensor of the CPU that has its numbers, its shape and its strides."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Claimed:
        return torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=CUDA,
        )

    def __init__(self, inner: torch.Tensor) -> None:
        self.inner = inner

    def __repr__(self) -> str:
        return f"Claimed({self.inner!r})"

    # With these two PyTorch moves a network's parameters to the device by exchanging them.
    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["inner"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, torch.Tensor], context: None, size: Any, stride: Any) -> Claimed:
        return Claimed(inner["inner"])

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return run(func, args, kwargs or {})


class Generator(torch.Generator):
    """A generator that says which device it is of; either draws the CPU's numbers."""

    claimed: torch.device

    def __new__(cls, device: torch.device | str = "cpu") -> Generator:
        made = super().__new__(cls, "cpu")
        made.claimed = CUDA if torch.device(device).type == "cuda" else torch.device("cpu")
        return made

    def __init__(self, device: torch.device | str = "cpu") -> None: ...

    @property
    def device(self) -> torch.device:
        return self.claimed

    def manual_seed(self, seed: int) -> Generator:
        super().manual_seed(seed)
        return self


def run(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """The operation on the tensors inside, if a GPU would do it; what comes out says cuda where anything in it did."""
    tensors: list[torch.Tensor] = []
    inside_args, inside = _inside(args, tensors), {key: _inside(value, tensors) for key, value in kwargs.items()}
    asked = kwargs.get("device")
    on_gpu = any(isinstance(x, Claimed) for x in tensors) if asked is None else torch.device(asked).type == "cuda"
    _require_one_device(func, args, tensors)
    if func is aten._fused_adam_.default:
        _require_one_layout(args[:4])
    if func is aten._fused_sdp_choice.default:  # which kernel of attention: the one that is made of other operations
        return 0
    if asked is not None:
        inside["device"] = torch.device("cpu")
    if "pin_memory" in inside:
        inside["pin_memory"] = None
    out = func(*inside_args, **inside)
    if not on_gpu:
        return out
    claimed = tree_map_only(torch.Tensor, Claimed, out)
    return dispatch.return_and_correct_aliasing(func, args, kwargs, claimed) if _aliases(func) else claimed


@cache
def _aliases(func: Any) -> bool:
    """Whether what comes out is, or looks at, what was given: a view, an operation in place."""
    return any(argument.alias_info is not None for argument in func._schema.arguments)


def _require_one_layout(lists: tuple) -> None:
    """The kernel of the GPU goes through weights, gradients and moments by address; the CPU's would mix them up."""
    for tensors in zip(*lists):
        if len({x.stride() for x in tensors}) > 1:
            raise RuntimeError(
                "params, grads, exp_avgs, and exp_avg_sqs must have same dtype, device, and layout, but had strides "
                f"{[x.stride() for x in tensors]}"
            )


def _inside(value: Any, tensors: list[torch.Tensor]) -> Any:
    """The value with what is inside of each tensor in it; the tensors, as they are, are added to the list."""
    if isinstance(value, torch.Tensor):
        tensors.append(value)
        return value.inner if isinstance(value, Claimed) else value
    if isinstance(value, (list, tuple)):
        return type(value)(_inside(each, tensors) for each in value)
    return value


def _require_one_device(func: Any, args: tuple, tensors: list[torch.Tensor]) -> None:
    if func in MOVES or (func in INDEXING and isinstance(args[0], Claimed)):
        return
    here = [x for x in tensors if not isinstance(x, Claimed) and (x.dim() or func in STRICT)]
    if here and any(isinstance(x, Claimed) for x in tensors):
        told = ", ".join(f"{x.device} {tuple(x.shape)}" for x in tensors)
        raise RuntimeError(f"{func}: expected all tensors to be on the same device, but found {told}")


class _Everything(dispatch.TorchDispatchMode):
    """Sends what makes new tensors through `run` too."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return run(func, args, kwargs or {})


class _Calls(TorchFunctionMode):
    """What does not reach `run` as it was called: who draws, what reads or writes memory, and the way back."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        _require_generator(func, args, kwargs)
        if func is torch.Tensor.backward and isinstance(args[0], Claimed):
            if len(args) > 1 or any(value is not None and value is not False for value in kwargs.values()):
                raise NotImplementedError(
                    f"the pretended device goes backwards from one number alone, not with {kwargs}"
                )
            return backward(args[0])
        if func is torch.Tensor.tolist and isinstance(args[0], Claimed):
            return func(args[0].inner)
        device = kwargs.get("device")
        if func in (torch.tensor, torch.as_tensor) and device is not None and torch.device(device).type == "cuda":
            return func(*args, **kwargs | {"device": "cpu"}).to(CUDA)
        return func(*args, **kwargs)


def _require_generator(func: Any, args: tuple, kwargs: dict[str, Any]) -> None:
    random = kwargs.get("generator")
    if random is None:
        return
    place = kwargs.get("device") or next((x.device for x in args if isinstance(x, torch.Tensor)), "cpu")
    if torch.device(place).type != random.device.type:
        raise RuntimeError(
            f"{func.__name__}: expected a '{torch.device(place).type}' device type for generator but found "
            f"'{random.device.type}'"
        )


@torch.no_grad()
def backward(loss: torch.Tensor) -> None:
    """Add d loss / d leaf to the grad of every leaf, walking the graph that autograd has recorded.

    PyTorch's own walk asks the accelerator for its streams, and there is none.
    """
    root = loss.grad_fn
    arriving: Counter[Any] = Counter()
    known, unseen = {root}, [root]
    while unseen:
        for node, _ in unseen.pop().next_functions:
            if node is None:
                continue
            arriving[node] += 1
            if node not in known:
                known.add(node)
                unseen.append(node)
    arrived: dict[Any, dict[int, torch.Tensor]] = {root: {0: torch.ones_like(loss)}}
    ready = [root]
    while ready:
        node = ready.pop()
        given = arrived.pop(node, {})
        call = node if callable(node) else node.apply  # of one's own, a torch.autograd.Function
        grads = call(*map(given.get, range(len(node._input_metadata))))
        for (follower, index), grad in zip(node.next_functions, grads if isinstance(grads, tuple) else (grads,)):
            if follower is None:
                continue
            if grad is not None:
                there, grad = arrived.setdefault(follower, {}), _fitted(grad, follower, index)
                there[index] = there[index] + grad if index in there else grad
            arriving[follower] -= 1
            if not arriving[follower]:
                ready.append(follower)


def _fitted(grad: torch.Tensor, node: Any, index: int) -> torch.Tensor:
    """A gradient as the node wants it: summed over what was broadcast, and of its type; of its device it has to be."""
    wanted = node._input_metadata[index]
    if grad.device != wanted.device:
        raise RuntimeError(f"{node.name()}: expected a gradient on {wanted.device}, but found one on {grad.device}")
    return grad.sum_to_size(wanted.shape).to(wanted.dtype)


def missing() -> str | None:
    """Why no device can be pretended here, or None."""
    if torch.cuda.is_available() or torch.version.cuda is not None:
        return "this PyTorch has CUDA itself"
    return NO_COMPILER if _compiler() is None else None


def _compiler() -> str | None:
    return next(filter(None, map(shutil.which, COMPILERS)), None)


@cache
def register() -> None:
    """Compile and load the guard: PyTorch keeps it for as long as it runs."""
    root = Path(torch.__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "guard.so"
        compiler = _compiler()
        assert compiler is not None, missing()
        flags = ["-O0", "-shared", "-fPIC", "-std=c++20", f"-I{root / 'include'}", f"-L{root / 'lib'}", "-lc10"]
        done = subprocess.run([compiler, str(GUARD), *flags, "-o", str(library)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        torch.ops.load_library(str(library))


def _answers(free: int) -> dict[str, Callable[..., Any]]:
    """What torch.cuda says and does instead; there is nothing to wait for."""
    nothing = ("_lazy_init", "synchronize", "empty_cache", "set_rng_state", "manual_seed", "manual_seed_all")
    nothing += ("set_per_process_memory_fraction", "reset_peak_memory_stats")
    zero = ("current_device", "memory_reserved", "memory_allocated", "max_memory_allocated")
    return {
        **{name: lambda *_, **__: None for name in nothing},
        **{name: lambda *_, **__: 0 for name in zero},
        "is_available": lambda: True,
        "is_bf16_supported": lambda *_, **__: True,
        "device_count": lambda: 1,
        "get_device_name": lambda *_: NAME,
        "get_rng_state": lambda *_: torch.zeros(16, dtype=torch.uint8),
        "mem_get_info": lambda *_: (free, MEMORY),
    }


@contextlib.contextmanager
def device(free: int = MEMORY) -> Iterator[None]:
    """A context in which there is one CUDA device; free: bytes of memory that it says are free."""
    register()
    with contextlib.ExitStack() as stack:
        for name, answer in _answers(free).items():
            stack.enter_context(mock.patch.object(torch.cuda, name, answer))
        stack.enter_context(mock.patch.object(torch, "Generator", Generator))
        stack.enter_context(_Calls())
        stack.enter_context(_Everything())
        yield
