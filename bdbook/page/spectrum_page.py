"""A page of somebody's own spectrum: what was measured, the figure to move, and what to take; one file, no network.

Path("spectrum.html").write_text(spectrum_page.html(found, spectra.advise(found)), encoding="utf-8")
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from bdbook import spectra
from bdbook.page import widgets
from bdbook.spectra import Advice, Spectrum, advice

STYLE = """
:root { color-scheme: light dark; --fg: light-dark(#1f2328, #dfe3e8); --line: light-dark(#d5d9de, #444c55); }
body {
  max-width: 768px; margin: 0 auto; padding: 16px; font: 16px/1.5 system-ui, sans-serif; color: var(--fg);
  background: light-dark(#ffffff, #14181e); overflow-wrap: anywhere;
}
h1 { font-size: 1.5em; line-height: 1.25; } h2 { margin-top: 2em; font-size: 1.2em; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 16px; } dt { font-weight: 600; } dd { margin: 0; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; white-space: nowrap; }
th, td { padding: 3px 14px 3px 0; text-align: right; } th[scope="row"], th:first-child { text-align: left; }
thead tr { border-bottom: 1px solid var(--line); } tbody th { font-weight: 400; }
.part { overflow-x: auto; }
pre { padding: 10px 12px; border: 1px solid var(--line); border-radius: 5px; font-size: 14px; }
@media (max-width: 560px) { dl { display: block; } dd { margin-bottom: 6px; } }
.copied { white-space: pre-wrap; user-select: all; }
"""


def html(found: Spectrum, advised: Advice, asked: Mapping[str, Any] | None = None) -> str:
    """The page as text.

    asked: what `spectra.of` was given beside the source, for the Python that does the same.
    """
    title = f"Spectrum of {found.name}"
    widgets.new_page()  # the figure carries its program, and so does the next one, which is of another page
    try:
        steps = min(max(advised.calls, 2), 200)
        figure = widgets.SpectrumSlider(found, steps=steps).static_html()
    finally:
        widgets.new_page()
    parts = [
        f"<h1>{escape(title)}</h1>",
        _read(found),
        "<h2>The spectrum</h2>",
        _bands(found),
        "<h2>The spectrum and the systems</h2>",
        figure,
        "<h2>How far samples are from data</h2>",
        _nats(found, advised),
        f"<h2>What to take for {advised.calls} calls</h2>",
        _advice(advised),
        "<h2>The same in Python</h2>",
        f'<pre class="part" tabindex="0" aria-label="Python"><code>{escape(code(found, advised, asked))}</code></pre>',
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )


def code(found: Spectrum, advised: Advice, asked: Mapping[str, Any] | None = None) -> str:
    """The Python that measures the same source and advises for as many calls; `asked` as in `html`."""
    known = inspect.signature(spectra.of).parameters
    given = {name: value for name, value in (asked or {}).items() if value != known[name].default}
    source = "array" if found.name == "an array" else repr(found.name)  # which has no name of its own
    settings = "".join(f", {name}={value!r}" for name, value in given.items() if name != "progress")
    return "\n".join(
        [
            "from bdbook import spectra",
            "",
            f"found = spectra.of({source}{settings})",
            f"advised = spectra.advise(found, calls={advised.calls})",
            "print(found)",
            "print(advised)",
            "",
            "# For samplers.sample, with a network that was trained for this process:",
            "advised.process, advised.times, advised.rule, advised.order",
            "# For a network that knows white noise alone; after these comes 0:",
            "advised.sigmas[advised.order]",
        ]
    )


# --- its parts ---------------------------------------------------------------------------------------------


def _read(found: Spectrum) -> str:
    some = f"{found.count:,}" if found.count == found.total else f"{found.count:,} of {found.total:,}"
    rows = {
        "Read": found.name,
        "Samples": f"{some}, each {' × '.join(map(str, found.shape))} (channels first)",
        "Cut": found.cut,
        "Scaled": f"(x − {found.offset:.6g}) × {found.factor:.6g}: every number below is of data so scaled",
        "Rate": f"{found.rate:,} samples a second" if found.rate else "",
        "Slope": f"power falls as 1 / frequency^s, s = {found.slope:.2f} ± {found.slope_error:.2f}",
        "Beyond a Gaussian": f"{max(found.negentropy, 0):.2g} nats a coefficient, each taken alone",
    }
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in rows.items() if text) + "</dl>"


def _bands(found: Spectrum) -> str:
    names = ["cycles per sample", *(["Hz"] if found.rate else []), "coefficients", "power", "±", "kurtosis", "±"]
    rows = [
        (
            f"{band.frequency:.4g}",
            *([f"{band.frequency * found.rate:,.1f}"] if found.rate else []),
            f"{band.count:,}",
            f"{band.power:.4g}",
            f"{band.power_error:.2g}",
            f"{band.kurtosis:z.2f}",
            f"{band.kurtosis_error:.2f}",
            f"{band.negentropy:z.4f}",
        )
        for band in found.bands
    ]
    caption = (
        "Bands of frequencies: their mean variance and excess kurtosis (0: Gaussian), each with its standard error, "
        "and the nats by which a coefficient, taken alone, falls short of a Gaussian's entropy."
    )
    return _table("bands", caption, [*names, "negentropy"], rows)


def _nats(found: Spectrum, advised: Advice) -> str:
    counts = sorted({steps for rules in advised.kl.values() for row in rules.values() for steps in row})
    rows = [
        (f"{system}, {rule}", *(_told(row[steps]) if steps in row else "" for steps in counts))
        for system, rules in advised.kl.items()
        for rule, row in rules.items()
    ]
    least = [_told(advice.least(found, steps)) for steps in counts]
    rows += [("least of DDIM", *least), ("flow rule, any system", *["0"] * len(counts))]
    caption = (
        "Nats by which samples miss Gaussian data of this spectrum, by system, rule and calls of the network. The "
        "least of DDIM is that of clocks which run the whole way; where their ends are cut, as equal SNR's and "
        "cosine's are, it can be a little less."
    )
    return _table("nats", caption, ["calls", *map(str, counts)], rows)


def _advice(advised: Advice) -> str:
    taken = f"<p>Equal SNR, the flow rule of order {advised.order}, equal steps of time.</p>"
    reasons = "<ul>" + "".join(f"<li>{escape(reason)}</li>" for reason in advised.reasons) + "</ul>"
    orders = sorted(advised.sigmas)
    caption = (
        f"For a network that knows white noise alone: nats by which {advised.calls} calls of DDIM miss, by the levels "
        "of noise and the order."
    )
    rows = [(name, *(_told(nats[order]) for order in orders)) for name, nats in advised.white.items()]
    white = _table("white", caption, ["levels of noise", *(f"order {order}" for order in orders)], rows)
    listed = "".join(
        f"<h3>Sigmas for order {order}</h3>"
        f'<pre class="copied">{", ".join(f"{sigma:.6g}" for sigma in [*advised.sigmas[order], 0])}</pre>'
        for order in orders
    )
    return taken + reasons + white + listed


def _told(value: float) -> str:
    """A number for a reader, of three digits."""
    return f"{float(f'{value:.3g}'):,.10g}" if 1e-3 <= abs(value) < 1e9 else f"{value:.2g}"


def _table(key: str, about: str, names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table under what it is about, which scrolls where it is too wide; the first of each row is its name."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'
        for name, *cells in rows
    )
    return (
        f'<p id="{key}">{escape(about)}</p><div class="part" role="region" tabindex="0" aria-labelledby="{key}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
