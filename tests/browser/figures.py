"""What the tests of the figures share: a page to put them in, hands to move them, eyes to read them back."""

import base64
import io
import json
import re

import numpy as np
from PIL import Image
from scipy.fft import dctn, idctn

SIZE = 64
HEAD = '<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>x</title>'
IMPORT = """(source) => import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })))"""

# A reader who asked for less motion.
CALM = "matchMedia = (query) => ({ matches: query.includes('reduced-motion: reduce') })"

# The page's observer, which came first and watches the same, has been told before this one is.
SEEN = """(node) => new Promise((done) => new IntersectionObserver(
  ([{ isIntersecting }]) => { if (isIntersecting === WHETHER) done(); }, { threshold: 0.5 }).observe(node))"""
IN_VIEW, OUT_OF_VIEW = SEEN.replace("WHETHER", "true"), SEEN.replace("WHETHER", "false")


def freq2(h: int, w: int) -> np.ndarray:
    return (np.pi * np.arange(h)[:, None] / h) ** 2 + (np.pi * np.arange(w)[None] / w) ** 2


def process(lam, t, sigma_max, d_min, schedule):
    """alpha and sigma as in the pseudo-code of HS app. A.1, through the log SNR."""
    top = np.arctan(np.exp(-5.0))
    logsnr = -2 * np.log(np.tan((np.arctan(np.exp(5.0)) - top) * t + top))
    a, sigma = 1 / np.sqrt(1 + np.exp(-logsnr)), 1 / np.sqrt(1 + np.exp(logsnr))
    blur = sigma_max * np.sin(np.pi * t / 2) ** {"sin2": 2, "sin": 1}[schedule]
    return a * ((1 - d_min) * np.exp(-lam * blur**2 / 2) + d_min), sigma, a


def photo_planes(slider) -> np.ndarray:
    """(3, size, size) in [-1, 1], as the page decodes it."""
    raw = np.frombuffer(base64.b64decode(slider.state()["_photo"]), np.uint8)
    return raw.reshape(slider.size, slider.size, 3).transpose(2, 0, 1) / 127.5 - 1


def blur(planes, scaling):
    return idctn(scaling * dctn(planes, axes=(1, 2), norm="ortho"), axes=(1, 2), norm="ortho")


def ask(page, function: str, argument):
    """What a function of the page answers. Both ways as text: playwright takes long lists apart, number by number."""
    text = page.evaluate(
        """async (text) => {
        const answer = await (FUNCTION)(JSON.parse(text));
        const named = (_, v) => (typeof v === "number" && !Number.isFinite(v) ? `!${v}` : v); // JSON has no infinity
        return JSON.stringify(answer, named).replaceAll(/"!(-?Infinity|NaN)"/g, "$1"); }""".replace(
            "FUNCTION", function
        ),
        json.dumps(argument),
    )
    return json.loads(text)


def page_noise(page, slider, seeds=(1, 2, 3)) -> np.ndarray:
    """(seeds, size, size) of the white noise that the module of a figure makes."""
    make = f"""async ([source, n, seeds]) => {{ const {{ normals }} = await ({IMPORT})(source);
        return seeds.map((seed) => Array.from(normals(seed, n))); }}"""
    return np.reshape(ask(page, make, [str(slider._esm), SIZE**2, seeds]), (len(seeds), SIZE, SIZE))


def pixels(canvas) -> np.ndarray:
    """(height, width, 4) bytes of a canvas."""
    width, height, text = canvas.evaluate(
        """c => { const { data } = c.getContext("2d").getImageData(0, 0, c.width, c.height);
        return [c.width, c.height, btoa(Array.from(data, (v) => String.fromCharCode(v)).join(""))]; }"""
    )
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)


def shown_picture(page, name, nth=0) -> np.ndarray:
    """(3, size, size) bytes of a canvas."""
    shown = pixels(page.locator(f'canvas[data-name="{name}"]').nth(nth))
    assert shown.shape == (SIZE, SIZE, 4)
    return shown[..., :3].transpose(2, 0, 1).astype(int)


def shown_line(page, selector: str, x: tuple[float, float], y: tuple[float, float], nth=0):
    """A drawn path, read back against the outermost grid lines of its plot, which stand for the ends of x and y."""
    path, across, down = (
        page.locator(selector)
        .nth(nth)
        .evaluate(
            """path => { const lines = [...path.ownerSVGElement.querySelectorAll(".bd-grid")];
        const of = (a, b) => lines.filter(l => l.getAttribute(a) === l.getAttribute(b)).map(l => +l.getAttribute(a));
        return [path.getAttribute("d"), of("x1", "x2"), of("y1", "y2")]; }"""
        )
    )
    points = np.array([p.split() for p in re.split("[ML]", path)[1:]], dtype=float).reshape(-1, 2)
    fraction = (points - [min(across), max(down)]) / [max(across) - min(across), min(down) - max(down)]
    return tuple(low + f * (high - low) for f, (low, high) in zip(fraction.T, (x, y), strict=True))


