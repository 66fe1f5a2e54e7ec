// The mathematics of the sliders: pure functions in float64, named as in the Python library.
// An image plane and its coefficients are row-major Float64Arrays of h * w values.

/** Variance-preserving cosine schedule: the angle is rescaled so that log SNR spans its two limits (HS app. A.1). */
export function cosine(t, logsnrMin = -10, logsnrMax = 10) {
  const low = Math.atan(Math.exp(-0.5 * logsnrMax));
  const high = Math.atan(Math.exp(-0.5 * logsnrMin));
  const angle = low + t * (high - low);
  return [Math.cos(angle), Math.sin(angle)];
}

/** Blur sigma_B,t in px (HS Eq. 25, and the steeper alternative of HS Table 4). */
export const sin2Blur = (t, sigmaMax) => sigmaMax * Math.sin((Math.PI * t) / 2) ** 2;
export const sinBlur = (t, sigmaMax) => sigmaMax * Math.sin((Math.PI * t) / 2);
export const BLURS = { sin2: sin2Blur, sin: sinBlur };

/** Heat-equation time tau in px^2 that blurs by sigmaB px. */
export const dissipationTime = (sigmaB) => (sigmaB * sigmaB) / 2;

/** Squared frequency lambda_nm = (pi n / h)^2 + (pi m / w)^2 of each DCT mode, rad^2/px^2. */
export function freq2(h, w) {
  return Float64Array.from(
    { length: h * w },
    (_, k) => ((Math.PI * Math.floor(k / w)) / h) ** 2 + ((Math.PI * (k % w)) / w) ** 2,
  );
}

/** d_t = (1 - dMin) exp(-lambda tau) + dMin, per frequency (HS Eq. 26). */
export function frequencyScaling(lambda, tau, dMin) {
  const d = new Float64Array(lambda.length);
  for (let k = 0; k < d.length; k++) d[k] = (1 - dMin) * Math.exp(-lambda[k] * tau) + dMin; // faster than map
  return d;
}

/**
 * Blurring diffusion (HS Eq. 27): alpha_t = a_t d_t, one value per entry of `lambda`; sigma_t, one number.
 * `lambda` is any Float64Array of squared frequencies: a whole plane or the few that are plotted.
 */
export function blurringDiffusion({ lambda, sigmaMax = 20, dMin = 1e-3, blur = "sin2" }) {
  const scaling = (t) => frequencyScaling(lambda, dissipationTime(BLURS[blur](t, sigmaMax)), dMin);
  const alpha = (t) => {
    const [a] = cosine(t);
    const values = scaling(t);
    for (let k = 0; k < values.length; k++) values[k] *= a;
    return values;
  };
  const sigma = (t) => cosine(t)[1];
  const snr = (t) => {
    const [a, s] = cosine(t);
    return scaling(t).map((d) => ((a * d) / s) ** 2);
  };
  return { scaling, alpha, sigma, snr };
}

/** One of the processes that the figures of Gaussian data offer; cosine diffusion is blurring diffusion without blur. */
export const namedProcess = ({ process, sigma_max: sigmaMax, d_min: dMin }, lambda) =>
  blurringDiffusion({
    lambda,
    sigmaMax: process === "cosine" ? 0 : sigmaMax,
    dMin,
    blur: process === "blurring_sin" ? "sin" : "sin2",
  });

/** Of an n x n matrix. */
export const transpose = (matrix, n) => matrix.map((_, k) => matrix[(k % n) * n + Math.floor(k / n)]);

const matrices = new Map();

/** Rows are the orthonormal DCT-II basis vectors of length n; `inverse` is the transpose. */
function dctMatrix(n) {
  if (!matrices.has(n)) {
    const forward = Float64Array.from({ length: n * n }, (_, k) => {
      const row = Math.floor(k / n);
      return Math.sqrt((row ? 2 : 1) / n) * Math.cos((Math.PI * row * ((k % n) + 0.5)) / n);
    });
    matrices.set(n, { forward, inverse: transpose(forward, n) });
  }
  return matrices.get(n);
}

