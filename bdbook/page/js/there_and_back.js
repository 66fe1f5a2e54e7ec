// The first page's figure: one picture destroyed by six systems, what their networks made of its ends, and a network that
// draws new ones here.
import { drawImage } from "./plot.js";
import { html, slider, button, picture, keepDrawn, memory, playback } from "./controls.js";
import { system, starts, sampling } from "./walk.js";
import { network } from "./network.js";
import { files } from "./assets.js";

const KEYS = ["place", "playing", "seed"];
// In the order of the page; the name is the colour's (palette.py).
const SYSTEMS = [
  { name: "ddpm", symbol: "DDPM", note: "noise" },
  { name: "heat", symbol: "IHDM", note: "mostly blur" },
  { name: "blurring", symbol: "blurring", note: "blur and noise" },
  { name: "blur", symbol: "blur", note: "noise, late blur" },
  { name: "soft", symbol: "soft", note: "blur and noise" },
  { name: "cold", symbol: "cold", note: "blur alone" },
];
const SENTENCES = ["One picture, destroyed in six ways.", "From its ends, networks draw others."];
const SIDE = 16; // px, of the recorded pictures
const STAND = { picture: 1, end: 0.5, drawn: 2.5 };
const RUN = 5; // s, of each way
const SEEDS = 99;
// What draws here: the flow rule, for which few calls are enough (chapter 18).
const DRAWN = { recipe: "fashion-blurring", rule: "flow", order: 2, steps: 10, count: 6 };

/** Where the figure is after `seconds` of its loop: 0 the picture, 1 its end, 2 what was drawn from there. */
export function placeAt(seconds) {
  const { picture: first, end, drawn } = STAND;
  const s = seconds % (first + end + drawn + 2 * RUN);
  const there = Math.min(Math.max((s - first) / RUN, 0), 1);
  return there + Math.min(Math.max((s - first - RUN - end) / RUN, 0), 1);
}

/** The first second of the loop at which it is at a place. */
export const secondsOf = (place) => STAND.picture + place * RUN + (place > 1 ? STAND.end : 0);

