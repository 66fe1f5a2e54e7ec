// The film of the six systems: each destroys the photograph, forward; its trained network draws clothes, backward.
import { normals, decodeImage } from "./core.js";
import { process } from "./processes.js";
import { drawImage } from "./plot.js";
import { html, slider, picture, keepDrawn, memory, playback } from "./controls.js";

const KEYS = ["t", "way", "playing"];
// Settings at 64 pixels: HS's and Lee's for that size, DDPM's for any, IHDM's half the side; soft as the recipe
// soft-celeba64. Cold is the book's system of 16 pixels, scaled up: as large a part of the side, in finer steps.
const SYSTEMS = [
  { name: "ddpm", symbol: "DDPM", note: "noise", made: ["ddpm"] },
  { name: "heat", symbol: "IHDM", note: "mostly blur", made: ["heat_dissipation", { sigma_max: 32 }] },
  { name: "blurring", symbol: "blurring", note: "blur and noise", made: ["blurring_diffusion"] },
  { name: "blur", symbol: "blur", note: "noise, late blur", made: ["blur_diffusion"] },
  { name: "soft", symbol: "soft", note: "blur and noise", made: ["soft_diffusion"] },
  { name: "cold", symbol: "cold", note: "blur alone", made: ["blur", { steps: 160, std: 2, width: 17 }] },
];
const SENTENCES = {
  forward: "The same photograph, the same noise.",
  backward: "Trained networks draw clothes, shoes, bags.",
};
const SIDE = 16;
const ACROSS = 2;
const GAP = 1; // of the recorded pictures: their side, how many in a row here, px between them
const TICKS = 200; // places of the slider, and pictures a run
const STAND = { photo: 1, drawn: 2.5 };
const RUN = 8; // s

/** Where the film is after `seconds` of its loop: the photograph stands and goes; drawings come and stand. */
export function scene(seconds) {
  const s = seconds % (STAND.photo + 2 * RUN + STAND.drawn);
  const gone = (s - STAND.photo) / RUN;
  const t = gone < 1 ? Math.max(gone, 0) : Math.max(2 - gone, 0);
  return { way: gone < 1 ? "forward" : "backward", t: Math.round(t * TICKS) / TICKS };
}

/** The first second of the loop at which it shows time t of a way; at its end it begins again. */
export function moment(way, t) {
  if (way === "forward") return STAND.photo + t * RUN;
  return t > 0 ? STAND.photo + (2 - t) * RUN : 0;
}

/** alpha x + sigma eps of one process at time t, as planes; the noise is white in pixels. */
export function destroyer(photo, noise, size, [name, settings]) {
  const { forward, inverse, alpha, sigma, steps } = process(name, size, settings);
  const signal = photo.map(forward);
  const white = noise.map(forward);
  return (t) => {
    const at = steps ? Math.round(t * steps) / steps : t;
    const a = alpha(at);
    const s = sigma(at);
    return signal.map((u, c) => inverse(u.map((v, k) => a[k] * v + s[k] * white[c][k])));
  };
}

/** A column of a film onto a canvas: a row a picture, a column a time from t = 1 to 0. */
function drawWalk(canvas, film, column) {
  const side = ACROSS * (SIDE + GAP) - GAP;
  const context = canvas.getContext("2d");
  Object.assign(canvas, { width: side, height: side });
  for (let i = 0; i < film.height / SIDE; i++)
    context.drawImage(
      film,
      column * SIDE,
      i * SIDE,
      SIDE,
      SIDE,
      (i % ACROSS) * (SIDE + GAP),
      Math.floor(i / ACROSS) * (SIDE + GAP),
      SIDE,
      SIDE,
    );
}

