// The UNet of bdbook/unet.py in plain JavaScript: no runtime of megabytes has to come before the first picture. Values lie
// pixel by pixel, (B, H, W, C): then a convolution is one product of matrices, and so is all else that takes time.

/** Numbers in half precision, little-endian, in single: of each of the 65,536 what it means, then all by that table. */
export function decodeHalves(bytes) {
  const meaning = new Float32Array(1 << 16);
  for (let h = 0; h < meaning.length; h++) {
    const exponent = (h >> 10) & 31;
    const fraction = (h & 1023) / 1024;
    meaning[h] = (h >> 15 ? -1 : 1) * (exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction);
  }
  const halves = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return new Float32Array(bytes.byteLength / 2).map((_, k) => meaning[halves.getUint16(2 * k, true)]);
}

/** (rows, inner) times the transpose of (columns, inner), plus a bias: (rows, columns). Eight sums stay in registers. */
export function product(left, right, bias, rows, columns, inner) {
  const out = new Float32Array(rows * columns);
  for (let i = 0; i < rows; i += 2) {
    const two = i + 1 < rows ? 1 : 0; // of an odd number of rows the last is alone: it is computed twice
    const a = i * inner;
    const b = a + two * inner;
    for (let j = 0; j < columns; j += 4) {
      const last = columns - 1;
      const [p, q] = [j * inner, Math.min(j + 1, last) * inner];
      const [r, s] = [Math.min(j + 2, last) * inner, Math.min(j + 3, last) * inner];
      let [a0, a1, a2, a3, b0, b1, b2, b3] = [0, 0, 0, 0, 0, 0, 0, 0];
      for (let k = 0; k < inner; k++) {
        const u = left[a + k];
        const v = left[b + k];
        a0 += u * right[p + k];
        a1 += u * right[q + k];
        a2 += u * right[r + k];
        a3 += u * right[s + k];
        b0 += v * right[p + k];
        b1 += v * right[q + k];
        b2 += v * right[r + k];
        b3 += v * right[s + k];
      }
      // What would lie beyond the last column is written over by the next row, or ignored.
      const at = i * columns + j;
      out[at] = a0 + bias[j];
      if (j + 1 < columns) out[at + 1] = a1 + bias[j + 1];
      if (j + 2 < columns) out[at + 2] = a2 + bias[j + 2];
      if (j + 3 < columns) out[at + 3] = a3 + bias[j + 3];
      if (!two) continue;
      out[at + columns] = b0 + bias[j];
      if (j + 1 < columns) out[at + columns + 1] = b1 + bias[j + 1];
      if (j + 2 < columns) out[at + columns + 2] = b2 + bias[j + 2];
      if (j + 3 < columns) out[at + columns + 3] = b3 + bias[j + 3];
    }
  }
  return out;
}

const silu = (values) => values.map((v) => v / (1 + Math.exp(-v)));

/** As `groups` of unet.py: at most 32, of at least 4 channels where there are as many. */
function groupsOf(channels) {
  let most = Math.max(1, Math.min(32, Math.floor(channels / 4)));
  while (channels % most) most--;
  return most;
}

