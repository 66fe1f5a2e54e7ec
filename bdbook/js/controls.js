// Controls and what joins widgets: labelled inputs, play, groups that share values.

/** An HTML element with properties (and `aria-`, `data-` attributes) and children. */
export function html(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties))
    if (name.includes("-")) node.setAttribute(name, value);
    else node[name] = value;
  node.append(...children);
  return node;
}

let count = 0;
const uniqueId = (name) => `bd-${name}-${++count}-${Math.random().toString(36).slice(2, 7)}`;

/**
 * A labelled range input. `position` maps a value to the place on the slider and `value` maps it back (a
 * logarithmic slider); `format` is what is shown, `spoken` the accessible name. `row` has room for a button.
 */
export function slider({ name, symbol, hint, spoken, unit = "", min, max, step, format, onInput,
                         position = (v) => v, value = (p) => p }) {
  const input = html("input", { type: "range", id: uniqueId(name), name, min, max, step, "aria-label": spoken });
  const output = html("output", { htmlFor: input.id });
  const label = html("label", { htmlFor: input.id },
    html("span", { className: "bd-symbol", innerHTML: symbol }), html("span", { className: "bd-hint", innerHTML: hint }));
  const row = html("div", { className: "bd-row" }, input);
  const root = html("div", { className: "bd-control" }, html("div", { className: "bd-label" }, label, output), row);
  input.addEventListener("input", () => onInput(value(+input.value)));
  const set = (v) => {
    input.max = Math.max(max, position(v)); // Python may set more than the slider offers
    input.value = position(v);
    input.style.setProperty("--fill", (input.value - min) / (input.max - min));
    output.textContent = format(v) + unit;
    input.setAttribute("aria-valuetext", output.textContent);
  };
  return { root, row, input, set };
}

/** A labelled drop-down list; `options` is { value: shown text }. */
export function select({ name, symbol, hint, spoken, options, onInput }) {
  const input = html("select", { id: uniqueId(name), name, "aria-label": spoken },
    ...Object.entries(options).map(([value, shown]) => html("option", { value }, shown)));
  const label = html("label", { htmlFor: input.id },
    html("span", { className: "bd-symbol", innerHTML: symbol }), html("span", { className: "bd-hint", innerHTML: hint }));
  const row = html("div", { className: "bd-row" }, input);
  const root = html("div", { className: "bd-control" }, html("div", { className: "bd-label" }, label), row);
  input.addEventListener("input", () => onInput(input.value));
  return { root, row, input, set: (v) => { input.value = v; } };
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
  const stop = () => { cancelAnimationFrame(frame); frame = 0; show(); };
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
 * Joins `model` to the page's group `name`: its members share the values of `keys`, and a newcomer takes the
 * group's. The groups live on globalThis because a live notebook evaluates this module once per widget.
 * Returns the function that leaves the group.
 */
export function joinGroup(name, model, keys) {
  const groups = (globalThis.bdbookGroups ??= new Map());
  if (!groups.has(name)) groups.set(name, { values: {}, members: new Set() });
  const { values, members } = groups.get(name);
  const give = (member, key) => {
    if (member.get(key) === values[key]) return; // ends the exchange
    member.set(key, values[key]);
    member.save_changes();
  };
  const tell = Object.fromEntries(keys.map((key) => [key, () => {
    values[key] = model.get(key);
    for (const member of members) give(member, key);
  }]));
  for (const key of keys) {
    if (key in values) give(model, key);
    else values[key] = model.get(key);
    model.on(`change:${key}`, tell[key]);
  }
  members.add(model);
  return () => {
    for (const key of keys) model.off(`change:${key}`, tell[key]);
    members.delete(model);
    if (!members.size) groups.delete(name);
  };
}
