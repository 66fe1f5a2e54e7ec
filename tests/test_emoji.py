"""Emoji: a small font of the real format, words where there is none, and the real font against Pillow's own drawing."""

import io
import os
import re
import unicodedata

import numpy as np
import pytest
import torch
from fontTools.feaLib.builder import addOpenTypeFeaturesFromString
from fontTools.fontBuilder import FontBuilder
from fontTools.ttLib import newTable
from fontTools.ttLib.tables.BitmapGlyphMetrics import SmallGlyphMetrics
from fontTools.ttLib.tables.C_B_D_T_ import cbdt_bitmap_format_17
from fontTools.ttLib.tables.E_B_L_C_ import BitmapSizeTable, SbitLineMetrics, Strike, eblc_index_sub_table_1
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont, features

from bdbook import data
from bdbook.data import emoji

# .ci/run installs it, and GitHub's machines have it.
HERE = emoji.DEBIAN.is_file()
real = pytest.mark.skipif(not HERE and not os.environ.get("CI"), reason="needs the package fonts-noto-color-emoji")
REAL = emoji.DEBIAN
# Glyph -> the text that shows it; what has a joiner is in the font in both directions.
TEXTS = {
    "face": "😀",
    "woman": "👩",
    "rocket": "🚀",
    "medium": "🏽",
    "F": "🇫",
    "R": "🇷",
    "shark": "🦈",
    "dark": "👩🏽",
    "astronaut": "👩\u200d🚀",
    "darker": "👩🏽\u200d🚀",
    "france": "🇫🇷",
    "pirates": "🏴\u200d☠",
    "england": "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "new": "\U0001fae8",
}
LIGATURES = """
feature ccmp {
    sub woman medium by dark;
    sub woman joiner rocket by astronaut;
    sub rocket joiner woman by astronaut;
    sub woman medium joiner rocket by darker;
    sub rocket joiner medium woman by darker;
    sub F R by france;
    sub R F by france_too;
    sub black joiner skull by pirates;
    sub skull joiner black by pirates;
    sub black g b e n g end by england;
    sub shark extra by face;
} ccmp;
"""
# Of a line of bitmaps, which nothing here looks at.
LINE = ["ascender", "descender", "widthMax", "caretSlopeNumerator", "caretSlopeDenominator", "caretOffset"]
LINE += ["minOriginSB", "minAdvanceSB", "maxBeforeBL", "minAfterBL", "pad1", "pad2"]
# What has no picture; "extra" has no character either, and "phone" one for private use.
BARE = {"joiner": 0x200D, "black": 0x1F3F4, "skull": 0x2620, "end": 0xE007F} | {
    letter: 0xE0000 + ord(letter) for letter in "gben"
}


def says(*words, kind=ValueError):
    return pytest.raises(kind, match="(?s)" + ".*".join(re.escape(word) for word in words))


