"""What a still figure carries beside its picture: the numbers that it draws, and the same picture for a dark page.

A notebook's output holds several forms of what is shown. `attach` adds one of the book's own, which its pages offer for
download (the numbers) and show where they are dark (the picture); whoever does not know it passes it by.
"""

from __future__ import annotations

import base64
import colorsys
import csv
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.category import StrCategoryFormatter
from matplotlib.collections import Collection, LineCollection, PathCollection, PolyCollection, QuadMesh
from matplotlib.colors import to_hex, to_rgba
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure, FigureBase
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Annotation, Text
from matplotlib.ticker import FixedFormatter

from bdbook.page.palette import PALETTE

MIME = "application/vnd.bdbook.figure+json"
LIMIT = 5000  # rows of one figure's numbers; what does not fit is left out whole, and named
GROUND, INK = "#121212", "#dfe3e8"  # of the book's dark pages
MARKS = {colour.mark.lower(): colour.dark for colour in PALETTE.values()}

# --- the numbers ---

Row = dict[str, object]  # column -> value; a number or a name


def numbers(figure: Figure) -> tuple[str, list[str]]:
    """The drawn numbers as CSV, "" where there are none, and what was left out for its size.

    A row is a point, a bar, the end of a segment or a cell of a map. `panel` and `series` say where it is drawn, the
    other columns are named as the axes; what a panel does not have stays empty. Pictures (8 bits or in colour), spans
    and words are not numbers.
    """
    rows: list[Row] = []
    left_out = []
    panels = [ax for ax in figure.axes if ax.get_visible() and ax.get_label() != "<colorbar>"]
    for index, ax in enumerate(panels, 1):
        panel = next((t for t in (ax.get_title(loc) for loc in ("left", "center", "right")) if t), f"{index}")
        for series, found in _series(ax):
            if len(rows) + len(found) > LIMIT:
                left_out.append(f"{panel}: {series}" if len(panels) > 1 else series)
            else:
                rows += [{"panel": panel, "series": series} | row for row in found]
    if not rows:
        return "", left_out
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue(), left_out


def _label(ax: Axes, which: str) -> str:
    """What stands at an axis, or at one that it is shared with, or at the figure's edge; x or y where nothing does."""
    siblings = getattr(ax, f"get_shared_{which}_axes")().get_siblings(ax)
    labels = [getattr(each, f"get_{which}label")() for each in (ax, *siblings)]
    outer = getattr(ax.get_figure(), f"_sup{which}label", None)
    return next((label for label in (*labels, outer.get_text() if outer else "") if label), which)


def _columns(ax: Axes) -> tuple[str, str]:
    x, y = _label(ax, "x"), _label(ax, "y")
    return (f"{x} (x)", f"{y} (y)") if x == y else (x, y)


def _value(axis: Any, value: float) -> object:
    """A number of 7 digits, or the name that a tick gives it."""
    formatter = axis.get_major_formatter()
    if isinstance(formatter, (FixedFormatter, StrCategoryFormatter)):
        places = list(axis.get_majorticklocs())
        for place, text in zip(places, formatter.format_ticks(places)):
            if text and abs(place - value) < 1e-9:
                return text
    return float(f"{value:.7g}")


def _points(ax: Axes, xs: Any, ys: Any) -> list[Row]:
    """A row for each finite point; None for what an axis does not say."""
    x, y = _columns(ax)
    rows = []
    for a, b in zip(np.ravel(xs), np.ravel(ys)):
        given = [(name, axis, value) for name, axis, value in ((x, ax.xaxis, a), (y, ax.yaxis, b)) if value is not None]
        if all(np.isfinite(float(value)) for _, _, value in given):
            rows.append({name: _value(axis, float(value)) for name, axis, value in given})
    return rows


