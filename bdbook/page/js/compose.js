// The playground: data, a system, a rule and a number of calls, there and back; and the same in Python.
import {
  freq2,
  dct2,
  idct2,
  normals,
  tabulate,
  decodeDoubles,
  decodeImage,
  samplerError,
  finish,
  radialBands,
  RULES,
} from "./core.js";
import { process, times } from "./processes.js";
import {
  svg,
  linePlot,
  plotBox,
  powerOfTen,
  ratioRange,
  ratioPlotOf,
  frequencyAxis,
  short,
  timeAt,
  drawImage,
} from "./plot.js";
import { GRID, clockOf, floorOf, missed, overSteps, clocksOverTime, divergence } from "./turns.js";
import { sampling, starts } from "./walk.js";
import {
  html,
  slider,
  sigmaMaxSlider,
  stepsSlider,
  timeSlider,
  select,
  steering,
  allow,
  button,
  panel,
  legend,
  picture,
  dragAcross,
  takeDropped,
  keepDrawn,
  derived,
  RULE_NAMES,
} from "./controls.js";

const SETTING = ["data", "system", "sigma_max", "kappa", "rule", "order", "steps"];
const KEYS = [...SETTING, "t", "_photo"];
const DATA = { photos: "photographs", leaves: "leaves" };
const SYSTEMS = {
  ddpm: ["DDPM", "ddpm"],
  cosine: ["cosine, no blur", "cosine_diffusion"],
  heat: ["IHDM: blur alone", "heat_dissipation"],
  blurring: ["blurring diffusion", "blurring_diffusion"],
  blur: ["blur diffusion (Lee)", "blur_diffusion"],
  soft: ["soft diffusion", "soft_diffusion"],
  equal_snr: ["equal SNR", "equal_snr"],
};
const WIDE = ["heat", "blurring", "soft"]; // whose width can be set
const COLUMNS = 6; // pictures of a strip
const SNR_RANGE = [1e-8, 1e8];

/** A system of the figure on coefficients of these variances: as processes.js has it, at the times that it exists at. */
export function composed({ system, sigma_max, kappa }, size, variance) {
  const settings = {
    heat: { sigma_max },
    blurring: { sigma_max },
    soft: { sigma_max },
    blur: { boundary: "symmetric" },
  };
  const made = process(SYSTEMS[system][1], size, settings[system] ?? { variance, kappa });
  const onTable = (t) => (made.steps ? Math.round(t * made.steps) / made.steps : t);
  const at = (t) => ({ alpha: made.alpha(onTable(t)), sigma: made.sigma(onTable(t)) });
  const clocks = (t, some) => {
    const { alpha, sigma } = at(t);
    return tabulate(some.length, (i) => clockOf(alpha[some[i]], sigma[some[i]], variance[some[i]]));
  };
  return { made, at, clocks };
}

/** Sampled over true variance of each coefficient, and the KL of all in nats. */
export function errorOf({ rule, order, steps }, { made }, variance) {
  // F = 0 for Gaussian data, so that y stands still whatever the clocks: the flow rule leaves nothing out.
  const ratio =
    rule === "flow"
      ? new Float64Array(variance.length).fill(1)
      : finish(
          samplerError({ process: made, variance, steps, rule: RULES[rule], order, grid: times(steps, made.steps) }),
        ).ratio;
  return { ratio, kl: ratio.reduce((sum, r) => sum + divergence(r), 0) };
}

/** The Python that computes the error of a setting with bdbook. */
export function pythonOf({ data, system, sigma_max, kappa, rule, order, steps }, size) {
  const law = (basis) => `oracle.Gaussian.fit(${basis}, images)`;
  const made = {
    ddpm: "processes.ddpm(basis=basis)",
    cosine: "processes.cosine_diffusion(basis)",
    heat: `processes.heat_dissipation(${size}, sigma_max=${sigma_max})`,
    blurring: `processes.blurring_diffusion(${size}, sigma_max=${sigma_max})`,
    blur: `processes.blur_diffusion(${size}, boundary="symmetric")`,
    soft: `processes.soft_diffusion(${size}, sigma_max=${sigma_max})`,
    equal_snr: `processes.equal_snr(${law("basis")}, kappa=${kappa})`,
  };
  const applied = rule === "flow" ? "samplers.flow(law)" : `"${rule}"`;
  return [
    `from bdbook import data, oracle, processes${rule === "flow" ? ", samplers" : ""}`,
    "from bdbook.transforms import DCT",
    "",
    `basis = DCT(${size})`,
    `images = data.load("${data}", ${size}, channels=1, count=256)`,
    `process = ${made[system]}`,
    `law = ${law("process.basis")}`,
    `error = law.sampler_error(process, process.times(${steps}), ${applied}, order=${order})`,
    "print(error.kl.sum().item())",
    "",
  ].join("\n");
}

