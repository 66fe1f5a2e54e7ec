// What the turns of the clocks leave of a variance, and how far samples are from data over the number of steps.
import { times } from "./processes.js";
import { svg, linePlot, plotBox, powerOfTen, TIME_AXIS } from "./plot.js";
import { html, panel, legend, inPieces, derived } from "./controls.js";

export const QUARTER = Math.PI / 2;
export const GRID = Array.from({ length: 101 }, (_, i) => i / 100);
const [FEWEST, MOST] = [2, 200];
const STEPS = [...new Set(Array.from({ length: 19 }, (_, i) => Math.round(FEWEST * (MOST / FEWEST) ** (i / 18))))];

/** The clock of a frequency, from 0 (data) to pi / 2 (noise). */
export const clockOf = (alpha, sigma, variance) =>
  alpha === 0 ? QUARTER : Math.atan2(sigma, alpha * Math.sqrt(variance));

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

/**
 * KL of DDIM and of the posterior rule, nats, in N steps from 1 to 0: clocks(t) gives one angle for each kind of
 * frequency, `count` how many there are of it, and `table` the N of a process that exists at t = i / N only.
 */
export function missed(clocks, count, steps, table) {
  const grid = Array.from(times(steps, table), clocks);
  const kl = { ddim: 0, ancestral: 0 };
  for (let k = 0; k < count.length; k++) {
    const share = left(grid.map((phi) => phi[k]));
    for (const rule of ["ddim", "ancestral"]) kl[rule] += count[k] * divergence(Math.min(share[rule], 1));
  }
  return kl;
}

/**
 * The plot of what is missed over N. walk(steps) gives `missed` for the present system, whose `name()` it is known by;
 * `whole` coefficients in all; `exponents`: the powers of ten at the ends of the axis. `draw(steps)` shows all at the
 * present N, and gives the numbers there.
 */
export function overSteps({ name, walk, whole, exponents: [low, high] }) {
  const node = svg("svg", { role: "img", class: "bd-errors" });
  const root = panel(
    "KL over the number of steps",
    html("span", { className: "bd-hint" }, "nats"),
    legend([
      ["bd-own", "DDIM"],
      ["bd-f3", "posterior"],
      ["bd-reference", "the floor of DDIM"],
    ]),
    node,
  );
  let plot, shown;
  const own = derived(
    () => `${name()} ${shown}`,
    () => walk(shown),
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
    if (plot) drawLines();
  });

  function drawLines() {
    const points = pointsOf();
    ["ancestral", "ddim"].forEach((rule, i) => {
      plot.line(
        1 + i,
        STEPS.slice(0, points.length),
        points.map((p) => Math.min(p[rule], 10 ** (high + 1))),
      );
    });
    node.dataset.complete = points.length === STEPS.length;
  }

  return {
    root,
    stop: pieces.stop,
    layout() {
      const exponents = Array.from({ length: Math.floor((high - low) / 2) + 1 }, (_, i) => low + 2 * i);
      plot = linePlot(node, {
        box: plotBox(node),
        x: {
          limits: [FEWEST, MOST],
          warp: Math.log10,
          ticks: [2, 5, 10, 20, 50, 100, 200].map((n) => [n, `${n}`]),
          title: "N",
        },
        y: { limits: [10 ** low, 10 ** high], warp: Math.log10, ticks: exponents.map((e) => [10 ** e, powerOfTen(e)]) },
        lines: ["bd-reference", "bd-f3", "bd-own"],
        dots: ["bd-own"],
      });
      plot.line(
        0,
        STEPS,
        STEPS.map((steps) => whole * floorOf(steps)),
      );
    },
    draw(steps) {
      shown = steps;
      const kl = { ...own(), floor: whole * floorOf(steps) };
      if (plot) {
        plot.dot(0, steps, kl.ddim);
        plot.mark(steps);
        drawLines();
      }
      pieces.run(complete(pointsOf()));
      node.setAttribute(
        "aria-label",
        `KL divergence over the number of steps, both logarithmic: DDIM ${kl.ddim.toPrecision(3)}, posterior ` +
          `${kl.ancestral.toPrecision(3)}, floor ${kl.floor.toPrecision(3)} nats at ${steps} steps.`,
      );
      return kl;
    },
  };
}

/**
 * The plot of some clocks over t; `names` are their keys in the legend, `note` stands above, `kinds` what each is called
 * to those who listen, with its colour. `draw(t, curves, now)`: all at each time of GRID, and at t.
 */
export function clocksOverTime(names, note, kinds = { low: "bd-f0", middle: "bd-f2", high: "bd-f5" }) {
  const node = svg("svg", { role: "img", class: "bd-clocks" });
  const colours = Object.values(kinds);
  const root = panel(
    "Clocks",
    html("span", { className: "bd-hint" }, note),
    legend(names.map((key, i) => [colours[i], key])),
    node,
  );
  let plot;
  return {
    root,
    node,
    at: () => plot,
    layout() {
      plot = linePlot(node, {
        box: plotBox(node),
        x: TIME_AXIS,
        y: {
          limits: [0, QUARTER],
          ticks: [
            [0, "0"],
            [QUARTER / 2, "π/4"],
            [QUARTER, "π/2"],
          ],
        },
        lines: colours,
        dots: colours,
      });
    },
    draw(t, curves, now) {
      if (plot) {
        now.forEach((phi, i) => {
          plot.line(
            i,
            GRID,
            curves.map((at) => at[i]),
          );
          plot.dot(i, t, phi);
        });
        plot.mark(t);
      }
      node.setAttribute(
        "aria-label",
        `Clocks at t = ${t}: ${Object.keys(kinds)
          .map((kind, i) => `${kind} ${now[i].toFixed(2)}`)
          .join(", ")} radians of ${QUARTER.toFixed(2)}.`,
      );
    },
  };
}
