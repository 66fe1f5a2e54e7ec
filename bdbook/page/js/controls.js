// Controls and what joins widgets: labelled inputs, the reader's own picture, play, groups that share values.
import { covered, encodeBytes } from "./core.js";
import { inAddress, readable, readNumber } from "./address.js";

/** An HTML element with properties (and `aria-`, `data-` attributes) and children. */
export function html(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties))
    if (name.includes("-")) node.setAttribute(name, value);
    else node[name] = value;
  node.append(...children);
  return node;
}

/** What the figures call the processes and the rules of Gaussian data. */
export const PROCESS_NAMES = {
  cosine: "cosine, no blur",
  blurring_sin2: "blurring, sin²",
  blurring_sin: "blurring, sin",
};
export const RULE_NAMES = {
  ancestral: "ancestral",
  ddim: "DDIM",
  naive: "naive",
  tacos: "TACoS",
  momentum: "momentum",
  ihdm: "IHDM",
};

let count = 0;
const uniqueId = (name) => `bd-${name}-${++count}-${Math.random().toString(36).slice(2, 7)}`;

/**
 * A labelled range input. `position` maps a value to the place on the slider and `value` maps it back (a
 * logarithmic slider); `format` is what is shown, `spoken` the accessible name, `whole`: of whole numbers. `row` has
 * room for a button.
 */
export function slider({
  name,
  symbol,
  hint,
  spoken,
  unit = "",
  min,
  max,
  step,
  format,
  onInput,
  position = (v) => v,
  value = (p) => p,
  whole = Number.isInteger(step),
}) {
  const input = html("input", { type: "range", id: uniqueId(name), name, min, max, step, "aria-label": spoken });
  const output = html("output", { htmlFor: input.id });
  const label = html(
    "label",
    { htmlFor: input.id },
    html("span", { className: "bd-symbol", innerHTML: symbol }),
    html("span", { className: "bd-hint", innerHTML: hint }),
  );
  const row = html("div", { className: "bd-row" }, input);
  const root = html("div", { className: "bd-control" }, html("div", { className: "bd-label" }, label, output), row);
  input.addEventListener("input", () => onInput(value(+input.value)));
  readable(input, (text) => {
    const v = readNumber(text);
    const inside = position(v) > min - 1e-9 && position(v) < max + 1e-9; // undefined and NaN are not
    return inside && (!whole || Number.isInteger(v)) ? v : undefined;
  });
  const set = (v) => {
    input.max = Math.max(max, position(v)); // Python may set more than the slider offers
    input.value = position(v);
    input.style.setProperty("--fill", (input.value - min) / (input.max - min));
    output.textContent = format(v) + unit;
    input.setAttribute("aria-valuetext", output.textContent);
  };
  return { root, row, input, set };
}

/** Lets a control be used or not; where not, `why` stands in place of its hint. */
export function allow({ root, input }, allowed, why) {
  const hint = root.querySelector(".bd-hint");
  hint.dataset.usual ??= hint.innerHTML;
  input.disabled = !allowed;
  hint.innerHTML = allowed ? hint.dataset.usual : why;
  hint.classList.toggle("bd-why", !allowed);
}

/** A labelled drop-down list; `options` is { value: shown text }. */
export function select({ name, symbol, hint, spoken, options, onInput }) {
  const input = html(
    "select",
    { id: uniqueId(name), name, "aria-label": spoken },
    ...Object.entries(options).map(([value, shown]) => html("option", { value }, shown)),
  );
  const label = html(
    "label",
    { htmlFor: input.id },
    html("span", { className: "bd-symbol", innerHTML: symbol }),
    html("span", { className: "bd-hint", innerHTML: hint }),
  );
  const row = html("div", { className: "bd-row" }, input);
  const root = html("div", { className: "bd-control" }, html("div", { className: "bd-label" }, label), row);
  input.addEventListener("input", () => onInput(input.value));
  let numeric = false;
  readable(input, (text) => (!Object.hasOwn(options, text) ? undefined : numeric ? +text : text));
  return {
    root,
    row,
    input,
    /** Leaves in the list what is in `values`. */
    offer(values) {
      if ([...input.options].map(({ value }) => value).join() === values.join()) return;
      input.replaceChildren(...values.map((value) => html("option", { value }, options[value])));
    },
    set: (v) => {
      numeric = typeof v === "number";
      input.value = v;
    },
  };
}

