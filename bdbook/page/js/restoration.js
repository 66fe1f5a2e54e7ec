// Cold diffusion with a restorer that errs: what direct restoration, Algorithm 1 and Algorithm 2 make of its errors.
import {
  freq2,
  frequencyScaling,
  dissipationTime,
  distinct,
  dct2,
  idct2,
  normals,
  tabulate,
  decodeImage,
} from "./core.js";
import { svg, linePlot, plotBox, powerOfTen, frequencyAxis, drawImage } from "./plot.js";
import {
  html,
  slider,
  sigmaMaxSlider,
  steering,
  takeDropped,
  panel,
  picture,
  legend,
  keepDrawn,
  derived,
  memory,
} from "./controls.js";

const KEYS = ["sigma_max", "epsilon", "bias", "steps", "_photo"];
const STEPS = [1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100, 120, 150, 200]; // places of the slider
const WAYS = [
  // direct restoration is Algorithm 1 in one step
  { name: "direct", symbol: "direct", colour: "bd-f3 bd-under", carry: 0, once: true },
  { name: "naive", symbol: "Algorithm 1", colour: "bd-f5 bd-dashed", carry: 0 },
  { name: "tacos", symbol: "TACoS", colour: "bd-own", carry: 1 },
];
const DRAWN = [0, 2, 1]; // the dashes last: lines that coincide all stay visible
const BIAS_LIMITS = [1e-2, 1e3];

/** The degradation at time t: blur of sigmaMax t px. */
const alphaAt = (lambda, sigmaMax, t) => frequencyScaling(lambda, dissipationTime(sigmaMax * t), 0);

/**
 * What a walk from t = 1 to 0 makes of u_x and of the bias e, per frequency: u_0 = signal u_x + bias e, by
 * u_s = alpha_s x0_hat + carry (u_t - alpha_t x0_hat) with the restorer x0_hat = alpha_t u_t / (alpha_t^2 + epsilon) + e.
 */
export function restored({ lambda, sigmaMax, epsilon, steps, carry }) {
  let alphaT = alphaAt(lambda, sigmaMax, 1);
  const signal = alphaT.slice();
  const bias = new Float64Array(lambda.length);
  for (let i = steps - 1; i >= 0; i--) {
    const alphaS = alphaAt(lambda, sigmaMax, i / steps);
    for (let k = 0; k < lambda.length; k++) {
      const gain = alphaT[k] / (alphaT[k] ** 2 + epsilon);
      const weight = alphaS[k] - carry * alphaT[k];
      signal[k] = (weight * gain + carry) * signal[k];
      bias[k] = (weight * gain + carry) * bias[k] + weight;
    }
    alphaT = alphaS;
  }
  return { signal, bias };
}

