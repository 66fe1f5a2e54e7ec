// The live sampler: trained networks walk in the page, two settings side by side from the same noise.
import { freq2, distinct, radialBands, decodeBytes } from "./core.js";
import { system, starts, sampling } from "./walk.js";
import { network } from "./network.js";
import { files } from "./assets.js";
import { decodeHalves } from "./unet.js";
import { svg, linePlot, plotBox, powerOfTen, frequencyAxis, drawImage } from "./plot.js";
import {
  html,
  slider,
  stepsSlider,
  select,
  steering,
  button,
  panel,
  picture,
  legend,
  keepDrawn,
  RULE_NAMES,
} from "./controls.js";

const KEYS = ["left", "right", "seed", "t"];
const SIDES = ["left", "right"];
const COUNT = 4;
const SEEDS = 99;
const ACROSS = 2;
const RULES_HERE = { ...RULE_NAMES, carry: "part of DDIM's carry", flow: "flow" };
const VARIANCES = [1e-5, 10];
const FRAME = 24; // ms of work between two frames: the page stays alive, and little is lost to waiting

const nextFrame = () => new Promise(requestAnimationFrame);

/** A setting in words: what a side's pictures were drawn with. */
function inWords({ rule, steps, order, rho }) {
  const carried = rule === "carry" ? ` (${rho.toFixed(2)})` : "";
  return `${RULES_HERE[rule]}${carried}, ${steps} steps${order === 2 ? ", order 2" : ""}`;
}

/** What is to be said of a side's rules, as nodes: why a system without noise has two, and what flow is. */
function wordsOn(rule, rules) {
  if (!rules.includes("flow"))
    return ["This system has no noise, so its frequencies have no clocks: only naive and TACoS can walk it."];
  if (rule !== "flow") return [];
  const root = document.documentElement.dataset.content_root; // of the book; under a kernel there is no page to go to
  const href = `${root}notebooks/18_one_clock_per_frequency.html`;
  const chapter = root === undefined ? "chapter 18" : html("a", { href }, "chapter 18");
  return ["Each frequency steps by its own clock, set by the data's spectrum: ", chapter, "."];
}

/** COUNT images of size * size values in one plane, a line between them. */
function tiled(images, size) {
  const side = ACROSS * (size + 1) - 1;
  const plane = new Float64Array(side * side).fill(1);
  images.forEach((image, i) => {
    const top = Math.floor(i / ACROSS) * (size + 1);
    const left = (i % ACROSS) * (size + 1);
    for (let row = 0; row < size; row++)
      plane.set(image.subarray(row * size, (row + 1) * size), (top + row) * side + left);
  });
  return { plane, side };
}

/** The frames of a walk that Python took (bdbook/page/opening.py): times, and states and guesses in half precision. */
function recordedFrames({ t, x, guess }, size) {
  const cut = (text) => {
    const values = Float64Array.from(decodeHalves(decodeBytes(text)));
    const images = Array.from({ length: t.length * COUNT }, (_, i) =>
      values.subarray(i * size ** 2, (i + 1) * size ** 2),
    );
    return t.map((_, i) => images.slice(i * COUNT, (i + 1) * COUNT));
  };
  const [states, guesses] = [cut(x), cut(guess)];
  return t.map((time, i) => ({ t: time, x: states[i], guess: i ? guesses[i] : undefined }));
}

