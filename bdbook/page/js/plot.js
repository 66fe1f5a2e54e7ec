// Drawing: SVG for lines and axes, canvas for pixels. Colours of the chrome live in bdbook.css.

/** An SVG element with attributes and children. */
export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Maps a domain to a range after `warp`, e.g. Math.log10 for a logarithmic axis. */
export function scale([from, to], [start, end], warp = (v) => v) {
  const low = warp(from);
  const high = warp(to);
  return (v) => start + ((warp(v) - low) / (high - low)) * (end - start);
}

/** "10" with a raised exponent, for the ticks of a logarithmic axis. */
export function powerOfTen(exponent) {
  if (exponent === 0) return ["1"];
  const raised = svg("tspan", { dy: "-0.4em", "font-size": "0.78em" });
  raised.textContent = `${exponent}`.replace("-", "\u2212");
  return ["10", raised];
}

/**
 * Frame, ticks and grid of a plot. `box` is { left, right, top, bottom } in px; `x` and `y` are
 * { at: scale, ticks: [[value, label nodes], ...], title }.
 */
export function axes({ box, x, y, grid = true }) {
  const { left, right, top, bottom } = box;
  const group = svg("g", { class: "bd-axes" });
  for (const [value, label] of y.ticks) {
    const at = y.at(value);
    if (grid) group.append(svg("line", { class: "bd-grid", x1: left, x2: right, y1: at, y2: at }));
    group.append(svg("text", { x: left - 7, y: at + 4, "text-anchor": "end", "data-y": value }, ...[label].flat()));
  }
  for (const [value, label] of x.ticks) {
    const at = x.at(value);
    if (grid) group.append(svg("line", { class: "bd-grid", x1: at, x2: at, y1: top, y2: bottom }));
    group.append(svg("text", { x: at, y: bottom + 16, "text-anchor": "middle", "data-x": value }, ...[label].flat()));
  }
  const title = { class: "bd-axis-title", "text-anchor": "middle" };
  if (x.title) group.append(svg("text", { ...title, x: (left + right) / 2, y: bottom + 31 }, x.title));
  if (y.title) group.append(svg("text", { ...title, x: left - 26, y: (top + bottom) / 2 + 4 }, y.title));
  return group;
}

/** The `d` of a polyline through points given in px. */
export const linePath = (xs, ys) => xs.map((x, i) => `${i ? "L" : "M"}${x.toFixed(2)} ${ys[i].toFixed(2)}`).join("");

/** The box of a plot that fills its svg, as high as it is wide but never very high. */
export const plotBox = (node) => ({
  left: 46,
  right: node.clientWidth - 14,
  top: 8,
  bottom: 8 + Math.min(264, node.clientWidth - 96),
});

let clips = 0;

/**
 * Lines over one variable, drawn into the svg `node`. `x` and `y` are { limits, warp, ticks, title }; `lines` and
 * `dots` name one class each. What lies outside the box is cut off. Returns the scales and how to fill it in.
 */
export function linePlot(node, { box, x, y, lines, dots = [], one, marker = true }) {
  const at = { x: scale(x.limits, [box.left, box.right], x.warp), y: scale(y.limits, [box.bottom, box.top], y.warp) };
  const paths = lines.map((name) => svg("path", { class: `bd-line ${name}` }));
  const circles = dots.map((name) => svg("circle", { class: `bd-dot ${name}`, r: 4 }));
  const id = `bd-clip-${++clips}-${Math.random().toString(36).slice(2, 7)}`;
  const mark = svg(
    "g",
    { class: "bd-marker" },
    svg("line", { y1: box.top, y2: box.bottom }),
    svg("circle", { cy: box.bottom, r: 5 }),
  );
  node.setAttribute("height", box.bottom + 36);
  node.replaceChildren(
    svg(
      "clipPath",
      { id },
      svg("rect", { x: box.left, y: box.top - 1, width: box.right - box.left, height: box.bottom - box.top + 2 }),
    ),
    axes({ box, x: { ...x, at: at.x }, y: { ...y, at: at.y } }),
    ...(one === undefined
      ? []
      : [svg("line", { class: "bd-one", x1: box.left, x2: box.right, y1: at.y(one), y2: at.y(one) })]),
    ...(marker ? [mark] : []),
    svg("g", { "clip-path": `url(#${id})` }, ...paths),
    ...circles,
  );
  const inside = (v, [a, b]) => v >= a && v <= b;
  node.bdbookAxes = [x.title, y.title]; // with what is drawn, for who saves its numbers (book/assets/figures.js)
  return {
    at,
    line(i, xs, ys) {
      paths[i].bdbookPoints = [Array.from(xs), Array.from(ys)];
      paths[i].setAttribute("d", linePath(Array.from(xs, at.x), Array.from(ys, at.y)));
    },
    dot(i, cx, cy) {
      circles[i].bdbookPoints = [[cx], [cy]];
      circles[i].setAttribute("visibility", inside(cx, x.limits) && inside(cy, y.limits) ? "visible" : "hidden");
      circles[i].setAttribute("cx", at.x(cx));
      if (Number.isFinite(at.y(cy))) circles[i].setAttribute("cy", at.y(cy));
    },
    mark: (cx) => mark.setAttribute("transform", `translate(${at.x(cx)} 0)`),
  };
}

