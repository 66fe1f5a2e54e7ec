// Data in the plane: two coordinates along axes that can be turned, a clock for each, the exact answer, and walks.
import { uniform, normals, tabulate, wiener } from "./core.js";
import { process } from "./processes.js";
import { QUARTER, clockOf } from "./turns.js";

export const PRESETS = {
  clusters: "five clusters",
  moons: "two moons",
  ring: "ring",
  spiral: "spiral",
  letters: "letters B D",
};
export const MOST_POINTS = 400;
const COUNT = 200; // points of a preset
export const KERNEL = 0.1; // each point is a small Gaussian this wide, in units of the spread of all along each axis
const NARROWEST = 0.02; // spread of data that hardly vary
const SQUARED = [0, (Math.PI / 2) ** 2]; // frequencies of the DCT of two pixels, rad^2/px^2
const BLUR = 20; // sigma_B,max, px
const CLEAR = 2; // spread of the coarse axis, in units of white noise at its loudest: low frequencies of pictures have more
const TABLE = 1000; // times at which the network is trained
export const MANY = 200; // calls of a walk that stands for infinitely many

/** The place at `part` in [0, 1] of the way along strokes, each { length, at(part) }. */
function along(strokes, part) {
  const whole = strokes.reduce((sum, { length }) => sum + length, 0);
  let rest = part * whole;
  const found = strokes.find(({ length }) => (rest -= length) <= 0) ?? strokes.at(-1);
  return found.at(Math.min(Math.max(1 + rest / found.length, 0), 1));
}

const line = (x1, y1, x2, y2) => ({
  length: Math.hypot(x2 - x1, y2 - y1),
  at: (p) => [x1 + p * (x2 - x1), y1 + p * (y2 - y1)],
});
/** Half an ellipse that opens to the left, from top to bottom. */
const bow = (x, y, width, height) => ({
  length: Math.PI * Math.sqrt((width ** 2 + height ** 2) / 2),
  at: (p) => [x + width * Math.sin(Math.PI * p), y + height * Math.cos(Math.PI * p)],
});

const B_AND_D = [
  line(-0.8, 0.6, -0.8, -0.6),
  line(-0.8, 0.6, -0.5, 0.6),
  bow(-0.5, 0.31, 0.24, 0.29),
  line(-0.8, 0.02, -0.5, 0.02),
  bow(-0.5, -0.29, 0.32, 0.31),
  line(-0.8, -0.6, -0.5, -0.6),
  line(0.2, 0.6, 0.2, -0.6),
  line(0.2, 0.6, 0.38, 0.6),
  bow(0.38, 0, 0.42, 0.6),
  line(0.2, -0.6, 0.38, -0.6),
];
/** Where a preset has its points: (part of the way, number of the point) -> [x, y]. */
const SHAPES = {
  moons(part, i) {
    const angle = Math.PI * part;
    const [x, y] = i % 2 ? [Math.cos(angle), Math.sin(angle)] : [1 - Math.cos(angle), 0.5 - Math.sin(angle)];
    return turn([0.6 * (x - 0.5), 0.6 * (y - 0.25)], -Math.PI / 4);
  },
  ring: (part) => [0.75 * Math.cos(2 * Math.PI * part), 0.75 * Math.sin(2 * Math.PI * part)],
  spiral(part) {
    const [angle, radius] = [3.5 * Math.PI * Math.sqrt(part), 0.1 + 0.8 * Math.sqrt(part)];
    return [radius * Math.cos(angle), radius * Math.sin(angle)];
  },
  letters: (part) => along(B_AND_D, part),
  clusters(part, i) {
    const [angle, radius] = [0.4 * Math.PI * (i % 5) + 0.5, 0.7];
    return [radius * Math.cos(angle), radius * Math.sin(angle)];
  },
};

/** The points of a preset, [x, y] each, in [-1, 1]; the same every time. */
export function preset(name) {
  const noise = normals(7, 2 * COUNT);
  const scatter = name === "clusters" ? 0.05 : 0.015;
  return Array.from({ length: COUNT }, (_, i) =>
    SHAPES[name]((i + 0.5) / COUNT, i).map((v, k) => v + scatter * noise[2 * i + k]),
  );
}

/** The coordinates of [x, y] along axes turned by `angle`, rad. */
export const turn = ([x, y], angle) => {
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  return [cos * x + sin * y, cos * y - sin * x];
};

/**
 * Data in their own units, y = (u - m) / sqrt(v), along axes turned by `angle`: { y, mean, root, spread }. y has two
 * numbers a point; mean and root = sqrt(v) are of the mixture in which each point is a Gaussian; `spread` is its width
 * in these units. `back(y1, y2)` is the place in the plane.
 */