def _line(ax: Axes, line: Line2D) -> list[Row]:
    """Of a line across the whole panel only where it stands."""
    along_x, along_y = line.get_transform().contains_branch_seperately(ax.transData)
    xs, ys = np.asarray(line.get_xdata(orig=False)), np.asarray(line.get_ydata(orig=False))
    if along_x and along_y:
        return _points(ax, xs, ys)
    return _points(ax, xs[:1] if along_x else [None], ys[:1] if along_y else [None]) if along_x or along_y else []


def _collection(ax: Axes, drawn: Collection) -> list[Row]:
    x, y = _columns(ax)
    if isinstance(drawn, PathCollection):
        rows = _points(ax, *np.asarray(drawn.get_offsets()).T)
    elif isinstance(drawn, (LineCollection, PolyCollection)):
        ends = [np.asarray(path.vertices) for path in drawn.get_paths()]
        ends = [each for each in ends if len(each)]
        rows = _points(ax, *np.concatenate(ends).T) if ends else []
    elif isinstance(drawn, QuadMesh):
        corners = np.asarray(drawn.get_coordinates())
        centres = (corners[1:, 1:] + corners[1:, :-1] + corners[:-1, 1:] + corners[:-1, :-1]) / 4
        values: np.ndarray = np.ma.filled(np.ma.asarray(drawn.get_array(), float), np.nan).ravel()
        rows = [
            {x: float(f"{a:.7g}"), y: float(f"{b:.7g}"), "value": float(f"{v:.7g}")}
            for (a, b), v in zip(centres.reshape(-1, 2), values)
        ]
    else:
        rows = []
    return rows


def _image(ax: Axes, image: AxesImage) -> list[Row]:
    """The cells of a map; nothing for a picture."""
    values = np.ma.filled(np.ma.asarray(image.get_array()).astype(float), np.nan)
    if values.ndim != 2 or np.asarray(image.get_array()).dtype == np.uint8:
        return []
    x, y = _columns(ax)
    left, right, bottom, top = image.get_extent()
    first, last = (bottom, top) if image.origin == "lower" else (top, bottom)
    height, width = values.shape
    across = left + (np.arange(width) + 0.5) * (right - left) / width
    down = first + (np.arange(height) + 0.5) * (last - first) / height
    return [
        {x: float(f"{across[j]:.7g}"), y: float(f"{down[i]:.7g}"), "value": float(f"{values[i, j]:.7g}")}
        for i, j in np.ndindex(height, width)
    ]


def _series(ax: Axes) -> Iterator[tuple[str, list[Row]]]:
    """Name and rows of all that is drawn with data into a panel, in the order of drawing."""
    count = 0

    def named(label: object, kind: str) -> str:
        nonlocal count
        count += 1
        return f"{kind} {count}" if not label or str(label).startswith("_") else str(label)

    seen: set[int] = set()  # what belongs to a container is written once
    for container in ax.containers:
        if isinstance(container, BarContainer):
            upright = container.orientation != "horizontal"
            boxes = [bar.get_bbox() for bar in container.patches]
            middles = [(b.x0 + b.x1) / 2 if upright else (b.y0 + b.y1) / 2 for b in boxes]
            lengths = [b.y1 if upright else b.x1 for b in boxes]
            yield (
                named(container.get_label(), "bars"),
                _points(ax, *((middles, lengths) if upright else (lengths, middles))),
            )
        elif isinstance(container, ErrorbarContainer):
            line, caps, bars = container.lines
            seen |= {id(part) for part in (line, *caps, *bars) if part is not None}
            name = named(container.get_label(), "line")
            if line is not None:
                yield name, _line(ax, line)
            for bar in bars:
                yield f"{name}, error bars", _collection(ax, bar)
    for line in ax.lines:
        if id(line) not in seen and line.get_visible():
            yield named(line.get_label(), "line"), _line(ax, line)
    for drawn in ax.collections:
        if id(drawn) not in seen and drawn.get_visible():
            kind = "map" if isinstance(drawn, QuadMesh) else "points" if isinstance(drawn, PathCollection) else "area"
            yield named(drawn.get_label(), kind), _collection(ax, drawn)
    for image in ax.images:
        yield named(image.get_label(), "map"), _image(ax, image)