/** (rows x inner) times (inner x cols); walks both operands along their rows, four of the second at a time. */
function multiply(a, b, rows, inner, cols) {
  const out = new Float64Array(rows * cols);
  const fours = inner - (inner % 4);
  for (let i = 0; i < rows; i++) {
    const o = i * cols;
    const q = i * inner;
    for (let k = 0; k < fours; k += 4) {
      const a0 = a[q + k];
      const a1 = a[q + k + 1];
      const a2 = a[q + k + 2];
      const a3 = a[q + k + 3];
      const p0 = k * cols;
      const p1 = p0 + cols;
      const p2 = p1 + cols;
      const p3 = p2 + cols;
      for (let j = 0; j < cols; j++) out[o + j] += a0 * b[p0 + j] + a1 * b[p1 + j] + a2 * b[p2 + j] + a3 * b[p3 + j];
    }
    for (let k = fours; k < inner; k++) {
      const scale = a[q + k];
      const p = k * cols;
      for (let j = 0; j < cols; j++) out[o + j] += scale * b[p + j];
    }
  }
  return out;
}

/** Coefficients u = V' x; `rows` and `cols` hold one axis' basis as { forward, inverse }, basis vectors in rows. */
export const forward2 = (x, rows, cols, h, w) => multiply(multiply(rows.forward, x, h, h, w), cols.inverse, h, w, w);

/** The image x = V u. */
export const inverse2 = (u, rows, cols, h, w) => multiply(multiply(rows.inverse, u, h, h, w), cols.forward, h, w, w);

/** Orthonormal two-dimensional DCT-II, u = V' x, and its inverse. */
export const dct2 = (x, h, w) => forward2(x, dctMatrix(h), dctMatrix(w), h, w);
export const idct2 = (u, h, w) => inverse2(u, dctMatrix(h), dctMatrix(w), h, w);

/** Taps of a Gaussian of standard deviation sigma px, sampled to 3 sigma or `radius` px and normalised to sum 1. */
export function gaussianKernel(sigma, radius = Math.max(1, Math.floor(3 * sigma + 0.5))) {
  const taps = Float64Array.from({ length: 2 * radius + 1 }, (_, j) => Math.exp(-0.5 * ((j - radius) / sigma) ** 2));
  const sum = taps.reduce((a, b) => a + b);
  return taps.map((tap) => tap / sum);
}

/** Variance of a kernel's taps, px^2. W^f blurs as a Gaussian of variance f times this. */
export const kernelVariance = (kernel) =>
  kernel.reduce((sum, tap, j) => sum + tap * (j - (kernel.length - 1) / 2) ** 2, 0);

/** The n x n matrix that convolves a row of pixels with the kernel; borders are "zero" or "symmetric" (mirrored). */
export function kernelMatrix(n, kernel, boundary) {
  const radius = (kernel.length - 1) / 2;
  const matrix = new Float64Array(n * n);
  for (let i = 0; i < n; i++)
    kernel.forEach((tap, k) => {
      let j = i + k - radius;
      if (boundary === "symmetric") {
        j = ((j % (2 * n)) + 2 * n) % (2 * n);
        j = Math.min(j, 2 * n - 1 - j);
      }
      if (j >= 0 && j < n) matrix[i * n + j] += tap;
    });
  return matrix;
}

/**
 * Eigenvalues of a symmetric matrix in descending order, and its eigenvectors as rows. Householder reflections make
 * it tridiagonal, implicit QL with Wilkinson's shift does the rest (EISPACK's tred2 and imtql2).
 */
