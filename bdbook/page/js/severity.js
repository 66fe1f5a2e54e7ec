// Cold diffusion (Bansal): one severity t for every degradation, what is left of the picture, what one step back adds.
import { freq2, frequencyScaling, dissipationTime, dct2, idct2, normals, decodeImage, decodeFloats } from "./core.js";
import { svg, linePlot, drawImage, TIME_AXIS, timeAt } from "./plot.js";
import {
  html,
  slider,
  sigmaMaxSlider,
  select,
  steering,
  allow,
  takeDropped,
  picture,
  dragAcross,
  keepDrawn,
  derived,
  memory,
  inPieces,
} from "./controls.js";

const KEYS = ["degradation", "t", "sigma_max", "_photo"];
const INTERVALS = 50; // of a curve, at least: one per step, but steps that are few show as stairs
const MASKS = 50;
const FIRST = 1;
const INCREMENT = 0.4; // of inpainting: their number, and their widths in px
const THRESHOLD = [1.15, 0.7];
const WIND = [0.05, 16]; // of snow, at t = 0 and 1; Bansal app. A.5, CIFAR-10
const between = ([first, last], t) => first + (last - first) * t;

/** alpha x + sigma z, plane by plane. */
const blend = (x, z, alpha, sigma) => x.map((plane, c) => plane.map((v, k) => alpha * v + sigma * z[c][k]));

/** alpha of inpainting after 0, 1, ... masks, one over another around the centre. */
function maskTable(size) {
  const middle = (size - 1) / 2;
  const nearest = 2 * (middle - Math.floor(middle)) ** 2;
  const d2 = Float64Array.from(
    { length: size * size },
    (_, k) => (Math.floor(k / size) - middle) ** 2 + ((k % size) - middle) ** 2 - nearest,
  );
  const table = [new Float64Array(size * size).fill(1)];
  for (let j = 0; j < MASKS; j++) {
    const twice = 2 * (FIRST + INCREMENT * j) ** 2;
    table.push(table[j].map((keep, k) => -keep * Math.expm1(-d2[k] / twice)));
  }
  return table;
}

/** Means over blocks of `block` pixels, in full size. */
function pixelate(plane, size, block) {
  const side = size / block;
  const means = new Float64Array(side * side);
  const place = (k) => Math.floor(Math.floor(k / size) / block) * side + Math.floor((k % size) / block);
  plane.forEach((v, k) => {
    means[place(k)] += v / block ** 2;
  });
  return plane.map((_, k) => means[place(k)]);
}

/** S + S': flakes where the field exceeds the threshold, blown by a one-sided Gaussian, and the same turned around. */
function snowLayer(field, vertical, size, t) {
  const threshold = between(THRESHOLD, t);
  const deviation = between(WIND, t);
  const taps = Float64Array.from({ length: size }, (_, r) => Math.exp(-0.5 * (r / deviation) ** 2));
  const sum = taps.reduce((a, b) => a + b);
  const blown = new Float64Array(size * size);
  const [along, across] = vertical ? [size, 1] : [1, size];
  for (let line = 0; line < size; line++)
    for (let i = 0; i < size; i++) {
      const flake = field[line * across + i * along];
      if (flake <= threshold) continue;
      const weight = Math.min(Math.max(flake, 0), 1) / sum;
      for (let j = i; j < size; j++) blown[line * across + j * along] += weight * taps[j - i];
      if (i > 0) continue;
      for (let j = 0, rest = sum; j < size; j++) {
        // the border pixel is repeated before the border
        rest -= taps[j];
        blown[line * across + j * along] += weight * rest;
      }
    }
  return blown.map((v, k) => v + blown[size * size - 1 - k]);
}

/** x + 2 S clipped to [-1, 1] where snow has fallen: [-1, 1] is twice as wide as [0, 1]. */
const snowOn = (x, layer) =>
  x.map((plane) => plane.map((v, k) => (layer[k] > 0 ? Math.min(Math.max(v + 2 * layer[k], -1), 1) : v)));

/**
 * The degradations of a picture by name: `image(t, sigmaMax)` is D(x, t) as planes, `left(t, sigmaMax)` says in words
 * what remains of x. steps: the paper's T. stepped: exists at t = i / T only. gain: how much the figure enlarges a step.
 */
