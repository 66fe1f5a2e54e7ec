"""How long is a training step? bdbook's UNet against diffusers' UNet2DModel of the same widths.

Run: python benchmarks/training_step.py   (needs the extra "bench"; prints a Markdown table)

Both networks see the same batch and the same optimiser, take turns step by step, and run in the same number
of threads (OMP_NUM_THREADS sets it), so that whatever else the machine does disturbs both alike.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from diffusers import UNet2DModel
from torch import Tensor, nn

from bdbook.unet import UNet, UNetConfig

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


def stepper(net: nn.Module, forward: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], None]:
    """One whole training step of `net` as a function of a batch and its times."""
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-4)

    def step(x: Tensor, t: Tensor) -> None:
        optimiser.zero_grad()
        F.mse_loss(forward(x, t), x).backward()
        optimiser.step()

    return step


def seconds(step: Callable[[Tensor, Tensor], None], x: Tensor, t: Tensor) -> float:
    start = time.perf_counter()
    step(x, t)
    return time.perf_counter() - start


def main() -> None:
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), median of {REPEATS} steps, in ms\n")
    print("| net | batch | parameters, ours | diffusers | step, ours | diffusers | ours/diffusers |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for c, batch in CASES:
        torch.manual_seed(0)
        x, t = torch.randn(batch, c.in_channels, c.size, c.size), torch.rand(batch)
        nets = [UNet(c), twin(c)]
        steps = [
            stepper(nets[0], nets[0]),
            stepper(nets[1], lambda x, t, net=nets[1]: net(x, 1000 * t).sample),
        ]
        for step in 2 * steps:  # the first calls allocate
            step(x, t)
        times = [[seconds(step, x, t) for step in steps] for _ in range(REPEATS)]
        ours, theirs = (1000 * statistics.median(column) for column in zip(*times))
        counts = [f"{sum(p.numel() for p in net.parameters()) / 1e6:.3f} M" for net in nets]
        # The ratio of each pair, not of the medians: a pair shares its disturbances.
        ratio = statistics.median(a / b for a, b in times)
        print(
            f"| {c.size}x{c.size}, {c.channels} x {c.multipliers}, {c.blocks} block(s) | {batch} | {counts[0]} | "
            f"{counts[1]} | {ours:.1f} | {theirs:.1f} | {ratio:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
