// The exact Gaussian laboratory: how wrong is each sampler, at which frequency, after how many steps.
import { freq2, namedProcess, RULES, IHDM_DELTA, distinct, samplerError, finish, errors, radialBands } from "./core.js";
import { svg, linePlot, plotBox, powerOfTen, ratioRange, ratioPlotOf, frequencyAxis, short } from "./plot.js";
import {
  html,
  sigmaMaxSlider,
  dMinSlider,
  stepsSlider,
  select,
  steering,
  allow,
  button,
  panel,
  legend,
  keepDrawn,
  inPieces,
  PROCESS_NAMES,
  RULE_NAMES,
} from "./controls.js";

const SETTING = ["process", "sigma_max", "d_min", "steps", "rule", "order"];
const KEYS = [...SETTING, "kept"];
const a = "<i>a</i>";
const s = "<i>σ<sub>s</sub></i>";
const t = "<i>σ<sub>t</sub></i>";
const FORMULAS = {
  ancestral: [`${a} ${s}² / ${t}²`, `${s} √(1 − ${a}² ${s}² / ${t}²)`],
  ddim: [`${s} / ${t}`, "0"],
  naive: ["0", "0"],
  tacos: ["1", "0"],
  momentum: [`${s}² / ${t}²`, `√(${t}² − ${s}²)`],
  ihdm: ["0", `${IHDM_DELTA}`],
};
const STEPS = [...new Set(Array.from({ length: 25 }, (_, i) => Math.round(5 * 200 ** (i / 24))))];