export function degradations({ photo, size, other, noise, field, vertical }) {
  const lambda = freq2(size, size);
  const coefficients = photo.map((plane) => dct2(plane, size, size));
  const grey = photo[0].map((_, k) => (photo[0][k] + photo[1][k] + photo[2][k]) / 3);
  const index = (t, steps) => Math.round(t * steps);
  const halvings = Math.log2(size) - 1;
  let masks;
  const mask = (t) => (masks ??= maskTable(size))[index(t, MASKS)];
  const blended = (z) => ({
    steps: 200,
    image: (t) => blend(photo, z, Math.cos((Math.PI * t) / 2), Math.sin((Math.PI * t) / 2)),
    left: (t) =>
      `<i>α</i> = ${Math.cos((Math.PI * t) / 2).toFixed(2)}, <i>σ</i> = ${Math.sin((Math.PI * t) / 2).toFixed(2)}`,
  });
  return {
    blur: {
      steps: 50,
      gain: 20,
      image(t, sigmaMax) {
        const d = frequencyScaling(lambda, dissipationTime(sigmaMax * t), 0);
        return coefficients.map((u) =>
          idct2(
            u.map((v, k) => v * d[k]),
            size,
            size,
          ),
        );
      },
      left: (t, sigmaMax) => `blurred by ${(sigmaMax * t).toFixed(1)} px`,
    },
    inpainting: {
      steps: MASKS,
      stepped: true,
      gain: 10,
      image: (t) => photo.map((plane) => plane.map((v, k) => v * mask(t)[k])),
      left: (t) => `${((100 * mask(t).reduce((a, b) => a + b)) / size ** 2).toFixed(0)} % of the light let through`,
    },
    super_resolution: {
      steps: halvings,
      stepped: true,
      gain: 1,
      image: (t) => photo.map((plane) => pixelate(plane, size, 2 ** index(t, halvings))),
      left: (t) => `blocks of ${2 ** index(t, halvings)} px`,
    },
    colourisation: {
      steps: 50,
      gain: 50,
      image: (t) => blend(photo, [grey, grey, grey], 1 - t, t),
      left: (t) => `${(100 * (1 - t)).toFixed(0)} % of the colour`,
    },
    snow: {
      steps: 200,
      gain: 10,
      image: (t) => (t > 0 ? snowOn(photo, snowLayer(field, vertical, size, t)) : photo),
      left: (t) => `threshold ${between(THRESHOLD, t).toFixed(2)}, wind ${between(WIND, t).toFixed(1)} px`,
    },
    noise: { ...blended(noise), gain: 50 },
    animorphosis: { ...blended(other), gain: 100 },
  };
}

const NAMES = {
  blur: "blur",
  inpainting: "inpainting: masks",
  super_resolution: "super-resolution: blocks",
  colourisation: "colourisation",
  snow: "snow",
  noise: "noise, a fixed pattern",
  animorphosis: "animorphosis: another picture",
};

/** Root of the mean square, and the largest size, of the difference of two pictures, in units of the range. */
function distance(planes, others) {
  let sum = 0;
  let largest = 0;
  planes.forEach((plane, c) => {
    for (let k = 0; k < plane.length; k++) {
      const difference = Math.abs(plane[k] - others[c][k]) / 2;
      sum += difference * difference;
      if (difference > largest) largest = difference;
    }
  });
  return { rmse: Math.sqrt(sum / (planes.length * planes[0].length)), largest };
}

/** Fills `points` in, one t after another: how far D(x, t) is from x, and its largest jump since t - 1/T. */
function* complete(points, photo, steps, image) {
  const count = Math.max(steps, INTERVALS);
  let last;
  while (points.length <= count) {
    const t = points.length / count;
    const i = Math.round(t * steps);
    const before = last?.i === i - 1 ? last.planes : image(Math.max(i - 1, 0) / steps);
    last = { i, planes: image(i / steps) };
    points.push({ t, rmse: distance(last.planes, photo).rmse, jump: distance(last.planes, before).largest });
    yield;
  }
}

