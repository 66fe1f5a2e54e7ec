// The processes of the systems, named and set as in bdbook/processes.py and bdbook/cold.py.
import {
  cosine,
  BLURS,
  dissipationTime,
  freq2,
  frequencyScaling,
  blurringDiffusion,
  blurDiffusion,
  gaussianKernel,
  eigen,
  dct2,
  idct2,
  forward2,
  inverse2,
  outer,
  transpose,
  decodeFloats,
} from "./core.js";

/** `size` is the side of a square picture, or a list of squared frequencies: then there is no basis, and no picture. */
const squares = (size) => (typeof size === "number" ? freq2(size, size) : size);

const dctBasis = (size) => ({ forward: (x) => dct2(x, size, size), inverse: (u) => idct2(u, size, size) });

/** Widths of IHDM's blur, px: 0, then `steps` of them log-spaced from `low` to `high`. */
const logSpacedBlur = (steps, low, high) =>
  Float64Array.from({ length: steps + 1 }, (_, i) =>
    i ? high * (low / high) ** (steps > 1 ? (steps - i) / (steps - 1) : 0) : 0,
  );

/** The place of each squared frequency among all, from -1 (lowest) to 1 (highest), equal ones alike. */
export function rank(lambda) {
  const rounded = Array.from(lambda, (l) => l.toFixed(9)); // 3^2 + 4^2 is 5^2, but not after rounding
  const sorted = [...rounded].sort((a, b) => a - b);
  const place = new Map();
  sorted.forEach((l, i) => {
    const { first } = place.get(l) ?? { first: i };
    place.set(l, { first, last: i });
  });
  return Float64Array.from(rounded, (l) => {
    const { first, last } = place.get(l);
    return (first + last) / (lambda.length - 1) - 1;
  });
}

// Each gives the basis, alpha(t) and sigma(t); a number stands for one value at all frequencies. `steps` is N of a
// process that exists at t = i / N only.
const FACTORIES = {
  ddpm(size, { steps = 1000 }) {
    const { logA } = blurDiffusion({ eigenvalues: Float64Array.of(1), fMax: 0, steps });
    return {
      ...dctBasis(size),
      steps,
      alpha: (t) => Math.exp(logA(t)),
      sigma: (t) => Math.sqrt(-Math.expm1(2 * logA(t))),
    };
  },
  cosine_diffusion: (size) => ({ ...dctBasis(size), alpha: (t) => cosine(t)[0], sigma: (t) => cosine(t)[1] }),
  heat_dissipation(size, { sigma_max = 20, sigma_min = 0.5, steps = 200, noise = 0.02 }) {
    const lambda = squares(size);
    const tau = logSpacedBlur(steps, sigma_min, sigma_max).map(dissipationTime);
    return {
      ...dctBasis(size),
      steps,
      alpha: (t) => frequencyScaling(lambda, tau[Math.round(t * steps)], 0),
      sigma: () => noise,
    };
  },
  blurring_diffusion(size, { sigma_max = 20, d_min = 1e-3, blur = "sin2" }) {
    const lambda = squares(size);
    return { ...dctBasis(size), ...blurringDiffusion({ lambda, sigmaMax: sigma_max, dMin: d_min, blur }) };
  },
  blur_diffusion(size, { f_max = 0.14, f_type = "quartic", kernel_sigma = 0.4, steps = 1000, boundary = "zero" }) {
    const axis = eigen(size, gaussianKernel(kernel_sigma), boundary);
    return {
      steps,
      forward: (x) => forward2(x, axis, axis, size, size),
      inverse: (u) => inverse2(u, axis, axis, size, size),
      ...blurDiffusion({ eigenvalues: outer(axis.values), fMax: f_max, fType: f_type, steps }),
    };
  },
  soft_diffusion(size, { sigma_max = 20, noise_min = 0.01, noise_max = 1 }) {
    const lambda = squares(size);
    return {
      ...dctBasis(size),
      alpha: (t) => frequencyScaling(lambda, dissipationTime(BLURS.sin2(t, sigma_max)), 0),
      sigma: (t) => noise_min * (noise_max / noise_min) ** t,
    };
  },
  /** Noise of the data's own colour; variance: that of the data's coefficients, encoded or not. kappa bends the clocks. */
  equal_snr(size, { variance, kappa = 0 }) {
    const root = (typeof variance === "string" ? decodeFloats(variance) : variance).map(Math.sqrt);
    if (kappa === 0)
      return {
        ...dctBasis(size),
        alpha: (t) => cosine(t)[0],
        sigma: (t) => root.map((r) => r * cosine(t)[1]),
      };
    const powers = rank(squares(size)).map((r) => 2 ** (-kappa * r));
    return {
      ...dctBasis(size),
      alpha: (t) => powers.map((p) => cosine(t ** p)[0]),
      sigma: (t) => root.map((r, k) => r * cosine(t ** powers[k])[1]),
    };
  },
  /** Cold: the same kernel again and again, mirrored at the borders; the last step leaves the mean. */
  blur(size, { steps = 50, std = 1, width = 9 }) {
    const { values } = eigen(size, gaussianKernel(std, (width - 1) / 2), "symmetric");
    const plane = outer(values);
    return {
      ...dctBasis(size),
      steps,
      sigma: () => 0,
      alpha: (t) => plane.map((v, k) => (Math.round(t * steps) === steps ? +(k === 0) : v ** Math.round(t * steps))),
    };
  },
  /** What the page cannot compute (bdbook/page/walks.py): each axis' basis, and alpha and sigma at t = i / steps. */
  table(size, { steps, rows, cols, alpha, sigma }) {
    const [left, right] = [rows, cols].map((text) => {
      const forward = decodeFloats(text);
      return { forward, inverse: transpose(forward, size) };
    });
    const [alphas, sigmas] = [alpha, sigma].map(decodeFloats);
    const at = (planes, t) => {
      const from = Math.round(t * steps) * size * size;
      return planes.subarray(from, from + size * size);
    };
    return {
      steps,
      forward: (x) => forward2(x, left, right, size, size),
      inverse: (u) => inverse2(u, left, right, size, size),
      alpha: (t) => at(alphas, t),
      sigma: (t) => at(sigmas, t),
    };
  },
};

/** A process by name: { steps, forward, inverse, alpha(t), sigma(t) }, one alpha and one sigma per coefficient. */
export function process(name, size, settings = {}) {
  const made = FACTORIES[name](size, settings);
  const count = typeof size === "number" ? size * size : size.length;
  const plane = (value) => (typeof value === "number" ? new Float64Array(count).fill(value) : value);
  return { ...made, alpha: (t) => plane(made.alpha(t)), sigma: (t) => plane(made.sigma(t)) };
}

/** Uniform times from 1 to 0; of a tabulated process a subset of its own. */
export const times = (steps, table) =>
  Float64Array.from({ length: steps + 1 }, (_, i) => {
    const t = 1 - i / steps;
    return table ? Math.round(t * table) / table : t;
  });
