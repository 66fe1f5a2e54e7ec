"""Every chapter has four to six exercises, graded, each with a closed solution, most of them computed."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = sorted((ROOT / "notebooks").glob("*.ipynb"))
GRADES = ("Check", "Derive", "Compute", "Explore", "Research")
EXERCISE = re.compile(r"^```\{exercise\} (?P<grade>\w+): (?P<title>.+)\n:label: (?P<label>[\w-]+)\n", re.MULTILINE)


def cells(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_exercises_of_a_chapter(path):
    every = cells(path)
    sources = ["".join(cell["source"]) for cell in every]
    places = [index for index, source in enumerate(sources) if "```{exercise}" in source]
    grades, computed = [], 0
    for index in places:
        found = EXERCISE.findall(sources[index])
        assert len(found) == 1 == sources[index].count("```{exercise}"), sources[index][:80]
        grade, _, label = found[0]
        assert f"```{{solution}} {label}\n:class: dropdown\n" in sources[index]
        grades.append(grade)
        if index + 1 < len(every) and every[index + 1]["metadata"].get("tags") == ["hide-cell"]:
            computed += "assert" in sources[index + 1] or "print" in sources[index + 1]
    assert 4 <= len(grades) <= 6
    assert grades == sorted(grades, key=GRADES.index), "from check to research"
    assert len(set(grades)) >= 3
    assert computed >= 3
    before = next(index for index, source in enumerate(sources) if source.startswith("## Exercises"))
    assert before == places[0], "they stand in a section of their own"