export function symmetricEigen(matrix, n) {
  const a = Float64Array.from(matrix);
  const v = new Float64Array(n * n);
  for (let i = 0; i < n; i++) v[i * n + i] = 1;

  const w = new Float64Array(n);
  const p = new Float64Array(n);
  for (let k = 0; k + 2 < n; k++) {
    let rest = 0;
    for (let i = k + 2; i < n; i++) rest += a[i * n + k] ** 2;
    if (rest === 0) continue; // nothing below the subdiagonal
    const head = a[(k + 1) * n + k];
    const norm = Math.sqrt(head * head + rest);
    w.fill(0);
    for (let i = k + 1; i < n; i++) w[i] = a[i * n + k];
    w[k + 1] += head < 0 ? -norm : norm;
    const beta = 2 / (rest + w[k + 1] ** 2); // the reflection is I - beta w w'
    let half = 0;
    for (let i = k; i < n; i++) {
      p[i] = 0;
      for (let j = k + 1; j < n; j++) p[i] += beta * a[i * n + j] * w[j];
      half += 0.5 * beta * p[i] * w[i];
    }
    for (let i = k; i < n; i++) p[i] -= half * w[i];
    for (let i = k; i < n; i++) for (let j = k; j < n; j++) a[i * n + j] -= w[i] * p[j] + p[i] * w[j];
    p.fill(0);
    for (let i = k + 1; i < n; i++) for (let j = 0; j < n; j++) p[j] += beta * w[i] * v[i * n + j];
    for (let i = k + 1; i < n; i++) for (let j = 0; j < n; j++) v[i * n + j] -= w[i] * p[j];
  }

  const d = Float64Array.from({ length: n }, (_, i) => a[i * n + i]);
  const e = Float64Array.from({ length: n }, (_, i) => (i + 1 < n ? a[(i + 1) * n + i] : 0));
  for (let l = 0; l < n; l++)
    for (;;) {
      let m = l;
      while (m + 1 < n && Math.abs(e[m]) > Number.EPSILON * (Math.abs(d[m]) + Math.abs(d[m + 1]))) m++;
      if (m === l) break;
      const theta = (d[l + 1] - d[l]) / (2 * e[l]);
      const root = Math.sqrt(theta * theta + 1);
      let g = d[m] - d[l] + e[l] / (theta + (theta < 0 ? -root : root));
      let sine = 1;
      let cos = 1;
      let shift = 0;
      let i = m - 1;
      for (; i >= l; i--) {
        const f = sine * e[i];
        const b = cos * e[i];
        const r = Math.sqrt(f * f + g * g);
        e[i + 1] = r;
        if (r === 0) {
          // the matrix has split
          d[i + 1] -= shift;
          e[m] = 0;
          break;
        }
        sine = f / r;
        cos = g / r;
        g = d[i + 1] - shift;
        const q = (d[i] - g) * sine + 2 * cos * b;
        shift = sine * q;
        d[i + 1] = g + shift;
        g = cos * q - b;
        for (let j = i * n, below = j + n, end = below; j < end; j++, below++) {
          const lower = v[below];
          v[below] = sine * v[j] + cos * lower;
          v[j] = cos * v[j] - sine * lower;
        }
      }
      if (i >= l) continue;
      d[l] -= shift;
      e[l] = g;
      e[m] = 0;
    }

  const order = Array.from(d.keys()).sort((i, j) => d[j] - d[i]);
  const vectors = new Float64Array(n * n);
  order.forEach((i, k) => vectors.set(v.subarray(i * n, (i + 1) * n), k * n));
  return { values: Float64Array.from(order, (i) => d[i]), vectors };
}

/** Basis of one axis in which the kernel is diagonal, { values, forward, inverse }; the DCT for mirrored borders. */
export function eigen(n, kernel, boundary) {
  if (boundary === "symmetric") {
    const radius = (kernel.length - 1) / 2;
    const values = Float64Array.from({ length: n }, (_, k) =>
      kernel.reduce((sum, tap, j) => sum + tap * Math.cos((Math.PI * k * (j - radius)) / n), 0),
    );
    return { values, ...dctMatrix(n) };
  }
  const { values, vectors } = symmetricEigen(kernelMatrix(n, kernel, boundary), n);
  return { values, forward: vectors, inverse: transpose(vectors, n) };
}

/** values' products in pairs: the eigenvalues of a separable matrix from those of one axis. */
export const outer = (values) =>
  Float64Array.from(
    { length: values.length ** 2 },
    (_, k) => values[Math.floor(k / values.length)] * values[k % values.length],
  );

/** beta_1 .. beta_N (Ho et al. 2020; Lee app. G). */
export const linearBeta = (steps, first = 1e-4, last = 0.02) =>
  Float64Array.from({ length: steps }, (_, k) => first + (steps > 1 ? k / (steps - 1) : 0) * (last - first));

export const F_TYPES = ["log", "linear", "quadratic", "cubic", "quartic"];
/** f(i), the power of W in step i = 1 .. N (Lee app. B). */
export const blurExponent = (i, steps, fMax, fType) =>
  fMax * (fType === "log" ? Math.log(i) / Math.log(steps) : (i / steps) ** F_TYPES.indexOf(fType));

