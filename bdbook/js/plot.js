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
  const low = warp(from), high = warp(to);
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
export const NOISE_TO_SIGNAL = colourMap(
  ["#571f03", "#8f3d0c", "#c4661f", "#e39b55", "#f0cfa5", "#f4f1ea", "#b5d2e6", "#73a9d1", "#387dba", "#15569b", "#082f63"]);

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
