// Blurring diffusion (HS sec. 4): drag sigma_B,max and see every frequency's signal-to-noise ratio move.
import { cosine, BLURS, freq2, blurringDiffusion, curveModes, dct2, idct2, normals, decodeImage } from "./core.js";
import {
  svg,
  scale,
  axes,
  linePlot,
  drawImage,
  drawCells,
  snrColour,
  snrTicks,
  SNR_LIMITS,
  TIME_AXIS,
  spoken,
  timeAt,
} from "./plot.js";
import {
  html,
  sigmaMaxSlider,
  timeSlider,
  dMinSlider,
  select,
  steering,
  takeDropped,
  panel,
  picture,
  legend,
  dragAcross,
  keepDrawn,
  derived,
} from "./controls.js";

const KEYS = ["sigma_max", "t", "d_min", "schedule", "_photo"];
const logOf = (v) => spoken(Math.log10(v));
const TIMES = Array.from({ length: 161 }, (_, i) => i / 160);

/** log2(1 + n), in units of the whole axis: gives each octave the same room and DC a place. */
const octave = (n, size) => Math.log2(1 + n) / Math.log2(1 + size);
const octaveCentre = (n, size) => (octave(n, size) + octave(n + 1, size)) / 2;

/** Which mode each of side x side pixels of the heat map shows; the origin is bottom left. */
function octaveCells(size, side = 256) {
  const mode = Array.from({ length: side }, (_, p) => Math.floor((1 + size) ** ((p + 0.5) / side) - 1));
  return Uint32Array.from(
    { length: side * side },
    (_, p) => mode[side - 1 - Math.floor(p / side)] * size + mode[p % side],
  );
}

