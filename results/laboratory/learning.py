"""Train small networks under blur, from the law of chapter 19 towards the book's network, one cause at a time.

    python results/laboratory/learning.py

Pictures: Fashion-MNIST at 16 px, or Gaussian images of its spectrum, of which the best guess is linear and known
("twins"). Every network predicts the noise. Each entry of learning.json is one training: at each milestone what the
network says on data of each time ("weight", a regression on what it sees; "rest", what is left), and the bands of its
samples. Of the trainings that chapter 15 shows the weights of early steps are not in the repository; where
`results/record.py` has left them in --runs, they are measured too. What is in the file is kept, so that an interrupted
run goes on. A quarter of an hour of one core in all.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from torch import Tensor, nn
from tqdm import tqdm

from bdbook import data, denoiser, learning, losses, oracle, processes, samplers
from bdbook.evaluation import metrics
from bdbook.files import write_atomically
from bdbook.training import records, runs
from bdbook.training.loop import draw_times, generator_for, update_ema
from bdbook.transforms import DCT
from bdbook.unet import UNet, UNetConfig, time_features

HERE = Path(__file__).parent
FILE = HERE / "learning.json"
RUNS = HERE.parents[1] / "runs"
SIZE, BATCH, STEPS, BINS = 16, 64, 50, 20
BASIS = DCT(SIZE)
BANDS = metrics.band_index(BASIS.freq2, 5).flatten()
WARMUP, CLIP, EMA = 100, 1.0, 0.999  # of the book's recipes


class Table(nn.Module):
    """One weight for each frequency and for each of BINS times, from 0."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(BINS, 1, SIZE, SIZE))

    def at(self, t: Tensor) -> Tensor:
        return self.weight[bin_of(t)]

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return BASIS.inverse(self.at(t) * BASIS.forward(x)).to(x)