/** One side: its controls, its pictures, its spectrum, and the walk they show. */
function makeSide(name, model, labels, size) {
  const offered = model.get("_offered"); // recipe -> its rules, its own one, and its steps
  const get = () => model.get(name);
  const set = (change) => {
    model.set(name, { ...get(), ...change });
    model.save_changes();
  };
  const of = (word) => `${name} side: ${word}`;
  /** Another system: what the reader has chosen stays where the system knows it, the rest is the system's own. */
  const choose = (recipe) => {
    const [now, was, will] = [get(), offered[get().recipe], offered[recipe]];
    const keeps = now.rule !== was.rule && will.rules.includes(now.rule);
    set({
      recipe,
      rule: keeps ? now.rule : will.rule,
      steps: now.steps === was.steps ? will.steps : Math.min(now.steps, will.most),
      order: Math.min(now.order, will.order),
    });
  };
  const controls = {
    recipe: select({
      name: `${name}-recipe`,
      symbol: "system",
      hint: "",
      spoken: of("system"),
      options: labels,
      onInput: choose,
    }),
    rule: select({
      name: `${name}-rule`,
      symbol: "rule",
      hint: "",
      spoken: of("rule of the sampler"),
      options: RULES_HERE,
      onInput: (rule) => set({ rule }),
    }),
    steps: stepsSlider(5, 250, {
      name: `${name}-steps`,
      hint: "steps",
      spoken: of("N, number of steps"),
      onInput: (steps) => set({ steps: Math.min(steps, offered[get().recipe].most) }),
    }),
    order: select({
      name: `${name}-order`,
      symbol: "order",
      hint: "",
      spoken: of("order of the sampler"),
      options: { 1: "1", 2: "2: extrapolated guess" },
      onInput: (order) => set({ order: +order }),
    }),
    rho: slider({
      name: `${name}-rho`,
      symbol: "<i>c</i> / <i>c</i><sub>DDIM</sub>",
      hint: "carried",
      spoken: of("carry as a part of DDIM's"),
      min: 0,
      max: 1,
      step: 0.05,
      format: (v) => v.toFixed(2),
      onInput: (rho) => set({ rho }),
    }),
  };
  const note = html("div", { className: "bd-hint bd-words", id: `${controls.rule.input.id}-words` });
  controls.rule.input.setAttribute("aria-describedby", note.id);
  const pictures = {
    x: picture(`${name}-x`, "<i>z<sub>t</sub></i>", "where the walk is"),
    guess: picture(`${name}-guess`, "<i>x̂</i>", "what the network sees in it"),
  };
  const spectrum = svg("svg", { role: "img", class: "bd-spectrum" });
  const modes = distinct(freq2(size, size), new Float64Array(size * size));
  const bands = radialBands(modes, ...frequencyAxis(size).limits);
  const summary = html("summary", {});
  const root = html(
    "div",
    { className: "bd-side", role: "group", "aria-label": of("a setting and its walk") },
    controls.recipe.root,
    html(
      "details",
      { className: "bd-more" },
      summary,
      html(
        "div",
        { className: "bd-settings" },
        controls.rule.root,
        controls.steps.root,
        controls.order.root,
        controls.rho.root,
        note,
      ),
    ),
    html("div", { className: "bd-pictures bd-two" }, pictures.x.root, pictures.guess.root),
    panel(
      "Variance by frequency",
      "",
      legend([
        ["bd-own", "<i>x̂</i>"],
        ["bd-f4", "<i>z<sub>t</sub></i>"],
        ["bd-reference", "data"],
      ]),
      spectrum,
    ),
  );

  let plot;
  let own;
  let frames = [];

  const clamp = (values) => Array.from(values, (v) => Math.min(Math.max(v, VARIANCES[0]), VARIANCES[1]));
  /** Mean over planes of numbers, one a coefficient, and over each band. */
  const inBands = (planes) => {
    const sums = new Float64Array(modes.count.length);
    for (const plane of planes)
      plane.forEach((v, k) => {
        sums[modes.index[k]] += v / (planes.length * modes.count[modes.index[k]]);
      });
    return clamp(bands.mean(sums));
  };
  const varianceOf = (images, mean) =>
    inBands(images.map((image) => own.process.forward(image).map((v, k) => (v - mean[k]) ** 2)));

  return {
    root,
    controls,
    get frames() {
      return frames;
    },
    layout() {
      const [low, high] = VARIANCES.map(Math.log10);
      plot = linePlot(spectrum, {
        box: { ...plotBox(spectrum), bottom: 150 },
        x: frequencyAxis(size),
        marker: false,
        y: {
          limits: VARIANCES,
          warp: Math.log10,
          ticks: Array.from({ length: (high - low) / 2 + 1 }, (_, i) => [
            10 ** (high - 2 * i),
            powerOfTen(high - 2 * i),
          ]),
        },
        lines: ["bd-reference", "bd-f4", "bd-own"],
      });
    },
    /** Puts the controls where the model is; what this system has no use for is not offered. */
    show() {
      const setting = get();
      const { rules, order } = offered[setting.recipe];
      controls.rule.offer(rules);
      for (const key of Object.keys(controls)) controls[key].set(setting[key]);
      controls.rho.root.hidden = setting.rule !== "carry";
      controls.order.root.hidden = order === 1;
      summary.textContent = inWords(setting);
      note.replaceChildren(...wordsOn(setting.rule, rules));
    },
    begin(prepared, recorded = []) {
      own = prepared;
      frames = recorded;
    },
    keep(frame) {
      frames.push(frame);
    },
    /** Draws the walk as it was at time t: after the last step that did not go beyond. */
    draw(t) {
      const frame = frames.findLast((f) => f.t >= t - 1e-9) ?? frames[0];
      if (!frame) {
        for (const { canvas } of Object.values(pictures)) canvas.setAttribute("aria-label", "Nothing yet: press Draw.");
        return spectrum.setAttribute("aria-label", "Variance by frequency. Nothing yet: press Draw.");
      }
      const where = `at t = ${frame.t.toFixed(3)}, ${labels[own.recipe]}`;
      const alpha = own.process.alpha(frame.t);
      const guess = frame.guess ?? frame.x.map((image) => image.map(() => 0)); // nothing was asked before the first step
      for (const [{ canvas }, images, words] of [
        [pictures.x, frame.x, "images z"],
        [pictures.guess, guess, "guesses of the network"],
      ]) {
        const { plane, side } = tiled(images, size);
        drawImage(canvas, [plane], side, side);
        canvas.setAttribute("aria-label", `${COUNT} ${words} ${where}.`);
      }
      const now = varianceOf(
        frame.x,
        own.mean.map((m, k) => m * alpha[k]),
      );
      const guessed = frame.guess ? varianceOf(frame.guess, own.mean) : [];
      spectrum.setAttribute(
        "aria-label",
        `Variance by frequency ${where}, lowest to highest: of z ` +
          `${now.map((v) => v.toPrecision(2)).join(", ")}; of the guess ${guessed.map((v) => v.toPrecision(2)).join(", ")}.`,
      );
      if (!plot) return;
      plot.line(0, bands.centres, inBands([own.variance]));
      plot.line(1, bands.centres, now);
      plot.line(2, guessed.length ? bands.centres : [], guessed);
    },
  };
}

