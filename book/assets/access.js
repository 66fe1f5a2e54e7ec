// For keyboards and screen readers, what the theme leaves out.

// A formula or a table wider than the page scrolls by itself, so the keyboard must reach it. The size of a formula is
// known when it is set, and all change with the window. (The theme takes care of code and output.)
const sizes = new ResizeObserver((entries) => {
  for (const { target } of entries)
    for (const box of [target, ...target.querySelectorAll("mjx-container[display]")]) {
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
});
for (const wide of document.querySelectorAll("div.math, .bd-wide")) sizes.observe(wide);

// A formula within a line that is wider than its paragraph scrolls too. One that fits must stay as it is: a box that
// scrolls no longer stands on the line.
function letLongFormulasScroll() {
  const formulas = [...document.querySelectorAll(".bd-article mjx-container:not([display])")];
  for (const formula of formulas) formula.classList.remove("bd-long");
  const long = formulas.filter((formula) => {
    // all are measured before one is changed: the page is laid out once
    const room = formula.closest("p, li, dd, td, figcaption")?.clientWidth;
    return room > 0 && formula.getBoundingClientRect().width > room;
  });
  for (const formula of formulas) formula.removeAttribute("tabindex");
  for (const formula of long) {
    formula.classList.add("bd-long");
    formula.tabIndex = 0;
  }
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
