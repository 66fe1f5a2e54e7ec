// MathJax weighs more than all else of a page, so it comes when a formula is about to be seen: when one is near, when the
// page is scrolled or printed, or when a reading aid asks (reading.js). `bdbookTypeset()` is a promise of a page that is set.
(() => {
  const NEAR = "200px"; // beyond the window
  const { src } = document.currentScript;
  let coming;
  let whole;

  const load = (name) =>
    new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = new URL(name, src);
      script.onload = resolve;
      script.onerror = () => reject(new Error(`${script.src} could not be loaded`));
      document.head.append(script);
    });

  /** The font comes without the shapes that the book has no use for (book/glyphs.py): a formula that has one waits. */
  function ready() {
    const { SVGWrapper } = MathJax._.output.svg.Wrapper;
    const place = SVGWrapper.prototype.placeChar;
    SVGWrapper.prototype.placeChar = function (code, x, y, parent, variant = null) {
      const shape = this.getVariantChar(variant ?? this.variant, code)[3];
      if (!("p" in shape || "c" in shape || shape.unknown))
        MathJax._.util.Retries.retryAfter((whole ??= load("glyphs.js")));
      return place.call(this, code, x, y, parent, variant);
    };
    MathJax.startup.defaultReady();
  }

  window.bdbookTypeset = () =>
    (coming ??= (async () => {
      MathJax.startup = { ...MathJax.startup, ready };
      await load("vendor/mathjax/startup.js");
      await MathJax.startup.promise;
      document.dispatchEvent(new Event("bdbook-typeset"));
    })());

  const formulas = document.querySelectorAll(".math");
  if (!formulas.length) return;
  const come = () => {
    watcher.disconnect();
    window.bdbookTypeset();
  };
  const watcher = new IntersectionObserver(
    (entries) => {
      if (entries.some(({ isIntersecting }) => isIntersecting)) come();
    },
    { rootMargin: NEAR },
  );
  for (const formula of formulas) watcher.observe(formula);
  addEventListener("scroll", come, { once: true, passive: true });
  addEventListener("beforeprint", come, { once: true });
})();