function render({ model, el }) {
  const size = model.get("size");
  const labels = model.get("systems");
  const { set, bound, reset } = steering(model, KEYS);
  const sides = Object.fromEntries(SIDES.map((name) => [name, makeSide(name, model, labels, size)]));

  const seed = slider({
    ...bound("seed"),
    symbol: "seed",
    hint: "of the noise, the same on both sides",
    spoken: "seed of the noise",
    min: 0,
    max: SEEDS,
    step: 1,
    format: (v) => `${v}`,
  });
  const time = slider({
    ...bound("t"),
    symbol: "<i>t</i>",
    hint: "look back along the walk",
    spoken: "t, time along the walk",
    min: 0,
    max: 1,
    step: 0.005,
    format: (v) => v.toFixed(3),
  });
  const go = button("go", "Draw", () => {
    if (running) return stop();
    if (!stale().length) set("seed", (model.get("seed") + 1) % (SEEDS + 1)); // the same again would be nothing to see
    clearTimeout(timer); // that change is not waited for
    sample();
  });
  const progress = html("progress", { max: 1, value: 0, hidden: true, "aria-label": "progress" });
  const status = html("span", { className: "bd-hint", role: "status" });
  const root = html(
    "div",
    { className: "bdbook-widget", role: "group", "aria-label": "Live sampler, interactive" },
    html("div", { className: "bd-controls" }, seed.root, time.root),
    html("div", { className: "bd-row bd-go-row" }, go, reset(), progress, status),
    html("div", { className: "bd-sides" }, ...SIDES.map((name) => sides[name].root)),
  );

  // One sampling runs at a time: `running` is its token, and one that finds another there gives up.
  let running;
  let timer = 0;
  const shown = {}; // side -> the setting and the seed that its frames are of
  const wanted = (name) => JSON.stringify([model.get(name), model.get("seed")]);
  // Both sides begin with a walk that PyTorch took with these settings, seed and noise, where networks are recorded.
  const openings = Object.entries(model.get("_opening"));
  for (const [name, { told, frames }] of openings) {
    sides[name].begin(system(told), recordedFrames(frames, size));
    shown[name] = wanted(name);
  }
  let opening = openings.length > 0;
  let follows = opening;
  const stale = () => SIDES.filter((name) => shown[name] !== wanted(name));

  const say = (text, part) => {
    status.textContent = text;
    progress.hidden = part === undefined;
    progress.value = part ?? 0;
    go.textContent = running ? "Stop" : stale().length ? "Draw" : "Draw again";
    root.dataset.state = running ? "running" : stale().length ? "waiting" : opening ? "recorded" : "done";
  };
  const stop = () => {
    running = undefined;
    follows = false;
    say("stopped");
  };

  const networks = new Map();
  const networkOf = (recipe, onProgress) => {
    if (!networks.has(recipe)) {
      networks.set(recipe, network(model, recipe, size, onProgress));
      networks.get(recipe).catch(() => networks.delete(recipe)); // the next press tries again
    }
    return networks.get(recipe);
  };
  const prepare = async ({ recipe }, onProgress) => {
    const net = await networkOf(recipe, onProgress);
    const [told] = await files(model, [`walk-${recipe}`]);
    return system(JSON.parse(new TextDecoder().decode(told)), net);
  };

  /** Walks the sides whose setting has changed: the one with more noise left goes first, so that they keep abreast. */
  async function sample() {
    const token = (running = {});
    const walks = [];
    const loading = (part, bytes) => {
      if (running === token) say(`loading${bytes ? ` ${Math.round(bytes / 1e6)} MB` : ""}`, part);
    };
    opening = false;
    follows = true;
    say("loading", 0);
    try {
      for (const name of stale()) {
        const goal = wanted(name);
        const own = await prepare(model.get(name), loading);
        if (running !== token) return;
        delete shown[name];
        sides[name].begin(own);
        const setting = model.get(name);
        const x = starts(own, model.get("seed"), COUNT);
        walks.push({
          name,
          goal,
          t: 1,
          left: setting.steps + 1,
          steps: sampling({ system: own, x, seed: model.get("seed"), ...setting }),
        });
      }
      const began = performance.now();
      const total = walks.reduce((sum, { left }) => sum + left, 0);
      let drawn = began;
      for (let done = 1; done <= total; done++) {
        const walk = walks.filter(({ left }) => left > 0).reduce((a, b) => (b.t > a.t ? b : a));
        const { value } = await walk.steps.next();
        if (running !== token) return;
        sides[walk.name].keep(value);
        walk.t = value.t;
        walk.left--;
        if (performance.now() - drawn < FRAME) continue;
        const now = Math.max(...walks.map(({ t }) => t));
        time.set(now);
        for (const { name } of walks) sides[name].draw(now);
        say("sampling", done / total);
        await nextFrame();
        if (running !== token) return;
        drawn = performance.now();
      }
      for (const { name, goal } of walks) shown[name] = goal;
      running = undefined;
      set("t", 0);
      update();
      say(
        walks.length
          ? `${walks.map(({ name }) => model.get(name).steps).join(" and ")} steps in ` +
              `${((performance.now() - began) / 1000).toFixed(1)} s`
          : "nothing has changed",
      );
    } catch (error) {
      if (running !== token) return;
      stop();
      say(error.message);
      root.dataset.state = "failed";
    }
  }

  function update() {
    seed.set(model.get("seed"));
    time.set(model.get("t"));
    for (const name of SIDES) {
      sides[name].show();
      sides[name].draw(model.get("t"));
    }
    time.input.disabled = SIDES.every((name) => sides[name].frames.length === 0);
    if (!follows) return say(shown.left ? "stopped" : "the first press loads the networks");
    if (opening && !stale().length) return say("drawn when the page was made");
    if (!stale().length) return;
    if (!running) say("");
    clearTimeout(timer); // every change draws again; a slider that still moves is waited for
    timer = setTimeout(sample, 200);
  }

  return keepDrawn({
    model,
    el,
    root,
    keys: KEYS,
    shared: ["seed"],
    update,
    layout: () => {
      for (const name of SIDES) sides[name].layout();
    },
    stop: () => {
      running = undefined;
      clearTimeout(timer);
    },
  });
}

export default { render };
