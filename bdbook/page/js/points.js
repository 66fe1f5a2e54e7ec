// The playground in the plane: points that the reader draws, one clock per axis, the exact answer and a network that is
// trained here, each walked from the same noise.
import { normals } from "./core.js";
import { svg, linePlot, plotBox, scale, spoken, timeAt } from "./plot.js";
import { GRID, clocksOverTime } from "./turns.js";
import { WIDTH, TRAINING, perceptron, propagation, training } from "./perceptron.js";
import { PRESETS, SYSTEMS, MOST_POINTS, MANY, INPUTS } from "./plane.js";
import { preset, standardised, clocksOf, exactAnswer, trainedAnswer, drawing, unlearnt } from "./plane.js";
import { walking, evenly, told, apart } from "./plane.js";
import {
  html,
  slider,
  timeSlider,
  select,
  steering,
  button,
  panel,
  legend,
  dragAcross,
  inPieces,
  keepDrawn,
  derived,
} from "./controls.js";

const SETTING = ["data", "_points", "angle", "system", "bend", "seed"]; // all that a network is trained for
const KEYS = [...SETTING, "rule", "steps", "t"];
const WALKERS = 40;
const REACH = 1.3; // the plane is drawn from -REACH to REACH
const APART = 0.04; // between two points of a stroke
const STRIDE = 0.1; // of an arrow key while drawing
const RULE_WORDS = { ddim: "DDIM", flow: "flow rule" };
const LOOK = 50; // steps of training between two looks at what is learnt
const SLICE = 12; // ms of a frame for training

/** Many dots as one path: each a line of no length, made round by its ends. */
const dots = (places) => places.map(([x, y]) => `M${x.toFixed(1)} ${y.toFixed(1)}h0`).join("");
const polylines = (ways) =>
  ways.map((way) => way.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("")).join("");

/** A plane with data, axes, the ways of the samples and where they are; `place` maps px to the plane. */
function makePlane(name, heading, note) {
  const node = svg("svg", { role: "img", class: "bd-plane", "data-name": name });
  const root = panel(heading, note, node);
  const part = (tag, className) => svg(tag, { class: className });
  const axes = ["coarse", "fine"].map((axis) => ({ line: part("line", "bd-axis"), word: svg("text", {}, axis) }));
  const paper = part("rect", "bd-paper");
  const data = part("path", "bd-points");
  const ways = part("path", "bd-ways-drawn");
  const samples = part("path", "bd-samples");
  const cursor = part("path", "bd-cursor");
  const words = part("text", "bd-plane-words");
  node.append(
    paper,
    ...axes.map(({ line }) => line),
    data,
    ways,
    samples,
    ...axes.map(({ word }) => word),
    cursor,
    words,
  );
  let at = { x: (v) => v, y: (v) => v };
  let side = 1;
  const px = ([x, y]) => [at.x(x), at.y(y)];
  return {
    root,
    node,
    layout() {
      side = node.clientWidth;
      at = { x: scale([-REACH, REACH], [0, side]), y: scale([-REACH, REACH], [side, 0]) };
      node.setAttribute("height", side + 2); // and its border
      const edge = { x: at.x(-1), y: at.y(1), width: at.x(1) - at.x(-1), height: at.y(-1) - at.y(1) };
      for (const [key, value] of Object.entries(edge)) paper.setAttribute(key, value);
    },
    /** The place of a pointer, within the paper [-1, 1]. */
    place(event) {
      const box = node.getBoundingClientRect();
      const across = scale([0, side], [-REACH, REACH]);
      const inside = (v) => +Math.min(Math.max(v, -1), 1).toFixed(3);
      return [inside(across(event.clientX - box.left - 1)), inside(-across(event.clientY - box.top - 1))];
    },
    drawData(points, units) {
      data.setAttribute("d", dots(points.map(px)));
      axes.forEach(({ line, word }, k) => {
        const [from, to] = [-2.2, 2.2].map((far) => px(units ? units.back(k ? 0 : far, k ? far : 0) : [0, 0]));
        for (const [key, value] of Object.entries({ x1: from[0], y1: from[1], x2: to[0], y2: to[1] }))
          line.setAttribute(key, value);
        const [x, y] = to.map((v) => Math.min(Math.max(v, 22), side - 22));
        word.setAttribute("x", x);
        word.setAttribute("y", y < side / 2 ? y - 6 : y + 14);
        word.setAttribute("text-anchor", x > side - 40 ? "end" : x < 40 ? "start" : "middle");
        word.setAttribute("visibility", units ? "visible" : "hidden");
      });
    },
    /** Ways, a list of places each, and where each sample is now. */
    drawWays(lines, now) {
      ways.setAttribute("d", polylines(lines.map((way) => way.map(px))));
      samples.setAttribute("d", dots(now.map(px)));
    },
    say(lines) {
      words.replaceChildren(
        ...lines.map((text, i) => {
          const line = svg("tspan", { x: side / 2, y: side / 2 + 18 * (i - (lines.length - 1) / 2) });
          line.textContent = text;
          return line;
        }),
      );
    },
    mark(point) {
      if (!point) return cursor.removeAttribute("d");
      const [x, y] = px(point);
      return cursor.setAttribute("d", `M${x - 8} ${y}h16M${x} ${y - 8}v16`);
    },
  };
}

