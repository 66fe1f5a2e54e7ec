"""Cut the font of MathJax in two: what this book's formulas are likely to be set in, and the rest.

Nine tenths of it are shapes that no page of the book shows: other alphabets, arrows, boxes. They come when a formula
asks for one (book/assets/typeset.js), so that a page may set anything that MathJax can.
"""

import json
import re
from pathlib import Path

FONT = Path("book/assets/vendor/mathjax/output/svg/fonts/tex.js")
# Alphabets that stay, and of the largest one these ranges: Latin and Greek letters, upright, bold and italic, script
# and double-struck; signs of punctuation and of common operations.
KEPT = {"boldItalic", "italic", "largeop", "smallop", "texSize3", "texSize4", "normal", "texCalligraphic"}
RANGES = [
    *((0x20, 0x7E), (0xA0, 0xB7), (0xD7, 0xD7), (0xF7, 0xF7), (0x2C6, 0x2DC), (0x300, 0x338), (0x391, 0x3F6)),
    *((0x2010, 0x2037), (0x2044, 0x2044), (0x210F, 0x2113), (0x211C, 0x211D), (0x2190, 0x2194), (0x21A6, 0x21A6)),
    *((0x21D0, 0x21D4), (0x2200, 0x2209), (0x220F, 0x2229), (0x222B, 0x222B), (0x223C, 0x2248), (0x2260, 0x2265)),
    *((0x226A, 0x226B), (0x2282, 0x2287), (0x2295, 0x2299), (0x22A4, 0x22A5), (0x22C5, 0x22C6), (0x22EE, 0x22F1)),
    *((0x2308, 0x230B), (0x27E8, 0x27E9), (0x1D400, 0x1D4CF), (0x1D6A8, 0x1D755), (0x1D7CE, 0x1D7D7)),
]
CALL = re.compile(r"AddPaths\)\((\w+\.(\w+)),\{")
SHAPE = re.compile(r'(\d+):("[^"]*"),?')


def stays(alphabet: str, code: int) -> bool:
    """Whether the shape of a character is one that comes at once."""
    return alphabet in KEPT and (alphabet != "normal" or any(low <= code <= high for low, high in RANGES))


def split(font: str) -> tuple[str, str]:
    """(the font without the rest, a script that brings it): the same shapes, each in one of them.

    The first leaves its alphabets in `bdbookAlphabets`, to which the second adds.
    """
    kept, rest, place = [], {}, 0
    for call in CALL.finditer(font):
        table, alphabet = call.groups()
        end = font.index("}", call.end())
        shapes = SHAPE.findall(font, call.end(), end)
        stay = [f"{code}:{shape}" for code, shape in shapes if stays(alphabet, int(code))]
        rest[alphabet] = {code: json.loads(shape) for code, shape in shapes if not stays(alphabet, int(code))}
        kept += [font[place : call.start()], f"AddPaths)((globalThis.bdbookAlphabets??={{}}).{alphabet}={table},{{"]
        kept.append(",".join(stay))
        place = end
    added = "MathJax._.output.svg.FontData.AddPaths(bdbookAlphabets[alphabet], shapes, {});"
    told = f"for (const [alphabet, shapes] of Object.entries({json.dumps(rest)})) {added}\n"
    return "".join(kept) + font[place:], told


def write(folder: Path) -> dict[Path, Path]:
    """Path among what jupyter-book reads -> file in `folder`, of both parts."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {FONT: folder / "tex.js", Path("book/assets/glyphs.js"): folder / "glyphs.js"}
    for file, text in zip(files.values(), split(FONT.read_text(encoding="utf-8")), strict=True):
        file.write_text(text, encoding="utf-8")
    return files