def png(pixels, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", **options)
    return file.getvalue()


def drawn(seed):
    """RGBA (128, 136, 4), transparent in the four columns at each side, as Noto's."""
    pixels = np.random.default_rng(seed).integers(0, 256, (128, 136, 4), dtype=np.uint8)
    pixels[:, :4, 3] = pixels[:, -4:, 3] = 0
    return pixels


def font(path, pictures, ligatures=LIGATURES, bitmaps=True):
    """A font in the format of Noto Color Emoji: glyph -> PNG file."""
    order = [".notdef", *TEXTS, *BARE, "extra", "phone", "france_too"]
    order = [*order, *(glyph for glyph in pictures if glyph not in order)]
    builder = FontBuilder(2048)
    builder.setupGlyphOrder(order)
    single = {glyph: ord(text) for glyph, text in TEXTS.items() if len(text) == 1}
    builder.setupCharacterMap({code: glyph for glyph, code in {**single, **BARE, "phone": 0xFE4E5}.items()})
    builder.setupHorizontalMetrics(dict.fromkeys(order, (2550, 0)))
    builder.setupHorizontalHeader(ascent=1900, descent=-500)
    builder.setupPost()
    if ligatures:
        addOpenTypeFeaturesFromString(builder.font, ligatures)
    if bitmaps:
        images, places = newTable("CBDT"), newTable("CBLC")
        images.version, places.version, images.strikeData, places.strikes = 3.0, 3.0, [{}], [Strike()]
        for glyph, content in pictures.items():
            image = images.strikeData[0][glyph] = cbdt_bitmap_format_17("", builder.font)
            image.metrics, image.imageData = SmallGlyphMetrics(), content
            image.metrics.height, image.metrics.width, image.metrics.Advance = 128, 136, 136
            image.metrics.BearingX, image.metrics.BearingY = 0, 101
        strike, index = places.strikes[0], eblc_index_sub_table_1(b"", builder.font)
        strike.bitmapSizeTable = size = BitmapSizeTable()
        size.hori, size.vert, size.colorRef, size.flags, size.bitDepth = SbitLineMetrics(), SbitLineMetrics(), 0, 1, 32
        size.ppemX = size.ppemY = 109
        for line in (size.hori, size.vert):
            vars(line).update(dict.fromkeys(LINE, 0))
        index.indexFormat, index.imageFormat = 1, 17
        index.names = sorted(pictures, key=order.index)
        strike.indexSubTables = [index]
        builder.font["CBDT"], builder.font["CBLC"] = images, places
    path.parent.mkdir(parents=True, exist_ok=True)
    builder.save(path)
    return path


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """Neither the package nor a folder; the real package keeps its place in `real` tests."""
    monkeypatch.setenv("BDBOOK_DATASETS", str(tmp_path / "sets"))
    monkeypatch.setattr(emoji, "DEBIAN", tmp_path / "debian.ttf")


PICTURES = {glyph: drawn(seed) for seed, glyph in enumerate(TEXTS)}
FILES = {glyph: png(pixels) for glyph, pixels in PICTURES.items()}


def by_name(size=32, channels=3):
    """Name -> picture, of both splits."""
    return {
        name: picture
        for split in data.SPLITS
        for name, picture in zip(
            emoji.names(split), data.load_pixels("emoji", size, channels, split=split), strict=True
        )
    }


def on_white(pixels):
    """Means of areas are left to the caller: (128, 128, 3) float64 of 0 to 255."""
    pixels = pixels[:, 4:132].astype(np.float64)
    alpha = pixels[..., 3:] / 255
    return alpha * pixels[..., :3] + (1 - alpha) * 255


@pytest.mark.parametrize("side", [128, 32, 16, 1])
def test_pictures_are_on_white_and_averaged_by_areas(tmp_path, side):
    font(tmp_path / "debian.ttf", FILES)
    colour, grey = by_name(side), by_name(side, 1)
    assert len(colour) == len(TEXTS)
    names = {"face": "GRINNING FACE", "astronaut": "WOMAN, ROCKET", "shark": "SHARK"}
    for glyph, name in names.items():
        whole = on_white(PICTURES[glyph])
        means = whole.reshape(side, 128 // side, side, 128 // side, 3).mean((1, 3))
        # Rounding twice: after the background, after the mean.
        assert colour[name].dtype == torch.uint8
        np.testing.assert_allclose(colour[name].permute(1, 2, 0), means, atol=1.01)
        np.testing.assert_allclose(grey[name][0], means @ [0.299, 0.587, 0.114], atol=2.01)
    one = data.load("emoji", (side, side), channels=3, count=2)
    assert one.dtype == torch.float32
    assert torch.equal(one, data.load_pixels("emoji", side, 3, 2).float() / 127.5 - 1)


def test_names_are_unicodes(tmp_path):
    """Sequences once, in their own direction; flags by their letters; each character else by its name."""
    font(tmp_path / "debian.ttf", FILES)
    medium = "EMOJI MODIFIER FITZPATRICK TYPE-4"
    assert set(by_name()) == {
        "GRINNING FACE",
        "WOMAN",
        "ROCKET",
        "SHARK",
        medium,
        "REGIONAL INDICATOR SYMBOL LETTER F",
        "REGIONAL INDICATOR SYMBOL LETTER R",
        f"WOMAN, {medium}",
        "WOMAN, ROCKET",
        f"WOMAN, {medium}, ROCKET",
        "FLAG FR",
        "WAVING BLACK FLAG, SKULL AND CROSSBONES",
        "FLAG GBENG",
        unicodedata.name("\U0001fae8", "U+1FAE8"),  # which Python 3.11 does not know
    }


def test_a_picture_that_is_there_twice_is_one_with_both_names(tmp_path):
    font(tmp_path / "debian.ttf", FILES | {"france_too": FILES["france"], "dark": FILES["woman"]})
    names = set(by_name())
    assert "FLAG FR or FLAG RF" in names
    assert "WOMAN" in names  # and not what takes more characters to write
    assert len(names) == len(TEXTS) - 1


def test_glyphs_without_characters_are_left_out(tmp_path):
    alone = dict.fromkeys(("extra", "phone"), FILES["face"])
    font(tmp_path / "debian.ttf", alone | {"shark": FILES["shark"]})
    assert set(by_name()) == {"SHARK"}
    font(tmp_path / "debian.ttf", {"astronaut": FILES["astronaut"], "shark": FILES["shark"]}, ligatures="")
    os.utime(tmp_path / "debian.ttf", ns=(1, 1))
    assert set(by_name()) == {"SHARK"}


def test_the_package_comes_before_a_folder(tmp_path):
    own = font(tmp_path / "sets/emoji/NotoColorEmoji.ttf", FILES)
    assert emoji.font() == own
    assert len(by_name()) == len(TEXTS)
    font(tmp_path / "debian.ttf", {"shark": FILES["shark"]})
    assert set(by_name()) == {"SHARK"}


def test_the_same_pictures_again_and_a_smaller_count_is_the_beginning(tmp_path):
    font(tmp_path / "debian.ttf", FILES)
    first = data.load("emoji", 16, channels=3)
    first_names = emoji.names(count=4)
    kept = first.clone()
    first.zero_()  # which changes nothing for the next
    for function in (emoji._glyphs, emoji._places, emoji._pixels):
        function.cache_clear()
    assert torch.equal(data.load("emoji", 16, channels=3), kept)
    assert torch.equal(data.load("emoji", 16, channels=3, count=4), kept[:4])
    assert emoji.names()[:4] == first_names
    assert torch.equal(data.load("set:emoji", 16, channels=3), kept)
    assert data.recorded("emoji") == "set:emoji"


def test_another_version_of_the_font_keeps_order_and_splits(tmp_path):
    font(tmp_path / "debian.ttf", FILES)
    before = {split: emoji.names(split) for split in data.SPLITS}
    more = {glyph: FILES[glyph] for glyph in reversed(TEXTS) if glyph not in ("face", "rocket")}
    font(tmp_path / "sets/emoji/NotoColorEmoji.ttf", more)
    (tmp_path / "debian.ttf").unlink()
    for split, names in before.items():
        assert emoji.names(split) == [name for name in names if name not in ("GRINNING FACE", "ROCKET")]


MODIFIERS = [*emoji.SHADES, "♀", "♂", "➡", "\u200d"]


@given(st.text("🦈🚀🏃🧑☠😀", min_size=1, max_size=4), st.lists(st.sampled_from(MODIFIERS), max_size=4), st.randoms())
def test_variants_of_a_picture_have_one_base(text, modifiers, random):
    letters = [*text, *modifiers]
    random.shuffle(letters)
    variant = "".join(letters).replace("🧑", random.choice("👨👩🧑"))
    assert emoji.base(variant) == "".join(sorted(set(text)))


@pytest.mark.parametrize(
    "variants",
    [
        "👩🏽\u200d🚀 👨\u200d🚀 🧑🏿\u200d🚀",
        "👪 👨\u200d👩\u200d👦 🧑\u200d🧒\u200d🧒 👩\u200d👧",
        "👬🏽 👩🏽\u200d🤝\u200d👨🏿 🧑\u200d🤝\u200d🧑",
        "💏🏽 👩\u200d❤\u200d💋\u200d👨",
        "💑 👨🏽\u200d❤\u200d👨🏿",
        "🤝 🫱🏽\u200d🫲🏿",
        "🤴 👸🏽 🫅",
        "🎅 🤶🏽 🧑🏿\u200d🎄",
        "🚶🏽 🚶\u200d♀\u200d➡",
        "🕐 🕕 🕧",
        "1 1\u20e3 #\u20e3",
    ],
)
def test_named_variants_have_one_base(variants):
    assert len({emoji.base(text) for text in variants.split()}) == 1
    assert emoji.base(variants.split()[0]) != emoji.base("🦈")


# --- what is wrong --------------------------------------------------------------------------------------------


def test_where_there_is_none_both_ways_are_said(tmp_path, monkeypatch):
    ways = ["2 ways", "apt-get install fonts-noto-color-emoji", "NotoColorEmoji.ttf"]
    for call in (lambda: data.load("emoji", 32), emoji.names):
        with says(*ways, f"{tmp_path}/sets/emoji", kind=FileNotFoundError):
            call()
    monkeypatch.delenv("BDBOOK_DATASETS")
    with says(*ways, "FOLDER/emoji, and BDBOOK_DATASETS=FOLDER", kind=FileNotFoundError):
        data.load("emoji", 32)


def test_a_font_without_bitmaps_is_named(tmp_path):
    path = font(tmp_path / "debian.ttf", {}, bitmaps=False)
    with says(str(path), "without bitmaps", "curves", "apt-get install"):
        data.load("emoji", 32)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (png(np.zeros((64, 68, 4), np.uint8)), ["68x64 px, GRINNING FACE", "expected was 136x128"]),
        (b"\x89PNG\r\n no picture", ["damaged", "get it again"]),
        (FILES["face"][: len(FILES["face"]) // 2], ["damaged", "get it again"]),
    ],
)
def test_a_picture_of_another_size_or_damaged(tmp_path, content, words):
    path = font(tmp_path / "debian.ttf", FILES | {"face": content})
    with says(str(path), *words):
        data.load("emoji", 32)


def small(seed):
    """PNG files of one colour, so that most of the font is tables."""
    return png(np.tile(np.random.default_rng(seed).integers(0, 256, 4, dtype=np.uint8), (128, 136, 1)))


def test_damage_anywhere_is_an_error_that_names_the_file_or_does_no_harm(tmp_path):
    """60 times some bytes are changed or the end is cut: never another exception, never more pictures."""
    path = font(tmp_path / "debian.ttf", {glyph: small(seed) for seed, glyph in enumerate(TEXTS)})
    whole, random = path.read_bytes(), np.random.default_rng(0)
    errors = []
    for trial in range(60):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), 8):
            damaged[place] = random.integers(0, 256)
        path.write_bytes(damaged if trial % 3 else whole[: random.integers(0, len(whole))])
        os.utime(path, ns=(trial, trial))
        try:
            assert len(data.load_pixels("emoji", 8, 3)) <= len(TEXTS)
        except ValueError as error:
            errors.append(str(error))
    assert len(errors) > 30
    assert all(str(path) in error for error in errors)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"size": 28}, ["28x28 px", "divides 128: 1, 2, 4, 8, 16, 32, 64, 128"]),
        ({"size": (16, 32)}, ["16x32 px", "a square"]),
        ({"size": 256}, ["256x256 px"]),
        ({"count": 15}, ["emoji, split 'train', has", "15 were asked for"]),
        ({"channels": 2}, ["channels must be 1"]),
        ({"split": "valid"}, ["unknown split"]),
    ],
)
def test_bad_requests(tmp_path, arguments, words):
    font(tmp_path / "debian.ttf", FILES)
    with says(*words):
        data.load(**{"name": "emoji", "size": 16, **arguments})


