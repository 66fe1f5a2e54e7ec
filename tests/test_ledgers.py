"""The ledgers are complete, every pointer leads somewhere, and a broken ledger is refused with a clear word."""

import ast
import functools
import importlib
import json
import re
from pathlib import Path

import launch
import ledgers
import pytest
import stage
import yaml
from docutils.nodes import make_id

ROOT = Path(__file__).resolve().parents[1]
LEDGERS = ledgers.read()
ENTRIES = [(name, entry) for name in ledgers.PAGES for entry in LEDGERS[name]]

# What the sources contain, counted in the papers.
NUMBERED = [f"lee-eq-{n}" for n in range(1, 28)] + [f"hs-eq-{n}" for n in range(1, 30)]
LISTINGS = ["get_frequency_scaling", "get_alpha_sigma", "get_noise_scaling_cosine", "diffuse", "loss", "denoise"]
OTHERS = [
    "lee-prop-1",
    "lee-table-1",
    "hs-alg-1",
    "hs-alg-2",
    *(f"hs-listing-{name}" for name in LISTINGS),
    *(f"hs-table-{n}" for n in range(1, 8)),
    "bansal-eq-1",
    "bansal-alg-1",
    "bansal-alg-2",
    *(f"bansal-table-{n}" for n in range(1, 7)),
    "bansal-3-1-loss",
    "bansal-3-3-induction",
    "bansal-4-1-blur",
    "bansal-5-1-estimate",
    "bansal-a4-filters",
    "bansal-a4-schedule",
    "bansal-a5-threshold",
    "bansal-a6-estimate",
    "bansal-a6-degraded",
    "bansal-a8-ddim",
    "bansal-a8-x0",
    "bansal-a8-z",
    "bansal-a9-1",
    "bansal-a9-2",
]
DIRECTIVE = re.compile(r"^[`:]{3,}\{([\w:]+)\}[^\n]*\n((?::[\w-]+:[^\n]*\n)*)", re.MULTILINE)


# --- following pointers --------------------------------------------------------------------------------------


@functools.cache
def anchors(path: Path) -> frozenset[str]:
    """The html ids that the page of a notebook will have: headings, labels, figures, targets."""
    found = set()
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            found.add(cell["metadata"].get("mystnb", {}).get("figure", {}).get("name"))
            continue
        for directive, options in DIRECTIVE.findall(source):
            for label in re.findall(r"^:(?:label|name): *(\S+)", options, re.MULTILINE):
                found.add(f"equation-{label}" if directive == "math" else make_id(label))
        found |= {make_id(label) for label in re.findall(r"^\(([\w-]+)\)=", source, re.MULTILINE)}
        prose = re.sub(r"^(`{3,}|~{3,}).*?^\1", "", source, flags=re.MULTILINE | re.DOTALL)
        for heading in re.findall(r"^#+ +(.+)", prose, re.MULTILINE):
            # Typographic quotes have no place in an id: docutils drops them.
            found.add(make_id(re.sub(r"[\"'`*]", "", heading)))
    return frozenset(found - {None})


@functools.cache
def names_of_tests(path: Path) -> frozenset[str]:
    """Top-level test functions of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def dead(pointer: str, root: Path = ROOT) -> str | None:
    """What is wrong with a pointer to a chapter, a test or a function; None if it leads somewhere."""
    if "::" in pointer:
        file, name = pointer.split("::")
        if not (root / file).is_file():
            return f"{file} does not exist"
        return None if name in names_of_tests(root / file) else f"{file} has no test {name}"
    chapter, _, fragment = pointer.partition("#")
    if chapter[0].isdigit():
        path = root / "notebooks" / f"{chapter}.ipynb"
        if not path.is_file():
            return f"chapter {chapter} does not exist"
        return None if not fragment or fragment in anchors(path) else f"{chapter} has no heading or label {fragment}"
    return unimportable(pointer)


def unimportable(name: str) -> str | None:
    """Why a dotted name cannot be had."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        module = ".".join(parts[:cut])
        try:
            thing = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module and not module.startswith(f"{error.name}."):
                raise
            continue
        for part in parts[cut:]:
            if not hasattr(thing, part):
                return f"{name} cannot be imported: {module} has no {'.'.join(parts[cut:])}"
            thing = getattr(thing, part)
        return None
    return f"{name} cannot be imported"