function render({ model, el }) {
  const size = model.get("size");
  const modes = distinct(freq2(size, size), Float64Array.from(model.get("_variance")));
  const frequencies = frequencyAxis(size);
  const bands = radialBands(modes, ...frequencies.limits);
  const { set, bound, show, reset } = steering(model, KEYS);

  const walk = (setting, steps) =>
    samplerError({
      process: namedProcess(setting, modes.lambda),
      variance: modes.variance,
      steps,
      rule: RULES[setting.rule],
      order: setting.order,
    });
  const current = () => Object.fromEntries(SETTING.map((key) => [key, model.get(key)]));
  const describe = ({ process, steps, rule, order }) =>
    `${PROCESS_NAMES[process]}; ${RULE_NAMES[rule]}${order === 2 ? ", order 2" : ""}; ${steps} steps`;

  // Controls
  const controls = {
    steps: stepsSlider(5, 1000, bound("steps")),
    sigma_max: sigmaMaxSlider(bound("sigma_max")),
    d_min: dMinSlider(bound("d_min")),
    process: select({
      ...bound("process"),
      symbol: "process",
      hint: "",
      spoken: "process",
      options: PROCESS_NAMES,
    }),
    rule: select({
      ...bound("rule"),
      symbol: "rule",
      hint: "",
      spoken: "rule of the sampler",
      options: RULE_NAMES,
    }),
    order: select({
      ...bound("order", Number),
      symbol: "order",
      hint: "",
      spoken: "order of the sampler",
      options: { 1: "1", 2: "2: extrapolated guess" },
    }),
  };
  const keep = button("keep", "Keep", () => set("kept", current()));
  const formula = html("div", { className: "bd-formula" });
  const buttons = html(
    "div",
    { className: "bd-control" },
    formula,
    html("div", { className: "bd-row" }, keep, reset()),
  );

  // Plots
  const ratios = svg("svg", { role: "img", class: "bd-ratios" });
  const divergence = svg("svg", { role: "img", class: "bd-divergence" });
  const keys = legend([
    ["bd-own", ""],
    ["bd-reference", ""],
  ]);
  keys.classList.add("bd-lines");
  const numbers = html("div", { className: "bd-numbers" });
  const root = html(
    "div",
    { className: "bdbook-widget", role: "group", "aria-label": "Gaussian laboratory, interactive" },
    html(
      "div",
      { className: "bd-controls" },
      html("div", { className: "bd-together" }, controls.process.root, controls.rule.root, controls.order.root),
      controls.steps.root,
      controls.sigma_max.root,
      controls.d_min.root,
      buttons,
    ),
    numbers,
    keys,
    html(
      "div",
      { className: "bd-plots" },
      panel("Sampled / true variance", html("span", { className: "bd-hint" }, "1 is right"), ratios),
      panel("KL over the number of steps", html("span", { className: "bd-hint" }, "nats"), divergence),
    ),
  );

  let ready = false;
  let ratioPlot;
  let klPlot;
  let range;
  let decades;

  function layoutDivergence() {
    const [low, high] = decades;
    const jump = Math.max(1, Math.ceil((high - low) / 6));
    const ticks = Array.from({ length: Math.floor((high - low) / jump) + 1 }, (_, i) => high - i * jump);
    klPlot = linePlot(divergence, {
      box: plotBox(divergence),
      x: {
        limits: [5, 1000],
        warp: Math.log10,
        ticks: [5, 10, 20, 50, 100, 200, 500, 1000].map((n) => [n, `${n}`]),
        title: "N",
      },
      y: { limits: [10 ** low, 10 ** high], warp: Math.log10, ticks: ticks.map((e) => [10 ** e, powerOfTen(e)]) },
      lines: ["bd-reference", "bd-own"],
      dots: ["bd-own"],
    });
  }

  function layout() {
    ready = true;
    range = decades = undefined; // drawn afresh by the next update
  }

  // KL at each number of steps: computed in small pieces between frames, and remembered.
  const known = new Map();
  const nameOf = (setting) => JSON.stringify({ ...setting, steps: 0 });
  const klAt = (result) => Math.max(errors(result, modes.count).kl, 1e-14);
  const pointsOf = (setting) => known.get(nameOf(setting)) ?? [];
  function* complete(settings) {
    for (const setting of settings) {
      const points = pointsOf(setting);
      if (known.size > 60) known.clear();
      known.set(nameOf(setting), points);
      while (points.length < STEPS.length) points.push(klAt(yield* walk(setting, STEPS[points.length])));
    }
  }
  const pieces = inPieces(() => {
    if (ready) drawDivergence();
  });

  let last = {}; // the current result and the kept one
  const hasKept = () => "process" in model.get("kept");

  function drawDivergence() {
    const own = pointsOf(current());
    const kept = hasKept() ? pointsOf(model.get("kept")) : [];
    const kl = klAt(last.own);
    // A variance that has underflowed makes KL infinite: its part of the curve leaves the plot at the top.
    const logs = [...own, ...kept, kl].filter(Number.isFinite).map(Math.log10);
    const low = logs.length ? 2 * Math.floor(Math.min(...logs) / 2) : 0;
    const high = logs.length ? Math.max(2 * Math.ceil(Math.max(...logs) / 2), low + 4) : 4;
    if (!decades || low !== decades[0] || high !== decades[1]) {
      decades = [low, high];
      layoutDivergence();
    }
    const finite = (points) => points.map((v) => Math.min(v, 10 ** (high + 1)));
    klPlot.line(0, STEPS.slice(0, kept.length), finite(kept));
    klPlot.line(1, STEPS.slice(0, own.length), finite(own));
    klPlot.dot(0, model.get("steps"), kl);
    klPlot.mark(model.get("steps"));
    divergence.dataset.complete = own.length === STEPS.length && (!hasKept() || kept.length === STEPS.length);
  }

  function update() {
    const setting = current();
    const kept = hasKept() ? model.get("kept") : undefined;
    show(controls);
    for (const key of ["sigma_max", "d_min"]) allow(controls[key], setting.process !== "cosine", "cosine: no blur");
    const name = JSON.stringify(setting);
    const keptName = JSON.stringify(kept);
    if (last.name !== name) last = { ...last, name, own: finish(walk(setting, setting.steps)) };
    if (last.keptName !== keptName) last = { ...last, keptName, kept: kept && finish(walk(kept, kept.steps)) };

    const own = bands.mean(last.own.ratio);
    const other = kept ? bands.mean(last.kept.ratio) : [];
    if (ready) {
      const needed = ratioRange([...own, ...other]);
      if (needed !== range) {
        range = needed;
        ratioPlot = ratioPlotOf(ratios, { x: frequencies, range, lines: ["bd-reference", "bd-own"], bands });
      }
      const drawn = ratioPlot.clamp(own);
      ratioPlot.line(0, kept ? bands.centres : [], ratioPlot.clamp(other));
      ratioPlot.line(1, bands.centres, drawn);
      drawn.forEach((v, k) => ratioPlot.dot(k, bands.centres[k], v));
      drawDivergence();
    }
    pieces.run(complete(kept ? [setting, kept] : [setting]));

    const { kl, w2 } = errors(last.own, modes.count);
    const [carry, refresh] = FORMULAS[setting.rule];
    formula.innerHTML = `<i>c</i> = ${carry}, &ensp;<i>τ</i> = ${refresh}`;
    numbers.innerHTML =
      `<span>KL <b>${short(kl)}</b> nats</span><span><i>W</i><sub>2</sub>² <b>${short(w2)}</b></span>` +
      `<span>highest band <b>${short(own.at(-1))}</b></span>`;
    keys.firstChild.textContent = describe(setting);
    keys.lastChild.textContent = kept ? `kept: ${describe(kept)}` : "press Keep to hold this curve for comparison";
    ratios.setAttribute(
      "aria-label",
      `Sampled over true variance in ${own.length} bands of frequency, lowest to highest: ` +
        `${Array.from(own, (v) => v.toPrecision(3)).join(", ")}. ${describe(setting)}.`,
    );
    divergence.setAttribute(
      "aria-label",
      `KL divergence over the number of steps, both logarithmic: ` +
        `${kl.toPrecision(3)} nats at ${setting.steps} steps.`,
    );
  }

  return keepDrawn({ model, el, root, keys: KEYS, shared: ["steps"], layout, update, stop: pieces.stop });
}

export default { render };
