"""The rule of verdicts: what may be said on which evidence, and that the records and nothing else say it."""

import re
from pathlib import Path

import ledgers
import pytest
import verdicts

ROOT = Path(__file__).resolve().parents[1]
LEDGERS = ledgers.read()
CLAIMS = {claim["id"]: claim for claim in LEDGERS["claims"]}
AT_BOOK_SCALE = [claim for claim in CLAIMS.values() if claim["verdict"] == "at book scale"]

PROVED = {
    "kind": "mathematical",
    "verdict": "proved",
    "finding": "corrected",
    "evidence": ["04_heat_is_gaussian#prop-delta"],
}
SEEN = {
    "kind": "empirical",
    "verdict": "at book scale",
    "evidence": ["14_head_to_head#fig-systems-numbers"],
    "compares": [{"better": "fashion-blurring", "worse": "fashion-cosine"}],
    "note": "Digits.",
}


# --- the rule ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_no_verdict_breaks_the_rule(claim):
    assert verdicts.broken(claim) is None


def test_no_training_refutes_or_corrects():
    # Said once more without the function that says it: what rests on trainings has no finding at all.
    for claim in CLAIMS.values():
        if "finding" in claim:
            assert claim["kind"] != "empirical", claim["id"]
            assert not any("test_recorded" in item for item in claim["evidence"]), claim["id"]
            assert "compares" not in claim, claim["id"]


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        (PROVED | {"kind": "empirical"}, "it is empirical, and its verdict is proved"),
        ({k: v for k, v in PROVED.items() if k != "finding"}, "expected a finding"),
        (PROVED | {"evidence": ["15_ablations#fig-predict"]}, "expected evidence that is no training"),
        (PROVED | {"evidence": ["tests/test_recorded.py::test_the_floor"]}, "expected evidence that is no training"),
        (PROVED | {"evidence": ["04_heat_is_gaussian#fig-delta"]}, "expected a proposition"),
        (PROVED | {"compares": SEEN["compares"]}, "expected compares where it is at book scale, and only there"),
        (SEEN | {"finding": "does not hold"}, "of which nothing follows for the claim"),
        (SEEN | {"compares": []}, "expected compares"),
        (SEEN | {"evidence": []}, "expected the figure or table"),
        (SEEN | {"verdict": "not testable here"}, "expected compares where it is at book scale"),
    ],
)
def test_each_way_to_break_the_rule_is_caught(claim, words):
    assert words in verdicts.broken(claim)


def test_what_keeps_the_rule_is_let_through():
    assert verdicts.broken(PROVED) is None
    assert verdicts.broken(PROVED | {"verdict": "exact", "evidence": ["tests/test_oracle.py::test_a"]}) is None
    assert verdicts.broken(SEEN) is None
    assert verdicts.broken({"kind": "empirical", "verdict": "not testable here", "evidence": []}) is None


# --- the records decide --------------------------------------------------------------------------------------


def test_the_word_is_that_of_all_comparisons():
    pair = {"better": "digits-deblur:restoration.tacos", "worse": "digits-deblur:restoration.direct"}
    frechet, rmse = pair | {"by": ["frechet"]}, pair | {"by": ["rmse"]}
    assert verdicts.word(SEEN | {"compares": [frechet]}) == "seen"
    assert verdicts.word(SEEN | {"compares": [rmse]}) == "not seen"
    assert verdicts.word(SEEN | {"compares": [frechet, rmse]}) == "mixed"
    note = verdicts.note(SEEN | {"compares": [frechet, rmse]})
    against = "Against it: digits-deblur, tacos over direct, by RMSE (every seed)."
    assert note == f"Digits. Of 6 recorded comparisons 3 agree. {against}"
    assert verdicts.note(SEEN | {"compares": [frechet]}) == "Digits. All 3 recorded comparisons agree."
    assert verdicts.note(SEEN | {"compares": [rmse]}) == "Digits. Of 3 recorded comparisons none agrees."


def test_every_measure_counts_unless_the_claim_speaks_of_some():
    # Whoever names measures has a reason in the claim: the papers' FID is a Frechet distance.
    words = {"frechet": r"FID|better|worse|compounds", "rmse": r"RMSE|worse|errors", "detail": "blurry"}
    words["variance"] = "diversity"
    for claim in AT_BOOK_SCALE:
        for pair in claim["compares"]:
            for measure in pair.get("by", []):
                assert re.search(words[measure], claim["claim"]), (claim["id"], measure)