# --- the real font --------------------------------------------------------------------------------------------


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setattr(emoji, "DEBIAN", REAL)


@real
def test_the_real_font(installed):
    splits = {split: emoji.names(split) for split in data.SPLITS}
    names = [name for split in splits.values() for name in split]
    assert len(set(names)) == len(names) > 3500
    bases = {
        split: {emoji.base(emoji._glyphs(REAL, emoji._stamp(REAL))[place][0][0])
                for place in emoji._places(REAL, emoji._stamp(REAL), split)}
        for split in data.SPLITS
    }  # fmt: skip
    assert not bases["train"] & bases["test"]
    share = len(bases["test"]) / sum(map(len, bases.values()))
    assert abs(share - 1 / 5) < 4 * (0.2 * 0.8 / sum(map(len, bases.values()))) ** 0.5  # a fair die of five sides
    shown = " ".join(names)
    assert "U+" not in re.sub(r"U\+1F[A-F6]\w\w", "", shown)  # younger than Python 3.11, in the blocks that grow
    for name in ("GRINNING FACE", "FLAG JP", "FLAG GBSCT", "WOMAN, EMOJI MODIFIER FITZPATRICK TYPE-6, ROCKET"):
        assert name in names
    if len(names) == 3916:  # version 2.042, of which the docstring speaks
        assert {split: len(names) for split, names in splits.items()} == {"train": 2986, "test": 930}
        assert sum("FITZPATRICK" in name for name in names) == 1890
        assert sum(name.startswith("FLAG") for name in names) == 351
        assert sum(map(len, bases.values())) == 1707


