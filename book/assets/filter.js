// The ledgers' entries, filtered: by verdict, paper, chapter and words. What is chosen stands in the page's address.
(() => {
  const { asked, line, has } = window.bdbookReading;
  const rows = [...document.querySelectorAll(".bd-entry-row")];
  const texts = new Map(rows.map((row) => [row, line(row.textContent.replace(/[\\{}]/g, ""))]));
  const tally = document.querySelector(".bd-article table");
  const of = {
    word: (row) => [row.dataset.word],
    paper: (row) => [row.dataset.source],
    chapter: (row) => row.dataset.chapters.split(" ").filter(Boolean),
  };
  const titles = new Map(
    [...document.querySelectorAll("#pst-primary-sidebar .toctree-l1 > a")].map((link) => {
      const title = link.textContent.trim();
      return [title.split(" · ")[0], title];
    }),
  );

  const form = document.createElement("form");
  form.className = "bd-filter";
  form.setAttribute("aria-label", "Filter the entries");
  const fields = {};
  const LABELS = { word: tally.querySelector("th").textContent.trim(), paper: "paper", chapter: "chapter" };
  for (const [name, values] of Object.entries(of)) {
    const found = [...new Set(rows.flatMap(values))];
    if (name === "chapter") found.sort((a, b) => a - b);
    const label = document.createElement("label");
    const select = document.createElement("select");
    select.className = "form-select";
    select.append(new Option("all", ""));
    for (const value of found) {
      const count = rows.filter((row) => values(row).includes(value)).length;
      select.append(new Option(`${(name === "chapter" && titles.get(value)) || value} (${count})`, value));
    }
    label.append(LABELS[name], select);
    form.append(label);
    fields[name] = select;
  }
  const label = document.createElement("label");
  fields.text = Object.assign(document.createElement("input"), { type: "search", className: "form-control" });
  label.append("words", fields.text);
  const status = document.createElement("output");
  const all = Object.assign(document.createElement("button"), {
    type: "reset",
    className: "btn",
    textContent: "Show all",
  });
  form.append(label, all, status);
  (tally.closest(".pst-scrollable-table-container") ?? tally).after(form);

  function apply() {
    const words = asked(fields.text.value);
    let shown = 0;
    for (const row of rows) {
      const kept =
        Object.entries(of).every(([name, values]) => !fields[name].value || values(row).includes(fields[name].value)) &&
        words.every((word) => has(texts.get(row), word));
      row.hidden = !kept;
      shown += kept;
    }
    for (const section of document.querySelectorAll(".bd-article section section"))
      section.hidden = !section.querySelector(".bd-entry-row:not([hidden])");
    status.value = shown ? `${shown} of ${rows.length} entries` : "No entry has all of this: choose less, or show all.";
    all.disabled = shown === rows.length;
    const address = new URL(location.href);
    for (const [name, field] of Object.entries(fields)) {
      if (field.value) address.searchParams.set(name, field.value);
      else address.searchParams.delete(name);
    }
    if (address.href !== location.href) history.replaceState(null, "", address);
  }

  /** A link to an entry is stronger than a filter. */
  function showTarget() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target?.closest("[hidden]")) return;
    form.reset();
    apply();
    target.scrollIntoView();
  }

  const given = new URLSearchParams(location.search);
  for (const [name, field] of Object.entries(fields)) field.value = given.get(name) ?? "";
  for (const field of Object.values(fields))
    if (field.value === "" && field.tagName === "SELECT") field.selectedIndex = 0;
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(apply));
  addEventListener("hashchange", showTarget);
  apply();
  showTarget();
})();
