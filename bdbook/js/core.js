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
  return Float64Array.from({ length: h * w }, (_, k) =>
    ((Math.PI * Math.floor(k / w)) / h) ** 2 + ((Math.PI * (k % w)) / w) ** 2);
}

/** d_t = (1 - dMin) exp(-lambda tau) + dMin, per frequency (HS Eq. 26). */
export const frequencyScaling = (lambda, tau, dMin) =>
  lambda.map((l) => (1 - dMin) * Math.exp(-l * tau) + dMin);

/**
 * Blurring diffusion (HS Eq. 27): alpha_t = a_t d_t, one value per entry of `lambda`; sigma_t, one number.
 * `lambda` is any Float64Array of squared frequencies: a whole plane or the few that are plotted.
 */
export function blurringDiffusion({ lambda, sigmaMax = 20, dMin = 1e-3, blur = "sin2" }) {
  const scaling = (t) => frequencyScaling(lambda, dissipationTime(BLURS[blur](t, sigmaMax)), dMin);
  const alpha = (t) => {
    const [a] = cosine(t);
    return scaling(t).map((d) => a * d);
  };
  const sigma = (t) => cosine(t)[1];
  const snr = (t) => {
    const [a, s] = cosine(t);
    return scaling(t).map((d) => ((a * d) / s) ** 2);
  };
  return { scaling, alpha, sigma, snr };
}

const matrices = new Map();

/** Rows are the orthonormal DCT-II basis vectors of length n; `inverse` is the transpose. */
function dctMatrix(n) {
  if (!matrices.has(n)) {
    const forward = Float64Array.from({ length: n * n }, (_, k) => {
      const row = Math.floor(k / n);
      return Math.sqrt((row ? 2 : 1) / n) * Math.cos((Math.PI * row * ((k % n) + 0.5)) / n);
    });
    const inverse = forward.map((_, k) => forward[(k % n) * n + Math.floor(k / n)]);
    matrices.set(n, { forward, inverse });
  }
  return matrices.get(n);
}

/** (rows x inner) times (inner x cols); the loop order walks both operands along their rows. */
function multiply(a, b, rows, inner, cols) {
  const out = new Float64Array(rows * cols);
  for (let i = 0; i < rows; i++)
    for (let k = 0; k < inner; k++) {
      const scale = a[i * inner + k];
      for (let j = 0, o = i * cols, p = k * cols; j < cols; j++) out[o + j] += scale * b[p + j];
    }
  return out;
}

/** Orthonormal two-dimensional DCT-II, u = V' x. */
export const dct2 = (x, h, w) =>
  multiply(multiply(dctMatrix(h).forward, x, h, h, w), dctMatrix(w).inverse, h, w, w);

/** Its inverse, x = V u. */
export const idct2 = (u, h, w) =>
  multiply(multiply(dctMatrix(h).inverse, u, h, h, w), dctMatrix(w).forward, h, w, w);

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
  return Float64Array.from({ length: count }, () =>
    Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()));
}

/** Base64 of interleaved bytes -> one plane in [-1, 1] per channel. */
export function decodeImage(base64, channels) {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  return Array.from({ length: channels }, (_, c) =>
    Float64Array.from({ length: bytes.length / channels }, (_, i) => bytes[i * channels + c] / 127.5 - 1));
}