class Shared(Table):
    """One weight for each frequency, which a network of the UNet's time features gives: all times share it."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.net = nn.Sequential(nn.Linear(16, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, SIZE**2))
        for parameter in self.net[-1].parameters():
            nn.init.zeros_(parameter)

    def at(self, t: Tensor) -> Tensor:
        weight: Tensor = self.net(time_features(t.float(), 16)).view(-1, 1, SIZE, SIZE)
        return weight


class Taps(nn.Module):
    """width x width taps for each of BINS times, from 0, on borders that mirror or are zero."""

    def __init__(self, width: int, mirror: bool = True) -> None:
        super().__init__()
        self.taps = nn.Parameter(torch.zeros(BINS, 1, width, width))
        self.half, self.mirror = width // 2, mirror
        ring = torch.arange(-self.half, SIZE + self.half) % (2 * SIZE)
        self.index = torch.minimum(ring, 2 * SIZE - 1 - ring)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        if self.mirror:
            padded = x[:, 0][:, self.index][:, :, self.index]
        else:
            padded = nn.functional.pad(x[:, 0], (self.half,) * 4)
        taps = self.taps[bin_of(t)].expand(len(x), -1, -1, -1)
        out = nn.functional.conv2d(padded[None], taps, groups=len(x))
        return out[0][:, None]


class Homogeneous(nn.Module):
    """The network on inputs that are brought back to the size of data at their time, and its answer enlarged alike."""

    def __init__(self, net: nn.Module, process: processes.Process, law: oracle.Gaussian) -> None:
        super().__init__()
        self.net, self.process, self.law = net, process, law

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        mean, variance = self.law.marginal(self.process, t)
        usual = (mean**2 + variance).mean((1, 2, 3), keepdim=True).sqrt().to(x)
        times = (x.square().mean((1, 2, 3), keepdim=True).sqrt() / usual).clamp_min(1)
        said: Tensor = self.net(x / times, t) * times
        return said


def bin_of(t: Tensor) -> Tensor:
    return (t * BINS).ceil().long().clamp(1, BINS) - 1


@dataclass(frozen=True)
class Case:
    """A training. at: the only time that is trained, where it is one."""

    net: Callable[[], nn.Module]
    optimizer: str = "adam"
    rate: float = 1e-3
    milestones: tuple[int, ...] = (250,)
    pictures: str = "twins"
    at: float | None = None
    widths: tuple[float, ...] = (0.0, 10.0)


def small_net() -> nn.Module:
    return UNet(UNetConfig(SIZE, channels=8, multipliers=(1, 2), attention=()))


LONG = (250, 1000)
CASES = {
    "UNet, Adam": Case(small_net, milestones=(125, 250, 500)),
    "weights, gradient descent": Case(Table, "sgd", 20.0, LONG),
    "UNet, Adam, one time": Case(small_net, at=0.5),
    "weights, Adam": Case(Table, "adam", 1e-2, LONG),
    "weights, shared by all times, Adam": Case(Shared, "adam", 1e-3, LONG),
    "UNet, Adam, clothes": Case(small_net, pictures="clothes"),
    "UNet, gradient descent": Case(small_net, "sgd", 0.1),
    "7 x 7 taps, gradient descent": Case(lambda: Taps(7), "sgd", 0.3, LONG),
    "7 x 7 taps, zeros around, gradient descent": Case(lambda: Taps(7, mirror=False), "sgd", 0.3, LONG),
}


class Pictures:
    """Batches of clothes, or of Gaussian images of their spectrum and mean zero."""

    def __init__(self, name: str) -> None:
        self.clothes = data.load("fashion", SIZE)
        fitted = oracle.Gaussian.fit(BASIS, self.clothes)
        self.law = fitted if name == "clothes" else oracle.Gaussian(BASIS, fitted.variance)
        self.real = name == "clothes"

    def draw(self, count: int, random: torch.Generator) -> Tensor:
        if self.real:
            return self.clothes[torch.randint(len(self.clothes), (count,), generator=random)].float()
        noise = torch.randn(count, 1, SIZE, SIZE, generator=random)
        return BASIS.inverse(self.law.variance.sqrt() * noise).float()


def train(case: Case, width: float, seed: int = 0) -> dict:
    """Steps -> what `measure` measures, of the weights and of their average."""
    pictures, process = Pictures(case.pictures), processes.blurring_diffusion(SIZE, width)
    torch.manual_seed(seed)
    net = case.net()
    average = case.net().requires_grad_(False)
    average.load_state_dict(net.state_dict())
    if case.optimizer == "adam":
        optimizer: torch.optim.Optimizer = torch.optim.Adam(net.parameters(), lr=case.rate)
    else:
        optimizer = torch.optim.SGD(net.parameters(), lr=case.rate)
    model, found, began = denoiser.Denoiser(net, process, denoiser.EPS), {}, time.perf_counter()
    for step in range(max(case.milestones)):
        random = generator_for(seed, "batch", step)
        x0 = pictures.draw(BATCH, random)
        t = draw_times(process, BATCH, random)
        if case.at is not None:
            t = torch.full_like(t, case.at)
        noise = torch.randn(x0.shape, generator=random)
        loss = losses.loss(model, x0, t, noise).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if case.optimizer == "adam":
            nn.utils.clip_grad_norm_(net.parameters(), CLIP)
            for group in optimizer.param_groups:
                group["lr"] = case.rate * min(1.0, (step + 1) / WARMUP)
        optimizer.step()
        update_ema(average, net, min(EMA, (1 + step) / (10 + step)))
        if step + 1 in case.milestones:
            found[str(step + 1)] = {"loss": loss.item(), "weights": measure(net, process, pictures, case.at)}
            if case.optimizer == "adam" and case.at is None and step + 1 == max(case.milestones):
                found[str(step + 1)]["averaged"] = measure(average, process, pictures, case.at)
    return {"steps": found, "wall_s": round(time.perf_counter() - began, 1), "seed": seed}


@torch.no_grad()
def measure(net: nn.Module, process: processes.Process, pictures: Pictures, at: float | None) -> dict:
    """What the network says on data at the sampler's times, by band, and what it draws.

    missing: 1 - w / w_*, w the regression of what it says on what it sees (mean over the frequencies of a band).
    off: mean square of what it says less what the best linear guess says, in units of the noise.
    linear: bands of the samples if the network were w alone; rest: if also the rest were noise, new at each step.
    """
    net.eval()
    law, random = pictures.law, torch.Generator().manual_seed(7)
    times = process.times(STEPS)
    if at is not None:
        times = torch.tensor([at, 0.0], dtype=torch.float64)
    t, s = times[:-1], times[1:]
    known = learning.descent(process, t, law.variance, denoiser.EPS)
    weight, off, rest = (torch.zeros(len(t), SIZE**2, dtype=torch.float64) for _ in range(3))
    count = 32 if at is None else 512
    for k, moment in enumerate(t):
        x0 = pictures.draw(count, random)
        now = moment.expand(count)
        seen = process.sample(x0, now, torch.randn(x0.shape, generator=random))
        u = (BASIS.forward(seen.double()) - process.alpha(moment) * law.mean).flatten(1)
        said = BASIS.forward(net(seen, now).double()).flatten(1)
        said = said - said.mean(0) * pictures.real  # the clothes have a mean
        best = known.weight[k].flatten() * u
        weight[k] = (said * u).sum(0) / (u * u).sum(0)
        off[k] = ((said - best) ** 2).mean(0)
        rest[k] = ((said - weight[k] * u) ** 2).sum(0) / (count - 1)
    missing = 1 - weight / known.weight.flatten(1)
    kept = range(0, len(t), 5) if at is None else [0]
    told = {
        "times": [t[k].item() for k in kept],
        "missing": [in_bands(missing[k]) for k in kept],
        "off": [in_bands(off[k]) for k in kept],
        "best": [in_bands((known.weight**2 * known.total)[k].flatten()) for k in kept],
    }
    if at is not None:
        return told
    carry, refresh = samplers.ancestral(process, t, s)
    alpha_t, sigma_t, alpha_s, _ = process.coefficients(t, s)
    grow = (alpha_s / alpha_t).flatten(1)
    takes = ((alpha_s / alpha_t - carry) * sigma_t).flatten(1)

    def drawn(with_rest: bool) -> list[float]:
        variance = torch.ones(SIZE**2, dtype=torch.float64)
        for k in range(len(t)):
            variance = (grow[k] - takes[k] * weight[k]) ** 2 * variance + refresh[k].flatten() ** 2
            variance = variance + takes[k] ** 2 * rest[k] * with_rest
        return ratio(variance)

    def ratio(variance: Tensor) -> list[float]:
        of = law.variance.flatten()
        return [float(f"{variance[BANDS.eq(b)].sum() / of[BANDS.eq(b)].sum():.5g}") for b in range(5)]

    start = torch.randn(32, 1, SIZE, SIZE, generator=random)

    def walked(net: nn.Module) -> list[float]:
        model = denoiser.Denoiser(net, process, denoiser.EPS)
        images = samplers.last(samplers.sample(model, start, times, "ancestral", generator_for(7, "walk"))).x
        return ratio(BASIS.forward(images.double()).var(0).flatten())

    told |= {"drawn": walked(net), "linear": drawn(False), "rest": drawn(True)}
    if not isinstance(net, UNet):
        return told
    # What the network takes off an input that is too large, in parts of what it should: whole, and the sampler's way.
    far = {}
    for k in (2, 15, 30):
        x0 = pictures.draw(count, random)
        now = t[k].expand(count)
        seen = process.sample(x0, now, torch.randn(x0.shape, generator=random))
        for factor in (1, 3, 10, 100, 1000):
            u, said = (BASIS.forward(x.double()).flatten(1) for x in (factor * seen, net(factor * seen, now)))
            far[f"{t[k]:.2f}, {factor}"] = in_bands((said * u).sum(0) / (u * u).sum(0) / known.weight[k].flatten())
    return told | {"far": far, "brought back": walked(Homogeneous(net, process, law))}


def in_bands(per_frequency: Tensor) -> list[float]:
    return [float(f"{per_frequency[BANDS.eq(b)].mean():.4g}") for b in range(5)]


# Of chapter 15's trainings those that predict the noise: width -> name.
BOOK = {0.0: "cosine-plain", 10.0: "blurring-10px-plain"}


def of_the_book(folder: Path) -> dict:
    """The averaged weights of one of chapter 15's trainings after its first milestone."""
    run = runs.load(folder / "milestones" / "step-00000250.safetensors")
    found = measure(run.denoiser.net, run.denoiser.process, Pictures("clothes"), None)
    return {"steps": {str(run.record["step"]): {"averaged": found}}, "seed": run.record["identity"]["seed"]}


def main(file: Path = FILE, folder: Path = RUNS) -> None:
    """Add what is missing to the file, one training after the other.

    Args:
        file: Where to keep what is found.
        folder: Where results/record.py trained.
    """
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    jobs = {f"{name}, {width:g} px": (case, width) for name, case in CASES.items() for width in case.widths}
    for key, (case, width) in tqdm({key: job for key, job in jobs.items() if key not in found}.items(), "trainings"):
        found[key] = train(case, width) | records.made_here()
        write_atomically(file, json.dumps(found, indent=1) + "\n")
    for width, name in BOOK.items():
        key, trained = f"book, {width:g} px", folder / f"fashion-{name}-cpu"
        if key not in found and (trained / "milestones").is_dir():
            found[key] = of_the_book(trained) | records.made_here()
            write_atomically(file, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    tyro.cli(main)
