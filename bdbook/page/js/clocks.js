// One clock per frequency: what every system is, what its sampler leaves out, and what that looks like.
import { freq2, distinct, dct2, idct2, normals, tabulate, decodeImage } from "./core.js";
import { process, times } from "./processes.js";
import { svg, linePlot, plotBox, powerOfTen, short, timeAt, TIME_AXIS, drawImage } from "./plot.js";
import {
  html,
  slider,
  stepsSlider,
  select,
  steering,
  panel,
  picture,
  legend,
  dragAcross,
  takeDropped,
  keepDrawn,
  inPieces,
  derived,
} from "./controls.js";

const NAMES = ["low", "middle", "high"];
const SETTING = ["system", ...NAMES]; // all that the clocks depend on
const KEYS = [...SETTING, "t", "steps", "_photo"];
const QUARTER = Math.PI / 2;
const GRID = Array.from({ length: 101 }, (_, i) => i / 100);
const STEPS = [...new Set(Array.from({ length: 19 }, (_, i) => Math.round(2 * 100 ** (i / 18))))];

// The systems by their names in bdbook/page/widgets/clocks.py: what is shown, and how processes.js makes it.
const SYSTEMS = {
  equal_snr: ["equal SNR: all together"],
  ddpm: ["DDPM", "ddpm"],
  cosine: ["cosine", "cosine_diffusion"],
  blurring_5: ["blurring diffusion, 5 px", "blurring_diffusion", { sigma_max: 5 }],
  blurring_20: ["blurring diffusion, 20 px", "blurring_diffusion", { sigma_max: 20 }],
  heat: ["inverse heat dissipation", "heat_dissipation"],
  soft: ["soft diffusion", "soft_diffusion"],
  by_hand: ["by hand"],
};

/** Share of the variance of a frequency that is left after the turns of a clock, by DDIM and by the posterior rule. */
export function left(clock) {
  let ddim = 1;
  let lost = 0;
  for (let i = 1; i < clock.length; i++) {
    const [from, to] = [clock[i - 1], clock[i]];
    ddim *= Math.cos(from - to) ** 2;
    // of the posterior rule what is lost at s is A^2 times what was lost at t, and w^2
    const a = Math.cos(from) / Math.cos(to);
    const w = from > 0 ? (Math.sin(from + to) * Math.sin(from - to)) / (Math.cos(to) * Math.sin(from)) : 0;
    lost = a ** 2 * lost + w ** 2;
  }
  return { ddim, ancestral: 1 - lost };
}

/** KL of N(0, r) from N(0, 1), nats. */
export const divergence = (r) =>
  Math.abs(1 - r) < 1e-6 ? (1 - r) ** 2 / 4 : (r - 1 - Math.log(Math.max(r, 1e-300))) / 2;

/** KL of a frequency that DDIM's equal steps of a full quarter turn leave. */
export const floorOf = (steps) => divergence(Math.cos(QUARTER / steps) ** (2 * steps));

/** The exponents p of clocks (pi / 2) t^p set by hand: p = 2^-power, power linear in log frequency between three. */
export function bent(lambda, [low, middle, high]) {
  const roots = lambda.map((l) => Math.log(Math.max(l, 1e-12)) / 2);
  const [from, to] = [Math.min(...roots.filter((r) => r > -10)), Math.max(...roots)];
  return roots.map((r) => {
    const place = to > from ? Math.min(Math.max((r - from) / (to - from), 0), 1) : 0.5;
    const power = place < 0.5 ? low + (middle - low) * 2 * place : middle + (high - middle) * (2 * place - 1);
    return 2 ** -power;
  });
}