# --- the picture for a dark page ---


def contrast(one: Any, other: Any) -> float:
    """WCAG's ratio of two opaque colours, 1 to 21."""

    def luminance(colour: Any) -> float:
        levels = np.array(to_rgba(colour)[:3])
        linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def darkened(colour: Any, ratio: float = 3.0) -> tuple[float, float, float, float]:
    """A colour of a light page as it is on a dark one, RGBA.

    A system's is the palette's; greys change places, from paper and ink to the page's own; others keep their hue and
    become as light as `ratio`, their contrast with the ground, asks for.
    """
    red, green, blue, alpha = to_rgba(colour)
    own = MARKS.get(to_hex((red, green, blue)).lower())
    if own:
        return to_rgba(own, alpha)
    if max(red, green, blue) - min(red, green, blue) < 0.04:
        paper, ink = np.array(to_rgba(GROUND)[:3]), np.array(to_rgba(INK)[:3])
        red, green, blue = (ink + red * (paper - ink)).tolist()
        return red, green, blue, alpha
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    while contrast((red, green, blue), GROUND) < ratio:
        lightness = lightness + 0.01
        red, green, blue = colorsys.hls_to_rgb(hue, lightness, saturation)
    return red, green, blue, alpha


@contextmanager
def in_the_dark(figure: Figure) -> Iterator[None]:
    """The figure with the colours of a dark page; afterwards it is as it was. Pictures and maps keep theirs."""
    undo: list[Callable[[], None]] = []

    def change(artist: Any, name: str, ratio: float = 3.0) -> None:
        before, put = getattr(artist, f"get_{name}")(), getattr(artist, f"set_{name}")
        if isinstance(before, np.ndarray) and before.ndim == 2:
            after: Any = [darkened(each, ratio) for each in before]
        elif isinstance(before, str) and before == "none":
            return
        else:
            after = darkened(before, ratio)
        undo.append(lambda: put(before))
        put(after)

    for artist in figure.findobj():
        if isinstance(artist, Text):
            change(artist, "color", 4.5)
            extra = [artist.get_bbox_patch(), artist.arrow_patch if isinstance(artist, Annotation) else None]
            for patch in filter(None, extra):
                change(patch, "facecolor")
                change(patch, "edgecolor")
        elif isinstance(artist, Line2D):
            for name in ("markerfacecolor", "markeredgecolor", "color"):
                change(artist, name)
        elif isinstance(artist, Patch) or (isinstance(artist, Collection) and artist.get_array() is None):
            change(artist, "facecolor")
            change(artist, "edgecolor")
    try:
        yield
    finally:
        for step in reversed(undo):
            step()


def carried(figure: Figure) -> dict[str, Any]:
    """What the output of a figure holds under MIME: `dark`, a PNG in base64 as large as the one that is shown; `csv`;
    `left_out`."""
    from IPython.core.pylabtools import print_figure

    with in_the_dark(figure):
        dark = print_figure(figure, fmt="png", bbox_inches="tight")
    text, left_out = numbers(figure)
    return {"dark": base64.b64encode(dark).decode(), "csv": text, "left_out": left_out}


def attach() -> None:
    """From now on figures that this session shows carry it; without IPython nothing is shown, and nothing is done."""
    try:
        from IPython import get_ipython
        from IPython.core.formatters import JSONFormatter
    except ImportError:
        return
    shell = get_ipython()
    if shell is None:
        return
    formatter = JSONFormatter(parent=shell.display_formatter)
    formatter.format_type = MIME
    formatter.print_method = "_repr_bdbook_figure_"  # not JSON's own
    formatter.for_type(FigureBase, carried)  # of Figure itself matplotlib's backend forgets it when it chooses formats
    shell.display_formatter.formatters[MIME] = formatter
