// One step: how much of the noise that was estimated is carried over, and how much is drawn afresh.
import {
  freq2,
  namedProcess,
  RULES,
  partialCarry,
  wiener,
  samplerError,
  finish,
  dct2,
  idct2,
  normals,
  tabulate,
  decodeImage,
} from "./core.js";
import { svg, scale, linePlot, plotBox, ratioRange, ratioAxis, frequencyAxis, drawImage } from "./plot.js";
import {
  html,
  slider,
  stepsSlider,
  select,
  steering,
  takeDropped,
  panel,
  picture,
  legend,
  keepDrawn,
  derived,
  memory,
  PROCESS_NAMES,
  RULE_NAMES,
} from "./controls.js";

const KEYS = ["rho", "t", "steps", "mode", "process", "_photo"];
const HIDDEN = ["sigma_max", "d_min"]; // of the process: set from Python only
const ARC = Array.from({ length: 91 }, (_, i) => Math.cos((i * Math.PI) / 180)); // c / c_DDIM
const TERMS = [
  ["f0", "degrade"],
  ["f2", "carry"],
  ["f3", "both: they covary"],
  ["f5", "refresh"],
];

/** c and tau of a rule at one frequency. */
function coefficients(rule, a, sigmaT, sigmaS) {
  const carry = new Float64Array(1);
  const refresh = new Float64Array(1);
  rule(Float64Array.of(a), [sigmaT], [sigmaS], carry, refresh);
  return [carry[0], refresh[0]];
}

/** Variances, at one frequency, of the terms of u_s = alpha_s x0_hat + c (u_t - alpha_t x0_hat) + tau n. */
export function stepVariances({ alphaT, sigmaT, alphaS, sigmaS, variance, carry, refresh }) {
  const marginal = alphaT ** 2 * variance + sigmaT ** 2;
  const gain = wiener(alphaT, sigmaT, variance);
  const terms = [
    (alphaS * gain) ** 2 * marginal,
    (carry * (1 - alphaT * gain)) ** 2 * marginal,
    2 * alphaS * gain * carry * (1 - alphaT * gain) * marginal,
    refresh ** 2,
  ];
  return { terms, target: alphaS ** 2 * variance + sigmaS ** 2 };
}