/** Running sums of term(1) .. term(steps): index i holds the sum to i, index 0 holds 0. */
function runningSum(steps, term) {
  const sums = new Float64Array(steps + 1);
  for (let i = 1; i <= steps; i++) sums[i] = sums[i - 1] + term(i);
  return sums;
}

/**
 * Blur diffusion (Lee Eq. 2-5): log alpha_i = log a_i + (f(1) + ... + f(i)) log D, sigma_i^2 = 1 - alpha_i^2. Each is a
 * function of t = i / N that gives one value per entry of `eigenvalues` D. f = 0 is DDPM.
 */
export function blurDiffusion({ eigenvalues, fMax = 0.14, fType = "quartic", steps = 1000 }) {
  const exponents = runningSum(steps, (i) => blurExponent(i, steps, fMax, fType));
  const beta = linearBeta(steps);
  const logs = runningSum(steps, (i) => 0.5 * Math.log1p(-beta[i - 1]));
  const logD = eigenvalues.map(Math.log);
  const index = (t) => Math.round(t * steps);
  const exponent = (t) => exponents[index(t)];
  const logA = (t) => logs[index(t)];
  const logAlpha = (t) => logD.map((l) => Math.min(logA(t) + exponent(t) * l, 0));
  const scaling = (t) => logD.map((l) => Math.exp(exponent(t) * l));
  const alpha = (t) => logAlpha(t).map(Math.exp);
  const sigma = (t) => logAlpha(t).map((l) => Math.sqrt(-Math.expm1(2 * l)));
  /** ln SNR: stays finite where alpha has underflowed. */
  const logSnr = (t) => logAlpha(t).map((l) => 2 * l - Math.log(-Math.expm1(2 * l)));
  return { index, exponent, logA, scaling, alpha, sigma, logSnr };
}

/** Noise that IHDM's rule adds, for data in [-1, 1]. */
export const IHDM_DELTA = 0.025;

/**
 * The rules of "degrade, carry, refresh": from a = alpha_t / alpha_s and the two sigmas they fill in the carry c and
 * the refresh tau, all per frequency.
 */
export const RULES = {
  ancestral(a, sigmaT, sigmaS, carry, refresh) {
    for (let k = 0; k < a.length; k++) {
      const shrink = (sigmaS[k] / sigmaT[k]) ** 2;
      carry[k] = a[k] * shrink;
      refresh[k] = sigmaS[k] * Math.sqrt(Math.max(1 - a[k] * a[k] * shrink, 0));
    }
  },
  ddim(a, sigmaT, sigmaS, carry, refresh) {
    for (let k = 0; k < a.length; k++) carry[k] = sigmaS[k] / sigmaT[k];
    refresh.fill(0);
  },
  naive: (a, sigmaT, sigmaS, carry, refresh) => {
    carry.fill(0);
    refresh.fill(0);
  },
  tacos: (a, sigmaT, sigmaS, carry, refresh) => {
    carry.fill(1);
    refresh.fill(0);
  },
  momentum(a, sigmaT, sigmaS, carry, refresh) {
    for (let k = 0; k < a.length; k++) {
      carry[k] = (sigmaS[k] / sigmaT[k]) ** 2;
      refresh[k] = Math.sqrt(sigmaT[k] ** 2 - sigmaS[k] ** 2);
    }
  },
  ihdm: (a, sigmaT, sigmaS, carry, refresh) => {
    carry.fill(0);
    refresh.fill(IHDM_DELTA);
  },
};

/** c = rho c_DDIM with the refresh that keeps the noise at sigma_s: tau^2 = sigma_s^2 - c^2 sigma_t^2. */
export const partialCarry = (rho) => (a, sigmaT, sigmaS, carry, refresh) => {
  for (let k = 0; k < a.length; k++) {
    carry[k] = (rho * sigmaS[k]) / sigmaT[k];
    refresh[k] = sigmaS[k] * Math.sqrt(1 - rho * rho);
  }
};

