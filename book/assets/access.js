// For keyboards and screen readers, what the theme leaves out.

// A formula a little wider than its column is set smaller. What is wider than that scrolls by itself, as tables do, and
// code on a phone: so the keyboard must reach it (the theme takes care of code and output), and it fades at the edge
// beyond which there is more. The size of a formula is known when it is set, and all change with the window.
const SMALLEST = 0.8; // of a formula's size
const CELL = 6; // px of a cell's padding that a formula may take
const SCROLLING = "div.math, mjx-container, .bd-wide, .bd-plot, .pst-scrollable-table-container, pre";
const widths = new WeakMap();

function fit(formula) {
  // Braces under a sum of terms do not shrink as letters do: what is not yet enough goes on, a little.
  for (let size = 1; size >= SMALLEST; size *= (formula.clientWidth / formula.scrollWidth) * 0.995) {
    formula.style.setProperty("--bd-fit", size.toFixed(3));
    if (formula.scrollWidth <= formula.clientWidth) return;
  }
  formula.style.removeProperty("--bd-fit");
}

function tellOfMore(box) {
  const beyond = box.scrollWidth - box.clientWidth;
  const scrolls = beyond > 1 && getComputedStyle(box).overflowX !== "visible";
  box.classList.toggle("bd-more-before", scrolls && box.scrollLeft > 1);
  box.classList.toggle("bd-more-after", scrolls && beyond - box.scrollLeft > 1);
}

const sizes = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) {
    const formulas = [...target.querySelectorAll("mjx-container[display]")];
    const changed = widths.get(target) !== contentRect.width || formulas.some((formula) => !widths.has(formula));
    widths.set(target, contentRect.width);
    if (changed)
      for (const formula of formulas) {
        fit(formula);
        widths.set(formula, contentRect.width);
      }
    for (const box of [target, ...formulas]) {
      tellOfMore(box);
      if (!box.matches("div.math, .bd-wide, .bd-plot, mjx-container")) continue;
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  }
});
const wide = "div.math, .bd-wide, .bd-plot, .bd-article pre, .bd-article .pst-scrollable-table-container";
for (const box of document.querySelectorAll(wide)) sizes.observe(box);
document.addEventListener(
  "scroll",
  ({ target }) => {
    if (target instanceof Element && target.matches(SCROLLING)) tellOfMore(target);
  },
  { capture: true, passive: true },
);

// A formula within a line that is wider than its paragraph scrolls too. One that fits must stay as it is: a box that
// scrolls no longer stands on the line.
function letLongFormulasScroll() {
  const formulas = [...document.querySelectorAll(".bd-article mjx-container:not([display])")];
  for (const formula of formulas) formula.classList.remove("bd-long");
  const long = formulas.filter((formula) => {
    // all are measured before one is changed: the page is laid out once
    const room = formula.closest("p, li, dd, td, figcaption")?.clientWidth;
    const spare = formula.closest("td") ? CELL : 0;
    return room > 0 && formula.getBoundingClientRect().width > room + spare;
  });
  for (const formula of formulas) formula.removeAttribute("tabindex");
  for (const formula of long) {
    formula.classList.add("bd-long");
    formula.tabIndex = 0;
  }
  for (const formula of formulas) tellOfMore(formula);
}
document.addEventListener("bdbook-typeset", letLongFormulasScroll);
addEventListener("resize", letLongFormulasScroll);

// The bibliography is a list, of which docutils does not call the entries items.
for (const entry of document.querySelectorAll(".citation-list > .citation")) entry.role = "listitem";

// The theme opens these as dialogs, and gives them no names.
const NAMES = {
  "pst-search-dialog": "Search",
  "pst-primary-sidebar-modal": "Contents of the book",
  "pst-secondary-sidebar-modal": "Contents of the page",
};
for (const [id, name] of Object.entries(NAMES)) document.getElementById(id)?.setAttribute("aria-label", name);
