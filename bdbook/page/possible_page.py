"""A page of pictures that may lie behind a blurred one: from the nearest on average to the sharpest; one file.

Path("photo.html").write_text(possible_page.html("photo.png", found, "a Gaussian of 1.5 px", 0.02), encoding="utf-8")
"""

from __future__ import annotations

import base64
import io
import json
from html import escape

import numpy as np
from PIL import Image
from torch import Tensor

from bdbook.evaluation.possible import Possible
from bdbook.pixels import to_pixels

STYLE = """
:root {
  color-scheme: light dark; --fg: light-dark(#1f2328, #dfe3e8); --line: light-dark(#d5d9de, #444c55);
  --accent: light-dark(#15569b, #73a9d1);
}
body {
  max-width: 768px; margin: 0 auto; padding: 16px; font: 16px/1.5 system-ui, sans-serif; color: var(--fg);
  background: light-dark(#ffffff, #14181e); overflow-wrap: anywhere;
}
h1 { font-size: 1.5em; line-height: 1.25; } h2 { margin-top: 2em; font-size: 1.2em; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(140px, 1fr)); gap: 16px; }
figure { margin: 0; } figcaption { font-size: 14px; }
img { display: block; width: 100%; image-rendering: pixelated; border: 1px solid var(--line); }
code { white-space: nowrap; } img[hidden] { display: none; } .chosen { max-width: 400px; }
label { display: block; margin-top: 12px; font-weight: 600; }
input { width: 100%; height: 24px; margin: 0; accent-color: var(--accent); }
input:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.ends { display: flex; justify-content: space-between; font-size: 14px; }
output { display: block; min-height: 4.5em; font-variant-numeric: tabular-nums; }
.warning { padding: 4px 16px; border-left: 4px solid light-dark(#b35900, #e8a33d); }
@media (max-width: 560px) { .pictures { grid-template-columns: 1fr 1fr; } output { min-height: 7.5em; } }
"""
# The pictures of the slider lie in the page one above the other, and one of them is shown.
PROGRAM = """
const slider = document.getElementById("sharpness"), shown = document.querySelectorAll(".chosen img");
const told = document.getElementById("told"), words = JSON.parse(slider.dataset.words);
const show = () => {
  const at = Number(slider.value);
  shown.forEach((image, place) => { image.hidden = place !== at; });
  told.textContent = words[at];
  slider.setAttribute("aria-valuetext", words[at]);
};
slider.addEventListener("input", show);
show();
"""
WARNING = (
    "These pictures are made for the blur and the noise that were given above, and are like those that the network "
    "was trained on. Real blur is rarely a Gaussian of a known width: a lens out of focus spreads a point over a disc, "
    "a moving camera along a line, and a camera's own sharpening and compression come after it. Where the blur was "
    "another, the pictures are wrong and the spread does not say so: it is that of pictures blurred as was assumed."
)
ADVICE = (
    "Measure it: photograph a point of light, or a sharp edge, with the same lens and distance; or compare widths and "
    "take the largest at which the samples have no ringing along edges. Give a measured kernel with "
    "<code>--kernel k.npy</code>, an odd number of taps a side, of sum 1, the same read from either end of each axis; "
    "and rather too much noise, by <code>--noise</code>, than too little."
)


def html(name: str, found: Possible, blur: str, noise: float) -> str:
    """The page as text. name: of the picture; blur, noise: what it was taken to be seen through."""
    title, count = f"What may lie behind {name}", len(found.drawn)
    top = found.spread.max().item()
    pictures = [
        ("Seen", _img(found.seen, f"{name} as it was seen")),
        (f"Mean of {count}", _img(found.mean, "the mean of all samples")),
        ("One sample", _img(found.drawn[0], "the first sample")),
        (
            f"Spread: black 0, white {top:.3g}, standard deviation of a pixel in [−1, 1]",
            _img(spread_picture(found), "how much the samples differ, pixel by pixel"),
        ),
    ]
    if found.truth is not None:
        pictures.insert(1, ("Truth, which was blurred", _img(found.truth, "the truth")))
    means = found.means()
    words = [_words(found, k, mean) for k, mean in means.items()]
    chosen = "".join(
        _img(mean, f"the mean of {k} samples" if k > 1 else "one sample", place > 0)
        for place, (k, mean) in enumerate(means.items())
    )
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{count} pictures drawn through {escape(blur)}, and noise of standard deviation {noise:g} in a pixel of "
        f"[−1, 1]; {escape(found.how)}.</p>",
        '<div class="pictures">' + "".join(_figure(*each) for each in pictures) + "</div>",
        "<h2>From fidelity to sharpness</h2>",
        f'<div class="chosen">{chosen}</div>',
        '<label for="sharpness">How many samples are averaged</label>',
        f'<input type="range" id="sharpness" min="0" max="{len(means) - 1}" value="0" step="1" '
        f"data-words='{_json(words)}'>",
        '<div class="ends" aria-hidden="true"><span>fidelity</span><span>sharpness</span></div>',
        f'<output id="told" for="sharpness">{escape(words[0])}</output>',
        "<p>If the samples are right, the truth is one more of them. Then the mean of k of them has, on average, "
        "1 + 1/k times the squared error of the mean of very many, and one sample twice that: what is sharp is "
        "guessed.</p>",
        "<h2>Real blur is not the one assumed</h2>",
        f'<div class="warning"><p>{escape(WARNING)}</p><p>{ADVICE}</p></div>',
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(parts)
        + f"\n</main>\n<script>{PROGRAM}</script>\n</body>\n</html>\n"
    )


def spread_picture(found: Possible) -> Tensor:
    """The spread as a picture, (C, H, W): black where the samples agree, white where they differ most."""
    top = found.spread.max()
    return 2 * found.spread / top - 1 if top > 0 else found.spread - 1


def _words(found: Possible, count: int, mean: Tensor) -> str:
    """What the slider says of the mean of so many."""
    what = "One sample" if count == 1 else f"The mean of {count} samples"
    said = (
        f"{what}: {1 + 1 / count:.3g} times the squared error of the mean of very many, expected where the samples are "
        f"right; {found.detail(mean):.0%} of the samples' own detail, the energy of the upper three of five bands"
    )
    if found.truth is None:
        return said + "."
    apart = (mean - found.truth).square().mean().sqrt()
    return f"{said}; {apart:.3f} from the truth, root mean square."


def _figure(caption: str, picture: str) -> str:
    return f"<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>"


def _img(picture: Tensor, words: str, hidden: bool = False) -> str:
    """A picture (C, H, W) in [-1, 1] in the page itself."""
    buffer = io.BytesIO()
    Image.fromarray(np.squeeze(to_pixels(picture[None])[0])).save(buffer, "png")
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{escape(words)}"{" hidden" if hidden else ""}>'


def _json(words: list[str]) -> str:
    """For an attribute between apostrophes."""
    return escape(json.dumps(words))
