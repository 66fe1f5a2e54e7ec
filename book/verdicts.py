"""What a claim's verdict may be, and what the recorded runs say to it: the rule behind claims.yml.

A claim is *proved* or *exact*, and then has a finding: it stands as it was made, stands corrected, or does not hold. A
claim about trained networks is never any of these. It is put *at book scale*, beside the recorded runs that compare
what it compares: it is *seen* where the run that should be better is so in every recorded measure and every seed, *not
seen* where it is in none, and else *mixed*, with the dissenters named. Or it is *not testable here*, as where one
measure of one pair of trainings is all that there is.

So no training of this book can refute or correct what a paper says of its own trainings.
"""

import dataclasses
import re

from bdbook.page import recorded
from bdbook.page.verdict import Verdict, verdict

GIVEN = ("proved", "exact", "at book scale", "not testable here")
FINDINGS = ("as claimed", "corrected", "does not hold")
# Signs beside the words, so that no colour is needed to tell them apart.
SIGNS = {"proved": "✓", "exact": "=", "seen": "●", "mixed": "◐", "not seen": "○", "not testable here": "–"}
# What rests on trainings, propositions of those chapters aside: such evidence proves nothing.
TRAINED = re.compile(r"1[3-6]_\w+(?:#(?!prop-|thm-).*)?|tests/test_recorded\w*\.py::.*")

COMPARISON = {"better": str, "worse": str, "by": list}
EXAMPLE = "a comparison like {better: digits-blurring, worse: digits-cosine, by: [frechet]}"
NUMBER = re.compile(r"\{=([\w.-]+):([^:}]+):([^}]+)\}")


def is_comparison(item: dict) -> bool:
    """Whether a mapping names two recorded runs, RECIPE or RECIPE:PATH.OF.METRICS, and perhaps the measures."""
    return {"better", "worse"} <= item.keys() <= COMPARISON.keys() and all(
        isinstance(value, COMPARISON[field]) for field, value in item.items()
    )


def broken(claim: dict) -> str | None:
    """How a claim breaks the rule; None if it does not."""
    verdict, kind, evidence = claim["verdict"], claim["kind"], claim["evidence"]
    if verdict in ("proved", "exact"):
        if kind == "empirical":
            return f"it is empirical, and its verdict is {verdict}; expected at book scale, or not testable here"
        if "finding" not in claim:
            return f"the verdict is {verdict}; expected a finding: {', '.join(FINDINGS)}"
        if all(TRAINED.fullmatch(item) for item in evidence):
            return f"the verdict is {verdict}; expected evidence that is no training"
        if verdict == "proved" and not any(re.search("#(prop|thm)-", item) for item in evidence):
            return "the verdict is proved; expected a proposition as evidence"
    elif "finding" in claim:
        return f"the verdict is {verdict}, of which nothing follows for the claim; expected no finding"
    if (verdict == "at book scale") != bool(claim.get("compares")):
        return f"the verdict is {verdict}; expected compares where it is at book scale, and only there"
    if verdict == "at book scale" and sum(one.total for _, one in judged(claim)) < 2:
        return "one measure of one pair of trainings says nothing; expected more of them, or not testable here"
    if verdict == "at book scale" and not evidence:
        return "the verdict is at book scale; expected the figure or table as evidence"
    return None


def word(claim: dict) -> str:
    """The verdict as it is shown: at book scale the records decide between seen, mixed and not seen."""
    if claim["verdict"] != "at book scale":
        return claim["verdict"]
    found = {one.word for _, one in judged(claim)}
    return found.pop() if len(found) == 1 else "mixed"


def judged(claim: dict) -> list[tuple[dict, Verdict]]:
    """Each comparison of a claim with what the records say to it."""
    return [(pair, compare(pair)) for pair in claim["compares"]]


def compare(pair: dict) -> Verdict:
    """What the recorded runs say to one comparison, paired by seed."""
    measures = {"measures": tuple(pair["by"])} if "by" in pair else {}
    return verdict(rows(pair["better"]), rows(pair["worse"]), **measures)


def rows(name: str) -> list[recorded.Recorded]:
    """The recorded runs of RECIPE, one a seed; of RECIPE:PATH, with what lies at that path as what was measured.

    "few pictures:SYSTEM, COUNT, STEP" is a row of the study of small data (`recorded.few_pictures`).
    """
    recipe, _, path = name.partition(":")
    if recipe == "few pictures":
        system, count, step = path.split(", ")
        return [recorded.few_pictures(system, int(count), int(step))]
    runs = recorded.seeds(recipe)
    if not path:
        return runs
    # Early in a training, or on one way to sample or to restore, there are no bits; not every seed was watched.
    found = [(run, at(run.metrics, path)) for run in runs]
    there = [dataclasses.replace(run, metrics={"quality": {"samples": row}}) for run, row in found if row is not None]
    if not there:
        raise ValueError(f"{name}: none of {len(runs)} recorded runs has {path}")
    return there


def at(metrics: dict, path: str):
    """What lies in nested metrics at a path with dots; None where nothing does."""
    for part in path.split("."):
        if part not in metrics:
            return None
        metrics = metrics[part]
    return metrics


def note(claim: dict) -> str:
    """A claim's note, its numbers filled in from the records, with what dissents."""
    text = NUMBER.sub(lambda found: number(*found.groups()), claim["note"])
    if claim["verdict"] != "at book scale":
        return text
    return f"{text} {counted(claim)}".strip()


def number(name: str, path: str, form: str) -> str:
    """A number of a recorded run, or its range over the seeds, in a format of Python's."""
    found = sorted(value for run in recorded.seeds(name) if (value := at(run.metrics, path)) is not None)
    if not found:
        raise ValueError(f"no recorded run of {name} has {path}")
    return " to ".join(dict.fromkeys(format(end, form) for end in (found[0], found[-1])))


def counted(claim: dict) -> str:
    """What the records say to a claim in words: of how many comparisons, and who dissents."""
    every = judged(claim)
    agreeing = sum(len(one.agreeing) for _, one in every)
    dissenting = [(pair, one) for pair, one in every if one.dissenting]
    total = sum(one.total for _, one in every)
    if not dissenting:
        return f"All {total} recorded comparisons agree." if total > 1 else "The one recorded comparison agrees."
    if not agreeing:
        return f"Of {total} recorded comparisons none agrees."
    names = "; ".join(f"{shown(pair)}, by {one.dissenters}" for pair, one in dissenting)
    return f"Of {total} recorded comparisons {agreeing} agree. Against it: {names}."


def shown(pair: dict) -> str:
    """A comparison as prose names it."""
    (better, _, at_better), (worse, _, at_worse) = (pair[end].partition(":") for end in ("better", "worse"))
    if better == worse:
        return f"{better}, {at_better.rpartition('.')[2]} over {at_worse.rpartition('.')[2]}"
    return f"{better} over {worse}"