/** A box to tick, beside another control. */
export function checkbox({ name, text, spoken, onInput }) {
  const input = html("input", { type: "checkbox", id: uniqueId(name), name, "aria-label": spoken });
  input.addEventListener("input", () => onInput(input.checked));
  readable(input, (word) => ({ true: true, false: false })[word]);
  return {
    root: html("label", { className: "bd-check", htmlFor: input.id }, input, text),
    input,
    set: (v) => {
      input.checked = v;
    },
  };
}

/** Whether a file holds more pictures than the one that is shown: a GIF, a PNG or a WebP that moves. */
async function moves(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const text = (from, to) => String.fromCharCode(...bytes.subarray(from, to));
  if (text(1, 4) === "PNG") return text(33, 500).includes("acTL"); // before the pixels, by its specification
  if (text(8, 12) === "WEBP") return text(12, 60).includes("ANIM");
  if (text(0, 3) !== "GIF") return false;
  const table = (flags) => (flags & 128 ? 3 << ((flags & 7) + 1) : 0);
  let pictures = 0;
  for (let at = 13 + table(bytes[10]); at < bytes.length && bytes[at] !== 0x3b;) {
    // an extension (0x21) or a picture (0x2c), then blocks that each begin with their length, to one of length 0
    const still = bytes[at] === 0x2c;
    if (still && ++pictures > 1) return true;
    at += still ? 11 + table(bytes[at + 9]) : 2;
    while (bytes[at]) at += bytes[at] + 1;
    at += 1;
  }
  return false;
}