/** The network of a `UNetConfig` without circles, from its parameters in the order of state_dict: (x, count, t) -> values. */
export function unet(config, parameters) {
  const { size, channels, multipliers, blocks, attention, in_channels: into, out_channels: outOf } = config;
  let taken = 0;
  const take = (length) => parameters.subarray(taken, (taken += length));

  // Layers, each made in the order in which unet.py registers its parameters. A picture is { side, width, values }.
  const linear = (width, wide) => {
    const weight = take(width * wide);
    const bias = take(wide);
    return (values) => product(values, weight, bias, values.length / width, wide, width);
  };
  const conv = (width, wide, { stride = 1, transposed = false } = {}) => {
    const stored = take(width * wide * 9);
    const bias = take(wide);
    const weight = new Float32Array(stored.length); // (wide, 9, width)
    for (let o = 0; o < wide; o++)
      for (let i = 0; i < width; i++)
        for (let k = 0; k < 9; k++)
          weight[(o * 9 + k) * width + i] = transposed
            ? stored[(i * wide + o) * 9 + 8 - k]
            : stored[(o * width + i) * 9 + k];
    return ({ side, values }) => {
      const half = side / stride;
      const count = values.length / (side * side * width);
      const seen = new Float32Array(count * half * half * 9 * width); // zeros beyond the ends
      let at = 0;
      for (let n = 0; n < count; n++)
        for (let y = 0; y < half; y++)
          for (let x = 0; x < half; x++)
            for (let k = 0; k < 9; k++, at += width) {
              const row = y * stride + Math.floor(k / 3) - 1;
              const column = x * stride + (k % 3) - 1;
              if (row < 0 || row >= side || column < 0 || column >= side) continue;
              const from = ((n * side + row) * side + column) * width;
              for (let c = 0; c < width; c++) seen[at + c] = values[from + c];
            }
      return {
        side: half,
        width: wide,
        values: product(seen, weight, bias, count * half * half, wide, 9 * width),
      };
    };
  };
  const norm = (width) => {
    const scale = take(width);
    const shift = take(width);
    const groups = groupsOf(width);
    const each = width / groups;
    return ({ side, values }) => {
      const out = new Float32Array(values.length);
      const pixels = side * side;
      for (let from = 0; from < values.length; from += pixels * width)
        for (let first = from; first < from + width; first += each) {
          let sum = 0;
          let squares = 0;
          for (let p = 0; p < pixels; p++) for (let c = 0; c < each; c++) sum += values[first + p * width + c];
          const mean = sum / (pixels * each);
          for (let p = 0; p < pixels; p++)
            for (let c = 0; c < each; c++) squares += (values[first + p * width + c] - mean) ** 2;
          const root = 1 / Math.sqrt(squares / (pixels * each) + 1e-5);
          for (let p = 0; p < pixels; p++)
            for (let c = 0; c < each; c++) {
              const at = first + p * width + c;
              out[at] = (values[at] - mean) * root * scale[first - from + c] + shift[first - from + c];
            }
        }
      return { side, width, values: out };
    };
  };
  const residual = (width, wide) => {
    const norm1 = norm(width);
    const conv1 = conv(width, wide);
    const time = linear(4 * channels, 2 * wide);
    const norm2 = norm(wide);
    const conv2 = conv(wide, wide);
    const skip = width === wide ? (values) => values : linear(width, wide);
    return (x, emb) => {
      const told = time(emb); // scale and shift
      const inner = norm1(x);
      const h = norm2(conv1({ ...inner, values: silu(inner.values) }));
      const scaled = h.values.map((v, k) => v * (1 + told[k % wide]) + told[wide + (k % wide)]);
      const { values } = conv2({ ...h, values: silu(scaled) });
      const past = skip(x.values);
      return { ...h, values: values.map((v, k) => v + past[k]) };
    };
  };
  const attend = (width) => {
    const heads = config.heads ?? width / config.head_dim;
    const deep = width / heads;
    const before = norm(width);
    const qkv = linear(width, 3 * width);
    const project = linear(width, width);
    return (x) => {
      const told = qkv(before(x).values);
      const tokens = x.side * x.side;
      const mixed = new Float32Array(x.values.length);
      const part = new Float64Array(tokens);
      for (let from = 0; from < x.values.length / width; from += tokens)
        for (let head = 0; head < heads; head++)
          for (let i = from; i < from + tokens; i++) {
            const query = i * 3 * width + head * deep;
            let total = 0;
            for (let j = 0; j < tokens; j++) {
              const key = (from + j) * 3 * width + width + head * deep;
              let sum = 0;
              for (let k = 0; k < deep; k++) sum += told[query + k] * told[key + k];
              total += part[j] = Math.exp(sum / Math.sqrt(deep));
            }
            for (let j = 0; j < tokens; j++) {
              const value = (from + j) * 3 * width + 2 * width + head * deep;
              for (let k = 0; k < deep; k++) mixed[i * width + head * deep + k] += (part[j] / total) * told[value + k];
            }
          }
      const added = project(mixed);
      return { ...x, values: x.values.map((v, k) => v + added[k]) };
    };
  };
  const doubled = ({ side, width, values }) => {
    const out = new Float32Array(4 * values.length);
    for (let row = 0; row < out.length / (2 * side * width); row++)
      for (let x = 0; x < 2 * side; x++) {
        const picture = Math.floor(row / (2 * side));
        const from = ((picture * side + ((row % (2 * side)) >> 1)) * side + (x >> 1)) * width;
        out.set(values.subarray(from, from + width), (row * 2 * side + x) * width);
      }
    return { side: 2 * side, width, values: out };
  };
  const joined = (a, b) => {
    const width = a.width + b.width;
    const values = new Float32Array(a.values.length + b.values.length);
    for (let p = 0; p < values.length / width; p++) {
      values.set(a.values.subarray(p * a.width, (p + 1) * a.width), p * width);
      values.set(b.values.subarray(p * b.width, (p + 1) * b.width), p * width + a.width);
    }
    return { side: a.side, width, values };
  };
  const chain = (layers) => (x, emb) => layers.reduce((h, layer) => layer(h, emb), x);

  const widths = multipliers.map((m) => m * channels);
  const attends = (level) => attention.includes(2 ** level);
  const block = (width, level) => [residual(width, widths[level]), ...(attends(level) ? [attend(widths[level])] : [])];
  const time = [linear(channels, 4 * channels), linear(4 * channels, 4 * channels)];
  const stem = conv(into, channels);
  const down = [];
  const skips = [channels];
  let width = channels;
  widths.forEach((wide, level) => {
    for (let i = 0; i < blocks; i++) {
      down.push(chain(block(width, level)));
      skips.push((width = wide));
    }
    if (level + 1 === widths.length) return;
    down.push(conv(width, width, { stride: 2 }));
    skips.push(width);
  });
  const last = widths.length - 1;
  const inMiddle = config.middle_attention || attends(last);
  const middle = chain([residual(width, width), ...(inMiddle ? [attend(width)] : []), residual(width, width)]);
  const up = [];
  for (let level = last; level >= 0; level--)
    for (let i = 0; i <= blocks; i++) {
      const layers = block(width + skips.pop(), level);
      width = widths[level];
      if (i === blocks && level > 0) {
        const spread = conv(width, width, { transposed: true });
        layers.push((h) => spread(doubled(h)));
      }
      up.push(chain(layers));
    }
  const normed = norm(width);
  const out = conv(width, outOf);
  if (taken !== parameters.length)
    throw new Error(`a network of ${taken} parameters was given ${parameters.length}; build the book again`);

  return (values, t) => {
    const angles = Array.from(
      { length: channels / 2 },
      (_, k) => 1000 * t * Math.exp((-Math.log(1e4) * k) / (channels / 2)),
    );
    const features = Float32Array.from([...angles.map(Math.cos), ...angles.map(Math.sin)]);
    const emb = silu(time[1](silu(time[0](features))));
    let h = stem({ side: size, width: into, values });
    const kept = [h];
    for (const layer of down) kept.push((h = layer(h, emb)));
    h = middle(h, emb);
    for (const layer of up) h = layer(joined(h, kept.pop()), emb);
    h = normed(h);
    return out({ ...h, values: silu(h.values) }).values;
  };
}