/** Gain of the best estimate of u_x from u_t = alpha u_x + sigma eps. */
export function wiener(alpha, sigma, variance) {
  const total = alpha * alpha * variance + sigma * sigma;
  return total > 0 ? (alpha * variance) / total : 0;
}

/**
 * Frequencies that behave alike: the distinct pairs of `lambda` and `variance`, how many modes have each, and of each
 * mode the `index` of its pair.
 */
export function distinct(lambda, variance) {
  const groups = new Map();
  const groupOf = Array.from(lambda, (l, k) => {
    const name = `${l.toPrecision(12)} ${variance[k].toPrecision(12)}`;
    if (!groups.has(name)) groups.set(name, { lambda: l, variance: variance[k], count: 0 });
    groups.get(name).count++;
    return groups.get(name);
  });
  const all = [...groups.values()].sort((p, q) => p.lambda - q.lambda);
  const of = (key) => Float64Array.from(all, (g) => g[key]);
  all.forEach((group, i) => {
    group.index = i;
  });
  return {
    lambda: of("lambda"),
    variance: of("variance"),
    count: of("count"),
    index: groupOf.map((group) => group.index),
  };
}

/** l = log(alpha / sigma) per frequency. */
export const logRatios = (alpha, sigma) => tabulate(alpha.length, (k) => Math.log(alpha[k] / sigma[k]));

/** alpha_t / alpha_s per frequency; 0 where alpha_s has underflowed. */
export const alphaRatio = (alphaT, alphaS) =>
  tabulate(alphaT.length, (k) => (alphaS[k] === 0 ? 0 : alphaT[k] / alphaS[k]));

/**
 * k of a second-order guess, x0_hat(t) + k (x0_hat(t) - x0_hat(r)), per frequency, from l = log(alpha / sigma) at
 * r > t > s: k = (l_s - l_t) / (2 (l_t - l_r)), and 0 where nothing can be drawn on.
 */
export const extrapolation = (logR, logT, logS) =>
  tabulate(logT.length, (k) => {
    const ahead = (logS[k] - logT[k]) / (2 * (logT[k] - logR[k]));
    return Number.isFinite(ahead) ? ahead : 0;
  });

/**
 * The law of a sampler that walks from t = 1 to 0 in equal steps with the exact denoiser of Gaussian data: variance
 * of u_0 per frequency, sampled and true. Order 2 draws on from the last two guesses (`extrapolation`). A sigma of
 * `process` may be one number for all frequencies; `grid` has other times than equal steps. A generator, so that it can
 * pause.
 */
export function* samplerError({ process, variance, steps, rule, order = 1, grid }) {
  const n = variance.length;
  const carry = new Float64Array(n);
  const refresh = new Float64Array(n);
  const plane = (sigma) => (typeof sigma === "number" ? new Float64Array(n).fill(sigma) : sigma);
  let alphaT = process.alpha(1);
  let sigmaT = plane(process.sigma(1));
  let logT;
  let logR;
  const u = variance.map((v, k) => alphaT[k] ** 2 * v + sigmaT[k] ** 2); // covariance of u and of the guess before, p
  const up = new Float64Array(n);
  const p = new Float64Array(n);
  for (let i = steps - 1; i >= 0; i--) {
    const s = grid ? grid[steps - i] : i / steps;
    const alphaS = process.alpha(s);
    const sigmaS = plane(process.sigma(s));
    rule(alphaRatio(alphaT, alphaS), sigmaT, sigmaS, carry, refresh);
    const logS = order === 2 ? logRatios(alphaS, sigmaS) : undefined;
    logT ??= order === 2 ? logRatios(alphaT, sigmaT) : undefined;
    const drawnOn = logR ? extrapolation(logR, logT, logS) : undefined;
    for (let k = 0; k < n; k++) {
      const gain = wiener(alphaT[k], sigmaT[k], variance[k]);
      const weight = alphaS[k] - carry[k] * alphaT[k];
      const ahead = drawnOn ? drawnOn[k] : 0;
      const fromU = carry[k] + weight * (1 + ahead) * gain;
      const fromP = -weight * ahead;
      const newUp = gain * (fromU * u[k] + fromP * up[k]);
      const newP = gain * gain * u[k];
      u[k] = fromU * fromU * u[k] + 2 * fromU * fromP * up[k] + fromP * fromP * p[k] + refresh[k] * refresh[k];
      up[k] = newUp;
      p[k] = newP;
    }
    [logR, logT, alphaT, sigmaT] = [logT, logS, alphaS, sigmaS];
    if (i % 16 === 0) yield;
  }
  const target = variance.map((v, k) => alphaT[k] ** 2 * v + sigmaT[k] ** 2);
  return { variance: u, target, ratio: u.map((v, k) => (v === target[k] ? 1 : v / target[k])) };
}