/** A drawing (SVG) as pixels, 1024 of them along its longer side: it has no size of its own that must be kept. */
async function rasterised(file) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(await file.text())}`;
  await image.decode();
  const scale = 1024 / Math.max(image.naturalWidth, image.naturalHeight);
  const [width, height] = [image.naturalWidth, image.naturalHeight].map((side) =>
    Math.max(1, Math.round(scale * side)),
  );
  const canvas = html("canvas", { width, height });
  canvas.getContext("2d").drawImage(image, 0, 0, width, height);
  return createImageBitmap(canvas);
}

/**
 * The central square of a picture file as base64 of size x size x 3 bytes, on white where it is transparent. Each
 * value is the mean over the area that it stands for: drawImage reads a few pixels for each, so that the fine texture
 * of a large picture would come out as coarse texture that it does not have.
 */
async function readPicture(file, size) {
  const drawing = file.type === "image/svg+xml" || /\.svg$/i.test(file.name);
  const bitmap = drawing ? await rasterised(file) : await createImageBitmap(file, { imageOrientation: "from-image" }); // upright, as EXIF has it
  const { width, height } = bitmap;
  const side = Math.min(width, height);
  const bytes = new Uint8Array(3 * size * size);
  const left = Math.floor((width - side) / 2);
  const top = Math.floor((height - side) / 2);
  const columns = Array.from({ length: size }, (_, i) => covered(i, size, side));
  for (let row = 0; row < size; row++) {
    // in strips: some browsers have no canvas as large as a large picture
    const { first, shares } = covered(row, size, side);
    const canvas = html("canvas", { width: side, height: shares.length });
    const strip = canvas.getContext("2d", { willReadFrequently: true });
    strip.fillStyle = "white";
    strip.fillRect(0, 0, side, shares.length);
    strip.drawImage(bitmap, left, top + first, side, shares.length, 0, 0, side, shares.length);
    const { data } = strip.getImageData(0, 0, side, shares.length);
    const down = new Float64Array(4 * side);
    for (let y = 0; y < shares.length; y++)
      for (let k = 0; k < down.length; k++) down[k] += shares[y] * data[y * down.length + k];
    columns.forEach(({ first: x, shares: across }, i) => {
      for (let c = 0; c < 3; c++) {
        const sum = across.reduce((total, share, k) => total + share * down[4 * (x + k) + c], 0);
        bytes[3 * (row * size + i) + c] = Math.round(sum * (size / side) ** 2);
      }
    });
  }
  bitmap.close();
  return { text: encodeBytes(bytes), width, height, first: await moves(file) };
}

/**
 * The reader's own picture in place of the photograph: a button that opens a file, and words on what came of it.
 * `take(file)` is for files that come another way. `live`: there is a kernel, and it sees the picture.
 */
export function pictureInput({ size, live, onInput }) {
  const input = html("input", { type: "file", id: uniqueId("picture"), name: "picture", accept: "image/*" });
  const hint = html(
    "span",
    { className: "bd-hint", id: `${input.id}-hint` },
    "Choose a file, drop it on the figure, or " +
      `click the figure and paste. ${live ? "Only this notebook's kernel gets to see it." : "It never leaves this machine."}`,
  );
  const status = html("span", { className: "bd-status", role: "status" });
  const label = html("label", { className: "bd-button bd-file", htmlFor: input.id }, "Your picture", input);
  const root = html("div", { className: "bd-own-picture" }, label, html("div", {}, hint, status));
  input.setAttribute("aria-label", "Your picture: choose an image file");
  input.setAttribute("aria-describedby", hint.id);
  let shown;
  let files = 0;

  const set = (picked) => {
    if (picked !== shown) status.textContent = "";
    shown = picked;
  };
  async function take(file) {
    const order = ++files; // a large file may be ready after a small one that came later
    try {
      const { text, width, height, first } = await readPicture(file, size);
      if (order !== files) return;
      onInput(text);
      status.textContent = `Shown: the middle of ${first ? "the first picture of " : ""}${file.name}, ${width} × ${height} px.`;
    } catch {
      if (order === files)
        status.textContent = `${file.name} cannot be read as a picture; the figure stays as it was. Try a PNG, JPEG, WebP or SVG file.`;
    }
  }
  input.addEventListener("change", () => {
    if (input.files.length) take(input.files[0]);
    input.value = ""; // so that the same file may be chosen again
  });
  return { root, input, set, take };
}

/** Files that are dropped on a figure, or pasted when it has the focus, go to `take`. */
export function takeDropped(root, take) {
  const hasFile = (event) => event.dataTransfer.types.includes("Files");
  const over = (event) => {
    if (!hasFile(event)) return;
    event.preventDefault(); // says that it may be dropped here
    root.dataset.drop = "";
  };
  root.addEventListener("dragenter", over);
  root.addEventListener("dragover", over);
  root.addEventListener("dragleave", (event) => {
    if (!root.contains(event.relatedTarget)) delete root.dataset.drop;
  });
  root.addEventListener("drop", (event) => {
    delete root.dataset.drop;
    if (!hasFile(event)) return;
    event.preventDefault(); // or the browser leaves the page to show the file
    take(event.dataTransfer.files[0]);
  });
  root.tabIndex = -1; // a click gives it the focus
  root.addEventListener("paste", ({ clipboardData: { files } }) => {
    if (files.length) take(files[0]);
  });
}

/** `derived(get, make)`: a function that gives make(get()), made anew only when get() gives something else. */
export function derived(get, make) {
  let key, value;
  return () => {
    if (get() !== key) value = make((key = get()));
    return value;
  };
}

/** A push button. */
export function button(name, text, onClick) {
  const root = html("button", { type: "button", className: `bd-button bd-${name}` }, text);
  root.addEventListener("click", onClick);
  return root;
}

/** `memory(name, key, make)`: what make() gave when the key was last seen under this name, or a new one. */
export function memory() {
  const held = new Map();
  return (name, key, make) => {
    const text = JSON.stringify(key);
    if (held.get(name)?.text !== text) held.set(name, { text, value: make() });
    return held.get(name).value;
  };
}

/**
 * A film that plays while `watched` is in view, `wanted()` says so, and the reader has not asked for less motion.
 * `show(seconds)` shows a moment of it and gives what it showed; where `moved` since, by a reader, it goes on at `at()`.
 */
export function playback(watched, { wanted, calm, moved, at, show }) {
  let inView = false;
  let frame = 0;
  let seconds;
  let before;
  let shown;
  const running = () => wanted() && inView && !calm;
  const advance = (now) => {
    if (moved(shown)) seconds = at();
    seconds += Math.min(now - (before ?? now), 100) / 1000; // a page that was hidden goes on where it was
    before = now;
    shown = show(seconds);
    frame = requestAnimationFrame(advance);
  };
  const follow = () => {
    if (running() === frame > 0) return;
    cancelAnimationFrame(frame);
    before = undefined;
    frame = running() ? requestAnimationFrame(advance) : 0;
  };
  const watcher = new IntersectionObserver(
    ([{ isIntersecting }]) => {
      inView = isIntersecting;
      follow();
    },
    { threshold: 0.5 },
  );
  watcher.observe(watched);
  const stop = () => {
    watcher.disconnect();
    cancelAnimationFrame(frame);
  };
  return { running, follow, stop };
}

/** A heading with a note at its right, above a plot. */
export function panel(heading, note, ...children) {
  const title = html("div", { className: "bd-title" }, html("span", { innerHTML: heading }), note);
  return html("div", { className: "bd-panel" }, title, ...children);
}

/** A canvas with a caption: a symbol and a note. */
export function picture(name, symbol, note) {
  const canvas = html("canvas", { width: 1, height: 1, role: "img", "data-name": name });
  const caption = html(
    "div",
    { className: "bd-caption" },
    html("span", { className: "bd-symbol", innerHTML: symbol }),
    html("span", { className: "bd-hint", innerHTML: note }),
  );
  return { canvas, caption, root: html("div", { className: "bd-picture" }, canvas, caption) };
}

/** The key of some lines: [class, html] pairs. */
export const legend = (entries) =>
  html(
    "div",
    { className: "bd-legend" },
    ...entries.map(([name, text]) => html("span", { className: `bd-key ${name}`, innerHTML: text })),
  );

/** Dragging across a plot calls `onMove` with the pointer's x in px from the plot's left edge. */
export function dragAcross(plot, onMove) {
  const drag = (event) => {
    if (event.buttons & 1) onMove(event.clientX - plot.getBoundingClientRect().left);
  };
  plot.addEventListener("pointerdown", (event) => {
    plot.setPointerCapture(event.pointerId);
    drag(event);
  });
  plot.addEventListener("pointermove", drag);
}

/**
 * Long work between frames: `run(generator)` gives it a few ms of each animation frame, and `draw` follows each
 * piece. A new run ends the one before.
 */
export function inPieces(draw, ms = 6) {
  let job;
  let frame = 0;
  const work = () => {
    const until = performance.now() + ms;
    let done = false;
    while (!done && performance.now() < until) done = job.next().done;
    frame = done ? 0 : requestAnimationFrame(work);
    draw();
  };
  const stop = () => cancelAnimationFrame(frame);
  return {
    stop,
    run(generator) {
      stop();
      job = generator;
      frame = requestAnimationFrame(work);
    },
  };
}

/**
 * A button that moves a value from where it is (from 0 when at the end) to 1, then stops by itself. For readers
 * who asked for less motion each press makes one step of 0.1 instead.
 */
export function playButton({ symbol, get, set, seconds = 6 }) {
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const root = html("button", { type: "button", className: "bd-button bd-play" });
  let frame = 0;
  const show = () => {
    root.textContent = calm ? `Step ${symbol}` : frame ? "Pause" : `Play ${symbol}`;
    root.dataset.playing = frame !== 0;
  };
  const stop = () => {
    cancelAnimationFrame(frame);
    frame = 0;
    show();
  };
  const play = () => {
    const from = get() < 1 ? get() : 0;
    let start;
    const advance = (now) => {
      if (!root.isConnected) return stop();
      start ??= now;
      set(Math.min(from + (now - start) / (1000 * seconds), 1));
      if (get() < 1) frame = requestAnimationFrame(advance);
      else stop();
    };
    frame = requestAnimationFrame(advance);
    show();
  };
  const step = () => set(get() < 1 ? Math.min(Math.floor(10 * get() + 1.001) / 10, 1) : 0);
  root.addEventListener("click", () => (calm ? step() : frame ? stop() : play()));
  show();
  return { root, stop };
}

/**
 * What a figure's controls do with the model. `set` changes a value, here and in Python; `bound(key)` is the name of a
 * control and its work; `show(controls)` puts each where the model is; `play` is the button that plays a value;
 * `ownPicture` takes the reader's picture; `reset` is the button that brings back the `keys` as the figure began.
 */
export function steering(model, keys) {
  const start = Object.fromEntries(keys.map((key) => [key, model.get(key)]));
  const set = (key, value) => {
    model.set(key, value);
    model.save_changes();
  };
  const bound = (name, read = (v) => v) => ({ name, onInput: (v) => set(name, read(v)) });
  return {
    set,
    bound,
    show(controls) {
      for (const [key, control] of Object.entries(controls)) control.set(model.get(key));
    },
    play: (key, symbol = key) => playButton({ symbol, get: () => model.get(key), set: (v) => set(key, v) }),
    ownPicture: () =>
      pictureInput({ ...bound("_photo"), size: model.get("size"), live: Boolean(model.widget_manager) }),
    reset: (before = () => {}) =>
      button("reset", "Reset", () => {
        before();
        for (const key of keys) set(key, start[key]);
      }),
  };
}

/** The slider of sigma_B,max; `options` as of `slider`. */
export const sigmaMaxSlider = (options) =>
  slider({
    symbol: "<i>σ</i><sub>B,max</sub>",
    hint: "blur at <i>t</i> = 1",
    unit: " px",
    spoken: "sigma B max, the blur at t = 1, in pixels",
    min: 0,
    max: 30,
    step: 0.1,
    format: (v) => v.toFixed(1),
    ...options,
  });

/** The slider of d_min. */
export const dMinSlider = (options) =>
  slider({
    symbol: "<i>d</i><sub>min</sub>",
    hint: "floor of the damping",
    spoken: "d min, the floor of the damping",
    min: -5,
    max: -1,
    step: 0.05,
    position: Math.log10,
    value: (p) => +(10 ** p).toPrecision(3),
    format: (v) => v.toFixed(5),
    ...options,
  });

/** A slider for t, from data to noise. */
export const timeSlider = (onInput, hint = "0 data, 1 noise") =>
  slider({
    name: "t",
    symbol: "<i>t</i>",
    hint,
    spoken: "t, time",
    min: 0,
    max: 1,
    step: 0.005,
    format: (v) => v.toFixed(3),
    onInput,
  });

/** A slider of N, `low` to `high` steps, logarithmic. */
export const stepsSlider = (low, high, options) =>
  slider({
    symbol: "<i>N</i>",
    hint: "steps from <i>t</i> = 1 to 0",
    spoken: "N, number of steps",
    min: 0,
    max: 1,
    step: 0.01,
    position: (v) => Math.log(v / low) / Math.log(high / low),
    value: (p) => Math.round(low * (high / low) ** p),
    whole: true,
    format: (v) => `${v}`,
    ...options,
  });

/**
 * Joins `model` to the page's group `name`: its members share the values of `keys`, and a newcomer takes the
 * group's. The groups live on globalThis because a live notebook evaluates this module once per widget.
 * Returns the function that leaves the group.
 */
export function joinGroup(name, model, keys) {
  const groups = (globalThis.bdbookGroups ??= new Map());
  if (!groups.has(name)) groups.set(name, { values: {}, members: new Map() });
  const { values, members } = groups.get(name); // members: model -> the keys it shares
  const give = (member, key) => {
    if (!members.get(member).includes(key) || member.get(key) === values[key]) return; // ends the exchange
    member.set(key, values[key]);
    member.save_changes();
  };
  const tell = Object.fromEntries(
    keys.map((key) => [
      key,
      () => {
        values[key] = model.get(key);
        for (const member of members.keys()) give(member, key);
      },
    ]),
  );
  members.set(model, keys);
  for (const key of keys) {
    if (key in values) give(model, key);
    else values[key] = model.get(key);
    model.on(`change:${key}`, tell[key]);
  }
  return () => {
    for (const key of keys) model.off(`change:${key}`, tell[key]);
    members.delete(model);
    if (!members.size) groups.delete(name);
  };
}

const UNHEARD =
  "No kernel knows this figure: it moves here, and Python does not see it. Run its cell again to bring it back.";
const GONE = ["restarting", "autorestarting", "terminating", "dead"];

/**
 * Words that are seen once the kernel of a figure is gone, and the function that stops the waiting for it. Jupyter marks
 * the figure's element where the kernel was stopped or left behind, but not where it died.
 */
function unheard({ kernel }) {
  const note = html("div", { className: "bd-unheard", role: "status" }, UNHEARD);
  const hear = (_, status) => {
    if (GONE.includes(status)) note.dataset.gone = "";
  };
  kernel?.statusChanged?.connect(hear);
  return [note, () => kernel?.statusChanged?.disconnect(hear)];
}

/**
 * Puts `root` into `el` and keeps it true: `update` runs when one of the model's `keys` changes, `layout` before it when
 * the width does, `stop` at the end. `shared` are the keys that a group of figures has in common. Returns the function
 * that takes everything off the model again. The size of `root.firstChild` must not depend on what layout() does.
 */
export function keepDrawn({ model, el, root, keys, shared, layout, update, stop = () => {} }) {
  for (const key of keys) model.on(`change:${key}`, update);
  root.addEventListener("keydown", (event) => {
    // JupyterLab has other uses for a control's keys and for pasting
    const { target, key, ctrlKey, metaKey, altKey, shiftKey } = event;
    if (ctrlKey || metaKey ? key === "v" : target !== root && !altKey && !shiftKey) event.stopPropagation();
  });
  const leave = model.get("link") ? joinGroup(model.get("link"), model, shared) : () => {};
  const observer = new ResizeObserver(() => {
    if (root.firstChild.clientWidth) {
      layout();
      update();
    }
  });
  observer.observe(root.firstChild);
  const [note, waitNoMore] = model.widget_manager ? unheard(model.widget_manager) : ["", () => {}];
  root.append(note);
  el.replaceChildren(root);
  update();
  const unlisted = model.place ? inAddress({ model, el, root, keys }) : () => {};
  return () => {
    stop();
    unlisted();
    waitNoMore();
    observer.disconnect();
    leave();
    for (const key of keys) model.off(`change:${key}`, update);
  };
}