function render({ model, el }) {
  const size = model.get("size");
  const plane = freq2(size, size);
  const n = plane.length;
  const every = Array.from(plane.keys());
  const noise = [0, 1, 2].map((c) => normals(1 + c, n)); // in the basis
  const shown = [1, Math.round((size - 1) ** 0.5) * (size + 1), n - 1]; // (0, 1), (k, k), the highest
  const frequencies = frequencyAxis(size);
  const bands = radialBands({ lambda: plane, count: new Float64Array(n).fill(1) }, ...frequencies.limits);
  const { set, bound, show, play, ownPicture, reset } = steering(model, KEYS);

  const setting = () => Object.fromEntries(SETTING.map((key) => [key, model.get(key)]));
  const name = () => JSON.stringify(setting());
  const law = derived(
    () => model.get("data"),
    (data) => {
      const told = model.get("_spectra")[data];
      return { mean: decodeDoubles(told.mean), variance: decodeDoubles(told.variance), example: told.example };
    },
  );
  const clocksName = () => JSON.stringify(["data", "system", "sigma_max", "kappa"].map((key) => model.get(key)));
  const system = derived(clocksName, () => composed(setting(), size, law().variance));
  const curvesOf = derived(clocksName, () => GRID.map((t) => Array.from(system().clocks(t, shown))));
  const error = derived(name, () => errorOf(setting(), system(), law().variance));
  const signal = derived(
    () => model.get("_photo") || law().example,
    (text) => decodeImage(text, 3).map((p) => dct2(p, size, size)),
  );

  // Controls
  const options = (table) => Object.fromEntries(Object.entries(table).map(([key, [title]]) => [key, title]));
  const controls = {
    data: select({ ...bound("data"), symbol: "data", hint: "", spoken: "data", options: DATA }),
    system: select({ ...bound("system"), symbol: "system", hint: "", spoken: "system", options: options(SYSTEMS) }),
    rule: select({
      ...bound("rule"),
      symbol: "rule",
      hint: "",
      spoken: "rule of the sampler",
      options: { ...RULE_NAMES, flow: "flow" },
    }),
    order: select({
      ...bound("order", Number),
      symbol: "order",
      hint: "",
      spoken: "order of the sampler",
      options: { 1: "1", 2: "2: extrapolated guess" },
    }),
    steps: stepsSlider(2, 200, { ...bound("steps"), hint: "calls of the denoiser", step: 0.025 }),
    t: timeSlider((v) => {
      player.stop();
      set("t", v);
    }),
    sigma_max: sigmaMaxSlider({ ...bound("sigma_max"), min: 0.5 }),
    kappa: slider({
      ...bound("kappa"),
      symbol: "<i>κ</i>",
      hint: "fine clocks ahead",
      spoken: "kappa: how far the clocks of high frequencies run ahead",
      min: -3,
      max: 3,
      step: 0.1,
      format: (v) => (v > 0 ? "+" : "") + v.toFixed(1).replace("-", "\u2212"),
    }),
    _photo: ownPicture(),
  };
  const player = play("t", "t");
  controls.t.row.append(player.root);
  controls.order.row.append(
    reset(() => {
      player.stop();
      walkTo("", 0);
    }),
  );
  // Guided walks: what they set is in the model, where they stand is not.
  const walks = model.get("_walks");
  const at = { walk: "", stage: 0 };
  const sentence = html("div", { className: "bd-sentence bd-guide", role: "status" });
  const back = button("back", "Back", () => walkTo(at.walk, at.stage - 1));
  const next = button("next", "Next", () => walkTo(at.walk, at.stage + 1));
  const titles = walks.map(({ title }) => button("led", title, () => walkTo(title, 0)));
  function walkTo(walk, stage) {
    Object.assign(at, { walk, stage });
    const { stages } = walks.find(({ title }) => title === walk) ?? { stages: [] };
    for (const each of titles) each.setAttribute("aria-pressed", each.textContent === walk);
    back.disabled = stage === 0;
    next.disabled = stage + 1 >= stages.length;
    sentence.textContent = stages.length
      ? `${stage + 1} of ${stages.length}. ${stages[stage].say}`
      : "Choose a walk to be led through some settings, or set what you like.";
    if (stages.length) for (const [key, value] of Object.entries(stages[stage].set)) set(key, value);
  }

  // Pictures and plots
  const strip = (word) => Array.from({ length: COLUMNS }, (_, i) => picture(`${word}${i}`, "", ""));
  const [forth, home] = [strip("forth"), strip("home")];
  const row = (title, note, pictures) =>
    html(
      "div",
      { className: "bd-across" },
      panel(title, note, html("div", { className: "bd-pictures bd-strip" }, ...pictures.map(({ root }) => root))),
    );
  const curves = clocksOverTime(["low", "middle", "high"], "from data to noise");
  const errors = overSteps({
    name: () => clocksName(),
    walk: (steps) => missed((t) => system().clocks(t, every), new Uint8Array(n).fill(1), steps, system().made.steps),
    whole: n,
    exponents: [-3, 5],
  });
  const snr = svg("svg", { role: "img", class: "bd-snr" });
  const ratios = svg("svg", { role: "img", class: "bd-ratios" });
  const numbers = html("div", { className: "bd-numbers" });
  const code = html("pre", { className: "bd-code", tabIndex: 0 });
  const copy = button("copy", "Copy", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      copy.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      copy.textContent = "Selected";
    }
  });
  const root = html(
    "div",
    { className: "bdbook-widget bd-composed", role: "group", "aria-label": "Playground, interactive" },
    html("div", { className: "bd-guides" }, ...titles, back, next, sentence),
    html(
      "div",
      { className: "bd-controls" },
      controls.data.root,
      controls.system.root,
      controls.rule.root,
      controls.order.root,
      controls.steps.root,
      controls.t.root,
      controls.sigma_max.root,
      controls.kappa.root, // in its place, for equal SNR
    ),
    numbers,
    row("Forward", html("span", { className: "bd-hint" }, "a picture, from data to noise"), forth),
    row("Backward", html("span", { className: "bd-hint" }, "the exact denoiser, from noise to data"), home),
    html(
      "div",
      { className: "bd-plots" },
      panel("Sampled / true variance", html("span", { className: "bd-hint" }, "1 is right"), ratios),
      errors.root,
      curves.root,
      panel(
        "SNR over frequency",
        html("span", { className: "bd-hint" }, "at t"),
        legend([["bd-own", "<i>α</i>²<i>v</i> / <i>σ</i>²"]]),
        snr,
      ),
    ),
    html("details", {}, html("summary", {}, "The same in Python"), code, copy),
    controls._photo.root,
  );

  let snrPlot, ratioPlot, range;

  function layout() {
    curves.layout();
    errors.layout();
    range = undefined;
    snrPlot = linePlot(snr, {
      box: plotBox(snr),
      x: frequencies,
      y: { limits: SNR_RANGE, warp: Math.log10, ticks: [-8, -4, 0, 4, 8].map((e) => [10 ** e, powerOfTen(e)]) },
      one: 1,
      lines: ["bd-own"],
      marker: false,
    });
  }

  const drawForth = derived(
    () => `${clocksName()} ${model.get("_photo")}`,
    () => {
      forth.forEach(({ canvas, caption }, i) => {
        const s = i / (COLUMNS - 1);
        const { alpha, sigma } = system().at(s);
        const planes = signal().map((u, c) =>
          idct2(
            tabulate(n, (k) => alpha[k] * u[k] + sigma[k] * noise[model.get("_photo") ? c : 0][k]),
            size,
            size,
          ),
        );
        drawImage(canvas, planes, size, size);
        caption.firstChild.textContent = s.toFixed(2);
        canvas.setAttribute("aria-label", `The picture at t = ${s.toFixed(2)}, on the way to noise.`);
      });
    },
  );

  /** Draws the way back of the present setting: the newest call alone ends. */
  let drawn;
  async function drawBack() {
    const asked = name();
    if (drawn === asked) return;
    drawn = asked;
    const { made } = system();
    const { mean, variance } = law();
    const [alpha, sigma] = [made.alpha(1), made.sigma(1)];
    const own = {
      process: made,
      n,
      mean,
      variance,
      predicts: "spectral",
      spread: tabulate(n, (k) => Math.hypot(alpha[k] * Math.sqrt(variance[k]), sigma[k])),
      centres: [tabulate(n, (k) => alpha[k] * mean[k])],
      net: async (x) => x.map(() => new Float64Array(n)), // a network that says 0 is the Wiener filter
    };
    const { rule, order, steps } = setting();
    const kept = Array.from({ length: COLUMNS }, (_, i) => Math.round((i * steps) / (COLUMNS - 1)));
    let i = 0;
    for await (const { t, x } of sampling({ system: own, x: starts(own, 1, 1), steps, rule, order, seed: 1 })) {
      if (drawn !== asked) return;
      kept.forEach((step, column) => {
        if (step !== i) return;
        const { canvas, caption } = home[column];
        drawImage(canvas, x, size, size);
        caption.firstChild.textContent = t.toFixed(2);
        canvas.setAttribute("aria-label", `What is drawn, on the way back at t = ${t.toFixed(2)}.`);
      });
      i++;
    }
    root.dataset.drawn = asked;
  }

  function update() {
    show(controls);
    const [t, steps] = [model.get("t"), model.get("steps")];
    const equal = model.get("system") === "equal_snr";
    controls.kappa.root.hidden = !equal;
    controls.kappa.input.disabled = !equal;
    controls.sigma_max.root.hidden = equal;
    allow(controls.sigma_max, WIDE.includes(model.get("system")), "no blur to set");
    const { variance } = law();
    const { ratio, kl } = error();
    errors.draw(steps);
    curves.draw(t, curvesOf(), Array.from(system().clocks(t, shown)));

    const now = system().at(t);
    const power = bands.mean(tabulate(n, (k) => Math.log10((now.alpha[k] ** 2 * variance[k]) / now.sigma[k] ** 2)));
    const sampled = bands.mean(ratio);
    if (snrPlot) {
      snrPlot.line(
        0,
        bands.centres,
        Array.from(power, (e) => 10 ** Math.min(Math.max(e, -9), 9)),
      );
      const needed = ratioRange([...sampled]);
      if (needed !== range) {
        range = needed;
        ratioPlot = ratioPlotOf(ratios, { x: frequencies, range, lines: ["bd-own"], bands });
      }
      const inside = ratioPlot.clamp(sampled);
      ratioPlot.line(0, bands.centres, inside);
      inside.forEach((v, k) => ratioPlot.dot(k, bands.centres[k], v));
    }
    snr.setAttribute(
      "aria-label",
      `Signal-to-noise ratio over frequency at t = ${t}: 10 to the power ${power[0].toFixed(1)} at the lowest, ` +
        `${power.at(-1).toFixed(1)} at the highest.`,
    );
    ratios.setAttribute(
      "aria-label",
      `Sampled over true variance in ${sampled.length} bands of frequency, lowest to highest: ` +
        `${Array.from(sampled, (v) => v.toPrecision(3)).join(", ")}.`,
    );
    drawForth();
    numbers.innerHTML =
      `<span>KL <b>${short(kl)}</b> nats</span><span>floor, whole clocks <b>${short(n * floorOf(steps))}</b></span>` +
      `<span>highest band <b>${short(sampled.at(-1))}</b></span>`;
    root.dataset.kl = kl;
    code.textContent = pythonOf(setting(), size);
    copy.textContent = "Copy";
    drawBack();
  }

  walkTo("", 0);
  dragAcross(curves.node, (x) => {
    player.stop();
    set("t", timeAt(curves.at(), x));
  });
  takeDropped(root, controls._photo.take);
  return keepDrawn({
    model,
    el,
    root,
    keys: KEYS,
    shared: ["t", "steps"],
    layout,
    update,
    stop: () => {
      player.stop();
      errors.stop();
      drawn = undefined;
    },
  });
}

export default { render };