/** The places of a walk in the plane, a way each, and where all are at t, on straight lines between two calls. */
function waysOf(walk, t, { back }) {
  const drawn = walk.map(({ y }) => y);
  const after = Math.max(
    walk.findIndex((at) => at.t <= t),
    1,
  );
  const part = Math.min(Math.max((walk[after - 1].t - t) / (walk[after - 1].t - walk[after].t), 0), 1);
  const between = drawn[after].map((v, k) => drawn[after - 1][k] + part * (v - drawn[after - 1][k]));
  const each = (make) => Array.from({ length: drawn[0].length / 2 }, (_, j) => make(2 * j));
  return {
    lines: each((j) => drawn.map((at) => back(at[j], at[j + 1]))),
    now: each((j) => back(between[j], between[j + 1])),
  };
}

function render({ model, el }) {
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const { set, bound, show, play, reset } = steering(model, KEYS);
  const name = () => JSON.stringify(SETTING.map((key) => model.get(key)));

  // What is computed, each again only when it has to be
  const points = derived(
    () => JSON.stringify([model.get("data"), model.get("_points")]),
    () => (model.get("data") === "own" ? model.get("_points") : preset(model.get("data"))),
  );
  const task = derived(name, () => {
    const units = points().length ? standardised(points(), (model.get("angle") * Math.PI) / 180) : undefined;
    const clocks = clocksOf(model.get("system"), model.get("bend"), units?.root ?? [1, 1]);
    const start = normals(1 + model.get("seed"), 2 * WALKERS);
    return { units, clocks, start, answer: units && exactAnswer(units) };
  });
  const curvesOf = derived(name, () => GRID.map(task().clocks));
  const walkBy = (answer, rule) => {
    const { start, clocks } = task();
    const steps = model.get("steps");
    const grid = Array.from({ length: steps + 1 }, (_, i) => 1 - i / steps);
    return [...walking(answer, start, clocks, grid, rule)];
  };
  const walks = derived(
    () => `${name()} ${model.get("steps")}`,
    () => ({ ddim: walkBy(task().answer, "ddim"), flow: walkBy(task().answer, "flow") }),
  );

  // Controls
  const degrees = (v) => `${spoken(v, 0)}°`;
  const bending = (v) => (v > 0 ? "+" : "") + spoken(v, 1);
  const range = (key, options) => slider({ ...bound(key), ...options });
  const controls = {
    data: select({
      ...bound("data"),
      symbol: "data",
      hint: "",
      spoken: "data",
      options: { ...PRESETS, own: "your own points" },
    }),
    system: select({
      ...bound("system"),
      symbol: "system",
      hint: "",
      spoken: "system",
      options: Object.fromEntries(Object.entries(SYSTEMS).map(([key, [title]]) => [key, title])),
    }),
    angle: range("angle", {
      symbol: "basis",
      hint: "angle of the coarse axis",
      spoken: "angle of the coarse axis, degrees",
      min: -90,
      max: 90,
      step: 5,
      format: degrees,
    }),
    bend: range("bend", {
      symbol: "bend",
      hint: "fine clock behind … ahead",
      spoken: "clock of the fine axis, behind to ahead",
      min: -3,
      max: 3,
      step: 0.1,
      format: bending,
    }),
    rule: select({ ...bound("rule"), symbol: "rule", hint: "", spoken: "rule of the sampler", options: RULE_WORDS }),
    steps: range("steps", {
      symbol: "<i>N</i>",
      hint: "calls from <i>t</i> = 1 to 0",
      spoken: "N, number of calls of the denoiser",
      min: 1,
      max: 50,
      step: 1,
      format: (v) => `${v}`,
    }),
    t: timeSlider((v) => {
      player.stop();
      set("t", v);
    }, "where the samples are marked"),
  };
  const player = play("t", "t");
  controls.t.row.append(player.root);

  // Pictures and plots
  const hint = (text) => html("span", { className: "bd-hint" }, text);
  const lacks = hint("");
  const exact = makePlane("exact", "Exact", hint("the best answer there is"));
  const trained = makePlane("trained", "Trained", lacks);
  const curves = clocksOverTime(["coarse", "fine"], "from data to noise", { coarse: "bd-f1", fine: "bd-f3" });
  const loss = svg("svg", { role: "img", class: "bd-loss" });
  const sentences = [0, 1, 2].map(() => html("li"));
  const telling = html("ul", { className: "bd-telling" }, ...sentences);
  const status = html("span", {
    className: "bd-hint",
    role: "status",
    id: `bd-told-${Math.random().toString(36).slice(2, 7)}`,
  });
  const progress = html("progress", { max: TRAINING, value: 0, "aria-label": "steps of training" });
  let plot;

  // Drawing: a pointer drags on the left plane, or arrow keys move a cross and Space sets a point
  let hand; // the cross, while the reader draws
  let stroke; // the last point of a stroke
  const draw = button("draw", "Draw", () => {
    hand = hand ? undefined : [0, 0];
    update();
    if (hand) exact.node.focus({ preventScroll: true });
  });
  const clear = button("clear", "Clear", () => keepPoints([]));
  function keepPoints(list) {
    set("_points", list);
    set("data", "own");
  }
  function add(point) {
    if (points().length < MOST_POINTS) keepPoints([...points(), point]);
    else update();
  }
  exact.node.addEventListener("pointerdown", (event) => {
    if (!hand || !(event.buttons & 1)) return;
    event.preventDefault();
    exact.node.setPointerCapture(event.pointerId);
    add((stroke = exact.place(event)));
  });
  exact.node.addEventListener("pointermove", (event) => {
    if (!hand || !stroke || !(event.buttons & 1)) return;
    const place = exact.place(event);
    if (Math.hypot(place[0] - stroke[0], place[1] - stroke[1]) >= APART) add((stroke = place));
  });
  for (const end of ["pointerup", "pointercancel"])
    exact.node.addEventListener(end, () => {
      stroke = undefined;
    });
  const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  exact.node.addEventListener("keydown", (event) => {
    if (!hand) return;
    const move = MOVES[event.key];
    if (event.key === "Escape") {
      draw.click();
      draw.focus();
    } else if (move) {
      hand = hand.map((v, k) => +Math.min(Math.max(v + STRIDE * move[k], -1), 1).toFixed(3));
      exact.mark(hand);
    } else if (event.key === " " || event.key === "Enter") add(hand);
    else return;
    event.preventDefault();
  });
  controls.data.row.append(draw, clear);
  controls.system.row.append(
    reset(() => {
      player.stop();
      hand = undefined;
    }),
  );

  // Training: one run at a time, for the setting that it began with
  let run;
  const fits = () => run?.name === name();
  const lessons = inPieces(() => {
    progress.value = run.lesson.done;
    const finished = run.lesson.done === TRAINING;
    if (finished) run.going = false;
    if (finished || (!calm && ++run.frames % 8 === 0)) drawTrained();
    drawLoss();
    sayTraining();
  }, SLICE);
  function begin() {
    const { units, clocks } = task();
    const seed = model.get("seed");
    const net = perceptron([INPUTS, WIDTH, WIDTH, 2], 1 + seed);
    const missing = unlearnt(units, clocks, 2 + seed);
    const looking = propagation(net, missing.count);
    const answer = trainedAnswer((rows) => propagation(net, rows).forward);
    const lesson = training(net, drawing(units, clocks, 3 + seed));
    const look = () => run.history.push([lesson.done, missing(looking.forward)]);
    run = { name: name(), lesson, answer, history: [], frames: 0, seconds: 0, going: false };
    look();
    run.generator = (function* steps() {
      while (lesson.done < TRAINING) {
        const began = performance.now();
        lesson.step();
        if (lesson.done % LOOK === 0) look();
        run.seconds += (performance.now() - began) / 1000;
        yield;
      }
    })();
  }
  function go() {
    run.going = true;
    lessons.run(run.generator);
    update();
  }
  function pause() {
    lessons.stop();
    if (run) run.going = false;
  }
  const train = button("go", "Train", () => {
    if (run?.going) {
      pause();
      return update();
    }
    if (!fits()) begin();
    return go();
  });
  const again = button("again", "Start again", () => {
    pause();
    begin();
    go();
  });
  for (const each of [train, again, draw, clear]) each.setAttribute("aria-describedby", status.id);

  function sayTraining() {
    const own = fits();
    const done = own ? run.lesson.done : 0;
    const finished = done === TRAINING;
    train.textContent = run?.going ? "Pause" : own && done > 0 && !finished ? "Go on" : "Train";
    train.disabled = !task().units || finished;
    again.disabled = !own;
    progress.value = done;
    const steps = (n) => n.toLocaleString("en");
    const share = own ? `${(100 * run.history.at(-1)[1]).toFixed(0)} % not learnt` : "";
    if (hand)
      status.textContent =
        points().length < MOST_POINTS
          ? `Drag in the left plane, or arrow keys and Space. ${points().length} points.`
          : `${MOST_POINTS} points are the most: Clear begins anew.`;
    else if (!task().units) status.textContent = "There is nothing to train on: Draw points, or pick data.";
    else if (finished)
      status.textContent = `Trained in ${run.seconds.toFixed(1)} s, ${share}. Start again begins anew.`;
    else if (own) status.textContent = `Step ${steps(done)} of ${steps(TRAINING)}, ${share}.`;
    else if (run) status.textContent = "The points or the clocks have changed: train again.";
    else status.textContent = `Trains here, ${steps(TRAINING)} steps: some seconds.`;
    root.dataset.state = run?.going ? "training" : finished ? "trained" : own ? "paused" : "untrained";
  }

  function drawTrained() {
    const { units } = task();
    trained.drawData(points(), units);
    const words = () => (!units ? ["no points"] : run ? ["trained for others:", "train again"] : ["not trained yet"]);
    if (!fits()) {
      trained.drawWays([], []);
      trained.say(words());
      lacks.textContent = "";
      trained.node.setAttribute("aria-label", `The trained network: ${words().join(" ")}.`);
      return;
    }
    const walk = walkBy(run.answer, model.get("rule"));
    const { lines, now } = waysOf(walk, model.get("t"), units);
    trained.drawWays(lines, now);
    trained.say([]);
    const distance = apart(walk, walks()[model.get("rule")]).toFixed(2);
    lacks.textContent = `ends ${distance} from the exact ones`;
    trained.node.setAttribute(
      "aria-label",
      `${WALKERS} ways from noise to data by the trained network, ${run.lesson.done} steps of training; on average they ` +
        `end ${distance} spreads from where the exact answer leads.`,
    );
  }

  function drawLoss() {
    const history = fits() ? run.history : [];
    if (plot)
      plot.line(
        0,
        history.map(([done]) => done),
        history.map(([, share]) => share),
      );
    const [first, last] = [history[0], history.at(-1)];
    loss.setAttribute(
      "aria-label",
      last
        ? `What is not learnt yet over the steps of training: ${first[1].toFixed(2)} at first, ${last[1].toFixed(2)} ` +
            `after ${last[0]} steps.`
        : "What is not learnt yet over the steps of training: nothing has been trained.",
    );
  }

  // What is told of the exact ways: from a walk with many calls, made in pieces
  const known = new Map();
  const longWalk = inPieces(() => sayWays());
  let asked;
  function* many(key, { answer, start, clocks }) {
    const walk = [];
    for (const at of walking(answer, start, clocks, evenly(clocks, MANY), "flow")) {
      walk.push(at);
      yield;
    }
    if (known.size > 20) known.clear();
    known.set(key, { end: walk.at(-1), ...told(walk) });
  }
  function sayWays() {
    const found = known.get(name());
    telling.dataset.complete = Boolean(found) || !task().units;
    if (!found) {
      if (!task().units) for (const each of sentences) each.textContent = "";
      return;
    }
    const { detour, halfway, end } = found;
    const together = curvesOf().every(([a, b]) => Math.abs(a - b) < 0.01);
    const [coarse, fine] = halfway.map((t) => t.toFixed(2));
    const order =
      Math.abs(halfway[0] - halfway[1]) < 0.02
        ? "both are settled together"
        : halfway[0] > halfway[1]
          ? "the coarse is settled first, then the fine"
          : "the fine is settled first, then the coarse";
    sentences[0].innerHTML =
      `Half of their way is done at <i>t</i> = <b>${coarse}</b> along the coarse axis and <b>${fine}</b> along the ` +
      `fine: ${order}.`;
    sentences[1].innerHTML =
      `The ways are <b>${detour.toFixed(2)}</b> times as long as straight ones: ` +
      (together
        ? "clocks that run together bend them little."
        : "clocks that run apart bend them, to one axis after the other.");
    const far = { ddim: apart(walks().ddim, [end]), flow: apart(walks().flow, [end]) };
    const nearer =
      Math.abs(far.ddim - far.flow) < 0.005
        ? "as near as each other"
        : far.flow < far.ddim
          ? "the flow rule is nearer"
          : "DDIM is nearer";
    sentences[2].innerHTML =
      `With <i>N</i> = ${model.get("steps")} DDIM ends <b>${far.ddim.toFixed(2)}</b> spreads from where ${MANY} calls ` +
      `lead, the flow rule <b>${far.flow.toFixed(2)}</b>: ${nearer}.`;
  }

  const root = html(
    "div",
    { className: "bdbook-widget bd-playground", role: "group", "aria-label": "Points and two clocks, interactive" },
    html(
      "div",
      { className: "bd-controls" },
      controls.data.root,
      controls.system.root,
      controls.angle.root,
      controls.bend.root,
      controls.rule.root,
      controls.steps.root,
      controls.t.root,
      html("div", { className: "bd-control" }, html("div", { className: "bd-row bd-go-row" }, train, again, progress)),
    ),
    html("div", { className: "bd-row bd-said" }, status),
    html("div", { className: "bd-plots" }, exact.root, trained.root),
    legend([
      ["bd-points bd-point", "data"],
      ["bd-own bd-point", "samples at <i>t</i>"],
      ["bd-own", "their ways"],
    ]),
    telling,
    html(
      "div",
      { className: "bd-plots" },
      curves.root,
      panel("What is not learnt yet", hint("share of the exact F"), loss),
    ),
  );

  function layout() {
    exact.layout();
    trained.layout();
    curves.layout();
    plot = linePlot(loss, {
      box: plotBox(loss),
      x: {
        limits: [0, TRAINING],
        ticks: [0, 1000, 2000, 3000].map((v) => [v, v.toLocaleString("en")]),
        title: "steps",
      },
      y: { limits: [0.005, 1.5], warp: Math.log10, ticks: [0.01, 0.03, 0.1, 0.3, 1].map((v) => [v, `${v}`]) },
      lines: ["bd-own"],
      marker: false,
    });
  }

  function update() {
    if (run?.going && !fits()) pause();
    show(controls);
    const { units, clocks } = task();
    const t = model.get("t");
    draw.setAttribute("aria-pressed", Boolean(hand));
    clear.disabled = points().length === 0;
    exact.node.toggleAttribute("data-drawing", Boolean(hand));
    exact.node.setAttribute("role", hand ? "application" : "img");
    if (hand) exact.node.setAttribute("tabindex", 0);
    else exact.node.removeAttribute("tabindex");
    exact.mark(hand);
    exact.drawData(points(), units);
    if (units) {
      const { lines, now } = waysOf(walks()[model.get("rule")], t, units);
      exact.drawWays(lines, now);
      exact.say([]);
      if (!known.has(name()) && asked !== name()) {
        asked = name();
        longWalk.run(many(asked, task()));
      }
    } else {
      exact.drawWays([], []);
      exact.say(hand ? ["drag here"] : ["no points:", "press Draw, then drag here"]);
      longWalk.stop();
      asked = undefined;
    }
    exact.node.setAttribute(
      "aria-label",
      `${hand ? "Drawing: arrow keys move a cross, Space sets a point, Escape ends. " : ""}${points().length} points` +
        (units
          ? ` and ${WALKERS} ways from noise to data by the exact answer, ${model.get("steps")} calls of ` +
            `${RULE_WORDS[model.get("rule")]}.`
          : "."),
    );
    sayWays();
    drawTrained();
    drawLoss();
    curves.draw(t, curvesOf(), clocks(t));
    sayTraining();
  }

  dragAcross(curves.node, (x) => {
    player.stop();
    set("t", timeAt(curves.at(), x));
  });
  return keepDrawn({
    model,
    el,
    root,
    keys: KEYS,
    shared: ["t", "steps"],
    layout,
    update,
    stop() {
      pause();
      longWalk.stop();
    },
  });
}

export default { render };
