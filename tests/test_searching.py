"""The index of the search: formulas as words, what becomes an object, and what stays out."""

import re
import string

import pytest
import searching
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st
from readable import readable

PAGE = r"""<article><section id="a-page"><h1>9 · TACoS<a class="headerlink" href="#a-page">#</a></h1>
<p>The smallest <span class="math">\(d_{\min}\)</span> of all.</p>
<section id="a-section"><h2>What it buys</h2><p>A probability-flow equation.</p><pre>code = 1</pre>
<div class="proof proposition admonition" id="prop-x"><p class="admonition-title"><span class="caption-number">
Proposition 14 </span> (Transitions)</p><section id="proof-content"><p>Let <span class="math">\(s&lt;t\)</span>.</p>
</section></div>
<div class="proof admonition" id="proof"><p>Proof. Clear.</p></div>
<figure id="fig-y"><img><figcaption><p><span class="caption-number">Fig. 12 </span><span class="caption-text">Two
curves.</span></p></figcaption></figure>
<details><figure id="fig-z"><figcaption><span class="caption-number">Fig. 13</span><span class="caption-text">Folded.
</span></figcaption></figure></details></section></section></article>"""


def found(html: str = PAGE) -> dict[str, searching.Found]:
    article = BeautifulSoup(html, "html.parser").article
    return {each.anchor: each for each in searching.found_on("notebooks/09_tacos.html", article)}


@pytest.mark.parametrize(
    ("tex", "words"),
    [
        (r"\(d_{\min}\)", "d_min"),
        (r"\sigma_{B,\max}", "σ_B,max"),
        (r"\frac{\sigma_s^2}{\sigma_t^2}", "σ_s²/σ_t²"),
        (r"\frac{a+\frac{b}{c}}{d}", "(a+b/c)/d"),
        (r"\hat{\boldsymbol{x}}_0", "x\N{COMBINING CIRCUMFLEX ACCENT}_0"),
        (r"\{1,\dots,N\}", "(1,…,N)"),
        (r"q(\boldsymbol{u}_t\mid\boldsymbol{u}_s)", "q(u_t|u_s)"),
        (r"\begin{aligned}a&=b\\c&=\exp(-x)\end{aligned}", "a =b c =exp(-x)"),
        (r"\tfrac12\log\SNR_t", "1/2 log SNR_t"),
        (r"10^{-3}", "10⁻³"),
    ],
)
def test_a_formula_becomes_words(tex, words):
    assert readable(tex) == words


@given(st.text(string.ascii_letters + string.digits + r"\{}_^&~ $,.=+-()[]|", max_size=60))
def test_no_formula_leaves_commands_or_braces(tex):
    assert not re.search(r"[\\{}]|\s\s", readable(tex))


def test_what_has_a_place_of_its_own_is_an_object():
    objects = found()
    assert set(objects) == {"", "a-section", "prop-x", "fig-y"}  # no proof, and nothing that is folded away
    assert objects[""].name == "9 · TACoS"
    assert objects[""].text == "The smallest d_min of all."
    assert objects["prop-x"].name == "Proposition 14: Transitions"
    assert objects["prop-x"].text == "Let s<t."
    assert (objects["fig-y"].name, objects["fig-y"].text) == ("Figure 12", "Two curves.")


def test_a_section_says_what_no_smaller_object_says():
    text = found()["a-section"].text
    assert "probability-flow" in text
    assert "code" not in text
    assert "Two curves" not in text
    assert "Let" not in text


def test_an_entry_of_a_ledger_is_an_object():
    row = """<article><section id="a"><h1>Claims</h1><div class="bd-entry-row" id="lee-x" data-source="Lee"><div>
    <p><strong>sec. 1, empirical</strong> · seen</p></div><div><p>Claim: this.</p></div>
    <div><p>Here: so.</p></div></div></section></article>"""
    [_, entry] = searching.found_on("book/claims.html", BeautifulSoup(row, "html.parser").article)
    assert entry == ("Claims", "book/claims.html", "lee-x", "Lee, sec. 1, empirical", "Claim: this. Here: so.")


def test_every_word_of_an_object_is_in_the_index_shown_or_beyond():
    long = PAGE.replace(
        "A probability-flow equation.", " ".join(f"word{chr(97 + i)}{chr(97 + j)}" for i in range(20) for j in range(9))
    )
    index = searching.index({"notebooks/09_tacos.html": BeautifulSoup(long, "html.parser").article})
    [section] = [each for each in index["objects"] if each[2] == "a-section"]
    *_, shown, beyond = section
    assert len(shown) <= searching.SHOWN + 2
    for i in range(20):
        for j in range(9):
            assert f"word{chr(97 + i)}{chr(97 + j)}" in f"{shown} {beyond}".split()


def test_words_that_most_objects_say_are_left_out():
    filler = "x" * (searching.SHOWN + 10)
    pages = {
        f"notebooks/{i:02}_a.html": BeautifulSoup(
            f'<article><section id="a"><h1>{i}</h1><p>{filler} common rare{"abcdefgh"[i % 8]}{"abcdefgh"[i // 8]}</p>'
            "</section></article>",
            "html.parser",
        ).article
        for i in range(searching.COMMON + 1)
    }
    beyond = [each[5] for each in searching.index(pages)["objects"]]
    assert all("rare" in words and "common" not in words for words in beyond)