function render({ model, el }) {
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const set = (key, value) => {
    model.set(key, value);
    model.save_changes();
  };

  // The walk there and back
  const t = slider({
    name: "place",
    symbol: "<i>t</i>",
    hint: "there, and back",
    spoken: "place: 0 the picture, 1 its end, 2 what was drawn",
    min: 0,
    max: 2,
    step: 0.01,
    format: (v) => (v > 1 ? 2 - v : v).toFixed(2),
    onInput(v) {
      model.set("playing", false);
      set("place", v);
    },
  });
  const play = button("play", "Play", () => {
    if (calm) set("place", model.get("place") >= 2 ? 0 : Math.min(Math.floor(5 * model.get("place") + 1.001) / 5, 2));
    else set("playing", !model.get("playing"));
  });
  t.row.append(play);
  const sentence = html("div", { className: "bd-hint", role: "status" });
  const systems = SYSTEMS.map(({ name, symbol, note }) => {
    const { canvas, caption, root } = picture(name, symbol, note);
    const film = html("img", { src: `data:image/png;base64,${model.get("_walks")[name]}` });
    film.decode().then(update);
    root.style.setProperty("--system", `var(--${name})`);
    root.prepend(html("div", { className: "bd-caption" }, caption.firstChild));
    return { symbol, note, canvas, film };
  });
  const pictures = html("div", { className: "bd-pictures" }, ...systems.map(({ canvas }) => canvas.parentElement));

  // Drawing
  const drawn = Array.from({ length: DRAWN.count }, (_, i) => picture(`drawn-${i}`, "", ""));
  for (const { caption } of drawn) caption.remove();
  const fresh = html("div", { className: "bd-pictures", hidden: true }, ...drawn.map((each) => each.root));
  const status = html("span", { className: "bd-hint", role: "status" }, "A network comes, and draws new clothes here.");
  const go = button("go", "Draw", () => draw());
  let busy = false;
  let times = 0;
  let loading;
  /** The system with its network, once: it begins to come when the reader turns to the button. */
  const load = () => {
    loading ??= (async () => {
      const tell = (part, bytes) => {
        if (busy && bytes) status.textContent = `loading ${(bytes / 1e6).toFixed(1)} MB: ${Math.round(100 * part)} %`;
      };
      const net = await network(model, DRAWN.recipe, SIDE, tell);
      const [told] = await files(model, [`walk-${DRAWN.recipe}`]);
      return system(JSON.parse(new TextDecoder().decode(told)), net);
    })();
    loading.catch(() => (loading = undefined)); // the next press tries again
    return loading;
  };
  for (const event of ["pointerenter", "focus"]) go.addEventListener(event, () => load().catch(() => {}));
  async function draw() {
    if (busy) return;
    busy = true;
    go.setAttribute("aria-disabled", "true");
    root.dataset.state = "running";
    status.textContent = "loading";
    try {
      const own = await load();
      if (times++) set("seed", (model.get("seed") + 1) % (SEEDS + 1));
      const seed = model.get("seed");
      const began = performance.now();
      const x = starts(own, seed, DRAWN.count);
      drawn.forEach(({ canvas }, i) => canvas.setAttribute("aria-label", `New picture ${i + 1} of seed ${seed}.`));
      fresh.hidden = false;
      for await (const frame of sampling({ system: own, x, seed, ...DRAWN })) {
        frame.x.forEach((image, i) => drawImage(drawn[i].canvas, [image], SIDE, SIDE));
        await new Promise(requestAnimationFrame);
      }
      const seconds = ((performance.now() - began) / 1000).toFixed(1);
      status.textContent = `${DRAWN.count} new pictures in ${DRAWN.steps} calls of the network, ${seconds} s`;
      root.dataset.state = "done";
    } catch (error) {
      status.textContent = error.message;
      root.dataset.state = "failed";
    }
    go.textContent = "Draw again";
    go.removeAttribute("aria-disabled");
    busy = false;
  }

  const root = html(
    "div",
    { className: "bdbook-widget bd-film bd-both-ways", role: "group", "aria-label": "There and back, and new clothes" },
    html(
      "div",
      { className: "bd-controls" },
      html("div", { className: "bd-control" }, html("div", { className: "bd-label" }, sentence)),
      t.root,
    ),
    pictures,
    html("div", { className: "bd-row bd-go-row" }, go, status),
    fresh,
  );

  // Playing
  const { follow, stop } = playback(pictures, {
    wanted: () => model.get("playing"),
    calm,
    moved: (shown) => shown !== model.get("place"),
    at: () => secondsOf(model.get("place")),
    show(seconds) {
      const shown = placeAt(seconds);
      model.set("place", shown); // only said when the reader pauses
      return shown;
    },
  });

  const remember = memory();
  function update() {
    const now = model.get("place");
    t.set(now);
    const words = SENTENCES[now > 1 ? 1 : 0];
    if (sentence.textContent !== words) sentence.textContent = words;
    play.textContent = calm ? "Step" : model.get("playing") ? "Pause" : "Play";
    follow();
    for (const { symbol, note, canvas, film } of systems) {
      if (!film.width) continue;
      const column = Math.round((now / 2) * (film.width / SIDE - 1));
      remember(symbol, column, () => {
        Object.assign(canvas, { width: SIDE, height: SIDE });
        canvas.getContext("2d").drawImage(film, column * SIDE, 0, SIDE, SIDE, 0, 0, SIDE, SIDE);
      });
      const where =
        now > 1 ? `on the way back, at t = ${(2 - now).toFixed(2)}` : `the picture at t = ${now.toFixed(2)}`;
      canvas.setAttribute("aria-label", `${symbol}, ${note}: ${where}.`);
    }
  }

  return keepDrawn({
    model,
    el,
    root,
    keys: KEYS,
    shared: ["place"],
    layout() {},
    update,
    stop,
  });
}

export default { render };
