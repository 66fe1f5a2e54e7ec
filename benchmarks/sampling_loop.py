"""What does sampling cost beyond the network? The whole loop against the bare network, called as often.

Run: python benchmarks/sampling_loop.py   (prints a Markdown table; the target is a ratio of at most 1.03)

The loop is samplers.sample with the ancestral rule, blurring diffusion and a spectrally preconditioned UNet. Loop
and network alternate step by step, so that whatever else the machine does disturbs both alike; the ratio is the
median over these pairs. "Around it" is a step of the same loop with a network that costs nothing: on a busy machine
the steadier number, since the ratio should be 1 + around it / network. OMP_NUM_THREADS sets the threads. --profile
lists where the loop's own time goes.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
import time
from collections.abc import Callable, Iterator

import torch

from bdbook.denoiser import Denoiser
from bdbook.oracle import Gaussian
from bdbook.processes import blurring_diffusion
from bdbook.samplers import Step, last, sample
from bdbook.unet import UNet, UNetConfig

BATCH, STEPS, RUNS = 64, 50, 3
SIZES = (16, 32)
CPU = torch.device("cpu")


def seconds(call: Callable, device: torch.device) -> float:
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def setting(
    size: int, device: torch.device, autocast: torch.dtype | None
) -> tuple[UNet, Denoiser, torch.Tensor, torch.Tensor]:
    """(net, denoiser, x_T, times): grey images, a power-law spectrum for the preconditioning."""
    torch.manual_seed(0)
    net = UNet(UNetConfig(size=size, channels=32, multipliers=(1, 2, 2), blocks=1, attention=(4,))).eval().to(device)
    process = blurring_diffusion(size, sigma_max=5.0)
    data = Gaussian(process.basis, 1 / (0.1 + process.basis.freq2))
    times, x = process.times(STEPS), torch.randn(BATCH, 1, size, size).to(device)
    return net, Denoiser(net, process, data.prediction(), autocast), x, times


@torch.no_grad()
def compare(size: int, device: torch.device, autocast: torch.dtype | None) -> tuple[list[float], list[float]]:
    """Seconds of each step of the loop, and of the bare call of the network right before or after it."""
    net, denoiser, x, times = setting(size, device, autocast)
    t = torch.full((BATCH,), 0.5, device=device)

    def bare_call() -> None:
        with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
            net(x, t)

    whole, bare = [], []
    for _ in range(RUNS):
        walk = sample(denoiser, x, times, generator=torch.Generator(device).manual_seed(0))
        for k in range(STEPS):
            pair = [(whole, lambda walk=walk: next(walk)), (bare, bare_call)]
            for record, call in pair if k % 2 else reversed(pair):  # in turn first: the second finds warm caches
                record.append(seconds(call, device))
    return whole, bare


def free_walk(size: int, device: torch.device = CPU) -> Iterator[Step]:
    """The same walk with a network that costs nothing."""
    _, denoiser, x, times = setting(size, device, None)
    return sample(Denoiser(lambda x, t: x, denoiser.process, denoiser.predicts), x, times)


def overhead(size: int, device: torch.device) -> list[float]:
    """Seconds of each step of the loop, the network left out."""
    walks = [free_walk(size, device) for _ in range(RUNS)]
    return [seconds(lambda walk=walk: next(walk), device) for walk in walks for _ in range(STEPS)]


def measured(size: int, device: torch.device = CPU, autocast: torch.dtype | None = None) -> dict:
    """Median seconds of a step of the loop, of the network alone, of what is around it; the median ratio of pairs."""
    whole, bare = compare(size, device, autocast)
    loop, net, around = map(statistics.median, (whole, bare, overhead(size, device)))
    return {
        "size": size,
        "loop_seconds": loop,
        "net_seconds": net,
        "ratio": statistics.median(w / b for w, b in zip(whole, bare)),
        "around_seconds": around,
    }


def profile(size: int) -> None:
    """Where the loop's own time goes."""
    walk = free_walk(size)
    with cProfile.Profile() as profiler:
        last(walk)
    pstats.Stats(profiler).sort_stats("cumtime").print_stats("bdbook|randn|built-in", 25)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--profile", action="store_true", help="list where the loop's own time goes")
    wants_profile = parser.parse_args().profile
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), batch {BATCH}, {RUNS} walks of {STEPS}\n")
    print("| size | a step of the loop, ms | the network alone, ms | ratio | around it, ms | 1 + around it / network |")
    print("| --- | --- | --- | --- | --- | --- |")
    for size in SIZES:
        row = measured(size)
        loop, net, around = (1000 * row[f"{part}_seconds"] for part in ("loop", "net", "around"))
        print(
            f"| {size}x{size} | {loop:.2f} | {net:.2f} | {row['ratio']:.3f} | {around:.2f} | {1 + around / net:.3f} |",
            flush=True,
        )
    if wants_profile:
        for size in SIZES:
            profile(size)


if __name__ == "__main__":
    main()
