// One clock per frequency: what every system is, what its sampler leaves out, and what that looks like.
import { freq2, distinct, dct2, idct2, normals, tabulate, decodeImage } from "./core.js";
import { process } from "./processes.js";
import { short, timeAt, drawImage } from "./plot.js";
import { QUARTER, GRID, clockOf, missed, overSteps, clocksOverTime } from "./turns.js";
import {
  html,
  slider,
  stepsSlider,
  timeSlider,
  select,
  steering,
  allow,
  picture,
  dragAcross,
  takeDropped,
  keepDrawn,
  derived,
} from "./controls.js";

const NAMES = ["low", "middle", "high"];
const SETTING = ["system", ...NAMES]; // all that the clocks depend on
const KEYS = [...SETTING, "t", "steps", "_photo"];

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
      return some.map((k) => clockOf(alpha[k], sigma[k], variance[k]));
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
    t: timeSlider((v) => {
      player.stop();
      set("t", v);
    }),
    steps: stepsSlider(2, 200, bound("steps")),
    _photo: ownPicture(),
  };
  const player = play("t", "t");
  controls.t.row.append(player.root);
  controls.system.row.append(reset(player.stop));

  // Plots
  const curves = clocksOverTime(NAMES, "from data to noise");
  const errors = overSteps({
    name,
    walk: (steps) => missed((t) => system().clocks(t, places), modes.count, steps, system().steps),
    whole: size * size,
    exponents: [-3, 5],
  });
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
    html("div", { className: "bd-plots" }, curves.root, errors.root),
    html("div", { className: "bd-pictures" }, noisy.root),
    controls._photo.root,
  );

  function layout() {
    curves.layout();
    errors.layout();
  }

  function update() {
    show(controls);
    const hand = model.get("system") === "by_hand";
    for (const key of NAMES) allow(controls[key], hand, "only by hand");
    const [t, steps] = [model.get("t"), model.get("steps")];
    const kl = errors.draw(steps);
    curves.draw(t, curvesOf(), system().clocks(t, shown));
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
    numbers.innerHTML =
      `<span>DDIM <b>${short(kl.ddim)}</b> nats</span><span>posterior <b>${short(kl.ancestral)}</b></span>` +
      `<span>floor <b>${short(kl.floor)}</b></span>`;
  }

  dragAcross(curves.node, (x) => {
    player.stop();
    set("t", timeAt(curves.at(), x));
  });
  takeDropped(root, controls._photo.take);
  return keepDrawn({ model, el, root, keys: KEYS, shared: ["t", "steps"], layout, update, stop: errors.stop });
}

export default { render };
