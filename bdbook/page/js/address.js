// The state of a figure in the address of its page, "?clocks.t=0.3&clocks.system=soft#fig-clocks": what a link shows,
// and what the reader hands on. Only a page without a kernel does this: mount.js gives its model a `place`, "clocks".
const PAUSE = 400; // ms between changes of the address, of which browsers allow some 100 in half a minute

const readers = new WeakMap();

/** Says what a word in the address means to a control: read(text) gives its value, or undefined for what it is not. */
export const readable = (input, read) => readers.set(input, read);

/** A number as JavaScript writes it, or undefined. */
export const readNumber = (text) => (/^-?\d+(\.\d+)?(e[+-]?\d+)?$/.test(text) ? +text : undefined);

/** Selects the link in a field beside the button, for a browser that does not let a page copy. */
function offer(button, link) {
  const field = document.createElement("input");
  Object.assign(field, { type: "text", value: link, readOnly: true, className: "bd-link" });
  field.setAttribute("aria-label", "The link: copy it");
  field.addEventListener("blur", () => field.remove());
  button.after(field);
  field.select();
  field.focus();
}

/**
 * Keeps the address in step with those of the model's `keys` that have a control in `root`; what is as it began is left
 * out. First the model takes what the address says; what it cannot mean is passed over. `Share`, beside the button
 * Reset, copies the link, which leads to the figure. Returns the function that ends it.
 */
export function inAddress({ model, el, root, keys }) {
  const reset = root.querySelector(".bd-reset");
  const told = keys.flatMap((key) => {
    const read = readers.get(root.querySelector(`[name="${key}"]`));
    return read ? [{ key, read, start: model.get(key), name: `${model.place}.${key}` }] : [];
  });
  if (!reset || !told.length) return () => {};
  const anchor = el.closest('[id^="fig-"]') ?? el;
  if (anchor === el) el.id = `figure-${model.place}`;

  const said = new URLSearchParams(location.search);
  for (const { key, read, start, name } of told) {
    const value = said.has(name) ? read(said.get(name)) : undefined;
    if (typeof value === typeof start) model.set(key, value);
  }
  const here = told.some(({ name }) => said.has(name)) && location.hash === `#${anchor.id}`;
  const scroll = () => anchor.scrollIntoView();
  if (here) requestAnimationFrame(() => requestAnimationFrame(scroll)); // once its plots have been laid out

  let timer = 0;
  const write = () => {
    clearTimeout(timer);
    timer = 0;
    const url = new URL(location.href);
    for (const { key, start, name } of told)
      if (model.get(key) === start) url.searchParams.delete(name);
      else url.searchParams.set(name, model.get(key));
    if (url.href !== location.href) history.replaceState(history.state, "", url);
  };
  const later = () => {
    timer ||= setTimeout(write, PAUSE);
  };
  for (const { key } of told) model.on(`change:${key}`, later);

  const button = document.createElement("button");
  Object.assign(button, { type: "button", className: "bd-button bd-share", textContent: "Share" });
  button.setAttribute("aria-live", "polite");
  button.title = "Copies a link to the figure as it stands";
  button.addEventListener("click", async () => {
    write();
    const link = new URL(location.href);
    link.hash = anchor.id;
    try {
      await navigator.clipboard.writeText(link.href);
      button.textContent = "Copied";
      setTimeout(() => {
        button.textContent = "Share";
      }, 2000);
    } catch {
      offer(button, link.href);
    }
  });
  reset.after(button);
  return () => {
    clearTimeout(timer);
    for (const { key } of told) model.off(`change:${key}`, later);
  };
}