export function standardised(points, angle) {
  const u = points.map((point) => turn(point, angle));
  const mean = [0, 1].map((k) => u.reduce((sum, v) => sum + v[k], 0) / u.length);
  const root = mean.map((m, k) => {
    const deviation = Math.sqrt(u.reduce((sum, v) => sum + (v[k] - m) ** 2, 0) / u.length);
    return Math.max(deviation, NARROWEST) * Math.hypot(1, KERNEL);
  });
  const y = tabulate(2 * u.length, (k) => (u[k >> 1][k & 1] - mean[k & 1]) / root[k & 1]);
  const back = (y1, y2) => turn([mean[0] + root[0] * y1, mean[1] + root[1] * y2], -angle);
  return { y, mean, root, back, spread: KERNEL / Math.hypot(1, KERNEL) };
}

/** The systems: what is shown, and (variances) -> (t) -> the two clocks. */
export const SYSTEMS = {
  equal_snr: ["equal SNR: together", () => (t) => [QUARTER * t, QUARTER * t]],
  white: ["white noise", named("cosine_diffusion", {})],
  blurring: ["blur: the fine ahead", named("blurring_diffusion", { sigma_max: BLUR })],
  fine_first: ["fine first: the coarse ahead", () => (t) => [QUARTER * t ** 0.5, QUARTER * t ** 2]],
};

/** A process of the book on the two coefficients of two pixels. */
function named(name, settings) {
  return (variance) => {
    const { alpha, sigma } = process(name, SQUARED, settings);
    return (t) => {
      const [a, s] = [alpha(t), sigma(t)];
      return variance.map((v, k) => clockOf(a[k], s[k], v));
    };
  };
}

/**
 * The clocks of a system on data of these spreads, (t) -> [coarse, fine]; the second is asked at t^(2^-bend): ahead of
 * itself for bend > 0.
 */
export function clocksOf(system, bend, root) {
  const own = SYSTEMS[system][1](root.map((r) => ((CLEAR * r) / root[0]) ** 2));
  return (t) => [own(t)[0], own(t ** (2 ** -bend))[1]];
}

/** The exact F of the mixture, (y, clocks) -> F, two numbers a place: bdbook.mixtures in the data's own units. */
export function exactAnswer({ y: points, spread }) {
  const count = points.length / 2;
  const shares = new Float64Array(count);
  return (y, phi) => {
    const [cos, sin] = [phi.map(Math.cos), phi.map(Math.sin)];
    const gain = cos.map((c, k) => wiener(c, sin[k], spread ** 2));
    const weight = cos.map((c, k) => 0.5 / ((c * spread) ** 2 + sin[k] ** 2));
    const F = new Float64Array(y.length);
    for (let j = 0; j < y.length; j += 2) {
      let least = Infinity;
      for (let i = 0; i < count; i++) {
        const [a, b] = [y[j] - cos[0] * points[2 * i], y[j + 1] - cos[1] * points[2 * i + 1]];
        shares[i] = weight[0] * a * a + weight[1] * b * b;
        if (shares[i] < least) least = shares[i];
      }
      let [sum, first, second] = [0, 0, 0];
      for (let i = 0; i < count; i++) {
        const share = Math.exp(least - shares[i]);
        sum += share;
        first += share * points[2 * i];
        second += share * points[2 * i + 1];
      }
      [first / sum, second / sum].forEach((m, k) => {
        const guess = m + gain[k] * (y[j + k] - cos[k] * m); // the mean of the filters, which are linear
        F[j + k] = sin[k] > 0 ? (guess - cos[k] * y[j + k]) / sin[k] : 0;
      });
    }
    return F;
  };
}

/** The rules in the data's own units: y at the next clock, `turned` further back. */
export const STEP = {
  ddim: (y, F, turned) => Math.cos(turned) * y + Math.sin(turned) * F,
  flow: (y, F, turned) => y + turned * F,
};

/** Walks from `start` along the times of `grid`, yielding { t, phi, y } after the start and after each call. */
export function* walking(answer, start, clocks, grid, rule) {
  let now = { t: grid[0], phi: clocks(grid[0]), y: start };
  yield now;
  for (const t of grid.slice(1)) {
    const { y, phi: from } = now;
    const [phi, F] = [clocks(t), answer(y, from)];
    now = { t, phi, y: tabulate(y.length, (k) => STEP[rule](y[k], F[k], from[k & 1] - phi[k & 1])) };
    yield now;
  }
}

/** Times between which the two clocks together turn equally far: short steps wherever one of them runs. */
export function evenly(clocks, steps) {
  const sum = (t) => clocks(t)[0] + clocks(t)[1];
  const [low, high] = [sum(0), sum(1)];
  return tabulate(steps + 1, (i) => {
    if (i === 0 || i === steps) return +(i === 0);
    const wanted = high + (i / steps) * (low - high);
    let [from, to] = [0, 1];
    for (let k = 0; k < 40; k++) {
      const middle = (from + to) / 2;
      [from, to] = sum(middle) < wanted ? [middle, to] : [from, middle];
    }
    return (from + to) / 2;
  });
}

/**
 * What a walk with many calls tells: `detour`, the length of the ways over that of straight ones, and `halfway`, for
 * each coordinate the t at which all are half as far from where they end as they began.
 */