function render({ model, el }) {
  const size = model.get("size");
  const n = size * size;
  const error = [1, 2, 3].map((seed) => normals(seed, n)); // in the basis
  const given = derived(
    () => model.get("_photo"),
    (text) => {
      const photo = decodeImage(text, 3);
      return { photo, clean: photo.map((plane) => dct2(plane, size, size)), remember: memory() };
    },
  );
  const plane = freq2(size, size);
  const modes = distinct(plane, new Float64Array(n));
  const frequencies = frequencyAxis(size);
  const [low, high] = frequencies.limits;
  const shown = Array.from({ length: 101 }, (_, i) => low * (high / low) ** (i / 100));
  const curve = Float64Array.from(shown, (f) => f * f);
  const { bound, show, ownPicture, reset } = steering(model, KEYS);

  // Controls
  const controls = {
    sigma_max: sigmaMaxSlider({ ...bound("sigma_max"), min: 0.5, max: 16 }),
    epsilon: slider({
      ...bound("epsilon"),
      symbol: "<i>ε</i>",
      hint: "gives up where <i>α<sub>t</sub></i>² ≪ <i>ε</i>",
      spoken: "epsilon, the restorer gives up where alpha squared is smaller",
      min: -6,
      max: -1,
      step: 0.05,
      position: Math.log10,
      value: (p) => +(10 ** p).toPrecision(2),
      format: (v) => `${v}`,
    }),
    bias: slider({
      ...bound("bias"),
      symbol: "<i>b</i>",
      hint: "bias, the same at every call",
      spoken: "b, the size of the restorer's bias",
      min: 0,
      max: 0.3,
      step: 0.005,
      format: (v) => v.toFixed(3),
    }),
    steps: slider({
      ...bound("steps"),
      symbol: "<i>N</i>",
      hint: "steps from <i>t</i> = 1 to 0",
      spoken: "N, number of steps",
      min: 0,
      max: STEPS.length - 1,
      step: 1,
      position: (v) => STEPS.filter((s) => s < v).length,
      value: (p) => STEPS[p],
      format: (v) => `${v}`,
    }),
    _photo: ownPicture(),
  };
  controls.steps.row.append(reset());

  // Plots and pictures
  const shares = svg("svg", { role: "img", class: "bd-shares" });
  const biases = svg("svg", { role: "img", class: "bd-biases" });
  const pictures = [{ name: "blurred", symbol: "<i>D</i>(<i>x</i>, 1)" }, ...WAYS].map(({ name, symbol }) => ({
    ...picture(name, symbol, ""),
    said: symbol.replace(/<\/?i>/g, ""),
  }));
  const sentence = html("div", { className: "bd-sentence", "aria-live": "polite" });
  const keys = (...more) => {
    const list = legend([...WAYS.map(({ colour, symbol }) => [colour, symbol]), ...more]);
    list.classList.add("bd-row-legend");
    return list;
  };
  const root = html(
    "div",
    { className: "bdbook-widget", role: "group", "aria-label": "A restorer that errs, interactive" },
    html(
      "div",
      { className: "bd-controls" },
      controls.sigma_max.root,
      controls.epsilon.root,
      controls.bias.root,
      controls.steps.root,
    ),
    html("div", {
      className: "bd-formula",
      innerHTML:
        "restorer: <i>x̂</i> = <i>α<sub>t</sub> u<sub>t</sub></i> / " +
        "(<i>α<sub>t</sub></i>² + <i>ε</i>) + <i>b e</i>",
    }),
    html("div", { className: "bd-pictures bd-four" }, ...pictures.map((p) => p.root)),
    sentence,
    controls._photo.root,
    html(
      "div",
      { className: "bd-plots" },
      panel(
        "Share of <i>u<sub>x</sub></i> restored",
        html("span", { className: "bd-hint" }, "1 is right"),
        keys(["bd-reference", "<span><i>D</i>(<i>x</i>, 1)</span>"]),
        shares,
      ),
      panel("Gain of the bias <i>b e</i>", html("span", { className: "bd-hint" }, "0 is right"), keys(), biases),
    ),
  );

  let sharePlot, biasPlot;

  function layout() {
    const lines = DRAWN.map((i) => WAYS[i].colour);
    sharePlot = linePlot(shares, {
      box: plotBox(shares),
      x: frequencies,
      one: 1,
      marker: false,
      lines: ["bd-reference", ...lines],
      y: { limits: [0, 1.1], ticks: [0, 0.25, 0.5, 0.75, 1].map((v) => [v, `${v}`]) },
    });
    biasPlot = linePlot(biases, {
      box: plotBox(biases),
      x: frequencies,
      one: 1,
      marker: false,
      lines,
      y: { limits: BIAS_LIMITS, warp: Math.log10, ticks: [-2, -1, 0, 1, 2, 3].map((e) => [10 ** e, powerOfTen(e)]) },
    });
  }

  function update() {
    const [sigmaMax, epsilon, b, steps] = KEYS.map((key) => model.get(key));
    const { photo, clean, remember } = given();
    show(controls);
    const walk = (lambda, { carry, once }) => restored({ lambda, sigmaMax, epsilon, steps: once ? 1 : steps, carry });
    const { lines, gains } = remember("gains", [sigmaMax, epsilon, steps], () => ({
      lines: WAYS.map((way) => walk(curve, way)),
      gains: WAYS.map((way) => walk(modes.lambda, way)),
    }));

    if (sharePlot) {
      sharePlot.line(0, shown, alphaAt(curve, sigmaMax, 1));
      DRAWN.forEach((way, i) => {
        sharePlot.line(i + 1, shown, lines[way].signal);
        biasPlot.line(
          i,
          shown,
          lines[way].bias.map((v) => Math.max(v, BIAS_LIMITS[0])),
        );
      });
    }

    const blurred = { signal: alphaAt(modes.lambda, sigmaMax, 1), bias: new Float64Array(modes.lambda.length) };
    const ends = [blurred, ...gains].map(({ signal, bias }, i) =>
      remember(i, [sigmaMax, b, i && [epsilon, steps]], () => {
        const of = (make) => photo.map((_, c) => tabulate(n, (k) => make(c, k, modes.index[k])));
        const off = of((c, k, j) => (signal[j] - 1) * clean[c][k] + b * bias[j] * error[c][k]);
        const total = off.reduce((all, u) => u.reduce((sum, v) => sum + v * v, all), 0);
        // Half of it: the figures' images are in [-1, 1], the paper's in [0, 1].
        return {
          planes: off.map((u, c) => idct2(u, size, size).map((v, k) => v + photo[c][k])),
          rmse: Math.sqrt(total / (3 * n)) / 2,
        };
      }),
    );
    const least = Math.min(...ends.map(({ rmse }) => rmse)) * (1 + 1e-9); // several may be the closest
    ends.forEach(({ planes, rmse }, i) => {
      const { canvas, caption, said } = pictures[i];
      const closest = rmse <= least;
      drawImage(canvas, planes, size, size);
      caption.lastChild.innerHTML = `RMSE ${rmse.toFixed(4)}${closest ? ", <b>closest</b>" : ""}`;
      canvas.setAttribute("aria-label", `${said}: RMSE ${rmse.toFixed(4)}${closest ? ", the closest" : ""}.`);
    });
    sentence.textContent =
      `RMSE in [0, 1] after ${steps} step${steps > 1 ? "s" : ""}: ` +
      `${ends.map(({ rmse }, i) => `${pictures[i].said} ${rmse.toFixed(4)}`).join(", ")}. Closest: ` +
      `${pictures
        .filter((_, i) => ends[i].rmse <= least)
        .map(({ said }) => said)
        .join(" and ")}.`;

    const at = (key) =>
      WAYS.map(
        ({ symbol }, i) => `${symbol} ${[0, 50, 100].map((k) => lines[i][key][k].toPrecision(3)).join(", ")}`,
      ).join("; ");
    const where = "at the lowest, the middle and the highest frequency";
    shares.setAttribute("aria-label", `Share of each frequency restored, ${where}: ${at("signal")}.`);
    biases.setAttribute("aria-label", `Gain of the bias, ${where}: ${at("bias")}.`);
  }

  takeDropped(root, controls._photo.take);
  return keepDrawn({ model, el, root, keys: KEYS, shared: ["steps"], layout, update });
}

export default { render };
