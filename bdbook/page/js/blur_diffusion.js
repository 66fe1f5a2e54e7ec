// Blur diffusion (Lee): choose how much of the kernel each step applies and see what it does to every frequency.
import {
  cosine,
  sin2Blur,
  freq2,
  blurringDiffusion,
  gaussianKernel,
  kernelVariance,
  eigen,
  blurDiffusion,
  curveModes,
  forward2,
  inverse2,
  dct2,
  idct2,
  normals,
  outer,
  tabulate,
  decodeImage,
} from "./core.js";
import { svg, linePlot, drawImage, snrTicks, TIME_AXIS, spoken, timeAt } from "./plot.js";
import {
  html,
  slider,
  sigmaMaxSlider,
  select,
  checkbox,
  allow,
  steering,
  takeDropped,
  panel,
  picture,
  legend,
  dragAcross,
  keepDrawn,
  derived,
  memory,
} from "./controls.js";

const KEYS = ["f_type", "f_max", "steps", "kernel_sigma", "boundary", "t", "overlay", "sigma_max", "_photo"];
const POINTS = 160; // of a curve
const BLUR_LIMITS = [0.1, 100];

function render({ model, el }) {
  const size = model.get("size");
  const noise = [1, 2, 3].map((seed) => normals(seed, size * size));
  const plane = freq2(size, size);
  const given = derived(
    () => model.get("_photo"),
    (text) => {
      const photo = decodeImage(text, 3);
      return { photo, coefficients: photo.map((x) => dct2(x, size, size)), remember: memory() }; // coefficients: of HS
    },
  );
  const modes = curveModes(size);
  const lambdas = Float64Array.from(modes, (k) => plane[k * size + k]);
  const { set, bound, show, play, ownPicture, reset } = steering(model, KEYS);
  const move = (t) => {
    player.stop();
    set("t", t);
  };

  // Controls
  const controls = {
    f_max: slider({
      ...bound("f_max"),
      symbol: "<i>f</i>(<i>N</i>)",
      hint: "power of <i>W</i> in the last step",
      spoken: "f of N, the power of the kernel in the last step",
      min: 0,
      max: 1,
      step: 0.01,
      format: (v) => v.toFixed(2),
    }),
    t: slider({
      name: "t",
      symbol: "<i>t</i> = <i>i</i> / <i>N</i>",
      hint: "",
      spoken: "t, time",
      min: 0,
      max: 1,
      step: 0.001,
      format: (v) => `${v.toFixed(3)}, i = ${Math.round(v * model.get("steps"))}`,
      onInput: move,
    }),
    kernel_sigma: slider({
      ...bound("kernel_sigma"),
      symbol: "<i>σ<sub>W</sub></i>",
      hint: "width of the kernel <i>W</i>",
      unit: " px",
      spoken: "kernel sigma, the width of the kernel, in pixels",
      min: 0.3,
      max: 0.8,
      step: 0.01,
      format: (v) => v.toFixed(2),
    }),
    sigma_max: sigmaMaxSlider({
      ...bound("sigma_max"),
      hint: "blur of HS at <i>t</i> = 1",
      spoken: "sigma B max, the blur of the overlay at t = 1, in pixels",
    }),
    f_type: select({
      ...bound("f_type"),
      symbol: "<i>f</i>(<i>i</i>)",
      hint: "its form",
      spoken: "form of f",
      options: { log: "log i", linear: "i", quadratic: "i²", cubic: "i³", quartic: "i⁴" },
    }),
    steps: select({
      ...bound("steps", Number),
      symbol: "<i>N</i>",
      hint: "steps",
      spoken: "N, number of steps",
      options: { 100: "100", 250: "250", 500: "500", 1000: "1000" },
    }),
    boundary: select({
      ...bound("boundary"),
      symbol: "border",
      hint: "",
      spoken: "border of the picture",
      options: { zero: "zeros", symmetric: "mirror" },
    }),
    overlay: checkbox({
      ...bound("overlay"),
      text: "overlay HS",
      spoken: "lay HS's blurring diffusion over it",
    }),
    _photo: ownPicture(),
  };
  const player = play("t");
  controls.t.row.append(player.root);
  controls.sigma_max.row.append(controls.overlay.root);
  controls.boundary.row.append(reset(player.stop));

  // Plots
  const curves = svg("svg", { role: "img", class: "bd-curves" });
  const widths = svg("svg", { role: "img", class: "bd-curves bd-widths" });
  const colours = html("span", { className: "bd-hint" });
  const widthKey = legend([
    ["bd-own", "Lee"],
    ["bd-own bd-dashed", "HS"],
  ]);
  const numbers = html("div", { className: "bd-numbers" });
  const pictures = [
    picture("photo", "<i>x</i>", "the photograph"),
    picture("blurred", "<i>V D</i><sup>Σ<i>f</i></sup> <i>V′x</i>", "the blur alone, without the fading"),
    picture("noisy", "<i>z<sub>t</sub></i>, Lee", "noise fills up what blur and fading took"),
    picture("other", "", ""),
  ];
  const root = html(
    "div",
    { className: "bdbook-widget", role: "group", "aria-label": "Blur diffusion, interactive" },
    html(
      "div",
      { className: "bd-controls" },
      controls.f_max.root,
      controls.t.root,
      controls.kernel_sigma.root,
      controls.sigma_max.root,
      html("div", { className: "bd-together" }, controls.f_type.root, controls.steps.root, controls.boundary.root),
    ),
    numbers,
    html(
      "div",
      { className: "bd-plots" },
      panel(
        "SNR<sub><i>t</i></sub> over time",
        colours,
        legend([
          ...modes.map((_, i) => [`bd-f${i}`, Math.sqrt(lambdas[i]).toFixed(2)]),
          ["bd-reference", "no blur (DDPM)"],
        ]),
        curves,
      ),
      panel(
        "Blur over time",
        html("span", { className: "bd-hint" }, "width of the equal Gaussian, px"),
        widthKey,
        widths,
      ),
    ),
    html("div", { className: "bd-pictures bd-four" }, ...pictures.map((p) => p.root)),
    controls._photo.root,
  );

  let snrPlot;
  let widthPlot;
  let layouts = 0;

  function layout() {
    const box = (plot) => ({
      left: 42,
      right: plot.clientWidth - 8,
      top: 8,
      bottom: 8 + Math.min(264, plot.clientWidth - 96),
    });
    layouts++;
    const names = modes.map((_, i) => `bd-f${i}`);
    snrPlot = linePlot(curves, {
      box: box(curves),
      x: TIME_AXIS,
      one: 0,
      y: { limits: [-15, 5], ticks: snrTicks([5, 0, -5, -10, -15], true) },
      lines: ["bd-reference", ...names.map((name) => `${name} bd-dashed`), ...names],
      dots: names,
    });
    widthPlot = linePlot(widths, {
      box: box(widths),
      x: TIME_AXIS,
      one: 1,
      y: {
        limits: BLUR_LIMITS,
        warp: Math.log10,
        ticks: [2, 1, 0, -1].map((e) => [10 ** e, e < 0 ? "0.1" : `${10 ** e}`]),
      },
      lines: ["bd-own bd-dashed", "bd-own"],
      dots: ["bd-own", "bd-own"],
    });
  }

  /** Of the kernel: its basis, and the photograph and the noise in it. */
  function decompose(kernelSigma, boundary, photo) {
    const kernel = gaussianKernel(kernelSigma);
    const basis = eigen(size, kernel, boundary);
    const { values } = basis;
    const forward = (x) => forward2(x, basis, basis, size, size);
    return {
      kernel,
      basis,
      eigenvalues: outer(values),
      signal: photo.map(forward),
      noise: noise.map(forward),
      few: Float64Array.from(modes, (k) => values[k] ** 2),
      lowest: Math.min(...values),
    };
  }

  function update() {
    const [fType, fMax, steps, kernelSigma, boundary, t, overlay, sigmaMax] = KEYS.map((key) => model.get(key));
    controls.t.input.step = 1 / steps;
    show(controls);
    allow(controls.sigma_max, overlay, "tick overlay HS");
    const { photo, coefficients, remember } = given(); // one control changes a part only: the rest is remembered
    const decomposed = remember("kernel", [kernelSigma, boundary], () => decompose(kernelSigma, boundary, photo));
    const real = decomposed.lowest > 0;
    root.dataset.real = real;

    const hs = blurringDiffusion({ lambda: plane, sigmaMax });
    const hsFew = blurringDiffusion({ lambda: lambdas, sigmaMax });
    const settings = { fMax, fType, steps };
    const whole = blurDiffusion({ ...settings, eigenvalues: real ? decomposed.eigenvalues : new Float64Array(0) });
    const few = blurDiffusion({ ...settings, eigenvalues: real ? decomposed.few : new Float64Array(0) });
    const reference = blurDiffusion({ ...settings, eigenvalues: new Float64Array([1]) });
    const i = whole.index(t);
    const now = i / steps;
    const when = `at t = ${now.toFixed(3)}`;
    const variance = kernelVariance(decomposed.kernel);
    const width = (r) => Math.sqrt(variance * few.exponent(r));
    const grid = Array.from({ length: POINTS }, (_, k) => Math.round(1 + (k / (POINTS - 1)) * (steps - 1)) / steps);
    const times = grid.filter((r, k) => r !== grid[k - 1]); // steps i >= 1: at i = 0 there is no noise
    const hsTimes = [0, ...times];

    if (snrPlot)
      remember("curves", [fType, fMax, steps, kernelSigma, boundary, overlay, sigmaMax, layouts], () => {
        const six = real ? times.map(few.logSnr) : [];
        const sixOfHs = overlay ? hsTimes.map(hsFew.snr) : [];
        const used = real ? times : [];
        const hsUsed = overlay ? hsTimes : [];
        snrPlot.line(
          0,
          times,
          times.map((r) => reference.logSnr(r)[0] / Math.LN10),
        );
        modes.forEach((_, k) => {
          snrPlot.line(
            1 + k,
            hsUsed,
            sixOfHs.map((v) => Math.log10(v[k])),
          );
          snrPlot.line(
            1 + modes.length + k,
            used,
            six.map((v) => v[k] / Math.LN10),
          );
        });
        widthPlot.line(
          0,
          hsUsed,
          hsUsed.map((r) => Math.max(sin2Blur(r, sigmaMax), 1e-3)),
        );
        widthPlot.line(
          1,
          used,
          used.map((r) => Math.max(width(r), 1e-3)),
        );
      });
    if (snrPlot) {
      const logs = real && i > 0 ? few.logSnr(now) : modes.map(() => NaN);
      modes.forEach((_, k) => snrPlot.dot(k, now, logs[k] / Math.LN10));
      widthPlot.dot(0, now, overlay ? sin2Blur(now, sigmaMax) : NaN);
      widthPlot.dot(1, now, real ? width(now) : NaN);
      for (const plot of [snrPlot, widthPlot]) plot.mark(now);
    }

    const { basis } = decomposed;
    const inverse = (u) => inverse2(u, basis, basis, size, size);
    const of = (make) => photo.map((_, c) => tabulate(size * size, (k) => make(c, k)));
    const own = [real, now, fType, fMax, steps, kernelSigma, boundary];
    const [blurred, noisy] = remember("Lee", own, () => {
      if (!real) return [[new Float64Array(size * size)], [new Float64Array(size * size)]];
      const scaling = whole.scaling(now);
      const sigma = whole.sigma(now);
      const alpha = whole.alpha(now);
      return [
        of((c, k) => scaling[k] * decomposed.signal[c][k]).map(inverse),
        of((c, k) => alpha[k] * decomposed.signal[c][k] + sigma[k] * decomposed.noise[c][k]).map(inverse),
      ];
    });
    const other = remember("other", overlay ? [now, sigmaMax] : [now, steps, "DDPM"], () => {
      const [a, s] = overlay ? cosine(now) : [reference.alpha(now)[0], reference.sigma(now)[0]];
      const scaling = hs.scaling(now);
      const signal = overlay ? of((c, k) => scaling[k] * coefficients[c][k]).map((u) => idct2(u, size, size)) : photo;
      return of((c, k) => a * signal[c][k] + s * noise[c][k]);
    });
    [photo, blurred, noisy, other].forEach((planes, k) => drawImage(pictures[k].canvas, planes, size, size));
    pictures[3].caption.firstChild.innerHTML = overlay ? "<i>z<sub>t</sub></i>, HS" : "<i>z<sub>t</sub></i>, DDPM";
    pictures[3].caption.lastChild.textContent = overlay
      ? "the overlay, the same white noise"
      : "no blur, the same white noise";

    colours.innerHTML = `√<i>λ</i> in rad/px${overlay ? "; dashed: HS" : ""}`;
    widthKey.lastChild.style.visibility = overlay ? "visible" : "hidden";
    const total = few.exponent(1);
    const px = (v) => (v > 0 && v < 0.01 ? "< 0.01 px" : `${v.toFixed(2)} px`);
    numbers.innerHTML = !real
      ? `This kernel has the eigenvalue ${decomposed.lowest.toPrecision(2).replace("-", "−")}: a fractional power of it is not ` +
        "a real number, so there is no such process. Take a narrower kernel."
      : `<span>Σ<i>f</i> = <b>${few.exponent(now).toFixed(2)}</b> of ${total.toFixed(2)}</span>` +
        `<span>blur <b>${px(width(now))}</b> of ${px(width(1))}</span>` +
        `<span>${overlay ? `HS <b>${px(sin2Blur(now, sigmaMax))}</b> of ${px(sigmaMax)}` : ""}</span>`;
    const described = real
      ? `Log 10 of it ${when}, lowest to highest frequency: ${
          i > 0 ? Array.from(few.logSnr(now), (v) => spoken(v / Math.LN10)).join(", ") : "infinite, there is no noise"
        }.`
      : numbers.textContent;
    curves.setAttribute("aria-label", `Curves of the signal-to-noise ratio over t for six frequencies. ${described}`);
    widths.setAttribute(
      "aria-label",
      real
        ? `Curve of the blur over t: ${width(now).toFixed(2)} pixels ${when}, ` +
            `${width(1).toFixed(2)} at the end.` +
            (overlay ? ` HS: ${sin2Blur(now, sigmaMax).toFixed(2)} pixels.` : "")
        : numbers.textContent,
    );
    pictures[0].canvas.setAttribute("aria-label", `The photograph x, ${size} by ${size} pixels.`);
    pictures[1].canvas.setAttribute(
      "aria-label",
      real ? `The photograph blurred by ${width(now).toFixed(2)} pixels.` : "Empty.",
    );
    pictures[2].canvas.setAttribute("aria-label", real ? `The noisy image z of blur diffusion ${when}.` : "Empty.");
    pictures[3].canvas.setAttribute(
      "aria-label",
      `The noisy image z of ${overlay ? "blurring diffusion" : "DDPM"} ${when}.`,
    );
  }

  for (const plot of [curves, widths]) dragAcross(plot, (px) => move(timeAt(snrPlot, px, model.get("steps"))));
  takeDropped(root, controls._photo.take);
  return keepDrawn({ model, el, root, keys: KEYS, shared: ["t"], layout, update, stop: player.stop });
}

export default { render };
