// Somebody's own spectrum: what each system leaves of it at a time, its clocks, and what samplers leave out.
import { process } from "./processes.js";
import { svg, linePlot, plotBox, powerOfTen, short, timeAt } from "./plot.js";
import { GRID, clockOf, floorOf, missed, overSteps, clocksOverTime } from "./turns.js";
import { html, sigmaMaxSlider, stepsSlider, timeSlider, select, steering } from "./controls.js";
import { allow, panel, legend, dragAcross, keepDrawn, derived } from "./controls.js";

const SETTING = ["system", "width"]; // all that the clocks depend on
const KEYS = [...SETTING, "t", "steps"];
const NARROWEST = 0.5; // of IHDM's blurs, samples

// The systems by their names in bdbook/page/widgets/spectrum.py: what is shown, and the name in processes.js.
const SYSTEMS = {
  ddpm: ["DDPM", "ddpm"],
  cosine: ["cosine", "cosine_diffusion"],
  heat: ["IHDM", "heat_dissipation"],
  blurring: ["blurring", "blurring_diffusion"],
  soft: ["soft", "soft_diffusion"],
  equal_snr: ["equal SNR", "equal_snr"],
};

/**
 * A system on kinds of coefficients, each with a squared frequency and a variance: the N of its table, alpha and sigma
 * of all at t (of one with a table at its nearest time), and the clocks. `least`: of the variance of equal SNR's noise.
 */
export function systemOn({ squared, variance }, { system, width, least }) {
  const settings = { sigma_max: width, variance: Float64Array.from(variance, (v) => Math.max(v, least)) };
  const { steps, alpha, sigma } = process(SYSTEMS[system][1], Float64Array.from(squared), settings);
  const onTable = (t) => (steps ? Math.round(t * steps) / steps : t);
  const at = (t) => ({ alpha: alpha(onTable(t)), sigma: sigma(onTable(t)) });
  const clocks = (t) => {
    const now = at(t);
    return Array.from(variance, (v, k) => clockOf(now.alpha[k], now.sigma[k], v));
  };
  return { steps, at, clocks };
}

/** Ticks of a logarithmic axis: powers of ten, some 3 to 7, or 1, 2 and 5 times them where there are few. */
function decades(low, high) {
  const [from, to] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
  const stride = Math.ceil((to - from + 1) / 7);
  const powers = Array.from({ length: Math.max(Math.floor((to - from) / stride) + 1, 0) }, (_, i) => from + i * stride);
  if (powers.length > 2)
    return powers.map((e) => [10 ** e, e < -3 || e > 4 ? powerOfTen(e) : `${+(10 ** e).toFixed(3)}`]);
  const fine = [from - 1, ...powers].flatMap((e) => [1, 2, 5].map((m) => m * 10 ** e));
  const within = fine.filter((v) => v >= low && v <= high);
  return (within.length ? within : [Math.sqrt(low * high)]).map((v) => [v, `${+v.toPrecision(2)}`]);
}

