"""A process that the page does not know goes there as tables: the same process, and the same walk."""

import base64
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from figures import IMPORT

from bdbook import processes, recipes, samplers
from bdbook.page import live, walks
from bdbook.page.widgets import LiveSampler
from bdbook.training import runs
from bdbook.transforms import DCT, Basis, Haar, Hartley, Pixel

pytestmark = pytest.mark.browser

SIZE, STEPS, COUNT = 16, 12, 3
PROCESS = f"""async ([source, told, image, times]) => {{
  const m = await ({IMPORT})(source), list = (a) => Array.from(a);
  const own = m.process(told.process, {SIZE}, told.settings), u = own.forward(Float64Array.from(image));
  return {{ steps: own.steps, u: list(u), x: list(own.inverse(u)),
    alpha: times.map((t) => list(own.alpha(t))), sigma: times.map((t) => list(own.sigma(t))) }}; }}"""
# The network of both is t tanh(x).
WALK = f"""async ([source, told, start, options]) => {{
  const m = await ({IMPORT})(source), frames = [];
  const net = async (images, t) => images.map((image) => image.map((v) => t * Math.tanh(v)));
  const own = m.system(told, net), x = start.map((image) => Float64Array.from(image));
  for await (const frame of m.sampling({{ system: own, x, ...options }})) frames.push(frame);
  return {{ t: frames.map((f) => f.t), x: frames.at(-1).x.map((image) => Array.from(image)) }}; }}"""


@dataclass(frozen=True)
class Uneven(processes.Process):
    """Rows fade faster than columns; no coefficient is like another."""

    basis: Basis
    steps: int | None = None
    name: str = "uneven"

    def alpha(self, t):
        return torch.exp(-t * (0.3 + 2 * down() + across()))

    def sigma(self, t):
        return 0.02 + t * (0.8 + 0.3 * down() - 0.5 * across())


def down():
    return torch.linspace(0, 1, SIZE, dtype=torch.float64)[:, None]


def across():
    return torch.linspace(0, 1, SIZE, dtype=torch.float64)[None, :]


def tanh(x, t):
    return t[:, None, None, None] * torch.tanh(x)


def system(process) -> runs.Run:
    """The process in place of a recorded system's, whose numbers serve as a spectrum in any basis."""
    known = live.run_of("fashion-ddpm")
    recipe = recipes.of_process(process, (1, SIZE, SIZE), sample_steps=STEPS)
    spectrum = replace(known.spectrum, basis=process.basis)
    return runs.Run(recipe, known.record, replace(known.denoiser, net=tanh, process=process), spectrum)


def encoded(numbers: np.ndarray) -> str:
    return base64.b64encode(numbers.astype("<f4").tobytes()).decode()


@pytest.mark.parametrize("basis", [Haar(SIZE), Hartley(SIZE), Pixel()], ids=lambda basis: type(basis).__name__)
@pytest.mark.parametrize("table", [None, 4 * STEPS], ids=["continuous", "tabulated"])
def test_the_process_is_the_librarys(open_page, basis, table):
    process = Uneven(basis, table)
    image = torch.randn(1, 1, SIZE, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    told, times = walks.walk(system(process)), [i / STEPS for i in range(STEPS + 1)]
    assert told["process"] == "table"
    js = open_page("about:blank").evaluate(PROCESS, [str(LiveSampler._esm), told, image.flatten().tolist(), times])
    assert js["steps"] == (table or STEPS), "a table goes whole"
    np.testing.assert_allclose(js["u"], basis.forward(image).flatten(), atol=1e-5)
    np.testing.assert_allclose(js["x"], image.flatten(), atol=1e-5)
    for name in ("alpha", "sigma"):
        expected = [getattr(process, name)(t).expand(1, 1, SIZE, SIZE).flatten() for t in times]
        np.testing.assert_allclose(js[name], torch.stack(expected), rtol=1e-6)


def test_equal_snr_is_the_librarys(open_page):
    variance = torch.rand(1, SIZE, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) + 0.01
    process, times = processes.EqualSNR(DCT(SIZE), variance), [i / STEPS for i in range(STEPS + 1)]
    told = walks.walk(system(process))
    assert told["process"] == "equal_snr"
    asked = [str(LiveSampler._esm), told, torch.zeros(SIZE**2).tolist(), times]
    js = open_page("about:blank").evaluate(PROCESS, asked)
    for name in ("alpha", "sigma"):
        expected = [getattr(process, name)(t).expand(1, 1, SIZE, SIZE).flatten() for t in times]
        np.testing.assert_allclose(js[name], torch.stack(expected), rtol=1e-6)


def test_rows_are_of_rows_and_columns_of_columns(open_page):
    random = np.random.default_rng(0)
    rows, cols = (np.linalg.qr(random.normal(size=(SIZE, SIZE)))[0] for _ in range(2))
    planes, image = random.uniform(size=(2, 3, SIZE, SIZE)), random.normal(size=(SIZE, SIZE))
    settings = {"steps": 2, "rows": encoded(rows), "cols": encoded(cols)}
    settings |= {"alpha": encoded(planes[0]), "sigma": encoded(planes[1])}
    told = {"process": "table", "settings": settings}
    asked = [str(LiveSampler._esm), told, image.flatten().tolist(), [0, 0.5, 1]]
    js = open_page("about:blank").evaluate(PROCESS, asked)
    np.testing.assert_allclose(np.reshape(js["u"], (SIZE, SIZE)), rows @ image @ cols.T, atol=1e-5)
    np.testing.assert_allclose(np.reshape(js["x"], (SIZE, SIZE)), image, atol=1e-5)
    np.testing.assert_allclose(np.reshape([js["alpha"], js["sigma"]], planes.shape), planes, atol=1e-6)


@pytest.mark.parametrize(("rule", "order"), [("ddim", 1), ("ddim", 2), ("naive", 1)])
def test_the_walk_is_the_librarys(open_page, rule, order):
    process = Uneven(Haar(SIZE))
    run = system(process)
    start = torch.randn(COUNT, 1, SIZE, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    options = {"steps": STEPS, "rule": rule, "order": order, "seed": 0}
    asked = [str(LiveSampler._esm), walks.walk(run), start.flatten(1).tolist(), options]
    js = open_page("about:blank").evaluate(WALK, asked)
    times = process.times(STEPS)
    np.testing.assert_allclose(js["t"], times, atol=1e-15)
    *_, end = samplers.sample(run.denoiser, start, times, rule, order=order)
    np.testing.assert_allclose(js["x"], end.x.flatten(1), atol=1e-5)