function render({ model, el }) {
  const size = model.get("size");
  const plane = freq2(size, size);
  const variance = Float64Array.from(model.get("_variance"));
  const modes = distinct(plane, variance);
  const noise = [0, 1, 2].map((c) => normals(1 + c, size * size)); // in the basis
  const shown = [1, Math.round((size - 1) ** 0.5) * (size + 1), size * size - 1]; // (0, 1), (k, k), the highest
  const { set, bound, show, play, ownPicture, reset } = steering(model, KEYS);
  const signal = derived(
    () => model.get("_photo"),
    (text) => decodeImage(text, 3).map((p) => dct2(p, size, size)),
  );

  const places = Array.from(modes.count, (_, i) => modes.index.indexOf(i)); // one mode of each kind
  const name = () => JSON.stringify(SETTING.map((key) => model.get(key)));

  /** The present system: alpha and sigma of all coefficients at t, the clocks of some, and N of one with a table. */
  const system = derived(name, () => {
    const [, factory, settings] = SYSTEMS[model.get("system")];
    const made = factory ? process(factory, size, settings) : {};
    const powers = model.get("system") === "by_hand" ? NAMES.map((key) => model.get(key)) : [0, 0, 0];
    const exponents = factory ? [] : bent(Array.from(plane), powers);
    const onTable = (t) => (made.steps ? Math.round(t * made.steps) / made.steps : t);
    const at = factory
      ? (t) => ({ alpha: made.alpha(onTable(t)), sigma: made.sigma(onTable(t)) })
      : (t) => {
          const phi = exponents.map((p) => QUARTER * t ** p);
          return { alpha: phi.map(Math.cos), sigma: phi.map((angle, k) => Math.sqrt(variance[k]) * Math.sin(angle)) };
        };
    const clocks = (t, some) => {
      const { alpha, sigma } = at(t);
      return some.map((k) => (alpha[k] === 0 ? QUARTER : Math.atan2(sigma[k], alpha[k] * Math.sqrt(variance[k]))));
    };
    return { steps: made.steps, at, clocks };
  });
  const curvesOf = derived(name, () => GRID.map((t) => system().clocks(t, shown)));

  // Controls
  const byHand = (key, spoken) =>
    slider({
      ...bound(key),
      symbol: key,
      hint: "clock behind … ahead",
      spoken: `clock of the ${spoken} frequencies, behind to ahead`,
      min: -3,
      max: 3,
      step: 0.1,
      format: (v) => (v > 0 ? "+" : "") + v.toFixed(1).replace("-", "\u2212"),
    });
  const controls = {
    system: select({
      ...bound("system"),
      symbol: "system",
      hint: "",
      spoken: "system",
      options: Object.fromEntries(Object.entries(SYSTEMS).map(([key, [title]]) => [key, title])),
    }),
    low: byHand("low", "lowest"),
    middle: byHand("middle", "middle"),
    high: byHand("high", "highest"),
    t: slider({
      name: "t",
      symbol: "<i>t</i>",
      hint: "0 data, 1 noise",
      spoken: "t, time",
      min: 0,
      max: 1,
      step: 0.005,
      format: (v) => v.toFixed(3),
      onInput: (v) => {
        player.stop();
        set("t", v);
      },
    }),
    steps: stepsSlider(2, 200, bound("steps")),
    _photo: ownPicture(),
  };
  const player = play("t", "t");
  controls.t.row.append(player.root);
  controls.system.row.append(reset(player.stop));

  // Plots
  const curves = svg("svg", { role: "img", class: "bd-clocks" });
  const errors = svg("svg", { role: "img", class: "bd-errors" });
  const numbers = html("div", { className: "bd-numbers" });
  const noisy = picture("noisy", "<i>z<sub>t</sub></i>", "the picture at <i>t</i>");
  const root = html(
    "div",
    { className: "bdbook-widget", role: "group", "aria-label": "One clock per frequency, interactive" },
    html(
      "div",
      { className: "bd-controls" },
      controls.system.root,
      controls.t.root,
      controls.low.root,
      controls.steps.root,
      controls.middle.root,
      controls.high.root,
    ),
    numbers,
    html(
      "div",
      { className: "bd-plots" },
      panel(
        "Clocks",
        html("span", { className: "bd-hint" }, "from data to noise"),
        legend(NAMES.map((key, i) => [`bd-f${[0, 2, 5][i]}`, key])),
        curves,
      ),
      panel(
        "KL over the number of steps",
        html("span", { className: "bd-hint" }, "nats"),
        legend([
          ["bd-own", "DDIM"],
          ["bd-f3", "posterior"],
          ["bd-reference", "the floor of DDIM"],
        ]),
        errors,
      ),
    ),
    html("div", { className: "bd-pictures" }, noisy.root),
    controls._photo.root,
  );

  let clockPlot, klPlot;
  const whole = size * size;

  function layout() {
    clockPlot = linePlot(curves, {
      box: plotBox(curves),
      x: TIME_AXIS,
      y: {
        limits: [0, QUARTER],
        ticks: [
          [0, "0"],
          [QUARTER / 2, "π/4"],
          [QUARTER, "π/2"],
        ],
      },
      lines: ["bd-f0", "bd-f2", "bd-f5"],
      dots: ["bd-f0", "bd-f2", "bd-f5"],
    });
    klPlot = linePlot(errors, {
      box: plotBox(errors),
      x: {
        limits: [2, 200],
        warp: Math.log10,
        ticks: [2, 5, 10, 20, 50, 100, 200].map((n) => [n, `${n}`]),
        title: "N",
      },
      y: { limits: [1e-3, 1e5], warp: Math.log10, ticks: [-3, -1, 1, 3, 5].map((e) => [10 ** e, powerOfTen(e)]) },
      lines: ["bd-reference", "bd-f3", "bd-own"],
      dots: ["bd-own"],
    });
    klPlot.line(
      0,
      STEPS,
      STEPS.map((steps) => whole * floorOf(steps)),
    );
  }

  /** KL of DDIM and of the posterior rule in N steps, all frequencies together. */
  function walk(steps) {
    const { clocks, steps: table } = system();
    const grid = Array.from(times(steps, table), (t) => clocks(t, places));
    const kl = { ddim: 0, ancestral: 0 };
    for (let k = 0; k < modes.count.length; k++) {
      const share = left(grid.map((phi) => phi[k]));
      for (const rule of ["ddim", "ancestral"]) kl[rule] += modes.count[k] * divergence(Math.min(share[rule], 1));
    }
    return kl;
  }
  const own = derived(
    () => `${name()} ${model.get("steps")}`,
    () => walk(model.get("steps")),
  );
  const known = new Map();
  const pointsOf = () => {
    if (known.size > 60) known.clear();
    if (!known.has(name())) known.set(name(), []);
    return known.get(name());
  };
  function* complete(points) {
    while (points.length < STEPS.length) {
      points.push(walk(STEPS[points.length]));
      yield;
    }
  }
  const pieces = inPieces(() => {
    if (klPlot) drawErrors();
  });

  function drawErrors() {
    const points = pointsOf();
    const n = STEPS.slice(0, points.length);
    klPlot.line(
      1,
      n,
      points.map((p) => Math.min(p.ancestral, 1e6)),
    );
    klPlot.line(
      2,
      n,
      points.map((p) => Math.min(p.ddim, 1e6)),
    );
    errors.dataset.complete = points.length === STEPS.length;
  }

  function update() {
    show(controls);
    const hand = model.get("system") === "by_hand";
    for (const key of NAMES) controls[key].input.disabled = !hand;
    const [t, steps] = [model.get("t"), model.get("steps")];
    const kl = own();
    const now = system().clocks(t, shown);
    if (clockPlot) {
      now.forEach((_, i) => {
        clockPlot.line(
          i,
          GRID,
          curvesOf().map((phi) => phi[i]),
        );
        clockPlot.dot(i, t, now[i]);
      });
      clockPlot.mark(t);
      klPlot.dot(0, steps, kl.ddim);
      klPlot.mark(steps);
      drawErrors();
    }
    pieces.run(complete(pointsOf()));
    const { alpha, sigma } = system().at(t);
    const planes = signal().map((u, c) =>
      idct2(
        tabulate(u.length, (k) => alpha[k] * u[k] + sigma[k] * noise[c][k]),
        size,
        size,
      ),
    );
    drawImage(noisy.canvas, planes, size, size);
    noisy.canvas.setAttribute("aria-label", `The picture at t = ${t}, as this system makes it.`);
    const floor = whole * floorOf(steps);
    numbers.innerHTML =
      `<span>DDIM <b>${short(kl.ddim)}</b> nats</span><span>posterior <b>${short(kl.ancestral)}</b></span>` +
      `<span>floor <b>${short(floor)}</b></span>`;
    curves.setAttribute(
      "aria-label",
      `Clocks at t = ${t}: low ${now[0].toFixed(2)}, middle ${now[1].toFixed(2)}, ` +
        `high ${now[2].toFixed(2)} radians of ${QUARTER.toFixed(2)}.`,
    );
    errors.setAttribute(
      "aria-label",
      `KL divergence over the number of steps, both logarithmic: DDIM ${kl.ddim.toPrecision(3)}, posterior ` +
        `${kl.ancestral.toPrecision(3)}, floor ${floor.toPrecision(3)} nats at ${steps} steps.`,
    );
  }

  dragAcross(curves, (x) => {
    player.stop();
    set("t", timeAt(clockPlot, x));
  });
  takeDropped(root, controls._photo.take);
  return keepDrawn({ model, el, root, keys: KEYS, shared: ["t", "steps"], layout, update, stop: pieces.stop });
}

export default { render };
