// Large files that a figure loads when the reader asks for them: from the page's own folder, in pieces, or from Python.

/** The page's folder of pieces, written by book/live.py. Sphinx says where the root of the site is. */
const folder = () => new URL(`${document.documentElement.dataset.content_root ?? ""}_static/live/`, document.baseURI);

/** Runs a classic script: unlike fetch and import that works from file:// too. */
const script = (url) =>
  new Promise((done, failed) => {
    const node = document.createElement("script");
    node.src = url;
    node.onload = () => {
      node.remove();
      done();
    };
    node.onerror = () => {
      node.remove();
      failed(new Error(`${url} could not be loaded`));
    };
    document.head.append(node);
  });

/** Bytes of gzip in base64. */
async function unpack(base64) {
  const packed = await fetch(`data:application/octet-stream;base64,${base64}`);
  return new Uint8Array(await new Response(packed.body.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());
}

/** From scripts that leave their text in `bdbookPieces`: contents.js says how many each file has, and their size. */
async function fromPage(names, onProgress) {
  const pieces = (globalThis.bdbookPieces ??= {});
  if (!pieces.contents) await script(new URL("contents.js", folder()));
  const missing = names.filter((name) => !pieces.contents[name]);
  if (missing.length) throw new Error(`the book holds no file ${missing.join(", ")}; build it again`);
  const piecesOf = (name) => Array.from({ length: pieces.contents[name].pieces }, (_, i) => `${name}.${i}`);
  const wanted = names.flatMap(piecesOf);
  const bytes = names.reduce((sum, name) => sum + pieces.contents[name].bytes, 0);
  let done = 0;
  await Promise.all(
    wanted.map(async (piece) => {
      await (pieces[piece] ??= script(new URL(`${piece}.js`, folder())).catch((error) => {
        delete pieces[piece]; // so that the next wish asks again
        throw error;
      }));
      onProgress(++done / wanted.length, bytes);
    }),
  );
  return Promise.all(
    names.map((name) =>
      unpack(
        piecesOf(name)
          .map((piece) => pieces[piece])
          .join(""),
      ),
    ),
  );
}

/** From the kernel, which answers a message with the file's bytes (bdbook/page/widgets/sampler.py). */
function fromKernel(model, names, onProgress) {
  let done = 0;
  return Promise.all(
    names.map(
      (name) =>
        new Promise((resolve, reject) => {
          const hear = (message, buffers) => {
            if (message.file !== name) return;
            model.off("msg:custom", hear);
            onProgress(++done / names.length);
            if (message.error) reject(new Error(message.error));
            else resolve(new Uint8Array(buffers[0].buffer, buffers[0].byteOffset, buffers[0].byteLength));
          };
          model.on("msg:custom", hear);
          model.send({ file: name });
        }),
    ),
  );
}

const held = (globalThis.bdbookFiles ??= new Map()); // a live notebook evaluates this module once a figure

/** The bytes of files by name, each loaded once; `onProgress` hears the part that has come, 0 to 1, and of how many bytes. */
export async function files(model, names, onProgress = () => {}) {
  const missing = names.filter((name) => !held.has(name));
  if (missing.length) {
    const bytes = await (model.send ? fromKernel(model, missing, onProgress) : fromPage(missing, onProgress));
    missing.forEach((name, i) => held.set(name, bytes[i]));
  }
  return names.map((name) => held.get(name));
}
