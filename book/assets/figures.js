// The bar under each figure (figures.py): copies its link, opens its code, saves it as it stands, cites it.
// A script, not a module, and no fetch: a page that is read from a file may load nothing else.
(() => {
  const book = JSON.parse(document.getElementById("bd-citation")?.textContent ?? "{}");

  /** A word on what was done, for a while, in the bar and to who listens. */
  function say(bar, words) {
    let status = bar.querySelector("[role=status]");
    if (!status) bar.append((status = Object.assign(document.createElement("span"), { role: "status" })));
    status.textContent = words;
    clearTimeout(status.timer);
    status.timer = setTimeout(() => (status.textContent = ""), 4000);
  }

  /** Whether the text is in the clipboard: a page that is read from a file, or that may not, gets false. */
  const copy = (text) =>
    navigator.clipboard?.writeText(text).then(
      () => true,
      () => false,
    ) ?? Promise.resolve(false);

  function save(blob, name) {
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  /** Of a page that is read from a file nothing beside it can be fetched or saved by a link; a script can be loaded. */
  const fromFile = location.protocol === "file:";

  async function saveNumbers(link) {
    await new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = link.getAttribute("href").replace(/csv$/, "js");
      script.onload = resolve;
      script.onerror = reject;
      document.head.append(script);
    });
    const text = window.bdbookNumbers[link.getAttribute("href").split("/").at(-1)];
    save(new Blob([text], { type: "text/csv" }), link.download);
  }

  // --- the citation ---

  /** Where a page or a figure is on the web; nothing for a page that is read from a file. */
  function address(anchor) {
    const here = book.base || (location.protocol.startsWith("http") ? location.href.split("#")[0] : "");
    return here && anchor ? `${here}#${anchor}` : here;
  }

  function bibtex({ number, anchor, caption } = {}) {
    const home = book.base || location.protocol.startsWith("http");
    const fields = { author: book.author, title: `{${book.title}}`, year: book.year, version: book.version };
    if (number) fields.note = `Figure ${number}, \`\`${book.page}'': ${caption}`;
    if (home) fields.url = address(anchor);
    const lines = Object.entries(fields).map(([name, value]) => `  ${name.padEnd(8)}= {${value}},`);
    return [`@software{bdbook${number ? `:figure-${number}` : ""},`, ...lines, "}"].join("\n");
  }

  let dialog;
  function cite(figure) {
    if (!dialog) {
      dialog = document.createElement("dialog");
      dialog.className = "bd-cite";
      dialog.setAttribute("aria-labelledby", "bd-cite-title");
      dialog.innerHTML = `<h2 id="bd-cite-title"></h2><pre tabindex="0"></pre><div class="bd-cite-acts">
        <button type="button" class="btn btn-sm btn-outline-primary" data-act="copy">Copy</button>
        <button type="button" class="btn btn-sm btn-outline-primary" data-act="close">Close</button>
        <span role="status"></span></div>`;
      dialog.addEventListener("click", async ({ target }) => {
        if (target === dialog || target.dataset.act === "close") dialog.close();
        if (target.dataset.act !== "copy") return;
        const text = dialog.querySelector("pre");
        const done = await copy(text.textContent);
        if (!done) getSelection().selectAllChildren(text);
        dialog.querySelector("[role=status]").textContent = done ? "Copied" : "Selected: copy it with your keys";
      });
      dialog.addEventListener("keydown", (event) => {
        if (event.key === "Escape") dialog.close();
      });
      document.body.append(dialog);
    }
    dialog.querySelector("h2").textContent = figure ? `Cite figure ${figure.number}` : "Cite this book";
    dialog.querySelector("pre").textContent = bibtex(figure);
    dialog.querySelector("[role=status]").textContent = "";
    dialog.showModal();
  }

  // --- a moving figure as it stands ---

  const words = (node) => node?.textContent.replace(/\s+/g, " ").trim() ?? "";

  /** The figure as a drawing: its elements with the styles that they need, its pictures inside. */
  function drawing(widget) {
    const { width, height } = widget.getBoundingClientRect();
    const copied = widget.cloneNode(true);
    const canvases = [...widget.querySelectorAll("canvas")];
    copied.querySelectorAll("canvas").forEach((canvas, i) => {
      const image = document.createElement("img");
      image.src = canvases[i].toDataURL();
      const { position, left, top } = getComputedStyle(canvases[i]); // a map lies under its axes
      const { clientWidth, clientHeight } = canvases[i];
      image.style.cssText =
        `${canvas.style.cssText}; position: ${position}; left: ${left}; top: ${top}; display: block; ` +
        `width: ${clientWidth}px; height: ${clientHeight}px; image-rendering: pixelated`;
      canvas.replaceWith(image);
    });
    const inputs = [...widget.querySelectorAll("input, select")];
    copied.querySelectorAll("input, select").forEach((input, i) => {
      if (input.matches("select")) input.options[inputs[i].selectedIndex]?.setAttribute("selected", "");
      else input.setAttribute("value", inputs[i].type === "file" ? "" : inputs[i].value);
      if (inputs[i].checked) input.setAttribute("checked", "");
    });
    const style = getComputedStyle(widget);
    const holder = document.createElement("div");
    holder.style.cssText = `width: ${width}px; font-family: ${style.fontFamily}; background: ${style.backgroundColor}`;
    copied.style.colorScheme = style.colorScheme;
    copied.style.setProperty("--bg", style.backgroundColor);
    const sheet = document.createElement("style");
    sheet.textContent =
      "label, output { margin: 0; } " +
      [...document.querySelectorAll(".bdbook-figure style, figure style, .cell_output style")]
        .map((each) => each.textContent)
        .join("\n");
    holder.append(sheet, copied);
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const frame = document.createElementNS("http://www.w3.org/2000/svg", "foreignObject");
    for (const [name, value] of Object.entries({ width, height, viewBox: `0 0 ${width} ${height}` }))
      svg.setAttribute(name, value);
    for (const name of ["width", "height"]) frame.setAttribute(name, "100%");
    frame.append(holder);
    svg.append(frame);
    return { text: new XMLSerializer().serializeToString(svg), width, height };
  }

  async function picture(widget) {
    const { text, width, height } = drawing(widget);
    const image = new Image();
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
    await image.decode();
    const canvas = Object.assign(document.createElement("canvas"), { width: 2 * width, height: 2 * height });
    const context = canvas.getContext("2d");
    context.scale(2, 2);
    context.drawImage(image, 0, 0);
    return new Promise((done) => canvas.toBlob(done, "image/png"));
  }

  const field = (value) => (/[",\n]/.test(value) ? `"${`${value}`.replaceAll('"', '""')}"` : `${value}`);

  /** The points of its lines as CSV, a row each, columns named as the axes; "" where no line is drawn. */
  function numbers(widget) {
    const rows = [];
    for (const plot of widget.querySelectorAll("svg")) {
      if (!plot.bdbookAxes) continue;
      const panel = plot.closest(".bd-panel") ?? plot.parentElement;
      const heading = words(panel.querySelector(".bd-title > span"));
      const [x, y] = [plot.bdbookAxes[0] || "x", plot.bdbookAxes[1] || heading || "y"];
      for (const mark of plot.querySelectorAll(".bd-line, .bd-dot")) {
        if (!mark.bdbookPoints || mark.checkVisibility?.() === false || mark.getAttribute("visibility") === "hidden")
          continue;
        const own = [...mark.classList].filter((name) => !["bd-line", "bd-dot", "bd-dashed"].includes(name));
        const key = own.map(
          (name) => panel.querySelector(`.bd-key.${name}`) ?? widget.querySelector(`.bd-key.${name}`),
        );
        const series = words(key.find(Boolean)) || own.join(" ") || "line";
        const kind = mark.matches(".bd-dot") ? `${series}, now` : series;
        const [xs, ys] = mark.bdbookPoints;
        xs.forEach((value, i) =>
          rows.push({ panel: heading, series: kind, [x]: value, [y === x ? `${y} (y)` : y]: ys[i] }),
        );
      }
    }
    if (!rows.length) return "";
    const columns = [...new Set(rows.flatMap(Object.keys))];
    const lines = [columns, ...rows.map((row) => columns.map((column) => row[column] ?? ""))];
    return lines.map((line) => line.map(field).join(",")).join("\n") + "\n";
  }

  async function saveFigure(bar, kind) {
    const widget = bar.closest("figure").querySelector(".bdbook-widget");
    if (!widget) return say(bar, "The figure is not drawn yet");
    const name = `bdbook-figure-${bar.dataset.number}.${kind}`;
    if (kind === "csv") {
      const text = numbers(widget);
      if (!text) return say(bar, "No line is drawn");
      save(new Blob([text], { type: "text/csv" }), name);
    } else if (kind === "svg") save(new Blob([drawing(widget).text], { type: "image/svg+xml" }), name);
    else save(await picture(widget), name);
    say(bar, `Saved ${name}`);
  }

  // --- hands ---

  document.addEventListener("click", (event) => {
    if (event.target.closest?.(".bd-cite-book")) return cite();
    const bar = event.target.closest?.(".bd-bar");
    const part = bar && event.target.closest("a, button");
    if (!part) return;
    if (part.matches(".bd-bar-number"))
      copy(part.href).then((done) => say(bar, done ? "Link copied" : "The link is in the address bar"));
    else if (part.matches(".bd-bar-code")) {
      const fold = document.getElementById(part.getAttribute("href").slice(1));
      event.preventDefault(); // to go there as to an anchor would take the focus away again
      fold.open = true;
      fold.querySelector("summary").focus();
    } else if (part.matches(".bd-bar-picture")) {
      // as it is shown: the dark one on a dark page
      part.dataset.light ??= part.getAttribute("href");
      const dark = document.documentElement.dataset.theme === "dark";
      part.href = (dark && part.dataset.dark) || part.dataset.light;
      if (fromFile) part.target = "_blank"; // where a browser only opens it
    } else if (fromFile && part.matches(".bd-bar-csv")) {
      event.preventDefault();
      saveNumbers(part).catch(() => say(bar, "The numbers are missing: make the book again"));
    } else if (part.matches(".bd-bar-cite")) cite(bar.dataset);
    else if (part.dataset.save) saveFigure(bar, part.dataset.save).catch(() => say(bar, "This browser cannot save it"));
  });
})();