def pointers(entry: dict) -> list[str]:
    return [item for field in ("chapter", "code", "test", "evidence", "shown_by") for item in entry.get(field, [])]


@pytest.mark.parametrize(("name", "entry"), ENTRIES, ids=[f"{name}-{entry['id']}" for name, entry in ENTRIES])
def test_every_pointer_leads_somewhere(name, entry):
    assert [problem for problem in map(dead, pointers(entry)) if problem] == []


# --- completeness --------------------------------------------------------------------------------------------


def test_every_equation_of_the_sources_has_its_entry():
    present = {entry["id"] for entry in LEDGERS["equations"]}
    assert [entry for entry in NUMBERED + OTHERS if entry not in present] == []


def test_every_numbered_equation_of_lee_and_hs_is_done_and_tested():
    equations = {entry["id"]: entry for entry in LEDGERS["equations"]}
    assert [name for name in NUMBERED if equations[name]["status"] != "done" or not equations[name]["test"]] == []


def test_ids_tell_the_source():
    for _, entry in ENTRIES:
        assert entry["id"].startswith(f"{entry['source'].lower()}-")


def test_there_are_claims_of_every_kind_and_source():
    claims = LEDGERS["claims"]
    assert len(claims) >= 60
    for source in ("Lee", "HS", "Bansal"):
        assert sum(claim["source"] == source for claim in claims) >= 20
    assert {claim["kind"] for claim in claims} == {"mathematical", "empirical", "editorial"}


def test_every_erratum_in_a_formula_is_shown_by_somebody():
    # An editorial slip is shown by quoting it.
    nobody = [entry["id"] for entry in LEDGERS["errata"] if entry["kind"] == "formula" and not entry["shown_by"]]
    assert nobody == []


def test_every_test_of_an_erratum_is_in_the_ledger():
    shown = {item for name in ("errata", "claims", "equations") for e in LEDGERS[name] for item in pointers(e)}
    written = {f"tests/test_errata.py::{name}" for name in names_of_tests(ROOT / "tests" / "test_errata.py")}
    assert {item for item in written if "::test_" in item} <= shown


# --- the checks themselves: each kind of fault is caught -------------------------------------------------------

EQUATION = {
    "id": "lee-eq-1",
    "source": "Lee",
    "label": "Eq. 1",
    "says": "A step, $x<y$.",
    "chapter": ["02_gaussian_diffusion#transitions"],
    "code": ["bdbook.processes.ddpm"],
    "test": ["tests/test_processes.py::test_ddpm_is_the_running_product"],
    "status": "done",
}
CLAIM = {
    "id": "hs-a",
    "source": "HS",
    "where": "sec. 1",
    "claim": "It works.",
    "kind": "mathematical",
    "verdict": "exact",
    "finding": "as claimed",
    "evidence": ["02_gaussian_diffusion#fig-steps"],
    "note": "It does.",
}
ERRATUM = {
    "id": "hs-slip",
    "source": "HS",
    "where": "Eq. 1",
    "kind": "formula",
    "printed": "$1$",
    "right": "$2$",
    "why": "A digit.",
    "shown_by": ["02_gaussian_diffusion#transitions"],
}
GOOD = {"equations": EQUATION, "claims": CLAIM, "errata": ERRATUM}


def written(folder: Path, **changed: list) -> Path:
    """Three ledgers of one entry each, in `folder`, some of them replaced."""
    for name in ledgers.PAGES:
        (folder / f"{name}.yml").write_text(yaml.safe_dump(changed.get(name, [GOOD[name]])))
    return folder


def test_a_good_ledger_is_read(tmp_path):
    assert ledgers.read(written(tmp_path)) == {name: [GOOD[name]] for name in ledgers.PAGES}


def without(entry: dict, field: str) -> dict:
    return {key: value for key, value in entry.items() if key != field}


