// Blurring diffusion (HS sec. 4): drag sigma_B,max and see every frequency's signal-to-noise ratio move.
import { cosine, BLURS, freq2, blurringDiffusion, dct2, idct2, normals, decodeImage } from "./core.js";
import { svg, scale, powerOfTen, axes, linePath, drawImage, drawCells, NOISE_TO_SIGNAL } from "./plot.js";
import { html, slider, select, playButton, joinGroup } from "./controls.js";

const KEYS = ["sigma_max", "t", "d_min", "schedule"];
const TIMES = Array.from({ length: 161 }, (_, i) => i / 160);
const SNR_LIMITS = [1e-15, 1e5];

/** SNR to colour: the pale middle is SNR = 1; each half of the map is linear in log10 SNR. */
const snrColour = (snr) => {
  const v = Math.log10(snr);
  return NOISE_TO_SIGNAL(v > 0 ? 0.5 + v / 10 : 0.5 + v / 30);
};
const snrTicks = (exponents) => exponents.map((e) => [10 ** e, powerOfTen(e)]);
const log10 = (v) => Math.log10(v).toFixed(1).replace("-", "\u2212");

/** Modes k of the six curves: geometric from the lowest to the highest, on the diagonal n = m = k. */
const curveModes = (size) => Array.from({ length: 6 }, (_, i) => Math.round((size - 1) ** (i / 5)));

/** log2(1 + n), in units of the whole axis: gives each octave the same room and DC a place. */
const octave = (n, size) => Math.log2(1 + n) / Math.log2(1 + size);
const octaveCentre = (n, size) => (octave(n, size) + octave(n + 1, size)) / 2;

/** Which mode each of side x side pixels of the heat map shows; the origin is bottom left. */
function octaveCells(size, side = 256) {
  const mode = Array.from({ length: side }, (_, p) => Math.floor((1 + size) ** ((p + 0.5) / side) - 1));
  return Uint32Array.from({ length: side * side }, (_, p) =>
    mode[side - 1 - Math.floor(p / side)] * size + mode[p % side]);
}

function panel(heading, note, ...children) {
  const title = html("div", { className: "bd-title" }, html("span", { innerHTML: heading }), note);
  return html("div", { className: "bd-panel" }, title, ...children);
}

function picture(name, symbol, note) {
  const canvas = html("canvas", { width: 1, height: 1, role: "img", "data-name": name });
  const caption = html("div", { className: "bd-caption" },
    html("span", { className: "bd-symbol", innerHTML: symbol }), html("span", { className: "bd-hint", innerHTML: note }));
  return { canvas, root: html("div", { className: "bd-picture" }, canvas, caption) };
}