/** Limits and ticks of the curves of SNR over t, the same in every figure; values are SNR or (`log`) its log10. */
export const SNR_LIMITS = [1e-15, 1e5];
export const snrTicks = (exponents, log = false) => exponents.map((e) => [log ? e : 10 ** e, powerOfTen(e)]);
export const TIME_AXIS = { limits: [0, 1], ticks: [0, 0.25, 0.5, 0.75, 1].map((t) => [t, `${t}`]), title: "t" };

/** The time at `px` from the left edge of a plot over t, a multiple of 1 / steps. */
export const timeAt = ({ at }, px, steps = 200) =>
  Math.round(steps * Math.min(Math.max((px - at.x(0)) / (at.x(1) - at.x(0)), 0), 1)) / steps;

const RANGES = [1.1, 2, 10, 100, 1e4, 1e8, 1e16];

/** The smallest of a few ranges 1 / R to R that holds all `values`: a plot of ratios keeps still most of the time. */
export const ratioRange = (values) => RANGES.find((r) => values.every((v) => v <= r && v >= 1 / r)) ?? RANGES.at(-1);

/** The axis of ratios from 1 / R to R; values beyond it are drawn at its edge. */
export function ratioAxis(range) {
  const e = Math.log10(range);
  const ticks =
    range > 10
      ? [1, 0.5, 0, -0.5, -1].map((f) => [10 ** (f * e), powerOfTen(f * e)])
      : { 1.1: [1.1, 1.05, 1, 0.95, 1 / 1.1], 2: [2, 1.5, 1, 0.7, 0.5], 10: [10, 3, 1, 0.3, 0.1] }[range].map((v) => [
          v,
          `${+v.toFixed(2)}`,
        ]);
  return {
    limits: [1 / range, range],
    warp: Math.log10,
    ticks,
    one: 1,
    clamp: (values) => Array.from(values, (v) => Math.min(Math.max(v, 1 / range), range)),
  };
}

/** A plot over frequency of ratios from 1 / R to R, with a dot for each band on its last line, and the axis's clamp. */
export function ratioPlotOf(node, { x, range, lines, bands }) {
  const y = ratioAxis(range);
  const dots = Array.from(bands.centres, () => lines.at(-1));
  return { ...linePlot(node, { box: plotBox(node), x, y, one: 1, lines, dots, marker: false }), clamp: y.clamp };
}

/** Radial frequency in rad/px, logarithmic, from the lowest of `size` pixels to the corner. */
export const frequencyAxis = (size) => ({
  limits: [Math.PI / size, Math.PI * Math.SQRT2],
  warp: Math.log10,
  title: "√λ, rad/px",
  ticks: [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 4].filter((f) => f >= Math.PI / size).map((f) => [f, `${f}`]),
});

/** A number for a reader: 3 significant digits, a power of ten where it is very small or large. */
export function short(v) {
  if (!Number.isFinite(v)) return "∞";
  if (v === 0 || (Math.abs(v) >= 1e-3 && Math.abs(v) < 1e5)) return `${+v.toPrecision(3)}`;
  const [digits, exponent] = v.toExponential(1).split("e");
  return `${digits}·10<sup>${exponent.replace("+", "").replace("-", "\u2212")}</sup>`;
}

/** A number for a sentence, with a true minus sign. */
export const spoken = (v, digits = 1) => v.toFixed(digits).replace("-", "\u2212");

/** A colour map: value in [0, 1] -> [r, g, b], linear between evenly spaced hexadecimal stops. */
export function colourMap(stops) {
  const rgb = stops.map((hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)));
  return (value) => {
    const place = Math.min(Math.max(value, 0), 1) * (rgb.length - 1);
    const k = Math.min(Math.floor(place), rgb.length - 2);
    return rgb[k].map((c, i) => c + (place - k) * (rgb[k + 1][i] - c));
  };
}

/** Orange (noise) to pale to blue (signal): legible to colour-blind readers, in print and in the dark. */
export const NOISE_TO_SIGNAL = colourMap([
  "#571f03",
  "#8f3d0c",
  "#c4661f",
  "#e39b55",
  "#f0cfa5",
  "#f4f1ea",
  "#b5d2e6",
  "#73a9d1",
  "#387dba",
  "#15569b",
  "#082f63",
]);

/** SNR to colour: the pale middle is SNR = 1; each half of the map is linear in log10 SNR. */
export const snrColour = (snr) => {
  const v = Math.log10(snr);
  return NOISE_TO_SIGNAL(v > 0 ? 0.5 + v / 10 : 0.5 + v / 30);
};

/** Three planes (or one) of values in [-1, 1] onto a canvas of w x h pixels; what lies outside is clipped. */
export function drawImage(canvas, planes, h, w) {
  const image = new ImageData(w, h);
  for (let i = 0; i < h * w; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = (planes[planes.length === 1 ? 0 : c][i] + 1) * 127.5;
    image.data[4 * i + 3] = 255;
  }
  Object.assign(canvas, { width: w, height: h }).getContext("2d").putImageData(image, 0, 0);
}

/** Each canvas pixel takes colour(values[cells[pixel]]): a heat map whose cells may have any shape. */
export function drawCells(canvas, cells, values, colour) {
  const palette = new Uint32Array(values.length);
  const bytes = new Uint8ClampedArray(palette.buffer);
  for (let i = 0; i < values.length; i++) {
    bytes.set(colour(values[i]), 4 * i);
    bytes[4 * i + 3] = 255;
  }
  const side = Math.sqrt(cells.length);
  const image = new ImageData(side, side);
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < cells.length; i++) pixels[i] = palette[cells[i]];
  Object.assign(canvas, { width: side, height: side }).getContext("2d").putImageData(image, 0, 0);
}
