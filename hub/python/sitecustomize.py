"""Binds BDBOOK_GPU_SHARE in every Python of a student's server: whatever imports torch takes no more of a GPU.

Python imports a module of this name when it starts, wherever PYTHONPATH leads to one; the image and the hub see to
that. So a kernel has it, a script that a notebook starts, and a Python in an environment of the student's own; with -I
or -E Python goes without. It is a rule of the house and no wall. PyTorch's own
PYTORCH_CUDA_ALLOC_CONF=per_process_memory_fraction:0.25 needs no file, but only recent builds for CUDA know the name,
and none was at hand to try it: the build for the CPU takes any name and heeds none.

torch is neither imported nor, where it is, made to start CUDA: the share is set when CUDA starts.
"""

import os
import sys

VARIABLE = "BDBOOK_GPU_SHARE"


def bind(torch, share: float) -> None:
    """Have torch take no more than this part of each GPU's memory, from when CUDA starts in this process."""

    def limit() -> None:
        try:
            for index in range(torch.cuda.device_count()):
                torch.cuda.set_per_process_memory_fraction(share, index)
        except Exception as error:  # a GPU without the limit is better than none
            print(f"{VARIABLE}={share} could not be set: {error}", file=sys.stderr)

    torch.cuda._lazy_call(limit)  # what torch.cuda.manual_seed waits with; without CUDA it waits for ever


class AfterTorch:
    """Finds torch as the finders after it do, and has `bind` run once it is imported."""

    def __init__(self, share: float) -> None:
        self.share = share

    def find_spec(self, name, path=None, target=None):
        if name != "torch":
            return None
        specs = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, specs), None)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            load = spec.loader.exec_module

            def load_and_bind(module) -> None:
                load(module)
                try:
                    bind(module, self.share)
                except Exception as error:  # nothing here may keep torch from being imported
                    print(f"{VARIABLE}={self.share} could not be set: {error}", file=sys.stderr)

            spec.loader.exec_module = load_and_bind
        return spec


try:
    if os.environ.get(VARIABLE):
        sys.meta_path.insert(0, AfterTorch(float(os.environ[VARIABLE])))
except ValueError:  # Python itself must start
    print(f"{VARIABLE} is {os.environ[VARIABLE]!r}; expected a number above 0 and at most 1", file=sys.stderr)