function render({ model, el }) {
  const modes = model.get("_modes");
  const { rate, frequency, power, error } = model.get("_bands");
  const [least, widths, longest] = ["_least", "_widths", "_longest"].map((key) => model.get(key));
  const bands = { squared: frequency.map((f) => (2 * Math.PI * f) ** 2), variance: power };
  const whole = modes.count.reduce((a, b) => a + b);
  const { set, bound, show, play, reset } = steering(model, KEYS);

  const setting = () => Object.fromEntries(SETTING.map((key) => [key, model.get(key)]));
  const name = () => JSON.stringify(setting());
  const onModes = derived(name, () => systemOn(modes, { ...setting(), least }));
  const onBands = derived(name, () => systemOn(bands, { ...setting(), least }));
  const shown = [0, Math.floor(frequency.length / 2), frequency.length - 1];
  const some = (phi) => shown.map((k) => phi[k]);
  const curvesOf = derived(name, () => GRID.map((t) => some(onBands().clocks(t))));

  // Controls
  const controls = {
    system: select({
      name: "system",
      symbol: "system",
      hint: "",
      spoken: "system",
      options: Object.fromEntries(Object.entries(SYSTEMS).map(([key, [title]]) => [key, title])),
      onInput: (v) => {
        if (v in widths) set("width", widths[v]);
        set("system", v);
      },
    }),
    t: timeSlider((v) => {
      player.stop();
      set("t", v);
    }),
    width: sigmaMaxSlider({
      ...bound("width"),
      hint: "blur at <i>t</i> = 1, in samples",
      spoken: "sigma B max, the blur at t = 1, in samples",
      unit: "",
      max: 1,
      step: 0.005,
      position: (v) => Math.log(v / NARROWEST) / Math.log(longest / NARROWEST),
      value: (p) => +(NARROWEST * (longest / NARROWEST) ** p).toPrecision(3),
      format: (v) => `${+v.toPrecision(3)}`,
    }),
    steps: stepsSlider(2, 200, { ...bound("steps"), step: 0.02 }),
  };
  const player = play("t", "t");
  controls.t.row.append(player.root);
  controls.system.row.append(reset(player.stop));

  // Plots
  const spectrum = svg("svg", { role: "img", class: "bd-spectrum" });
  const hertz = (f) => `${+(f * (rate ?? 1)).toPrecision(3)}${rate ? " Hz" : ""}`;
  const curves = clocksOverTime(
    shown.map((k) => hertz(frequency[k])),
    rate ? "at three frequencies" : "at cycles per sample",
  );
  const errors = overSteps({
    name,
    walk: (steps) => missed(onModes().clocks, modes.count, steps, onModes().steps),
    whole,
    exponents: [Math.floor(Math.log10(whole * floorOf(200))), Math.ceil(Math.log10(whole)) + 2],
  });
  const numbers = html("div", { className: "bd-numbers bd-four" });
  const root = html(
    "div",
    { className: "bdbook-widget", role: "group", "aria-label": "The spectrum and the systems, interactive" },
    html(
      "div",
      { className: "bd-controls" },
      controls.system.root,
      controls.t.root,
      controls.width.root,
      controls.steps.root,
    ),
    numbers,
    html(
      "div",
      { className: "bd-across" },
      panel(
        "Power over frequency",
        html("span", { className: "bd-hint" }, "of a coefficient"),
        legend([
          ["bd-f1 bd-point", "data, ± 2 s.e."],
          ["bd-own", "<span><i>α</i>²<i>v</i>, left at <i>t</i></span>"],
          ["bd-reference", "<span><i>σ</i>², the noise</span>"],
        ]),
        spectrum,
      ),
    ),
    html("div", { className: "bd-plots" }, curves.root, errors.root),
  );

  const low = 10 ** Math.floor(Math.log10(Math.min(...power)) - 1);
  const high = 10 ** Math.ceil(Math.log10(Math.max(...power, 1)));
  const inside = (values) => Array.from(values, (v) => Math.max(v, low / 10)); // what lies below leaves the plot
  let plot;

  function layout() {
    curves.layout();
    errors.layout();
    const x = frequency.map((f) => f * (rate ?? 1));
    const limits = [x[0] / 1.15, x.at(-1) * 1.15];
    plot = linePlot(spectrum, {
      box: plotBox(spectrum),
      x: { limits, warp: Math.log10, ticks: decades(...limits), title: rate ? "Hz" : "cycles per sample" },
      y: { limits: [low, high], warp: Math.log10, ticks: decades(low, high) },
      lines: ["bd-f1 bd-dashed", "bd-reference", "bd-own"],
      dots: power.map(() => "bd-f1"),
      marker: false,
    });
    plot.line(0, x, power);
    power.forEach((v, k) => plot.dot(k, x[k], v));
    spectrum.append(
      ...power.map((v, k) =>
        svg("line", {
          class: "bd-bar bd-f1",
          x1: plot.at.x(x[k]),
          x2: plot.at.x(x[k]),
          y1: plot.at.y(Math.max(v - 2 * error[k], low)),
          y2: plot.at.y(Math.min(v + 2 * error[k], high)),
        }),
      ),
    );
  }

  function update() {
    show(controls);
    allow(controls.width, model.get("system") in widths, "no blur here");
    const [t, steps] = [model.get("t"), model.get("steps")];
    const now = onBands().at(t);
    const data = power.map((v, k) => now.alpha[k] ** 2 * v);
    const noise = Array.from(now.sigma, (s) => s ** 2);
    if (plot) {
      const x = frequency.map((f) => f * (rate ?? 1));
      plot.line(1, x, inside(noise));
      plot.line(2, x, inside(data));
    }
    const phi = onModes().clocks(t);
    const under = phi.reduce((sum, angle, k) => sum + (angle > Math.PI / 4 ? modes.count[k] : 0), 0) / whole;
    spectrum.setAttribute(
      "aria-label",
      `Power over frequency, both logarithmic, from ${hertz(frequency[0])} to ${hertz(frequency.at(-1))}: ` +
        `data ${power[0].toPrecision(3)} to ${power.at(-1).toPrecision(3)}; at t = ${t} ` +
        `${data[0].toPrecision(3)} to ${data.at(-1).toPrecision(3)} are left under noise of ` +
        `${noise[0].toPrecision(3)} to ${noise.at(-1).toPrecision(3)}.`,
    );
    curves.draw(t, curvesOf(), some(onBands().clocks(t)));
    const kl = errors.draw(steps);
    numbers.innerHTML =
      `<span><b>${Math.round(100 * under)} %</b> under the noise</span>` +
      `<span>DDIM <b>${short(kl.ddim)}</b> nats</span><span>posterior <b>${short(kl.ancestral)}</b></span>` +
      `<span>floor <b>${short(kl.floor)}</b></span>`;
  }

  dragAcross(curves.node, (x) => {
    player.stop();
    set("t", timeAt(curves.at(), x));
  });
  return keepDrawn({ model, el, root, keys: KEYS, shared: ["t", "steps"], layout, update, stop: errors.stop });
}

export default { render };