/** Runs a generator to its end: what it returns. */
export function finish(generator) {
  for (;;) {
    const { done, value } = generator.next();
    if (done) return value;
  }
}

/** KL(sampled || true) in nats and the squared 2-Wasserstein distance, summed over the frequencies with their counts. */
export function errors({ variance, target, ratio }, count) {
  let kl = 0;
  let w2 = 0;
  for (let k = 0; k < count.length; k++) {
    kl += count[k] * 0.5 * (ratio[k] - 1 - Math.log(ratio[k]));
    w2 += count[k] * (Math.sqrt(variance[k]) - Math.sqrt(target[k])) ** 2;
  }
  return { kl, w2 };
}

/**
 * Bands of radial frequency sqrt(lambda), equally wide on a logarithmic axis from `low` to `high`; the constant (0) is
 * in the first. Returns `centres` of those that hold a mode and `mean(values)`, the mean over the modes of each.
 */
export function radialBands({ lambda, count }, low, high, bands = 16) {
  const width = Math.log(high / low) / bands;
  const band = Array.from(lambda, (l) =>
    Math.min(Math.max(Math.floor(Math.log(Math.sqrt(l) / low) / width + 1e-9), 0), bands - 1),
  );
  const held = [...new Set(band)].sort((i, j) => i - j);
  const place = band.map((b) => held.indexOf(b));
  const total = new Float64Array(held.length);
  place.forEach((b, k) => {
    total[b] += count[k];
  });
  return {
    centres: Float64Array.from(held, (b) => low * Math.exp((b + 0.5) * width)),
    mean(values) {
      const sums = new Float64Array(held.length);
      place.forEach((b, k) => {
        sums[b] += (count[k] * values[k]) / total[b];
      });
      return sums;
    },
  };
}

/** Uniform numbers in [0, 1) from a 32-bit seed (mulberry32). */
export function uniform(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = Math.imul(state ^ (state >>> 15), state | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** `count` standard normal numbers from a seed (Box-Muller). */
export function normals(seed, count) {
  const next = uniform(seed);
  return Float64Array.from(
    { length: count },
    () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()),
  );
}

/** Modes k of six curves: geometric from the lowest to the highest, on the diagonal n = m = k. */
export const curveModes = (size) => Array.from({ length: 6 }, (_, i) => Math.round((size - 1) ** (i / 5)));

/** Which of `length` pixels place i of `count` equal ones covers: the first of them, and how much of each. */
export function covered(i, count, length) {
  const from = (i * length) / count;
  const to = ((i + 1) * length) / count;
  const first = Math.floor(from);
  return {
    first,
    shares: Float64Array.from(
      { length: Math.ceil(to) - first },
      (_, k) => Math.min(first + k + 1, to) - Math.max(first + k, from),
    ),
  };
}

/** The numbers make(0), make(1), ..., make(count - 1): Float64Array.from takes ten times as long. */
export function tabulate(count, make) {
  const values = new Float64Array(count);
  for (let k = 0; k < count; k++) values[k] = make(k);
  return values;
}

/** Bytes as base64, and back. */
export const encodeBytes = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
export const decodeBytes = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));

/** Base64 of 32-bit floats, and of 64-bit ones, as numbers. */
export const decodeFloats = (base64) => Float64Array.from(new Float32Array(decodeBytes(base64).buffer));
export const decodeDoubles = (base64) => new Float64Array(decodeBytes(base64).buffer);

/** Base64 of interleaved bytes -> one plane in [-1, 1] per channel. */
export function decodeImage(base64, channels) {
  const bytes = decodeBytes(base64);
  return Array.from({ length: channels }, (_, c) =>
    tabulate(bytes.length / channels, (i) => bytes[i * channels + c] / 127.5 - 1),
  );
}
