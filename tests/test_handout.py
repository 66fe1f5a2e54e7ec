"""The chapters as notebooks to run: plain Markdown, numbered as the book, nothing raw and nothing lost."""

import json
import re
from pathlib import Path

import handout
import nbformat
import papermill
import pytest
from IPython.core.inputtransformer2 import TransformerManager

from bdbook.page import recorded

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
RAW = re.compile(
    r"\{[\w:]+\}`|^`{3,}\{|^:[\w-]+:|^\([\w-]+\)=|«|»|\\label|\]\((?!https?://|\d\d_\w+\.ipynb|#)", re.MULTILINE
)
MATH = re.compile(r"\$\$.*?\$\$|\$[^$]+\$", re.DOTALL)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, nbformat.NotebookNode]:
    folder = tmp_path_factory.mktemp("handout")
    return {path.stem: nbformat.read(path, as_version=4) for path in handout.write(ROOT, folder)}


@pytest.fixture(scope="module")
def book() -> handout.Book:
    return handout.read(ROOT)


def cell(source: str, kind: str = "markdown", **metadata) -> dict:
    return {"cell_type": kind, "id": "a", "metadata": metadata, "source": source}


def rewritten(book, *cells) -> list[dict]:
    """The copy of a chapter 5 of a title and these cells, less the title and the cell that sets up."""
    return handout.rewrite("notebooks/05_blurring_diffusion", [cell("# Title"), *cells], book)["cells"][2:]


def markdown(notebook) -> str:
    return "\n\n".join(each.source for each in notebook.cells if each.cell_type == "markdown")


def test_every_chapter_is_there_behind_the_page_to_start_from(written):
    assert sorted(written) == ["00_start_here", *(path.stem for path in CHAPTERS)]  # 17 is back matter
    (start,) = written["00_start_here"].cells
    for path in CHAPTERS:
        assert f"({path.name})" in start.source
    assert start.source.count("\n- ") == len(CHAPTERS)


@pytest.mark.parametrize("name", [path.stem for path in CHAPTERS])
def test_nothing_is_raw_and_every_notebook_is_valid(written, name):
    notebook = written[name]
    nbformat.validate(notebook)
    assert len({each.id for each in notebook.cells}) == len(notebook.cells)
    assert RAW.findall(markdown(notebook)) == []
    for said in (each.source for each in notebook.cells if "recorded.said(" in each.source):
        assert RAW.findall(re.sub("«|»", "", said)) == []


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_no_formula_no_code_and_no_sentence_is_lost(written, path):
    notebook, chapter = written[path.stem], nbformat.read(path, as_version=4)
    code = "\n".join(each.source for each in notebook.cells if each.cell_type == "code")
    text = markdown(notebook) + code
    for each in chapter.cells:
        if each.cell_type == "code":
            assert each.source in code
            continue
        for formula in MATH.findall(each.source):
            assert handout.ROLE.search(formula) or formula in text
        plain = handout.HEADING_LABEL.sub(r"\g<title>", each.source)
        prose = MATH.sub(" ", handout.DIRECTIVE.sub(lambda found: found["body"], plain))
        words = set(re.findall(r"\w{4,}", handout.LINK.sub("", handout.ROLE.sub(" ", prose))))
        assert words - set(re.findall(r"\w{4,}", text)) == set()


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_what_the_book_hides_is_folded_and_every_figure_has_a_caption(written, path):
    cells = {each.id: each for each in written[path.stem].cells}
    order = list(cells)
    for each in nbformat.read(path, as_version=4).cells:
        if each.cell_type != "code":
            continue
        copy, tags = cells[each.id], set(each.metadata.get("tags", ()))
        folded = copy.metadata.get("jupyter", {})
        hidden = tags & {"hide-input", "hide-cell", "remove-cell"} and "parameters" not in tags
        assert bool(folded.get("source_hidden")) == bool(hidden)
        assert bool(folded.get("outputs_hidden")) == bool(tags & {"hide-output", "hide-cell"})
        figure = each.metadata.get("mystnb", {}).get("figure")
        if figure:
            after = cells[order[order.index(each.id) + 1]]
            assert re.match(r"\*\*Figure \d+\.\*\* \S", after.source)


def test_solutions_are_closed(written):
    count = 0
    for notebook in written.values():
        text = markdown(notebook)
        count += text.count("<details>")
        assert text.count("<details>") == text.count("</details>") == text.count("<summary><b>Solution of Exercise ")
        assert "<details open" not in text
    assert count == sum(path.read_text().count("```{solution}") for path in CHAPTERS)


def test_what_a_solution_computes_is_closed_too_and_nothing_else_with_it(written, book):
    closed = 0
    for notebook in written.values():
        for heading, code, after in zip(notebook.cells, notebook.cells[1:], [*notebook.cells[2:], None], strict=False):
            if heading.metadata.get("jp-MarkdownHeadingCollapsed"):
                closed += 1
                assert heading.source.startswith("#### ")
                assert code.cell_type == "code"
                assert after is None or after.source.startswith(("## ", "### Exercise "))
    assert closed >= 5
    solution = cell("```{solution} ex-half-life\nSo.\n```")
    with pytest.raises(handout.UnknownError, match="would be folded with it"):
        rewritten(book, solution, cell("1 + 1", "code", tags=["hide-cell"]), cell("More text."))


def test_links_lead_to_notebooks_and_to_sections_that_are_there(written):
    for name, notebook in written.items():
        headings = {line.lstrip("# ").replace(" ", "-") for line in re.findall("^#+ .*$", markdown(notebook), re.M)}
        for target in re.findall(r"\]\(((?!http)[^)]+)\)", markdown(notebook)):
            file, _, section = target.partition("#")
            assert not file or file.removesuffix(".ipynb") in written, (name, target)
            assert not section or file or section in headings, (name, target)


