"""What the tests of the book's pages share: their names, when one has settled, and what axe-core finds in it."""

from pathlib import Path

import yaml
from axe_playwright_python.sync_playwright import Axe

TOC = yaml.safe_load((Path(__file__).resolve().parents[2] / "_toc.yml").read_text())
PAGES = [TOC["root"]] + [chapter["file"] for part in TOC["parts"] for chapter in part["chapters"]]

TYPESET = "async () => { if (window.bdbookTypeset) await bdbookTypeset(); }"
# Playwright counts the requests under way, and one that was cut off with the page before may stay counted for ever:
# a page is quiet where half a second brings nothing.
QUIET = """async () => {
  performance.setResourceTimingBufferSize(10000);
  const brought = () => performance.getEntriesByType("resource").length;
  for (let before = -1; before < brought(); ) {
    before = brought();
    await new Promise((done) => setTimeout(done, 500));
  }
}"""
THEME = "() => document.documentElement.dataset.theme"
# A set formula is many shapes, hidden from a screen reader, which has the MathML beside them: in them is nothing to
# find, and passing them by takes a third of the time.
EMPTY = """() => {
  const formulas = [...document.querySelectorAll("mjx-container > svg")];
  window.shapes = formulas.map((formula) => [formula, [...formula.childNodes]]);
  for (const [formula] of shapes) formula.replaceChildren();
}"""
# The same of the words of a listing, of which nothing is asked but the contrast of one of each kind (KINDS).
PLAIN = """() => {
  window.listings = [...document.querySelectorAll(".highlight pre")].map((pre) => [pre, [...pre.childNodes]]);
  const kept = (node) => node.nodeType !== Node.ELEMENT_NODE || node.matches("[data-kind], :has([data-kind])");
  for (const [pre, children] of listings)
    pre.replaceChildren(...children.map((node) => (kept(node) ? node : node.textContent)));
}"""
FILL = "() => { for (const [node, children] of [...shapes, ...listings]) node.replaceChildren(...children); }"
# After a change of size, scripts are told within two frames. The theme waits, at most 300 ms, before it makes what
# scrolls focusable; a timer set after its own runs after it. Colours fade from one theme to the other: to the end.
SETTLED = """async () => {
  for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);
  await new Promise((done) => setTimeout(done, 300));
  for (const fading of document.getAnimations())
    if (fading.effect.getComputedTiming().endTime < Infinity) fading.finish();
}"""
# Contrast is most of axe-core's time, and text of one colour, size and weight above the same grounds has the same: it
# looks at the first of each kind that is seen and asked for. What is taken out of the flow may lie on anything, and is
# a kind alone.
KINDS = """(excluded) => {
  const ground = ["backgroundColor", "backgroundImage", "opacity", "filter", "mixBlendMode"], below = new Map();
  const ink = ["color", "fontSize", "fontWeight", "textShadow", "webkitTextStroke"], kinds = new Set();
  const isText = (node) => node.nodeType === Node.TEXT_NODE && node.data.trim() !== "";
  for (const node of document.querySelectorAll("*")) {
    const style = getComputedStyle(node), of = (names) => names.map((name) => style[name]).join(" ");
    const own = of(ground), clear = own === "rgba(0, 0, 0, 0) none 1 none normal";
    const alone = ["static", "relative"].includes(style.position) ? "" : `alone ${below.size}`;
    below.set(node, (below.get(node.parentElement) ?? "") + (clear ? "" : own) + alone);
    const asked = !excluded.some((selector) => node.closest(selector));
    const said = [...node.childNodes].some(isText) || node.matches("input, select, textarea, button");
    const kind = asked && said && node.checkVisibility({ visibilityProperty: true }) ? below.get(node) + of(ink) : "";
    node.toggleAttribute("data-kind", kind !== "" && !kinds.has(kind));
    kinds.add(kind);
  }
  axe.configure({ rules: [{ id: "color-contrast", selector: "[data-kind]" }] });
}"""
AXE = "async ([context, options]) => (await axe.run(context ?? document, options)).violations"
GRAVE = {"serious", "critical"}


def grave(page, context: dict | None = None, options: dict | None = None) -> list[str]:
    """What axe-core finds of impact serious or critical: the rule, the element and what is wrong, a line each."""
    if page.evaluate("typeof axe === 'undefined'"):
        page.evaluate(Axe().axe_script)
    page.evaluate(EMPTY)
    page.evaluate(SETTLED)
    page.evaluate(KINDS, [selector for path in (context or {}).get("exclude", []) for selector in path])
    page.evaluate(PLAIN)
    found = page.evaluate(AXE, [context, {"resultTypes": ["violations"]} | (options or {})])
    page.evaluate(FILL)
    return [
        f"{violation['id']}: {node['target']}: {node['failureSummary']}"
        for violation in found
        if violation["impact"] in GRAVE
        for node in violation["nodes"]
    ]