function render({ model, el }) {
  const size = model.get("size");
  const n = size * size;
  const [noise, fresh] = [1, 11].map((seed) => [0, 1, 2].map((c) => normals(seed + c, n))); // in the basis
  const given = derived(
    () => model.get("_photo"),
    (text) => ({
      signal: decodeImage(text, 3).map((plane) => dct2(plane, size, size)),
      remember: memory(),
    }),
  );
  const plane = freq2(size, size);
  const variance = Float64Array.from(model.get("_variance"));
  const diagonal = [...new Set(Array.from({ length: 20 }, (_, i) => Math.round((size - 1) ** (i / 19))))];
  const at = (values, modes) => Float64Array.from(modes, (k) => values[k * size + k]);
  const frequencies = frequencyAxis(size);
  const roots = at(plane, diagonal).map(Math.sqrt);
  const { set, bound, show, play, ownPicture, reset } = steering(model, KEYS);
  const shown = (k) => Math.sqrt(plane[k * size + k]);
  const process = () => Object.fromEntries(["process", ...HIDDEN].map((key) => [key, model.get(key)]));

  // Controls
  const controls = {
    rho: slider({
      name: "rho",
      symbol: "<i>c</i> / <i>c</i><sub>DDIM</sub>",
      hint: "carried, the rest is drawn afresh",
      spoken: "carry as a part of DDIM's",
      min: 0,
      max: 1,
      step: 0.01,
      format: (v) => v.toFixed(2),
      onInput: (v) => {
        player.stop();
        set("rho", v);
      },
    }),
    t: slider({
      ...bound("t"),
      symbol: "<i>t</i>",
      hint: "the step is to <i>s</i> = <i>t</i> − 1/<i>N</i>",
      spoken: "t, time",
      min: 0.005,
      max: 1,
      step: 0.005,
      format: (v) => v.toFixed(3),
    }),
    steps: stepsSlider(10, 1000, bound("steps")),
    mode: slider({
      ...bound("mode"),
      symbol: "√<i>λ</i>",
      hint: "frequency of the bars",
      unit: " rad/px",
      spoken: "frequency of the bars, in radians per pixel",
      min: 1,
      max: size - 1,
      step: 1,
      format: (k) => shown(k).toFixed(2),
    }),
    process: select({
      ...bound("process"),
      symbol: "process",
      hint: "",
      spoken: "process",
      options: PROCESS_NAMES,
    }),
    _photo: ownPicture(),
  };
  const player = play("rho", "c");
  controls.rho.row.append(player.root);
  controls.process.row.append(reset(player.stop));

  // Plots
  const choices = svg("svg", { role: "img", class: "bd-choices" });
  const ratios = svg("svg", { role: "img", class: "bd-ratios" });
  const bars = svg("svg", { role: "img", class: "bd-bars", height: 86 });
  const numbers = html("div", { className: "bd-numbers" });
  const share = html("span", { className: "bd-hint" });
  const pictures = [
    picture("noisy", "<i>z<sub>t</sub></i>", "where the step begins"),
    picture("guess", "<i>x̂</i>", "the best guess for Gaussian data"),
    picture("next", "<i>z<sub>s</sub></i>", "where it ends"),
  ];
  const root = html(
    "div",
    { className: "bdbook-widget", role: "group", "aria-label": "Carry and refresh, interactive" },
    html(
      "div",
      { className: "bd-controls" },
      controls.rho.root,
      controls.t.root,
      controls.steps.root,
      controls.mode.root,
      controls.process.root,
    ),
    numbers,
    html(
      "div",
      { className: "bd-plots" },
      panel(
        "Carry <i>c</i> and refresh <i>τ</i>",
        html("span", { className: "bd-hint" }, "arc: noise kept"),
        legend(Object.values(RULE_NAMES).map((name, i) => [`bd-f${i} bd-point`, name])),
        choices,
      ),
      panel(
        "Sampled / true variance",
        html("span", { className: "bd-hint" }, "after all N steps"),
        legend([
          ["bd-own", "this carry"],
          ["bd-reference", "ancestral"],
        ]),
        ratios,
      ),
    ),
    html(
      "div",
      { className: "bd-panel bd-across" },
      html("div", { className: "bd-title" }, html("span", {}, "Variance after one step"), share),
      html(
        "div",
        { className: "bd-legend bd-row-legend" },
        ...TERMS.map(([colour, name]) => html("span", { className: `bd-key bd-${colour} bd-block` }, name)),
      ),
      bars,
    ),
    html("div", { className: "bd-pictures" }, ...pictures.map((p) => p.root)),
    controls._photo.root,
  );

  let plane2, ratioPlot, range, parts, bar;

  function layout() {
    const ticks = [0, 0.2, 0.4, 0.6, 0.8, 1].map((v) => [v, `${v}`]);
    plane2 = linePlot(choices, {
      box: plotBox(choices),
      marker: false,
      x: { limits: [0, 1.02], ticks, title: "c" },
      y: { limits: [0, 1.02], ticks, title: "τ" },
      lines: ["bd-own"],
      dots: [...Object.keys(RULE_NAMES).map((_, i) => `bd-f${i}`), "bd-own bd-chosen"],
    });
    range = undefined; // drawn afresh by the next update
    const left = 62;
    bar = scale([0, 1.1], [left, bars.clientWidth - 8]);
    parts = [
      ...TERMS.map(([colour]) => svg("rect", { class: `bd-part bd-${colour}`, y: 8, height: 20 })),
      svg("rect", { class: "bd-part bd-whole", y: 34, height: 20, x: bar(0), width: bar(1) - bar(0) }),
    ];
    bars.replaceChildren(
      ...parts,
      ...[
        ["sampled", 22],
        ["true", 48],
      ].map(([name, y]) => svg("text", { x: left - 7, y, "text-anchor": "end" }, name)),
      svg("line", { class: "bd-one", x1: bar(1), x2: bar(1), y1: 2, y2: 60 }),
      ...[0, 0.25, 0.5, 0.75, 1].map((v) => svg("text", { x: bar(v), y: 76, "text-anchor": "middle" }, `${v}`)),
    );
  }

  function update() {
    const [rho, t, steps, mode, name] = KEYS.map((key) => model.get(key));
    const s = Math.max(t - 1 / steps, 0);
    const { signal, remember } = given();
    show(controls);
    const named = process();
    const whole = namedProcess(named, plane);
    const sigmaT = whole.sigma(t);
    const sigmaS = whole.sigma(s);
    const k = mode * size + mode;
    const alphaT = whole.alpha(t);
    const alphaS = whole.alpha(s);
    const a = alphaT[k] / alphaS[k];
    const [carry, refresh] = coefficients(partialCarry(rho), a, sigmaT, sigmaS);
    const rules = Object.keys(RULE_NAMES).map((rule) => coefficients(RULES[rule], a, sigmaT, sigmaS));
    const { terms, target } = stepVariances({
      alphaT: alphaT[k],
      sigmaT,
      alphaS: alphaS[k],
      sigmaS,
      variance: variance[k],
      carry,
      refresh,
    });
    const total = terms.reduce((x, y) => x + y);

    const data = { process: namedProcess(named, at(plane, diagonal)), variance: at(variance, diagonal), steps };
    const own = remember(
      "own",
      [named, steps, rho],
      () => finish(samplerError({ ...data, rule: partialCarry(rho) })).ratio,
    );
    const ancestral = remember(
      "ancestral",
      [named, steps],
      () => finish(samplerError({ ...data, rule: RULES.ancestral })).ratio,
    );
    if (plane2) {
      plane2.line(
        0,
        ARC.map((f) => (f * sigmaS) / sigmaT),
        ARC.map((f) => sigmaS * Math.sqrt(1 - f * f)),
      );
      rules.forEach(([c, tau], i) => plane2.dot(i, c, tau));
      plane2.dot(rules.length, carry, refresh);
      const needed = ratioRange([...own, ...ancestral]);
      const y = ratioAxis(needed);
      if (needed !== range) {
        range = needed;
        ratioPlot = linePlot(ratios, {
          box: plotBox(ratios),
          x: frequencies,
          y,
          one: 1,
          lines: ["bd-reference", "bd-own"],
        });
      }
      ratioPlot.line(0, roots, y.clamp(ancestral));
      ratioPlot.line(1, roots, y.clamp(own));
      ratioPlot.mark(shown(mode));
      let from = 0;
      terms.forEach((term, i) => {
        parts[i].setAttribute("x", bar(from / target));
        parts[i].setAttribute("width", Math.max(bar((from + term) / target) - bar(from / target), 0));
        from += term;
      });
    }

    const of = (make) => noise.map((_, c) => tabulate(n, (j) => make(c, j)));
    const image = (u) => idct2(u, size, size);
    const begun = remember("begun", [t, named], () => {
      const z = of((c, j) => alphaT[j] * signal[c][j] + sigmaT * noise[c][j]);
      const guess = of((c, j) => wiener(alphaT[j], sigmaT, variance[j]) * z[c][j]);
      return { z, guess, images: [z.map(image), guess.map(image)] };
    });
    const next = remember("next", [t, named, steps, rho], () =>
      of(
        (c, j) =>
          alphaS[j] * begun.guess[c][j] +
          carry * (begun.z[c][j] - alphaT[j] * begun.guess[c][j]) +
          refresh * fresh[c][j],
      ).map(image),
    );
    [...begun.images, next].forEach((planes, i) => drawImage(pictures[i].canvas, planes, size, size));

    numbers.innerHTML =
      `<span><i>c</i> = <b>${carry.toFixed(3)}</b></span><span><i>τ</i> = <b>${refresh.toFixed(3)}</b></span>` +
      `<span><i>c</i>²<i>σ<sub>t</sub></i>² + <i>τ</i>² = <i>σ<sub>s</sub></i>² = <b>${(sigmaS ** 2).toFixed(3)}</b></span>`;
    share.textContent = `${(total / target).toFixed(3)} of the true one`;
    choices.setAttribute(
      "aria-label",
      `Carry ${carry.toFixed(3)}, refresh ${refresh.toFixed(3)}. Carry and refresh of the rules: ` +
        `${Object.values(RULE_NAMES)
          .map((rule, i) => `${rule} ${rules[i].map((v) => v.toFixed(3)).join(", ")}`)
          .join("; ")}.`,
    );
    ratios.setAttribute(
      "aria-label",
      `Sampled over true variance after ${steps} steps of ${PROCESS_NAMES[name]}: ` +
        `${own[0].toPrecision(3)} at the lowest, ${own.at(-1).toPrecision(3)} at the highest frequency.`,
    );
    bars.setAttribute(
      "aria-label",
      `Parts of the true variance after one step: ${TERMS.map(
        ([, term], i) => `${term} ${(terms[i] / target).toFixed(3)}`,
      ).join("; ")}. Together ${share.textContent}, at ${shown(mode).toFixed(2)} radians per pixel.`,
    );
    pictures[0].canvas.setAttribute("aria-label", `The noisy image z at t = ${t.toFixed(3)}.`);
    pictures[1].canvas.setAttribute("aria-label", "The guess of the clean image.");
    pictures[2].canvas.setAttribute("aria-label", `The image z at s = ${s.toFixed(3)}, after the step.`);
  }

  takeDropped(root, controls._photo.take);
  return keepDrawn({
    model,
    el,
    root,
    keys: [...KEYS, ...HIDDEN],
    shared: ["t", "steps"],
    layout,
    update,
    stop: player.stop,
  });
}

export default { render };