def test_words_that_a_chapter_computes_are_said_after_they_are_told(written):
    says = 0
    for name, notebook in written.items():
        told: set[str] = set()
        for each in notebook.cells:
            if each.cell_type != "code":
                continue
            wanted = set(re.findall("«(.+?)»", each.source))
            assert wanted <= told, (name, wanted - told)
            says += len(wanted)
            if "recorded.tell(" in each.source:
                told |= set(re.findall(r"\b(\w+) ?= ?", each.source.split("recorded.tell(")[1]))
    assert says > 20


def test_what_was_told_is_said_and_what_was_not_is_named(monkeypatch):
    monkeypatch.setattr(recorded, "_told", {})
    recorded.tell(lead="0.3 to 2", seeds=3)
    assert recorded.said("ahead by «lead», in $x^{2}$, «seeds» times").data == "ahead by 0.3 to 2, in $x^{2}$, 3 times"
    with pytest.raises(ValueError, match="nothing was told of 'other' yet; run the cells above"):
        recorded.said("«other»")


def test_each_kind_of_thing_has_its_form(book):
    (text,) = rewritten(
        book,
        cell(
            "See {numref}`fig-blurring`, {eq}`eq-blurring-marginal`, {prf:ref}`prop-blurring-transitions`, "
            "{cite:t}`daras2022soft`, {cite:p}`bansal2022cold,hoogeboom2022blurring` and {eq}`eq-process`; "
            "[chapter 2](02_gaussian_diffusion), {ref}`an exercise <ex-tacos-ddim>`.\n\n"
            "```{prf:proof}\nLook.\n```\n\n```{math}\nx\n```\n\n```{admonition} A trap\n:class: note\nMind it.\n```"
        ),
    )[:1]
    labels = {name: book.labels[name].number for name in ("fig-blurring", "eq-blurring-marginal", "eq-process")}
    assert text["source"] == (
        f"See Figure {labels['fig-blurring']}, ({labels['eq-blurring-marginal']}), "
        f"Proposition {book.labels['prop-blurring-transitions'].number}, "
        "[Daras *et al.* (2023)](https://arxiv.org/abs/2209.05442), "
        "([Bansal *et al.*, 2022](https://arxiv.org/abs/2208.09392); "
        "[Hoogeboom and Salimans, 2023](https://arxiv.org/abs/2209.05557)) "
        f"and ({labels['eq-process']}); [chapter 2](02_gaussian_diffusion.ipynb), "
        "[an exercise](11_one_step.ipynb).\n\n"
        "**Proof.** Look. $\\square$\n\n$$\nx\n$$\n\n**A trap.** Mind it."
    )


def test_only_the_blocks_that_need_a_number_become_code(book):
    before, said, after = rewritten(
        book, cell("Before.\n\n- one {glue:text}`lead`\n- two\n\nAfter."), cell("recorded.tell(lead=1)", "code")
    )[:3]
    assert (before["source"], after["source"]) == ("Before.", "After.")
    assert said["source"] == 'recorded.said(r"""\n- one «lead»\n- two\n""")'
    assert said["metadata"] == {"jupyter": {"source_hidden": True}}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{doc}`intro`", 'has the role "doc", which has no form'),
        ("```{tip}\nx\n```", 'has the directive "tip", which has no form'),
        ("{numref}`fig-nowhere`", 'has the label "fig-nowhere"'),
        ("{cite:t}`nobody1999`", 'has the citation "nobody1999"'),
        ("[there](99_nowhere)", 'has the link "99_nowhere"'),
        ("```{prf:lemma} Bare\nx\n```", "has a prf:lemma without a label"),
    ],
)
def test_what_has_no_plain_form_is_refused(book, source, message):
    with pytest.raises(handout.UnknownError, match=re.escape(message)):
        rewritten(book, cell(source))


@pytest.mark.parametrize("repo", ["", "https://github.com/you/bdbook"])
def test_the_first_cell_installs_the_library_only_where_it_is_missing(repo, monkeypatch, tmp_path):
    source = TransformerManager().transform_cell(handout.setup(repo, "main")["source"])
    asked = []

    class Shell:
        def run_line_magic(self, name, line):
            asked.append((name, line))

    def run():
        exec(source, {"get_ipython": Shell})
        return asked

    monkeypatch.chdir(tmp_path)
    assert run() == []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert run() == [("pip", 'install --quiet "$what"')]
    assert (repo or "bdbook[chapters]") in source


def test_writing_again_changes_nothing_and_drops_what_is_no_chapter(tmp_path):
    first = {path: path.read_bytes() for path in handout.write(ROOT, tmp_path)}
    stale = tmp_path / "notebooks/99_old.ipynb"
    stale.write_text(json.dumps({}))
    assert {path: path.read_bytes() for path in handout.write(ROOT, tmp_path)} == first
    assert not stale.exists()


def test_a_notebook_to_run_runs_and_says_what_it_computes(tmp_path):
    path = next(path for path in handout.write(ROOT, tmp_path) if path.stem == "16_live_sampler")
    papermill.execute_notebook(path, tmp_path / "done.ipynb", {"profile": "smoke"}, kernel_name="python3", cwd=tmp_path)
    cells = nbformat.read(tmp_path / "done.ipynb", as_version=4).cells
    said = [each.outputs[0].data["text/markdown"] for each in cells if "recorded.said(" in each.source]
    text = "\n".join(said)
    assert re.search(r"one UNet of \d{2,3}(,\d{3})+ numbers each", text), text
    count = recorded.laboratory("fashion_few_calls")["count"]
    assert f"{count} pictures a point and always from the same starts" in text
    assert "«" not in text