def shown_curve(page, line: str, nth=0) -> tuple[np.ndarray, np.ndarray]:
    """(t, log10 SNR) of a curve over time: the axes end at t = 0 and 1, SNR = 1e-15 and 1e5."""
    return shown_line(page, f".bd-curves path.{line}", (0, 1), (-15, 5), nth)


def control(page, name, nth=0):
    return page.locator(f'[name="{name}"]').nth(nth)


def drag_to(page, name, fraction):
    """Presses the mouse on the range input's middle and lets go at a fraction of its width."""
    box = control(page, name).bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * fraction, y, steps=4)
    page.mouse.up()


def frames(page, ms=200) -> None:
    """Waits until the page has drawn for `ms` by its own clock, and three frames: a figure that plays has moved."""
    page.evaluate(
        """(ms) => new Promise((done) => {
        let start, count = 0;
        const frame = (now) => {
          start ??= now;
          if (++count > 3 && now - start >= ms) done(); else requestAnimationFrame(frame);
        };
        requestAnimationFrame(frame); })""",
        ms,
    )


def timers(page, ms) -> None:
    """Waits until each timer of `ms` or less that the page has set by now has run: the earlier runs first."""
    page.evaluate("(ms) => new Promise((done) => setTimeout(done, ms))", ms)


OWN = np.random.default_rng(1).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)  # a reader's picture
OWN_PHOTO = OWN.transpose(2, 0, 1) / 127.5 - 1


def encoded(pixels, kind="PNG", **options) -> bytes:
    """A picture file with pixels (H, W, 3 or 4) uint8, or with an Image."""
    file = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(file, kind, **options)
    return file.getvalue()


def hand_over(page, content: bytes, name="own.png", way="drop", nth=0) -> None:
    """A file dropped on a figure, or pasted there, as the browser tells the page of it."""
    page.locator(".bdbook-widget").nth(nth).evaluate(
        """(figure, [content, name, way]) => {
        const data = new DataTransfer(), bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
        data.items.add(new File([bytes], name));
        const canvas = figure.querySelector("canvas"), rest = { bubbles: true, cancelable: true };
        if (way === "paste") canvas.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, ...rest }));
        else for (const type of ["dragenter", "dragover", "drop"])
          canvas.dispatchEvent(new DragEvent(type, { dataTransfer: data, ...rest })); }""",
        [base64.b64encode(content).decode(), name, way],
    )


def said(page, words: str, nth=0) -> str:
    """What a figure says of the reader's picture, once `words` are in it."""
    status = page.locator(".bd-status").nth(nth)
    status.filter(has_text=words).wait_for()
    return status.inner_text()


def check_own_picture(figure_page, check_page, figure, **settings) -> None:
    """A figure draws the reader's picture as it does one that Python gives it, and Reset brings the book's back."""
    page = figure_page([figure(**settings)])
    hand_over(page, encoded(OWN))
    said(page, "Shown")
    check_page(page, figure(OWN_PHOTO, **settings))
    page.get_by_role("button", name="Reset").click()
    check_page(page, figure(**settings))


# A stand-in for the model that anywidget passes: Backbone's rules for `set`, and a record of what is sent.
LIVE = """async ([source, states]) => {
  const load = LOAD;
  window.models = [];
  for (const state of states) {
    const handlers = {}, dirty = new Set();
    const model = { sent: [], get: (key) => state[key],
      set(key, value) {
        if (Object.is(state[key], value)) return;
        state[key] = value; dirty.add(key);
        for (const handler of [...(handlers[`change:${key}`] ?? [])]) handler(model, value);
      },
      save_changes() { for (const key of dirty) this.sent.push([key, state[key]]); dirty.clear(); },
      on(event, handler) { (handlers[event] ??= []).push(handler); },
      off(event, handler) { handlers[event] = (handlers[event] ?? []).filter((h) => h !== handler); },
      listeners: () => Object.values(handlers).flat().length };
    const widget = (await load(source)).default; // anywidget evaluates the module for each model
    const el = document.createElement("div");
    document.body.append(el);
    model.leave = await widget.render({ model, el });
    models.push(model);
  }
}""".replace("LOAD", IMPORT)
