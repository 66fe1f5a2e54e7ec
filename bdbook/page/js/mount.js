// Mounts every figure of a page that has no kernel. A figure names its program (a text/plain script that came with
// one of the figures) and holds its state; the model is a plain object that answers as anywidget's does.
function createModel(state, place) {
  const events = new EventTarget();
  return {
    place,
    get: (key) => state[key],
    set(key, value) {
      if (state[key] === value) return;
      state[key] = value;
      events.dispatchEvent(new Event(`change:${key}`));
    },
    save_changes() {},
    on(event, handler) {
      events.addEventListener(event, handler);
    },
    off(event, handler) {
      events.removeEventListener(event, handler);
    },
  };
}

/**
 * What the page's address calls a figure: "clocks", and the second of its kind "clocks2". undefined where the address is
 * not the book's to change: in a notebook, or in a frame of another page.
 */
function placeOf(figure) {
  const foreign =
    document.getElementById("jupyter-config-data") || self !== top || !/^(https?|file):$/.test(location.protocol);
  if (foreign) return undefined;
  const { figure: name } = figure.dataset;
  const nth = [...document.querySelectorAll(`[data-figure="${name}"]`)].indexOf(figure);
  return nth ? `${name}${nth + 1}` : name;
}

const programs = (globalThis.bdbookPrograms ??= {}); // each is evaluated once per page
for (const figure of document.querySelectorAll(".bdbook-figure:not([data-mounted])")) {
  const source = document.getElementById(figure.dataset.source);
  if (!source) continue;
  figure.dataset.mounted = "";
  programs[source.id] ??= import(URL.createObjectURL(new Blob([source.textContent], { type: "text/javascript" })));
  const draw = ([program]) =>
    program.default.render({ model: createModel(JSON.parse(figure.dataset.state), placeOf(figure)), el: figure });
  // In the page's order, whichever program arrives first: of a group the first figure says what the others share.
  globalThis.bdbookMounting = Promise.all([programs[source.id], globalThis.bdbookMounting])
    .then(draw)
    .catch((error) => console.error(error));
}
