// MathJax weighs more than all else of a page, so it comes when a formula is about to be seen: when one is near, when the
// page is scrolled or printed, or when a reading aid asks (reading.js). `bdbookTypeset()` is a promise of a page that is set.
(() => {
  const NEAR = "200px"; // beyond the window
  const source = new URL("vendor/mathjax/startup.js", document.currentScript.src);
  let coming;

  window.bdbookTypeset = () =>
    (coming ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = source;
      script.onload = () => resolve(MathJax.startup.promise);
      script.onerror = () => reject(new Error(`${source} could not be loaded`));
      document.head.append(script);
    }).then(() => document.dispatchEvent(new Event("bdbook-typeset"))));

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
