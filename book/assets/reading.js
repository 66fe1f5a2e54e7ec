// Reading aids of every page: hovers on references, the notation in a drawer, and a page fit to print.
// Scripts, not modules, and no fetch: a page that is read from a file may load nothing else.
(() => {
  const TARGETS = "div.math, figure, div.proof, div.exercise, div.citation"; // as in reading.py
  const PAUSE = 150; // ms: a pointer that only passes by shows and hides nothing
  const root = document.documentElement.dataset.content_root;

  const loaded = {};
  let typesetting = Promise.resolve();

  /** What the generated script `_static/<name>.js` holds. */
  function load(name) {
    return (loaded[name] ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = `${root}_static/${name}.js`;
      script.onload = () => resolve(window.bdbookReading[name]);
      script.onerror = () => reject(new Error(`${script.src} is missing: make the book again`));
      document.head.append(script);
    }));
  }

  function fill(element, html) {
    element.innerHTML = html.replaceAll("%root%", root);
    if (document.documentElement.dataset.theme === "dark")
      for (const image of element.querySelectorAll("img[data-dark]")) image.src = image.dataset.dark;
  }

  /** MathJax takes one job at a time. */
  function typeset(element) {
    typesetting = typesetting.then(() => window.bdbookTypeset()).then(() => MathJax.typesetPromise([element]));
    return typesetting;
  }

  // --- hovers ---

  let current = null;
  let card = null;
  let timer = 0;

  /** The link to a part of a page that a node of the text belongs to, if any. */
  const reference = (node) => node.closest?.(".bd-article a[href*='#']:not(.headerlink)") ?? null;

  /** Puts a link's target into `box`; answers whether it is one to show. */
  async function findTarget(link, box) {
    const [page, anchor] = link.getAttribute("href").split("#");
    if (page) {
      const book = new URL(root, location.href).href;
      const html = link.href.startsWith(book) && (await load("hovers"))[decodeURI(link.href.slice(book.length))];
      if (!html) return false;
      fill(box, html);
      return typeset(box).then(() => true);
    }
    await window.bdbookTypeset();
    const target = document.getElementById(decodeURIComponent(anchor));
    if (!target?.matches(TARGETS)) return false;
    box.append(target.cloneNode(true));
    // A figure that moves is not shown twice: its caption stays.
    for (const node of box.querySelectorAll(".headerlink, style, script, .bdbook-figure, .bd-bar")) node.remove();
    for (const node of box.querySelectorAll("[id]")) node.removeAttribute("id");
    return true;
  }

  function place(box, link) {
    const at = link.getClientRects()[0];
    const gap = 6;
    const room = document.documentElement.clientWidth - box.offsetWidth - 8;
    const below = at.bottom + gap + box.offsetHeight <= innerHeight || at.top < innerHeight - at.bottom;
    box.style.left = `${scrollX + Math.max(8, Math.min(at.left, room))}px`;
    box.style.top = `${scrollY + (below ? at.bottom + gap : at.top - gap - box.offsetHeight)}px`;
  }

  function hide() {
    clearTimeout(timer);
    current?.removeAttribute("aria-describedby");
    if (card) {
      MathJax.typesetClear([card]);
      card.remove();
    }
    current = card = null;
  }

  async function show(link) {
    if (current === link) return;
    hide();
    current = link;
    const box = document.createElement("div");
    Object.assign(box, { id: "bd-hover", role: "tooltip", className: "bd-hover" });
    box.style.visibility = "hidden"; // in the page all the same: MathJax measures the letters around a formula
    document.body.append(box);
    const found = await findTarget(link, box).catch((error) => console.error(error));
    for (const node of box.querySelectorAll("a")) node.removeAttribute("href"); // a tooltip holds nothing to act on
    await Promise.allSettled(
      [...box.querySelectorAll("img")].map((image) => {
        image.loading = "eager"; // what is hidden is never near
        return image.decode();
      }),
    );
    if (!found || current !== link) {
      box.remove();
      return;
    }
    card = box;
    link.removeAttribute("title"); // a citation's: the browser would show its words once more
    link.setAttribute("aria-describedby", box.id);
    place(box, link);
    box.style.visibility = "";
  }

  document.addEventListener("pointerover", (event) => {
    if (event.pointerType === "touch") return;
    const link = reference(event.target);
    clearTimeout(timer);
    if (!link && !card?.contains(event.target)) timer = setTimeout(hide, PAUSE);
    else if (link) timer = setTimeout(() => show(link), PAUSE);
  });
  document.addEventListener("focusin", (event) => {
    const link = reference(event.target);
    if (link?.matches(":focus-visible")) show(link);
    else hide();
  });
  document.addEventListener("click", (event) => {
    if (!card?.contains(event.target)) hide();
  });

  // --- the notation ---

  const drawer = document.createElement("dialog");
  drawer.className = "bd-drawer";
  drawer.id = "bd-notation";
  drawer.setAttribute("aria-labelledby", "bd-notation-title");
  drawer.innerHTML = `<div class="bd-drawer-head"><h2 id="bd-notation-title">Notation</h2>
    <a href="${root}book/notation.html">as a page</a>
    <button type="button" class="btn" aria-label="Close the notation" autofocus>×</button></div>
    <div class="bd-drawer-text" tabindex="0" role="region" aria-label="Symbols"></div>`;

  const opener = document.createElement("button");
  Object.assign(opener, { type: "button", className: "btn bd-notation-button", textContent: "Notation" });
  opener.setAttribute("aria-controls", drawer.id);
  opener.setAttribute("aria-expanded", "false");

  async function openNotation() {
    drawer.show(); // beside the page, which stays in use
    opener.setAttribute("aria-expanded", "true");
    const text = drawer.querySelector(".bd-drawer-text");
    if (text.childElementCount) return;
    fill(text, await load("notation"));
    text.style.visibility = "hidden";
    await typeset(text);
    text.style.visibility = "";
  }

  function closeNotation() {
    drawer.close();
    opener.setAttribute("aria-expanded", "false");
    opener.focus();
  }

  opener.addEventListener("click", () => (drawer.open ? closeNotation() : openNotation()));
  drawer.querySelector("button").addEventListener("click", closeNotation);
  const bar = document.querySelector(".article-header-buttons");
  if (bar && !location.pathname.endsWith("/book/notation.html")) {
    bar.prepend(opener);
    document.body.append(drawer);
  }

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    if (card) hide();
    else if (drawer.open) closeNotation();
  });

  // --- print ---

  // Paper is light, and has nothing to unfold: folded results are printed, folded code is left out (reading.css).
  let theme = "";
  let unfolded = [];
  addEventListener("beforeprint", () => {
    theme = document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = "light";
    unfolded = [...document.querySelectorAll(".bd-article details:not([open])")];
    for (const details of unfolded) details.open = true;
  });
  addEventListener("afterprint", () => {
    document.documentElement.dataset.theme = theme;
    for (const details of unfolded) details.open = false;
  });
})();