function render({ model, el }) {
  const size = model.get("size");
  const noise = [1, 2, 3].map((seed) => normals(seed, size * size));
  const given = derived(
    () => model.get("_photo"),
    (text) => {
      const photo = decodeImage(text, 3);
      return { photo, coefficients: photo.map((plane) => dct2(plane, size, size)) };
    },
  );
  const plane = freq2(size, size);
  const cells = octaveCells(size);
  const modes = curveModes(size);
  const lambdas = Float64Array.from(modes, (k) => plane[k * size + k]);
  const { set, bound, show, play, ownPicture, reset } = steering(model, KEYS);
  const move = (t) => {
    player.stop();
    set("t", t);
  };

  // Controls
  const controls = {
    sigma_max: sigmaMaxSlider(bound("sigma_max")),
    t: timeSlider(move, "time: 0 data, 1 noise"),
    d_min: dMinSlider(bound("d_min")),
    schedule: select({
      ...bound("schedule"),
      symbol: "<i>σ</i><sub>B,<i>t</i></sub> / <i>σ</i><sub>B,max</sub>",
      hint: "blur schedule",
      spoken: "blur schedule",
      options: { sin2: "sin² (π t / 2)", sin: "sin (π t / 2)" },
    }),
    _photo: ownPicture(),
  };
  const player = play("t");
  controls.t.row.append(player.root);
  controls.schedule.row.append(reset(player.stop));

  // Plots
  const lines = legend([
    ...modes.map((_, i) => [`bd-f${i}`, Math.sqrt(lambdas[i]).toFixed(2)]),
    ["bd-reference", "no blur"],
  ]);
  const curves = svg("svg", { role: "img", class: "bd-curves" });
  const heat = svg("svg", { role: "img", class: "bd-heat" });
  const heatCanvas = html("canvas", { width: 1, height: 1, "aria-hidden": "true", "data-name": "heat" });
  const above = html("div", { className: "bd-hint" });
  const colours = html("span", { className: "bd-hint", innerHTML: "√<i>λ</i> in rad/px" });
  const pictures = [
    picture("photo", "<i>x</i>", "the photograph"),
    picture("blurred", "<i>D</i>(<i>x</i>, <i>t</i>) / <i>a<sub>t</sub></i>", "the blur alone, its fading divided out"),
    picture(
      "noisy",
      "<i>z<sub>t</sub></i>",
      "<i>D</i>(<i>x</i>, <i>t</i>) + <i>σ<sub>t</sub> ε</i>, clipped to [−1,&nbsp;1]",
    ),
  ];
  const root = html(
    "div",
    { className: "bdbook-widget", role: "group", "aria-label": "Blurring diffusion, interactive" },
    html(
      "div",
      { className: "bd-controls" },
      controls.sigma_max.root,
      controls.t.root,
      controls.d_min.root,
      controls.schedule.root,
    ),
    html(
      "div",
      { className: "bd-plots" },
      panel("SNR<sub><i>t</i></sub> over time", colours, lines, curves),
      panel("SNR<sub><i>t</i></sub> by frequency", "", above, html("div", { className: "bd-map" }, heatCanvas, heat)),
    ),
    html("div", { className: "bd-pictures" }, ...pictures.map((p) => p.root)),
    controls._photo.root,
  );

  let plot;

  /** What depends on the width alone: axes, ticks, colour bar. */
  function layout() {
    const left = 34;
    const top = 8;
    const side = Math.min(264, heat.clientWidth - left - 62);
    const bar = left + side + 12;
    plot = linePlot(curves, {
      box: { left: 42, right: curves.clientWidth - 8, top, bottom: top + side },
      x: TIME_AXIS,
      y: { limits: SNR_LIMITS, warp: Math.log10, ticks: snrTicks([5, 0, -5, -10, -15]) },
      one: 1,
      lines: ["bd-reference", ...modes.map((_, i) => `bd-f${i}`)],
      dots: modes.map((_, i) => `bd-f${i}`),
    });

    heat.setAttribute("height", top + side + 36);
    Object.assign(heatCanvas.style, { left: `${left}px`, top: `${top}px`, width: `${side}px`, height: `${side}px` });
    const place = scale([0, 1], [left, left + side]);
    const rise = scale([0, 1], [top + side, top]);
    const ticks = [0, 1, 2, 4, 8, 16, 32, 64, 128]
      .filter((n) => n < 0.7 * size)
      .concat(size - 1)
      .map((n) => [octaveCentre(n, size), `${n}`]);
    const barAt = scale(SNR_LIMITS, [top + side, top], Math.log10);
    const steps = Array.from({ length: 81 }, (_, i) => 10 ** (-15 + i / 4));
    heat.replaceChildren(
      axes({
        box: { left, right: left + side, top, bottom: top + side },
        grid: false,
        x: { at: place, ticks, title: "m" },
        y: { at: rise, ticks, title: "n" },
      }),
      ...modes.map((k, i) =>
        svg("circle", {
          class: `bd-dot bd-f${i}`,
          r: 4,
          cx: place(octaveCentre(k, size)),
          cy: rise(octaveCentre(k, size)),
        }),
      ),
      ...steps.slice(1).map((snr, i) =>
        svg("rect", {
          x: bar,
          width: 10,
          y: barAt(snr),
          height: barAt(steps[i]) - barAt(snr),
          "shape-rendering": "crispEdges",
          fill: `rgb(${snrColour(snr)})`,
        }),
      ),
      ...snrTicks([5, 0, -5, -10, -15]).map(([snr, label]) =>
        svg("text", { x: bar + 15, y: barAt(snr) + 4 }, ...label),
      ),
    );
  }

  /** What depends on the values. */
  function update() {
    const [sigmaMax, t, dMin, blur] = KEYS.map((key) => model.get(key));
    show(controls);
    const whole = blurringDiffusion({ lambda: plane, sigmaMax, dMin, blur });
    const few = blurringDiffusion({ lambda: lambdas, sigmaMax, dMin, blur });
    const [a, sigma] = cosine(t);
    const snr = whole.snr(t);
    const now = few.snr(t);

    if (plot) {
      const values = TIMES.map(few.snr);
      plot.line(
        0,
        TIMES,
        TIMES.map((r) => (cosine(r)[0] / cosine(r)[1]) ** 2),
      );
      modes.forEach((_, i) => {
        plot.line(
          i + 1,
          TIMES,
          values.map((v) => v[i]),
        );
        plot.dot(i, t, now[i]);
      });
      plot.mark(t);
    }
    drawCells(heatCanvas, cells, snr, snrColour);

    const { photo, coefficients } = given();
    const scaling = whole.scaling(t);
    const blurred = coefficients.map((u) =>
      idct2(
        u.map((v, k) => v * scaling[k]),
        size,
        size,
      ),
    );
    const noisy = blurred.map((b, c) => b.map((v, k) => a * v + sigma * noise[c][k]));
    [photo, blurred, noisy].forEach((planes, i) => drawImage(pictures[i].canvas, planes, size, size));

    const count = snr.reduce((n, v) => n + (v > 1 - 1e-9), 0);
    const when = `at t = ${t.toFixed(3)}`;
    above.textContent = `${count} of ${size * size} frequencies have SNR ≥ 1`;
    curves.setAttribute(
      "aria-label",
      `Curves of the signal-to-noise ratio over t for six frequencies, maximum blur ` +
        `${sigmaMax.toFixed(1)} pixels. Log 10 of it ${when}, lowest to highest frequency: ${Array.from(now, logOf).join(", ")}; ` +
        `without blur ${logOf((a / sigma) ** 2)}.`,
    );
    heat.setAttribute(
      "aria-label",
      `Heat map of the signal-to-noise ratio ${when}: ${above.textContent}; ` +
        `log 10 of it is ${logOf(snr[0])} at the lowest and ${logOf(snr.at(-1))} at the highest frequency.`,
    );
    pictures[0].canvas.setAttribute("aria-label", `The photograph x, ${size} by ${size} pixels.`);
    pictures[1].canvas.setAttribute(
      "aria-label",
      `The photograph blurred by ${BLURS[blur](t, sigmaMax).toFixed(1)} pixels.`,
    );
    pictures[2].canvas.setAttribute(
      "aria-label",
      `The noisy image z ${when}: signal times ${a.toFixed(2)}, ` + `noise of standard deviation ${sigma.toFixed(2)}.`,
    );
  }

  dragAcross(curves, (px) => move(timeAt(plot, px)));
  takeDropped(root, controls._photo.take);
  return keepDrawn({ model, el, root, keys: KEYS, shared: ["t"], layout, update, stop: player.stop });
}

export default { render };
