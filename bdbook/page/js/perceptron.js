// A small network that is trained in the page: a perceptron with two hidden layers, SiLU and Adam, in plain arrays.
import { uniform } from "./core.js";

export const WIDTH = 64;
export const BATCH = 256;
export const TRAINING = 3000; // steps
const RATE = 4e-3; // of Adam at the first step; it falls to 0 at the last along a half wave
const [BETA1, BETA2, TINY] = [0.9, 0.999, 1e-8];

/** out[r][c] = sum over k of a[r][k] b[c][k]. Four rows and two columns at a time: a sum waits for no other. */
function products(a, b, out, rows, cols, inner) {
  const whole = rows - (rows % 4);
  for (let r = 0; r < whole; r += 4)
    for (let c = 0; c + 1 < cols; c += 2) {
      let p0 = 0;
      let p1 = 0;
      let p2 = 0;
      let p3 = 0;
      let q0 = 0;
      let q1 = 0;
      let q2 = 0;
      let q3 = 0;
      const i0 = r * inner;
      const i1 = i0 + inner;
      const i2 = i1 + inner;
      const i3 = i2 + inner;
      const j0 = c * inner;
      const j1 = j0 + inner;
      for (let k = 0; k < inner; k++) {
        const x = b[j0 + k];
        const y = b[j1 + k];
        const s = a[i0 + k];
        const t = a[i1 + k];
        const u = a[i2 + k];
        const v = a[i3 + k];
        p0 += s * x;
        q0 += s * y;
        p1 += t * x;
        q1 += t * y;
        p2 += u * x;
        q2 += u * y;
        p3 += v * x;
        q3 += v * y;
      }
      const o = r * cols + c;
      out[o] = p0;
      out[o + 1] = q0;
      out[o + cols] = p1;
      out[o + cols + 1] = q1;
      out[o + 2 * cols] = p2;
      out[o + 2 * cols + 1] = q2;
      out[o + 3 * cols] = p3;
      out[o + 3 * cols + 1] = q3;
    }
  for (let r = 0; r < rows; r++)
    for (let c = r < whole ? cols - (cols % 2) : 0; c < cols; c++) {
      let sum = 0;
      for (let k = 0; k < inner; k++) sum += a[r * inner + k] * b[c * inner + k];
      out[r * cols + c] = sum;
    }
}

/** out = a', for a of rows x cols. */
function turned(a, out, rows, cols) {
  for (let r = 0; r < rows; r++) for (let c = 0; c < cols; c++) out[c * rows + r] = a[r * cols + c];
}

/**
 * A network of layers with `sizes` numbers each; the weights of a layer are (to, from), all in one Float32Array
 * `weights`. The last layer begins at 0: what a network of spectral preconditioning says is then 0, the Wiener filter.
 */
export function perceptron(sizes, seed) {
  const count = sizes.slice(1).reduce((sum, to, l) => sum + to * (sizes[l] + 1), 0);
  const next = uniform(seed);
  const weights = new Float32Array(count);
  let from = 0;
  const layers = sizes.slice(1).map((to, l) => {
    const [w, b] = [from, (from += to * sizes[l])];
    from += to;
    if (l + 2 < sizes.length) {
      const bound = Math.sqrt(3 / sizes[l]); // a variance of 1 / from
      for (let k = w; k < b; k++) weights[k] = bound * (2 * next() - 1);
    }
    return { n: sizes[l], m: to, w: [w, b], b: [b, from] };
  });
  return { sizes, layers, weights };
}

/**
 * Room for `rows` inputs at a time: `forward(x)` gives what the network says, (rows, out), and `backward(answer, slope)`
 * after it the gradient by all weights, of a loss whose gradient by the answer is `slope`. Each call writes over the
 * last one's.
 */
export function propagation({ sizes, layers, weights }, rows) {
  const part = (values, [from, to]) => values.subarray(from, to);
  const room = (count) => new Float32Array(count);
  const gradient = room(weights.length);
  const heights = layers.map(({ m }) => room(rows * m)); // after SiLU, z s(z); the last layer has none
  const steepness = layers.map(({ m }) => room(rows * m)); // its derivative, s (1 + z (1 - s))
  const slopes = layers.map(({ m }) => room(rows * m));
  const spare = Math.max(...sizes);
  const [acrossX, acrossSlope, acrossW, byWeights] = [rows * spare, rows * spare, spare ** 2, spare ** 2].map(room);
  let inputs;

  function forward(x) {
    inputs = x;
    let below = x;
    layers.forEach(({ n, m, w, b }, l) => {
      const h = heights[l];
      const steep = steepness[l];
      const bias = part(weights, b);
      products(below, part(weights, w), h, rows, m, n);
      const last = l + 1 === layers.length;
      for (let r = 0, k = 0; r < rows; r++)
        for (let c = 0; c < m; c++, k++) {
          const z = h[k] + bias[c];
          const s = last ? 1 : 1 / (1 + Math.exp(-z));
          h[k] = z * s;
          steep[k] = s * (1 + z * (1 - s));
        }
      below = h;
    });
    return below;
  }

  function backward(slope) {
    slopes.at(-1).set(slope);
    for (let l = layers.length - 1; l >= 0; l--) {
      const { n, m, w, b } = layers[l];
      const d = slopes[l];
      const bias = part(gradient, b).fill(0);
      for (let r = 0, k = 0; r < rows; r++) for (let c = 0; c < m; c++, k++) bias[c] += d[k];
      turned(l > 0 ? heights[l - 1] : inputs, acrossX, rows, n);
      turned(d, acrossSlope, rows, m);
      // as many rows as possible, four of which are one piece of work
      products(acrossX, acrossSlope, byWeights, n, m, rows);
      turned(byWeights, part(gradient, w), n, m);
      if (l === 0) continue;
      turned(part(weights, w), acrossW, m, n);
      const under = slopes[l - 1];
      products(d, acrossW, under, rows, n, m);
      for (let k = 0; k < under.length; k++) under[k] *= steepness[l - 1][k];
    }
    return gradient;
  }
  return { forward, backward };
}

/**
 * Trains a network by Adam on the mean square of its error. `draw(x, target)` fills in BATCH inputs and targets.
 * `step()` makes one step and gives the loss before it; `done` is how many were made.
 */
export function training(net, draw) {
  const { forward, backward } = propagation(net, BATCH);
  const { sizes, weights } = net;
  const x = new Float32Array(BATCH * sizes[0]);
  const target = new Float32Array(BATCH * sizes.at(-1));
  const slope = new Float32Array(target.length);
  const mean = new Float32Array(weights.length);
  const square = new Float32Array(weights.length);
  const run = { done: 0, net, step };

  function step() {
    draw(x, target);
    const answer = forward(x);
    let loss = 0;
    for (let k = 0; k < target.length; k++) {
      const error = answer[k] - target[k];
      loss += error ** 2 / target.length;
      slope[k] = (2 * error) / target.length;
    }
    const gradient = backward(slope);
    const rate = RATE * Math.cos((Math.PI / 2) * Math.min(run.done / TRAINING, 1)) ** 2;
    run.done++;
    const [first, second] = [1 - BETA1 ** run.done, 1 - BETA2 ** run.done];
    for (let k = 0; k < weights.length; k++) {
      mean[k] += (1 - BETA1) * (gradient[k] - mean[k]);
      square[k] += (1 - BETA2) * (gradient[k] ** 2 - square[k]);
      weights[k] -= (rate * mean[k]) / first / (Math.sqrt(square[k] / second) + TINY);
    }
    return loss;
  }
  return run;
}