function render({ model, el }) {
  const size = model.get("size");
  const photo = decodeImage(model.get("_photo"), 3);
  const noise = photo.map((_, c) => normals(1 + c, size * size));
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const set = (values) => {
    for (const [key, value] of Object.entries(values)) model.set(key, value);
  };
  const say = (values) => {
    set(values);
    model.save_changes();
  };

  // Controls
  const t = slider({
    name: "t",
    symbol: "<i>t</i>",
    hint: "time: 0 data, 1 nothing",
    spoken: "t, time",
    min: 0,
    max: 1,
    step: 1 / TICKS,
    format: (v) => v.toFixed(3),
    onInput: (v) => say({ playing: false, t: v }),
  });
  const play = html("button", { type: "button", className: "bd-button bd-play" });
  play.addEventListener("click", () =>
    say(calm ? scene(moment(model.get("way"), model.get("t")) + RUN / 10) : { playing: !model.get("playing") }),
  );
  t.row.append(play);
  const group = `bd-way-${Math.random().toString(36).slice(2, 7)}`;
  const ways = Object.keys(SENTENCES).map((way) => {
    const input = html("input", { type: "radio", name: group, value: way });
    // A playing film begins at the way's beginning; a standing one shows the same time.
    input.addEventListener("input", () => say({ ...(running() && { t: way === "forward" ? 0 : 1 }), way }));
    return { way, input, root: html("label", {}, input, way) };
  });
  const sentence = html("div", { className: "bd-hint" });

  // Pictures
  const systems = SYSTEMS.map(({ name, symbol, note, made }) => {
    const { canvas, caption, root } = picture(name, symbol, note);
    const film = html("img", { src: `data:image/png;base64,${model.get("_films")[name]}` });
    film.decode().then(update);
    root.style.setProperty("--system", `var(--${name})`);
    root.prepend(html("div", { className: "bd-caption" }, caption.firstChild));
    return { symbol, note, canvas, root, film, destroyed: destroyer(photo, noise, size, made) };
  });
  const pictures = html("div", { className: "bd-pictures" }, ...systems.map(({ root }) => root));
  const root = html(
    "div",
    { className: "bdbook-widget bd-film", role: "group", "aria-label": "Six systems, a film" },
    html(
      "div",
      { className: "bd-controls" },
      html(
        "div",
        { className: "bd-control" },
        html("div", { className: "bd-label" }, sentence),
        html("fieldset", { className: "bd-ways bd-row", "aria-label": "way" }, ...ways.map((way) => way.root)),
      ),
      t.root,
    ),
    pictures,
  );

  // Playing
  const { running, follow, stop } = playback(pictures, {
    wanted: () => model.get("playing"),
    calm,
    moved: (shown) => shown?.way !== model.get("way") || shown.t !== model.get("t"),
    at: () => moment(model.get("way"), model.get("t")),
    show(seconds) {
      const shown = scene(seconds);
      set(shown); // only said when the reader pauses: Python need not hear of every picture
      return shown;
    },
  });

  const remember = memory();
  function update() {
    const [now, way, playing] = KEYS.map((key) => model.get(key));
    t.set(now);
    for (const each of ways) each.input.checked = each.way === way;
    sentence.textContent = SENTENCES[way];
    play.textContent = calm ? "Step" : playing ? "Pause" : "Play";
    play.dataset.playing = playing && !calm;
    follow();
    for (const { symbol, note, canvas, film, destroyed } of systems) {
      const columns = film.width / SIDE;
      const column = Math.round((1 - now) * (columns - 1));
      remember(symbol, way === "forward" ? now : [column, film.complete], () => {
        if (way === "forward") drawImage(canvas, destroyed(now), size, size);
        else if (columns) drawWalk(canvas, film, column);
      });
      canvas.setAttribute(
        "aria-label",
        way === "forward"
          ? `${symbol}, ${note}: the photograph at t = ${now.toFixed(3)}.`
          : `${symbol}: four drawings on the way, at t = ${now.toFixed(3)}.`,
      );
    }
  }

  return keepDrawn({
    model,
    el,
    root,
    keys: KEYS,
    shared: ["t"],
    layout() {},
    update,
    stop,
  });
}

export default { render };
