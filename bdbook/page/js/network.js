// Trained networks in the page, by ONNX Runtime Web. A graph (bdbook/page/onnx.py) is joined with one network's weights.
import { files } from "./assets.js";

const RUNTIME = ["onnxruntime.mjs", "onnxruntime.wasm"];

/** The runtime, once a page. One thread: more need headers that neither file:// nor a plain server sends. */
async function runtime(model) {
  const [code, wasm] = await files(model, RUNTIME);
  return (globalThis.bdbookRuntime ??= (async () => {
    const ort = await import(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
    Object.assign(ort.env.wasm, { numThreads: 1, wasmBinary: wasm });
    return ort;
  })());
}

/** The network of a recipe: (images, t) -> a promise of images, each a Float64Array of size * size values. */
export async function network(model, recipe, size, onProgress) {
  const [, , graph, weights] = await files(model, [...RUNTIME, "graph", `weights-${recipe}`], onProgress);
  const ort = await runtime(model);
  const session = await ort.InferenceSession.create(graph, { externalData: [{ path: "weights", data: weights }] });
  const n = size * size;
  return async (images, t) => {
    const x = new Float32Array(images.length * n);
    images.forEach((image, i) => x.set(image, i * n));
    const feeds = {
      x: new ort.Tensor("float32", x, [images.length, 1, size, size]),
      t: new ort.Tensor("float32", new Float32Array(images.length).fill(t), [images.length]),
    };
    const { out } = await session.run(feeds);
    return images.map((_, i) => Float64Array.from(out.data.subarray(i * n, (i + 1) * n)));
  };
}