def test_a_run_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="digits-nothing"):
        verdicts.word(SEEN | {"compares": [{"better": "digits-nothing", "worse": "fashion-cosine"}]})
    with pytest.raises(ValueError, match=r"fashion-cosine:nowhere\.at: none of 3 recorded runs has nowhere\.at"):
        verdicts.rows("fashion-cosine:nowhere.at")
    with pytest.raises(ValueError, match="no recorded run of fashion-cosine has nowhere"):
        verdicts.number("fashion-cosine", "nowhere", ".1f")


def test_numbers_of_runs_are_filled_in():
    each = sorted(run.metrics["quality"]["samples"]["frechet"] for run in verdicts.rows("fashion-cosine"))
    claim = {"verdict": "not testable here", "note": "From {=fashion-cosine:quality.samples.frechet:.1f}, and $x$."}
    assert verdicts.note(claim) == f"From {each[0]:.1f} to {each[-1]:.1f}, and $x$."
    one = {"verdict": "not testable here", "note": "{=digits-fixed-noise:generation.estimated noise.frechet:.0f}"}
    assert re.fullmatch(r"\d+", verdicts.note(one))


def test_no_note_types_a_number_of_a_recorded_run():
    """Digits in the note of a claim at book scale are settings, or those of the paper, which stand in the claim too."""
    settings = {"16", "32", "5", "10", "20", "250", "1500", "6000", "1024", "0.23", "0.06", "6.3", "1000"}
    printed = {
        "hs-table-1": {"3.58", "3.60"},
        "hs-sin2-better": {"3.37", "3.49", "1"},
        "lee-table-1-log": {"73.23"},
        "bansal-super": {"4.33", "4.05"},
        "bansal-any-degradation": {"23", "49"},
    }
    watched = [claim for claim in CLAIMS.values() if claim["verdict"] == "at book scale" or "{=" in claim["note"]]
    assert len(watched) > 25
    for claim in watched:
        prose = re.sub(r"\{=[^}]*\}|(?:Table|chapter|Algorithm) \d+|float32|W2", "", claim["note"])
        typed = set(re.findall(r"(?<![\w.])\d+(?:\.\d+)?", prose))
        assert typed <= settings | printed.get(claim["id"], set()), claim["id"]


def test_three_trainings_are_three():
    said = [claim for claim in AT_BOOK_SCALE if re.search(r"[Tt]hree trainings each", claim["note"])]
    assert len(said) > 4
    for claim in said:
        for pair in claim["compares"]:
            counts = [len(verdicts.rows(pair[end])) for end in ("better", "worse")]
            assert counts == [3, 3] or (min(counts) == 1 and "one training" in claim["note"]), (claim["id"], pair)


def test_the_style_page_quotes_the_records():
    text = " ".join((ROOT / "book" / "style.md").read_text(encoding="utf-8").split())
    assert "the Frechet distance prefers blur in one of three trainings, sliced W2 prefers DDPM in all" in text
    frechet, sliced = (
        verdicts.compare({"better": "fashion-blur-plain", "worse": "fashion-ddpm-plain", "by": [measure]})
        for measure in ("frechet", "sliced_wasserstein")
    )
    assert (len(frechet.agreeing), len(frechet.dissenting)) == (1, 2)
    assert (len(sliced.agreeing), len(sliced.dissenting)) == (0, 3)


# --- the chapters' tables and the landing page -----------------------------------------------------------------


def test_the_tables_in_the_chapters_are_those_of_the_ledger(tmp_path):
    copies = [tmp_path / path.name for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    for copy in copies:
        copy.write_bytes((ROOT / "notebooks" / copy.name).read_bytes())
    assert ledgers.write_tables(tmp_path) == [], "make claims"


def test_a_claim_stands_in_the_chapters_that_hold_its_evidence():
    claim = CLAIMS["hs-low-first"]
    chapters = {item.partition("#")[0] for item in claim["evidence"] if item[0].isdigit()}
    assert len(chapters) == 2
    for chapter in chapters:
        assert "Blur keeps low frequencies longer than high ones. (HS, sec. 1) | **✓ proved**" in ledgers.table(
            chapter, LEDGERS
        )
    assert "Blur keeps low frequencies" not in ledgers.table("08_cold_diffusion", LEDGERS)


def test_a_card_tells_how_many_claims_have_which_verdict(tmp_path):
    text = ledgers.write(tmp_path)["index"].read_text(encoding="utf-8")
    assert "{{cards}}" not in text
    here = [c for c in CLAIMS.values() if any(i.startswith("09_tacos") for i in c["evidence"])]
    tally = text.partition(":::{grid-item-card} 9 · ")[2].partition(":::")[0]
    assert sum(map(int, re.findall(r"(\d+) (?:proved|exact|seen|mixed|not seen|not testable)", tally))) == len(here)
