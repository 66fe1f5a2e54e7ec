// A walk with a trained network: the same arithmetic as bdbook/samplers.py, in float64 around the network's float32.
import { decodeFloats, RULES, partialCarry, wiener, alphaRatio, logRatios, extrapolation, uniform, normals } from "./core.js";
import { process, times } from "./processes.js";

/** A system as bdbook.export.walk tells it, with its network, net(images, t): a promise of images. */
export function system(told, net) {
  const { size, predicts, settings } = told, n = size * size, own = process(told.process, size, settings);
  const planes = (base64) => Array.from({ length: decodeFloats(base64).length / n }, (_, i) =>
    decodeFloats(base64).subarray(i * n, (i + 1) * n));
  const mean = own.forward(planes(told.mean)[0]);
  return { ...told, n, net, process: own, predicts, mean, variance: planes(told.variance)[0], cold: own.sigma(1)[0] === 0,
           centres: planes(told.centres), spread: planes(told.spread)[0] };
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
const noiseSeed = (seed, i, step) => (Math.imul(seed, 0x9e3779b1) + Math.imul(i, 0x85ebca6b) + Math.imul(step, 0xc2b2ae35)) >>> 0;

/** u_x guessed from u_t and the network's answer, both in the basis. */
function guess({ predicts, mean, variance }, alpha, sigma, u, out) {
  if (predicts === "residual") return u.map((v, k) => v + out[k]);
  return u.map((v, k) => {
    const gain = wiener(alpha[k], sigma[k], variance[k]), total = alpha[k] ** 2 * variance[k] + sigma[k] ** 2;
    const deviation = Math.sqrt(total > 0 ? (variance[k] * sigma[k] ** 2) / total : variance[k]);
    return mean[k] + gain * (v - alpha[k] * mean[k]) + deviation * out[k];
  });
}

/**
 * Walks from `x`, a list of images, over `steps` steps by a rule ("carry" is `rho` times DDIM's carry). Yields
 * { t, x, guess } of images, the start first, without a guess.
 */
export async function* sampling({ system: own, x, steps, rule, rho = 1, order = 1, seed }) {
  const { process: { alpha, sigma, forward, inverse, steps: table }, n, net } = own;
  const grid = times(steps, table), apply = rule === "carry" ? partialCarry(rho) : RULES[rule];
  const carry = new Float64Array(n), refresh = new Float64Array(n);
  let before, logR;
  yield { t: grid[0], x };
  for (let i = 0; i + 1 < grid.length; i++) {
    const [t, s] = [grid[i], grid[i + 1]], alphaT = alpha(t), sigmaT = sigma(t), alphaS = alpha(s), sigmaS = sigma(s);
    const answers = await net(x, t);
    const u = x.map(forward), x0 = answers.map((out, j) => guess(own, alphaT, sigmaT, u[j], forward(out)));
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