export function told(walk) {
  const drawn = walk.map(({ y }) => y);
  const end = drawn.at(-1);
  const legs = (a, b, j) => Math.hypot(a[j] - b[j], a[j + 1] - b[j + 1]);
  let [detour, counted] = [0, 0];
  for (let j = 0; j < end.length; j += 2) {
    let length = 0;
    for (let i = 1; i < drawn.length; i++) length += legs(drawn[i], drawn[i - 1], j);
    const straight = legs(drawn[0], end, j);
    if (straight > 0.2) [detour, counted] = [detour + length / straight, counted + 1]; // or it says nothing
  }
  const halfway = [0, 1].map((k) => {
    const far = drawn.map((at) => at.reduce((sum, v, j) => sum + ((j & 1) === k ? Math.abs(v - end[j]) : 0), 0));
    const i = far.findIndex((v) => v <= far[0] / 2);
    if (i < 1) return 1;
    const part = (far[i - 1] - far[0] / 2) / (far[i - 1] - far[i]);
    return walk[i - 1].t + part * (walk[i].t - walk[i - 1].t);
  });
  return { detour: detour / counted, halfway };
}

/** Mean distance between the ends of two walks from the same starts. */
export function apart(walk, other) {
  const [a, b] = [walk.at(-1).y, other.at(-1).y];
  let sum = 0;
  for (let j = 0; j < a.length; j += 2) sum += Math.hypot(a[j] - b[j], a[j + 1] - b[j + 1]);
  return (2 * sum) / a.length;
}

/** What the network sees: y, and of each clock the cosine and the sine of it and of twice it. */
export const INPUTS = 10;
const seen = (phi) => phi.flatMap((p) => [p, 2 * p].flatMap((v) => [Math.cos(v), Math.sin(v)]));

/** A network's F as `exactAnswer` gives it; propagate(rows) makes `forward` of so many inputs. */
export function trainedAnswer(propagate) {
  let room;
  return (y, phi) => {
    const rows = y.length / 2;
    if (room?.rows !== rows) room = { rows, x: new Float32Array(rows * INPUTS), forward: propagate(rows) };
    const times = seen(phi);
    for (let j = 0; j < rows; j++) {
      room.x.set(y.subarray(2 * j, 2 * j + 2), j * INPUTS);
      room.x.set(times, j * INPUTS + 2);
    }
    return Float64Array.from(room.forward(room.x));
  };
}

/**
 * Draws what a network is trained on: places of noised data with their clocks, and F = sin phi data - cos phi noise.
 * `draw(x, target)` fills both; its times are spread evenly.
 */
export function drawing({ y: points, spread }, clocks, seed) {
  const next = uniform(seed);
  const table = Array.from({ length: TABLE }, (_, i) => {
    const phi = clocks((i + 0.5) / TABLE);
    return { cos: phi.map(Math.cos), sin: phi.map(Math.sin), seen: seen(phi) };
  });
  /** Two normal numbers. */
  const pair = () => {
    const [radius, angle] = [Math.sqrt(-2 * Math.log(1 - next())), 2 * Math.PI * next()];
    return [radius * Math.cos(angle), radius * Math.sin(angle)];
  };
  return (x, target) => {
    const rows = target.length / 2;
    for (let j = 0; j < rows; j++) {
      const i = Math.floor((next() * points.length) / 2);
      const { cos, sin, seen: times } = table[Math.floor(((j + next()) / rows) * TABLE)];
      const [kernel, noise] = [pair(), pair()];
      for (let k = 0; k < 2; k++) {
        const data = points[2 * i + k] + spread * kernel[k];
        x[j * INPUTS + k] = cos[k] * data + sin[k] * noise[k];
        target[2 * j + k] = sin[k] * data - cos[k] * noise[k];
      }
      x.set(times, j * INPUTS + 2);
    }
  };
}

/**
 * What a network has still to learn, by `count` draws: (forward) -> the mean square of its error against the exact F, as
 * a share of the mean square of F, which is the error of a network that says 0. By Pythagoras it is what the loss has
 * above that of the exact answer, without the scatter of the noise.
 */
export function unlearnt(data, clocks, seed, count = 1024) {
  const x = new Float32Array(count * INPUTS);
  const target = new Float32Array(2 * count);
  drawing(data, clocks, seed)(x, target);
  const answer = exactAnswer(data);
  const exact = [];
  for (let j = 0; j < count; j++) {
    const [c1, s1, , , c2, s2] = x.subarray(j * INPUTS + 2, (j + 1) * INPUTS);
    exact.push(...answer(x.slice(j * INPUTS, j * INPUTS + 2), [Math.atan2(s1, c1), Math.atan2(s2, c2)]));
  }
  const whole = exact.reduce((sum, F) => sum + F ** 2, 0);
  const missing = (forward) => {
    const said = forward(x);
    return exact.reduce((sum, F, k) => sum + (said[k] - F) ** 2, 0) / whole;
  };
  return Object.assign(missing, { count });
}