function render({ model, el }) {
  const size = model.get("size"), photo = decodeImage(model.get("_photo"), 3);
  const coefficients = photo.map((plane) => dct2(plane, size, size));
  const noise = photo.map((_, c) => normals(1 + c, size * size));
  const plane = freq2(size, size), cells = octaveCells(size);
  const modes = curveModes(size), lambdas = Float64Array.from(modes, (k) => plane[k * size + k]);
  const start = Object.fromEntries(KEYS.map((key) => [key, model.get(key)]));
  const set = (key, value) => { model.set(key, value); model.save_changes(); };

  // Controls
  const controls = {
    sigma_max: slider({ name: "sigma_max", symbol: "<i>σ</i><sub>B,max</sub>", hint: "blur at <i>t</i> = 1", unit: " px",
      spoken: "sigma B max, the blur at t = 1, in pixels", min: 0, max: 30, step: 0.1,
      format: (v) => v.toFixed(1), onInput: (v) => set("sigma_max", v) }),
    t: slider({ name: "t", symbol: "<i>t</i>", hint: "time: 0 data, 1 noise", spoken: "t, time",
      min: 0, max: 1, step: 0.005, format: (v) => v.toFixed(3), onInput: (v) => { player.stop(); set("t", v); } }),
    d_min: slider({ name: "d_min", symbol: "<i>d</i><sub>min</sub>", hint: "floor of the damping",
      spoken: "d min, the floor of the damping", min: -5, max: -1, step: 0.05, position: Math.log10,
      value: (p) => +(10 ** p).toPrecision(3), format: (v) => v.toFixed(5), onInput: (v) => set("d_min", v) }),
    schedule: select({ name: "schedule", symbol: "<i>σ</i><sub>B,<i>t</i></sub> / <i>σ</i><sub>B,max</sub>",
      hint: "blur schedule", spoken: "blur schedule", options: { sin2: "sin² (π t / 2)", sin: "sin (π t / 2)" },
      onInput: (v) => set("schedule", v) }),
  };
  const player = playButton({ symbol: "t", get: () => model.get("t"), set: (v) => set("t", v) });
  const reset = html("button", { type: "button", className: "bd-button bd-reset" }, "Reset");
  reset.addEventListener("click", () => { player.stop(); for (const key of KEYS) set(key, start[key]); });

  controls.t.row.append(player.root);
  controls.schedule.row.append(reset);

  // Plots
  const legend = html("div", { className: "bd-legend" },
    ...modes.map((_, i) => html("span", { className: `bd-key bd-f${i}` }, Math.sqrt(lambdas[i]).toFixed(2))),
    html("span", { className: "bd-key bd-reference" }, "no blur"));
  const curves = svg("svg", { role: "img", class: "bd-curves" });
  const heat = svg("svg", { role: "img", class: "bd-heat" });
  const heatCanvas = html("canvas", { width: 1, height: 1, "aria-hidden": "true", "data-name": "heat" });
  const above = html("div", { className: "bd-hint" });
  const colours = html("span", { className: "bd-hint", innerHTML: "√<i>λ</i> in rad/px" });
  const pictures = [
    picture("photo", "<i>x</i>", "the photograph"),
    picture("blurred", "<i>D</i>(<i>x</i>, <i>t</i>) / <i>a<sub>t</sub></i>", "the blur alone, its fading divided out"),
    picture("noisy", "<i>z<sub>t</sub></i>", "<i>D</i>(<i>x</i>, <i>t</i>) + <i>σ<sub>t</sub> ε</i>, clipped to [−1,&nbsp;1]"),
  ];
  const root = html("div", { className: "bdbook-widget", role: "group", "aria-label": "Blurring diffusion, interactive" },
    html("div", { className: "bd-controls" }, controls.sigma_max.root, controls.t.root, controls.d_min.root,
      controls.schedule.root),
    html("div", { className: "bd-plots" },
      panel("SNR<sub><i>t</i></sub> over time", colours, legend, curves),
      panel("SNR<sub><i>t</i></sub> by frequency", "", above, html("div", { className: "bd-map" }, heatCanvas, heat))),
    html("div", { className: "bd-pictures" }, ...pictures.map((p) => p.root)));

  let at, lines, reference, marker, dots;

  /** What depends on the width alone: axes, ticks, colour bar. */
  function layout() {
    const left = 34, top = 8, side = Math.min(264, heat.clientWidth - left - 62), bar = left + side + 12;
    for (const plot of [curves, heat]) plot.setAttribute("height", top + side + 36);
    const box = { left: 42, right: curves.clientWidth - 8, top, bottom: top + side };
    at = { t: scale([0, 1], [box.left, box.right]), snr: scale(SNR_LIMITS, [box.bottom, box.top], Math.log10) };
    lines = modes.map((_, i) => svg("path", { class: `bd-line bd-f${i}` }));
    dots = modes.map((_, i) => svg("circle", { class: `bd-dot bd-f${i}`, r: 4 }));
    reference = svg("path", { class: "bd-line bd-reference" });
    marker = svg("g", { class: "bd-marker" }, svg("line", { y1: box.top, y2: box.bottom }),
      svg("circle", { cy: box.bottom, r: 5 }));
    const one = at.snr(1);
    curves.replaceChildren(
      axes({ box, x: { at: at.t, ticks: [0, 0.25, 0.5, 0.75, 1].map((t) => [t, `${t}`]), title: "t" },
             y: { at: at.snr, ticks: snrTicks([5, 0, -5, -10, -15]) } }),
      svg("line", { class: "bd-one", x1: box.left, x2: box.right, y1: one, y2: one }),
      marker, reference, ...lines, ...dots);

    Object.assign(heatCanvas.style, { left: `${left}px`, top: `${top}px`, width: `${side}px`, height: `${side}px` });
    const place = scale([0, 1], [left, left + side]), rise = scale([0, 1], [top + side, top]);
    const ticks = [0, 1, 2, 4, 8, 16, 32, 64, 128].filter((n) => n < 0.7 * size).concat(size - 1)
      .map((n) => [octaveCentre(n, size), `${n}`]);
    const barAt = scale(SNR_LIMITS, [top + side, top], Math.log10);
    const steps = Array.from({ length: 81 }, (_, i) => 10 ** (-15 + i / 4));
    heat.replaceChildren(
      axes({ box: { left, right: left + side, top, bottom: top + side }, grid: false,
             x: { at: place, ticks, title: "m" }, y: { at: rise, ticks, title: "n" } }),
      ...modes.map((k, i) => svg("circle", { class: `bd-dot bd-f${i}`, r: 4,
        cx: place(octaveCentre(k, size)), cy: rise(octaveCentre(k, size)) })),
      ...steps.slice(1).map((snr, i) => svg("rect", { x: bar, width: 10, y: barAt(snr),
        height: barAt(steps[i]) - barAt(snr), "shape-rendering": "crispEdges", fill: `rgb(${snrColour(snr)})` })),
      ...snrTicks([5, 0, -5, -10, -15]).map(([snr, label]) =>
        svg("text", { x: bar + 15, y: barAt(snr) + 4 }, ...label)));
  }

  /** What depends on the values. */
  function update() {
    const [sigmaMax, t, dMin, blur] = KEYS.map((key) => model.get(key));
    for (const key of KEYS) controls[key].set(model.get(key));
    const whole = blurringDiffusion({ lambda: plane, sigmaMax, dMin, blur });
    const few = blurringDiffusion({ lambda: lambdas, sigmaMax, dMin, blur });
    const [a, sigma] = cosine(t), snr = whole.snr(t), now = few.snr(t);

    if (at) {
      const xs = TIMES.map(at.t), values = TIMES.map(few.snr);
      lines.forEach((line, i) => line.setAttribute("d", linePath(xs, values.map((v) => at.snr(v[i])))));
      reference.setAttribute("d", linePath(xs, TIMES.map((r) => at.snr((cosine(r)[0] / cosine(r)[1]) ** 2))));
      marker.setAttribute("transform", `translate(${at.t(t)} 0)`);
      dots.forEach((dot, i) => { dot.setAttribute("cx", at.t(t)); dot.setAttribute("cy", at.snr(now[i])); });
    }
    drawCells(heatCanvas, cells, snr, snrColour);

    const scaling = whole.scaling(t);
    const blurred = coefficients.map((u) => idct2(u.map((v, k) => v * scaling[k]), size, size));
    const noisy = blurred.map((b, c) => b.map((v, k) => a * v + sigma * noise[c][k]));
    [photo, blurred, noisy].forEach((planes, i) => drawImage(pictures[i].canvas, planes, size, size));

    const count = snr.reduce((n, v) => n + (v > 1 - 1e-9), 0), when = `at t = ${t.toFixed(3)}`;
    above.textContent = `${count} of ${size * size} frequencies have SNR ≥ 1`;
    curves.setAttribute("aria-label", `Curves of the signal-to-noise ratio over t for six frequencies, maximum blur ` +
      `${sigmaMax.toFixed(1)} pixels. Log 10 of it ${when}, lowest to highest frequency: ${Array.from(now, log10).join(", ")}; ` +
      `without blur ${log10((a / sigma) ** 2)}.`);
    heat.setAttribute("aria-label", `Heat map of the signal-to-noise ratio ${when}: ${above.textContent}; ` +
      `log 10 of it is ${log10(snr[0])} at the lowest and ${log10(snr.at(-1))} at the highest frequency.`);
    pictures[0].canvas.setAttribute("aria-label", `The photograph x, ${size} by ${size} pixels.`);
    pictures[1].canvas.setAttribute("aria-label", `The photograph blurred by ${BLURS[blur](t, sigmaMax).toFixed(1)} pixels.`);
    pictures[2].canvas.setAttribute("aria-label", `The noisy image z ${when}: signal times ${a.toFixed(2)}, ` +
      `noise of standard deviation ${sigma.toFixed(2)}.`);
  }

  // Dragging on the curves moves t.
  const drag = (event) => {
    if (!(event.buttons & 1)) return;
    const box = curves.getBoundingClientRect();
    const t = (event.clientX - box.left - at.t(0)) / (at.t(1) - at.t(0));
    player.stop();
    set("t", Math.round(200 * Math.min(Math.max(t, 0), 1)) / 200);
  };
  curves.addEventListener("pointerdown", (event) => { curves.setPointerCapture(event.pointerId); drag(event); });
  curves.addEventListener("pointermove", drag);

  for (const key of KEYS) model.on(`change:${key}`, update);
  const leave = model.get("link") ? joinGroup(model.get("link"), model, ["t"]) : () => {};
  const observer = new ResizeObserver(() => { if (curves.clientWidth) { layout(); update(); } });
  observer.observe(root.firstChild); // the controls: their size never depends on what layout() does
  el.replaceChildren(root);
  update();
  return () => {
    player.stop();
    observer.disconnect();
    leave();
    for (const key of KEYS) model.off(`change:${key}`, update);
  };
}

export default { render };
