"""How long is a training step? bdbook's UNet against diffusers' UNet2DModel of the same widths.

Run: python benchmarks/training_step.py [--device cuda] [--precision bf16] [--compile]
     (needs the extra "bench"; prints a Markdown table; the target is a ratio of at most 0.9 on a CPU, and of 0.67 on a
     GPU in bf16, 0.9 compiled)

Both networks see the same batch and the same optimiser, take turns step by step, and run at the same precision in the
same number of threads (OMP_NUM_THREADS sets it), so that whatever else the machine does disturbs both alike.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bdbook.training.engine import PRECISIONS
from bdbook.unet import UNet, UNetConfig

if TYPE_CHECKING:
    from diffusers import UNet2DModel

REPEATS = 25
CASES = [  # (config, batch)
    (UNetConfig(size=16, channels=32, multipliers=(1, 2, 2), blocks=1, attention=(4,)), 64),
    (UNetConfig(size=16, channels=48, multipliers=(1, 2, 2), blocks=1, attention=(4,)), 64),
    (UNetConfig(size=32, channels=32, multipliers=(1, 2, 2, 2), blocks=1, attention=(4, 8)), 16),
    (UNetConfig(size=32, channels=32, multipliers=(1, 2, 2, 2), blocks=2, attention=(4, 8)), 16),
]


def twin(c: UNetConfig) -> UNet2DModel:
    """diffusers' network of the same widths, blocks, attention and way of letting the time in.

    Its middle always has attention, ours where the coarsest level has: attend there to compare like with like.
    """
    from diffusers import UNet2DModel

    kinds = ["Attn" if factor in c.attention else "" for factor in c.factors]
    return UNet2DModel(
        sample_size=c.size,
        in_channels=c.in_channels,
        out_channels=c.out_channels,
        block_out_channels=c.widths,
        layers_per_block=c.blocks,
        down_block_types=tuple(f"{kind}DownBlock2D" for kind in kinds),
        up_block_types=tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)),
        attention_head_dim=c.head_dim,
        norm_num_groups=8,
        resnet_time_scale_shift="scale_shift" if c.scale_shift else "default",
    )


def stepper(
    net: nn.Module, forward: Callable[[Tensor, Tensor], Tensor], autocast: torch.dtype | None
) -> Callable[[Tensor, Tensor], None]:
    """One whole training step of `net` as a function of a batch and its times."""
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-4, fused=True)

    def step(x: Tensor, t: Tensor) -> None:
        optimiser.zero_grad()
        with torch.autocast(x.device.type, dtype=autocast, enabled=autocast is not None):
            said = forward(x, t)
        F.mse_loss(said.float(), x).backward()
        optimiser.step()

    return step


def seconds(step: Callable[[Tensor, Tensor], None], x: Tensor, t: Tensor) -> float:
    start = time.perf_counter()
    step(x, t)
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
    return time.perf_counter() - start


def measured(
    c: UNetConfig, batch: int, device: torch.device, autocast: torch.dtype | None, compiler: str | None
) -> dict:
    """Of each network the parameters and the median seconds of a step, and the median ratio of the pairs of steps."""
    torch.manual_seed(0)
    x, t = torch.randn(batch, c.in_channels, c.size, c.size, device=device), torch.rand(batch, device=device)
    nets = [net.to(device, memory_format=torch.channels_last) for net in (UNet(c), twin(c))]
    if compiler is not None:
        for net in nets:
            net.compile(backend=compiler)
    steps = [
        stepper(nets[0], nets[0], autocast),
        stepper(nets[1], lambda x, t, net=nets[1]: net(x, 1000 * t).sample, autocast),
    ]
    for step in 2 * steps:  # the first calls allocate
        step(x, t)
    times = [[seconds(step, x, t) for step in steps] for _ in range(REPEATS)]
    ours, theirs = (statistics.median(column) for column in zip(*times))
    return {
        "net": f"{c.size}x{c.size}, {c.channels} x {c.multipliers}, {c.blocks} block(s)",
        "batch": batch,
        "parameters": [sum(p.numel() for p in net.parameters()) for net in nets],
        "seconds": [ours, theirs],
        # Of each pair, not of the medians: a pair shares its disturbances.
        "ratio": statistics.median(a / b for a, b in times),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32", choices=PRECISIONS)
    parser.add_argument("--compile", action="store_true")
    asked = parser.parse_args()
    device, autocast = torch.device(asked.device), PRECISIONS[asked.precision]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} thread(s)"
    how = f"{asked.precision}{', compiled' if asked.compile else ''}"
    print(f"torch {torch.__version__}, {name}, {how}, median of {REPEATS} steps, in ms\n")
    print("| net | batch | parameters, ours | diffusers | step, ours | diffusers | ours/diffusers |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for c, batch in CASES:
        row = measured(c, batch, device, autocast, "inductor" if asked.compile else None)
        counts = [f"{count / 1e6:.3f} M" for count in row["parameters"]]
        ours, theirs = (1000 * duration for duration in row["seconds"])
        print(
            f"| {row['net']} | {batch} | {counts[0]} | {counts[1]} | {ours:.1f} | {theirs:.1f} | {row['ratio']:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