FAULTS = {
    "unknown field": ("equations", [EQUATION | {"colour": "red"}], r"lee-eq-1: unknown field 'colour'; expected id"),
    "missing field": ("claims", [without(CLAIM, "note")], r"hs-a: field 'note' is missing"),
    "no id": ("claims", [without(CLAIM, "id")], r"claims.yml, entry 1: field 'id' is missing"),
    "twice": ("errata", [ERRATUM, ERRATUM], r"errata.yml, hs-slip: this id appears twice"),
    "verdict": ("claims", [CLAIM | {"verdict": "maybe"}], r"hs-a: verdict was 'maybe'; expected one of proved"),
    "source": (
        "claims",
        [CLAIM | {"source": "Ho"}],
        r"source was 'Ho'; expected one of Lee, HS, Bansal, Daras, Later, bdbook",
    ),
    "not a list": ("equations", [EQUATION | {"test": "tests/a.py::test_b"}], r"expected a list"),
    "pointer": ("equations", [EQUATION | {"chapter": ["chapter 2"]}], r"expected a pointer like 05_"),
    "test": ("equations", [EQUATION | {"test": ["test_b"]}], r"expected a test like tests/"),
    "same twice": ("equations", [EQUATION | {"code": ["a.b", "a.b"]}], r"names something twice"),
    "formula": ("equations", [EQUATION | {"says": "half $x"}], r"not closed"),
    "empty text": ("equations", [EQUATION | {"says": " "}], r"says was ' '; expected text"),
    "erratum": ("equations", [EQUATION | {"erratum": "hs-none"}], r"erratum 'hs-none' is not in errata.yml"),
    "open": ("equations", [EQUATION | {"status": "open"}], r"expected waits_for"),
    "waiting claim": ("claims", [CLAIM | {"waits_for": "chapter 9"}], r"unknown field 'waits_for'"),
    "comparison": ("claims", [CLAIM | {"compares": [{"best": "a"}]}], r"expected a comparison like \{better: "),
    "no chapter": ("equations", [EQUATION | {"chapter": []}], r"expected at least one chapter"),
    "no chapter, scaled": ("equations", [EQUATION | {"status": "scaled", "chapter": []}], r"it is scaled; expected"),
    "scaled but open": ("equations", [EQUATION | {"status": "scaled", "waits_for": "more"}], r"expected no waits_for"),
    "no code": ("equations", [EQUATION | {"code": []}], r"expected check to say why"),
    "no evidence": ("claims", [CLAIM | {"evidence": []}], r"the verdict is exact; expected evidence"),
    "against the rule": ("claims", [CLAIM | {"kind": "empirical"}], r"it is empirical, and its verdict is exact"),
    "nobody": ("errata", [ERRATUM | {"shown_by": []}], r"hs-slip: nobody shows it"),
    "not entries": ("errata", ["a", "b"], r"expected a list of entries"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_ledger_is_refused_by_file_and_id(fault, tmp_path):
    name, entries, words = FAULTS[fault]
    with pytest.raises(ValueError, match=words) as caught:
        ledgers.read(written(tmp_path, **{name: entries}))
    assert str(caught.value).startswith(f"{name}.yml")


def test_what_is_not_yaml_is_named(tmp_path):
    (written(tmp_path) / "claims.yml").write_text("- id: [")
    with pytest.raises(ValueError, match=r"claims.yml: not YAML"):
        ledgers.read(tmp_path)


@pytest.mark.parametrize(
    ("pointer", "words"),
    [
        ("99_nowhere", "chapter 99_nowhere does not exist"),
        ("02_gaussian_diffusion#nowhere", "no heading or label nowhere"),
        ("02_gaussian_diffusion#eq-marginal", "no heading or label eq-marginal"),  # its id is equation-eq-marginal
        ("tests/test_nothing.py::test_a", "tests/test_nothing.py does not exist"),
        ("tests/test_samplers.py::test_nothing", "has no test test_nothing"),
        ("bdbook.samplers.nothing", "cannot be imported"),
        ("bdbook.nothing.at_all", "cannot be imported"),
        ("nothing.at_all", "cannot be imported"),
    ],
)
def test_a_dead_pointer_is_caught(pointer, words):
    assert words in dead(pointer)


def test_live_pointers_are_let_through():
    for pointer in (
        "02_gaussian_diffusion",
        "02_gaussian_diffusion#the-posterior-and-one-line-for-it",
        "02_gaussian_diffusion#equation-eq-marginal",
        "02_gaussian_diffusion#prop-posterior",
        "02_gaussian_diffusion#fig-steps",
        "02_gaussian_diffusion#ex-ddim",
        "04_heat_is_gaussian#what-a-scalar-delta-costs",
        "tests/test_samplers.py::test_marginal_is_kept",
        "bdbook.processes.Process.transition",
        "bdbook.samplers",
    ):
        assert dead(pointer) is None, pointer


# --- the pages -----------------------------------------------------------------------------------------------


def test_pages_are_the_same_each_time_and_nothing_else_is_left(tmp_path):
    paths = ledgers.write(tmp_path)
    first = {name: path.read_bytes() for name, path in paths.items()}
    assert {name: path.read_bytes() for name, path in ledgers.write(tmp_path).items()} == first
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"{name}.md" for name in (*ledgers.PAGES, "index")
    )


def test_every_entry_is_on_its_page_once_with_an_anchor(tmp_path):
    pages = ledgers.write(tmp_path)
    for name in ledgers.PAGES:
        path = pages[name]
        ids = re.findall(r'<div class="bd-entry-row" id="([^"]+)"', path.read_text())
        assert sorted(ids) == sorted(entry["id"] for entry in LEDGERS[name])


def test_counts_at_the_top_add_up(tmp_path):
    text = ledgers.write(tmp_path)["claims"].read_text()
    rows = [
        [int(n) for n in re.findall(r"\| (\d+)", line)]
        for line in text.splitlines()
        if re.match(r"\| [^|]+ \| \d", line)
    ]
    assert rows[-1] == [sum(column) for column in zip(*rows[:-1])]
    assert rows[-1][-1] == len(LEDGERS["claims"]) == sum(rows[-1][:-1])


def test_prose_cannot_become_markup(tmp_path):
    says = "a < b & c > <script>alert(1)</script> [x](y) *z* {ref}`a_b` _u_ | # $a<b_1^*$"
    changed = written(tmp_path, equations=[EQUATION | {"says": says}])
    text = ledgers.write(tmp_path / "pages", ledgers.read(changed))["equations"].read_text()
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert r"\[x\](y) \*z\*" in text
    assert r"\{ref\}`a_b`" in text
    assert "$a<b_1^*$" in text


def test_pointers_become_links_and_code(tmp_path):
    text = ledgers.write(tmp_path / "pages", ledgers.read(written(tmp_path)))["equations"].read_text()
    assert '<a href="../notebooks/02_gaussian_diffusion.html#transitions">chapter 2, section</a>' in text
    assert ">tests/test_processes.py::test_ddpm_is_the_running_product</code>" in text


def test_a_test_leads_to_its_file_where_the_repository_is_known(tmp_path):
    known = ledgers.read(written(tmp_path))
    where = "https://github.com/you/bdbook/blob/main"
    there = ledgers.write(tmp_path / "there", known, where)["equations"].read_text()
    without = ledgers.write(tmp_path / "without", known)["equations"].read_text()
    name = "tests/test_processes.py"
    assert (
        f'<a href="{where}/{name}"><code class="bd-name">{name}::test_ddpm_is_the_running_product</code></a>' in there
    )
    assert f'<code class="bd-name">{name}::' in without
    assert where not in without
    assert re.sub(rf'<a href="{where}[^"]*">(.*?)</a>', r"\1", there) == without


@pytest.mark.parametrize(
    ("options", "address"),
    [
        ({}, ""),
        (launch.options("https://github.com/you/bdbook.git", "main"), "https://github.com/you/bdbook/blob/main"),
        (launch.options("https://gitlab.com/you/bdbook", "v2"), "https://gitlab.com/you/bdbook/-/blob/v2"),
    ],
)
def test_where_the_files_of_the_repository_can_be_read(options, address):
    assert stage.read_at(options) == address