function render({ model, el }) {
  const size = model.get("size");
  const noise = [1, 2, 3].map((seed) => normals(seed, size * size));
  const other = decodeImage(model.get("_other"), 3);
  const field = decodeFloats(model.get("_field"));
  const given = derived(
    () => model.get("_photo"),
    (text) => {
      const photo = decodeImage(text, 3);
      return {
        photo,
        remember: memory(),
        kinds: degradations({ photo, size, other, noise, field, vertical: model.get("_vertical") }),
      };
    },
  );
  const { set, bound, show, play, ownPicture, reset } = steering(model, KEYS);
  const move = (t) => {
    player.stop();
    set("t", t);
  };

  // Controls
  const controls = {
    t: slider({
      name: "t",
      symbol: "<i>t</i>",
      hint: "severity: 0 clean",
      spoken: "t, severity",
      min: 0,
      max: 1,
      step: 0.005,
      format: (v) => v.toFixed(3),
      onInput: move,
    }),
    degradation: select({
      ...bound("degradation"),
      symbol: "<i>D</i>",
      hint: "degradation",
      spoken: "degradation",
      options: NAMES,
    }),
    sigma_max: sigmaMaxSlider(bound("sigma_max")),
    _photo: ownPicture(),
  };
  const player = play("t");
  controls.t.row.append(player.root);
  controls.degradation.row.append(reset(player.stop));

  // Pictures and plot
  const pictures = [
    picture("photo", "<i>x</i>", "the photograph"),
    picture("degraded", "<i>D</i>(<i>x</i>, <i>t</i>)", ""),
    picture("added", "<i>D</i>(<i>x</i>, <i>t</i> − 1/<i>T</i>) − <i>D</i>(<i>x</i>, <i>t</i>)", ""),
  ];
  const [left, added] = pictures.slice(1).map((p) => p.caption.lastChild);
  const numbers = html("div", { className: "bd-numbers" });
  const curves = svg("svg", { role: "img", class: "bd-curves" });
  const root = html(
    "div",
    { className: "bdbook-widget", role: "group", "aria-label": "Degradations by severity, interactive" },
    html("div", { className: "bd-controls" }, controls.t.root, controls.degradation.root, controls.sigma_max.root),
    html("div", { className: "bd-pictures" }, ...pictures.map((p) => p.root)),
    numbers,
    html(
      "div",
      { className: "bd-panel bd-across" },
      html(
        "div",
        { className: "bd-title" },
        html("span", {}, "What is lost"),
        html("span", { className: "bd-hint" }, "1: black to white"),
      ),
      html(
        "div",
        { className: "bd-legend bd-row-legend" },
        html("span", { className: "bd-key bd-own" }, "RMSE to x"),
        html("span", { className: "bd-key bd-f5" }, "largest jump of a pixel in one step"),
      ),
      curves,
    ),
    controls._photo.root,
  );

  const pieces = inPieces(() => {
    if (plot) drawCurves();
  });
  let plot, points;

  function layout() {
    plot = linePlot(curves, {
      box: { left: 34, right: curves.clientWidth - 8, top: 8, bottom: 168 },
      x: TIME_AXIS,
      y: { limits: [0, 1], ticks: [0, 0.25, 0.5, 0.75, 1].map((v) => [v, `${v}`]) },
      lines: ["bd-f5", "bd-own"],
      dots: ["bd-f5", "bd-own"],
    });
  }

  function drawCurves() {
    const times = points.map((p) => p.t);
    plot.line(
      0,
      times,
      points.map((p) => p.jump),
    );
    plot.line(
      1,
      times,
      points.map((p) => p.rmse),
    );
    curves.dataset.complete = times.at(-1) === 1;
  }

  function update() {
    const [name, t, sigmaMax] = KEYS.map((key) => model.get(key));
    const { photo, kinds, remember } = given();
    const { steps, stepped, gain, ...kind } = kinds[name];
    show(controls);
    allow(controls.sigma_max, name === "blur", "only of blur");
    const image = (s) => kind.image(s, sigmaMax);
    const at = stepped ? Math.round(t * steps) / steps : t;
    const now = remember("now", [name, at, sigmaMax], () => image(at));
    const before = image(Math.max(at - 1 / steps, 0));
    const { rmse } = distance(now, photo);
    const { largest: jump } = distance(now, before);

    const fresh = remember(name, name === "blur" ? sigmaMax : 0, () => []); // the curves that were begun
    if (fresh !== points) {
      points = fresh;
      pieces.run(complete(points, photo, steps, image));
    }
    if (plot) {
      drawCurves();
      plot.dot(0, t, jump);
      plot.dot(1, t, rmse);
      plot.mark(t);
    }
    [photo, now, blend(before, now, gain, -gain)].forEach((planes, i) =>
      drawImage(pictures[i].canvas, planes, size, size),
    );

    left.innerHTML = kind.left(at, sigmaMax);
    added.textContent = `what a step back adds${gain === 1 ? "" : `, × ${gain}`}`;
    numbers.innerHTML =
      `<span>RMSE <b>${rmse.toFixed(3)}</b></span><span>largest jump <b>${jump.toFixed(3)}</b></span>` +
      `<span>step <b>${Math.round(t * steps)}</b> of <i>T</i> = <b>${steps}</b></span>`;
    const when = `at t = ${t.toFixed(3)}`;
    curves.setAttribute(
      "aria-label",
      `Curves over t, in units of the range from black to white, for ${NAMES[name]}. ` +
        `RMSE to the photograph ${when}: ${rmse.toFixed(3)}. Largest jump of a pixel in one of ${steps} steps: ${jump.toFixed(3)}.`,
    );
    pictures[0].canvas.setAttribute("aria-label", `The photograph x, ${size} by ${size} pixels.`);
    pictures[1].canvas.setAttribute("aria-label", `The degraded picture ${when}: ${left.textContent}.`);
    pictures[2].canvas.setAttribute("aria-label", `What one step back from t adds, around grey, times ${gain}.`);
  }

  dragAcross(curves, (px) => move(timeAt(plot, px)));
  takeDropped(root, controls._photo.take);
  return keepDrawn({
    model,
    el,
    root,
    keys: KEYS,
    shared: ["t"],
    layout,
    update,
    stop: () => {
      player.stop();
      pieces.stop();
    },
  });
}

export default { render };