@real
def test_test_pictures_are_no_copies_of_training_pictures(installed):
    train, test = (data.load("emoji", 32, channels=3, split=split).flatten(1) for split in data.SPLITS)
    among = torch.cdist(train, train).fill_diagonal_(torch.inf).amin(1).median() / train.shape[1] ** 0.5
    between = torch.cdist(test, train).amin(1) / train.shape[1] ** 0.5
    assert between.min() > 0.05
    assert between.median() > 0.38 > 0.25 > among


@real
@pytest.mark.parametrize(
    "name", ["GRINNING FACE", "SHARK", "ROCKET", "FLAG JP", "WOMAN, EMOJI MODIFIER FITZPATRICK TYPE-6"]
)
def test_pillow_draws_the_same(installed, name):
    """FreeType's own reading of the font, at the size of its bitmaps, and Raqm's of the sequences."""
    text = {"FLAG JP": "🇯🇵"}.get(name) or "".join(map(unicodedata.lookup, name.split(", ")))
    assert features.check("raqm"), "Pillow was built without Raqm, which its wheels have"
    canvas = Image.new("RGB", (400, 300), "white")
    ImageDraw.Draw(canvas).text((100, 80), text, font=ImageFont.truetype(str(REAL), 109), embedded_color=True)
    drawn = np.asarray(canvas)
    ours = by_name(128)[name].permute(1, 2, 0).numpy()
    boxes = []
    for picture in (drawn, ours):
        rows, columns = np.where((picture != 255).any(2))
        boxes.append(picture[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].astype(int))
    assert boxes[0].shape == boxes[1].shape
    assert np.abs(boxes[0] - boxes[1]).max() <= 2  # FreeType multiplies by alpha before, and rounds
