// Trained networks in the page: the settings that they share (bdbook/page/walks.py), and one's weights.
import { files } from "./assets.js";
import { unet, decodeHalves } from "./unet.js";

/** The network of a recipe: (images, t) -> a promise of images, each a Float64Array of size * size values. */
export async function network(model, recipe, size, onProgress) {
  const [told, weights] = await files(model, ["network", `weights-${recipe}`], onProgress);
  const net = unet(JSON.parse(new TextDecoder().decode(told)), decodeHalves(weights));
  const n = size * size;
  return async (images, t) => {
    const x = new Float32Array(images.length * n);
    images.forEach((image, i) => x.set(image, i * n));
    const out = net(x, t);
    return images.map((_, i) => Float64Array.from(out.subarray(i * n, (i + 1) * n)));
  };
}
