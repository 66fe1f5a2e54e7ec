// A walk with a trained network: the same arithmetic as bdbook/samplers.py, in float64 around the network's float32.
import {
  decodeFloats,
  RULES,
  partialCarry,
  wiener,
  alphaRatio,
  logRatios,
  extrapolation,
  uniform,
  normals,
} from "./core.js";
import { process, times } from "./processes.js";

/** A system as bdbook.page.walks.walk tells it, with its network, net(images, t): a promise of images. */
export function system(told, net) {
  const { size, predicts, settings } = told;
  const n = size * size;
  const own = process(told.process, size, settings);
  const centres = decodeFloats(told.centres);
  return {
    ...told,
    n,
    net,
    process: own,
    predicts,
    cold: own.sigma(1)[0] === 0,
    mean: own.forward(decodeFloats(told.mean)),
    variance: decodeFloats(told.variance),
    spread: decodeFloats(told.spread),
    centres: Array.from({ length: centres.length / n }, (_, i) => centres.subarray(i * n, (i + 1) * n)),
  };
}

/** `count` starts x_T; image i of a seed has the same noise whatever the system. */
export function starts({ n, process: { forward, inverse }, centres, spread }, seed, count) {
  const pick = uniform(seed);
  return Array.from({ length: count }, (_, i) => {
    const noise = forward(normals(noiseSeed(seed, i, 0), n)).map((v, k) => v * spread[k]);
    const centre = centres[Math.floor(pick() * centres.length)];
    return inverse(noise).map((v, k) => v + centre[k]);
  });
}

/** Seed of the white noise for image i in the step that begins at number `step`; 0 is x_T's. */
const noiseSeed = (seed, i, step) =>
  (Math.imul(seed, 0x9e3779b1) + Math.imul(i, 0x85ebca6b) + Math.imul(step, 0xc2b2ae35)) >>> 0;

/** At one time, (u_t, the network's answer) -> the guess of u_x, all in the basis. */
function guessing({ predicts, mean, variance }, alpha, sigma) {
  if (predicts === "residual") return (u, out) => u.map((v, k) => v + out[k]);
  const gain = variance.map((v, k) => wiener(alpha[k], sigma[k], v));
  const deviation = variance.map((v, k) => {
    const total = alpha[k] ** 2 * v + sigma[k] ** 2;
    return Math.sqrt(total > 0 ? (v * sigma[k] ** 2) / total : v);
  });
  return (u, out) => u.map((v, k) => mean[k] + gain[k] * (v - alpha[k] * mean[k]) + deviation[k] * out[k]);
}

/**
 * The flow rule's step (samplers.flow): y_s = y_t + (phi_t - phi_s) F in whitened coordinates, with one clock phi per
 * coefficient. A function of u_t, x0_hat and the F before that gives { F, next }: next is u_s, and with a weight
 * `ahead` F is drawn on to the middle of the step.
 */
export function flowStep({ mean, variance }, alphaT, sigmaT, alphaS, sigmaS) {
  const root = variance.map(Math.sqrt);
  const before = root.map((r, k) => Math.hypot(alphaT[k] * r, sigmaT[k]));
  const after = root.map((r, k) => Math.hypot(alphaS[k] * r, sigmaS[k]));
  // The angle between the two, and not the difference of two near pi / 2 (bdbook/clocks.py).
  const turned = root.map((r, k) =>
    Math.atan2(
      (sigmaT[k] * alphaS[k] - sigmaS[k] * alphaT[k]) * r,
      alphaT[k] * alphaS[k] * r * r + sigmaT[k] * sigmaS[k],
    ),
  );
  return (u, x0, FBefore, ahead) => {
    const whitened = u.map((v, k) => (v - alphaT[k] * mean[k]) / before[k]);
    // x0_hat - m = sqrt(v) (cos phi y + sin phi F); where the data never vary there is nothing to say.
    const F = x0.map((v, k) => {
      const deviation = (root[k] * sigmaT[k]) / before[k];
      return deviation === 0 ? 0 : (v - mean[k] - (alphaT[k] * root[k] ** 2 * whitened[k]) / before[k]) / deviation;
    });
    const drawnOn = ahead ? F.map((v, k) => v + ahead * (v - FBefore[k])) : F;
    return { F, next: whitened.map((y, k) => alphaS[k] * mean[k] + after[k] * (y + turned[k] * drawnOn[k])) };
  };
}

/**
 * Walks from `x`, a list of images, over `steps` steps by a rule ("carry" is `rho` times DDIM's carry). Yields
 * { t, x, guess } of images, the start first, without a guess.
 */
export async function* sampling({ system: own, x: start, steps, rule, rho = 1, order = 1, seed }) {
  const {
    process: { alpha, sigma, forward, inverse, steps: table },
    n,
    net,
  } = own;
  const grid = times(steps, table);
  const apply = rule === "carry" ? partialCarry(rho) : RULES[rule];
  const carry = new Float64Array(n);
  const refresh = new Float64Array(n);
  let x = start;
  let before;
  let logR;
  let FBefore = [];
  yield { t: grid[0], x };
  for (let i = 0; i + 1 < grid.length; i++) {
    const [t, s] = [grid[i], grid[i + 1]];
    const alphaT = alpha(t);
    const sigmaT = sigma(t);
    const alphaS = alpha(s);
    const sigmaS = sigma(s);
    const answers = await net(x, t);
    const u = x.map(forward);
    const guess = guessing(own, alphaT, sigmaT);
    const x0 = answers.map((out, j) => guess(u[j], forward(out)));
    if (rule === "flow") {
      const step = flowStep(own, alphaT, sigmaT, alphaS, sigmaS);
      const ahead = order === 2 && i > 0 ? (t - s) / (2 * (grid[i - 1] - t)) : 0; // in the time that all clocks share
      const walked = x0.map((now, j) => step(u[j], now, FBefore[j], ahead));
      x = walked.map(({ next }) => inverse(next));
      FBefore = walked.map(({ F }) => F);
      yield { t: s, x, guess: x0.map(inverse) };
      continue;
    }
    apply(alphaRatio(alphaT, alphaS), sigmaT, sigmaS, carry, refresh);
    const logT = logRatios(alphaT, sigmaT);
    const ahead = order === 2 && before ? extrapolation(logR, logT, logRatios(alphaS, sigmaS)) : undefined;
    const refreshes = refresh.some((v) => v > 0);
    x = x0.map((now, j) => {
      const drawnOn = ahead ? now.map((v, k) => v + ahead[k] * (v - before[j][k])) : now;
      const next = drawnOn.map((v, k) => alphaS[k] * v + carry[k] * (u[j][k] - alphaT[k] * v));
      if (!refreshes) return inverse(next);
      const noise = forward(normals(noiseSeed(seed, j, i + 1), n));
      return inverse(next.map((v, k) => v + refresh[k] * noise[k]));
    });
    [before, logR] = [x0, logT];
    yield { t: s, x, guess: x0.map(inverse) };
  }
}
