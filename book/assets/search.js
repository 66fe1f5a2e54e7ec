// The search, in the theme's dialog and on search.html: propositions, figures, equations, functions and all else that
// has a place of its own. The index, objects.js (searching.py), is loaded when a field is used for the first time.
(() => {
  const GREEK = {
    α: "alpha",
    β: "beta",
    γ: "gamma",
    δ: "delta",
    ε: "epsilon",
    ζ: "zeta",
    η: "eta",
    θ: "theta",
    κ: "kappa",
    λ: "lambda",
    μ: "mu",
    ν: "nu",
    ξ: "xi",
    π: "pi",
    ρ: "rho",
    σ: "sigma",
    τ: "tau",
    φ: "phi",
    χ: "chi",
    ψ: "psi",
    ω: "omega",
    Γ: "gamma",
    Δ: "delta",
    Θ: "theta",
    Λ: "lambda",
    Σ: "sigma",
    Φ: "phi",
    Ψ: "psi",
    Ω: "omega",
  };
  const FEW = 4; // finds of a kind in the dialog; the page of the search has MANY
  const MANY = 50;
  const root = document.documentElement.dataset.content_root;

  /** Letters as they are typed: without accents, Greek ones by name. */
  const plain = (text) =>
    text
      .replace(/[α-ωΑ-Ω]/g, (letter) => GREEK[letter] ?? letter)
      .normalize("NFD")
      .replace(/\p{M}/gu, "");
  const split = (text) => plain(text).match(/[\p{L}\p{N}]+(?:_[\p{L}\p{N}]+)*/gu) ?? [];
  /** A query's words: d_min and dmin are one. */
  const asked = (text) => split(text).map((word) => word.replaceAll("_", "").toLowerCase());
  /** A text's words, and the parts of names: blur_sigma is found by blursigma, blur and sigma. */
  function words(text) {
    return split(text).flatMap((word) => {
      const pieces = word.split(/_|(?<=[a-z])(?=[A-Z])/).map((piece) => piece.toLowerCase());
      const whole = word.replaceAll("_", "").toLowerCase();
      return pieces.length > 1 ? [whole, ...pieces] : [whole];
    });
  }
  const line = (text) => ` ${words(text).join(" ")} `;
  /** Whether a line of words has a word that begins so; a number must be the whole one. */
  const has = (text, word) => text.includes(/^\d+$/.test(word) ? ` ${word} ` : ` ${word}`);
  Object.assign((window.bdbookReading ??= {}), { asked, line, has });

  let loading = null;
  function load() {
    return (loading ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = `${root}_static/objects.js`;
      script.onload = () => resolve(prepared(window.bdbookReading.objects));
      script.onerror = () => reject(new Error(`${script.src} is missing: make the book again`));
      document.head.append(script);
    }));
  }

  function prepared({ kinds, pages, objects }) {
    const place = (kind, anchor, name) => anchor || (kinds[kind] === "Library" ? name : "");
    return objects.map(([kind, page, anchor, name, text, rest]) => ({
      kind: kinds[kind],
      rank: kind,
      where: pages[page][1],
      address: `${pages[page][0]}#${place(kind, anchor, name)}`.replace(/#$/, ""),
      name,
      text,
      named: line(name),
      said: line(`${name} ${text}`),
      all: line(`${name} ${text} ${rest} ${pages[page][1]}`),
    }));
  }

  /** How well an object answers: 0 not at all; its name before its text, the whole phrase, in whole words, before others. */
  function worth(each, query, phrase) {
    if (!query.every((word) => has(each.all, word))) return 0;
    const within = (text) => (text.includes(` ${phrase} `) ? 25 : has(text, phrase) ? 20 : 0);
    if (query.every((word) => has(each.named, word))) {
      const begins = each.named.startsWith(` ${phrase}`) ? 40 : 0;
      const same = each.named.trim() === phrase ? 60 : 0;
      return 100 + within(each.named) + begins + same - Math.min(9, Math.floor(each.named.length / 60));
    }
    if (query.every((word) => has(each.said, word))) return 40 + within(each.said);
    return 10 + within(each.all);
  }

  /** [kind, the best finds, how many there are], the kind with the best one first. */
  function find(objects, query, most) {
    const phrase = query.join(" ");
    const groups = new Map();
    for (const each of objects) {
      const value = worth(each, query, phrase);
      if (value) groups.set(each.kind, [...(groups.get(each.kind) ?? []), { each, value }]);
    }
    for (const found of groups.values()) found.sort((a, b) => b.value - a.value); // equal ones stay in the book's order
    return [...groups]
      .sort(([, [a]], [, [b]]) => b.value - a.value || a.each.rank - b.each.rank)
      .map(([kind, found]) => [kind, found.slice(0, most).map(({ each }) => each), found.length]);
  }

  function element(tag, properties, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  /** The text, with the words that were asked for marked. */
  const marked = (text, query) =>
    text.split(/(\s+)/).map((piece) => {
      const here = line(piece);
      return query.some((word) => has(here, word)) ? element("mark", {}, piece) : piece;
    });

  /** Gives a field its results, in `box`; `most` of each kind. */
  function attach(form, box, most, told) {
    const field = form.querySelector("input");
    const list = element("div", { id: `${box.id}-list`, className: "bd-found", role: "listbox", hidden: true });
    const status = element("p", { className: "bd-found-status", role: "status" });
    list.setAttribute("aria-label", "What was found");
    for (const [name, value] of Object.entries({
      role: "combobox",
      "aria-expanded": "false",
      "aria-controls": list.id,
      "aria-autocomplete": "list",
    }))
      field.setAttribute(name, value);
    box.append(status, list);
    let active = -1;
    const options = () => [...list.querySelectorAll("[role=option]")];

    /** Makes an option the chosen one; after the last comes the first. -1: none. */
    function choose(next) {
      const all = options();
      active = next;
      for (const [i, option] of all.entries()) option.setAttribute("aria-selected", String(i === active));
      if (active < 0) return field.removeAttribute("aria-activedescendant");
      field.setAttribute("aria-activedescendant", all[active].id);
      all[active].scrollIntoView({ block: "nearest" });
    }

    async function answer() {
      const query = asked(field.value);
      const objects = await load();
      if (query.join() !== asked(field.value).join()) return; // typed on in the meantime
      const groups = query.length ? find(objects, query, most) : [];
      let count = 0;
      list.replaceChildren(
        ...groups.map(([kind, found, all], i) => {
          const head = element("div", { id: `${list.id}-${i}`, className: "bd-found-kind" }, kind);
          if (all > found.length) head.append(` · ${found.length} of ${all}`);
          const rows = found.map((each) => {
            const row = element(
              "a",
              { id: `${list.id}-option-${count++}`, href: root + each.address, role: "option", tabIndex: -1 },
              element("b", {}, ...marked(each.name, query)),
              each.kind === "Pages" ? "" : element("small", {}, each.where),
              element("span", {}, ...marked(each.text, query)),
            );
            row.setAttribute("aria-selected", "false");
            return row;
          });
          const group = element("div", { role: "group" }, head, ...rows);
          group.setAttribute("aria-labelledby", head.id);
          return group;
        }),
      );
      const total = groups.reduce((sum, [, , all]) => sum + all, 0);
      status.textContent = !query.length ? "" : total ? `${total} found` : `Nothing found for “${field.value.trim()}”`;
      list.hidden = !total;
      field.setAttribute("aria-expanded", String(total > 0));
      choose(-1);
      told(field.value);
    }

    field.addEventListener("focus", () => load().catch((error) => console.error(error)), { once: true });
    field.addEventListener("input", answer);
    field.addEventListener("keydown", (event) => {
      const count = options().length;
      if (event.key === "ArrowDown" && count) choose((active + 1) % count);
      else if (event.key === "ArrowUp" && count) choose(active > 0 ? active - 1 : count - 1);
      else if (event.key === "Enter" && active >= 0) options()[active].click();
      else return;
      event.preventDefault();
    });
    return answer;
  }

  const dialog = document.getElementById("pst-search-dialog");
  if (dialog) {
    const form = dialog.querySelector("form");
    const box = element("div", { id: "bd-found-anywhere" });
    dialog.append(box);
    attach(form, box, FEW, () => {});
    // A place on the same page changes nothing but the page's address: the dialog must go by itself.
    box.addEventListener("click", (event) => {
      if (event.target.closest("a")) dialog.close();
    });
  }

  const here = document.getElementById("bd-found-here");
  if (here) {
    const form = here.parentElement.querySelector("form");
    const field = form.querySelector("input");
    const answer = attach(form, here, MANY, (value) => {
      const address = new URL(location.href);
      if (value) address.searchParams.set("q", value);
      else address.searchParams.delete("q");
      history.replaceState(null, "", address);
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    field.value = new URLSearchParams(location.search).get("q") ?? "";
    if (field.value) answer();
    field.focus();
  }
})();
