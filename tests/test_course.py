"""The course's assignments: what students get, that the checks tell right from plausible, and one real marking."""

import json
import os
import re
import shutil
import sysconfig
from contextlib import chdir
from pathlib import Path

import handout
import nbformat
import pytest
import slides
import yaml
from nbgrader.apps import NbGraderAPI
from nbgrader.auth import Authenticator
from nbgrader.converters import GenerateAssignment
from nbgrader.coursedir import CourseDirectory
from nbgrader.exchange import ExchangeFactory
from nbgrader.preprocessors import CheckCellMetadata, SaveCells
from traitlets.config.loader import PyFileConfigLoader

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "course/source"
ASSIGNMENTS = sorted(path.name for path in SOURCE.iterdir())

# Of each assignment one answer or more that passes what the student sees and is wrong, by the cell that it stands in.
WRONG = {
    "01_frequency": {
        "basis": """
def cosines(n):  # the first pixel's centre at 0
    rows = np.cos(np.pi * np.outer(np.arange(n), np.arange(n)) / max(n - 1, 1))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
""",
        "blur": """
def blur(image, sigma):  # tau = sigma^2
    n, m = (np.pi * np.arange(side) / side for side in image.shape)
    return idctn(np.exp(-(n[:, None] ** 2 + m**2) * sigma**2) * dctn(image, norm="ortho"), norm="ortho")
""",
        "width": """
def width_needed(height, width, share):  # the width's wave, and not the longer side's
    return width / np.pi * np.sqrt(2 * np.log(1 / share))
""",
    },
    "02_gaussian": {
        "posterior": """
def posterior(alpha_t, sigma_t, alpha_s, sigma_s):  # DDIM
    return sigma_s / sigma_t, 0.0
""",
        "kl": """
def kl_of_step(snr_t, snr_s, x, x_hat):  # without the half
    return (snr_s - snr_t) * ((x - x_hat) ** 2).sum()
""",
    },
    "03_heat": {
        "transition": """
def transition(freq2, tau_s, tau_t, sigma):  # 1 - a in place of 1 - a^2
    a = np.exp(-freq2 * (tau_t - tau_s))
    return a, (1 - a) * sigma**2
""",
        "delta": """
def right_delta(d_t, d_s, v, sigma):  # the chapter's, for short steps
    q = d_t**2 * v / sigma**2
    return sigma * np.sqrt((1 + 2 * q) / (1 + q))
""",
    },
    "04_blurring": {
        "schedule": """
def schedule(t, freq2, sigma_max, d_min=1e-3):  # the log-SNR clipped
    log_snr = np.clip(-2 * np.log(np.tan(np.clip(np.pi * t / 2, 1e-9, np.pi / 2 - 1e-9))), -10, 10)
    alpha, sigma = (1 + np.exp(-log_snr)) ** -0.5, (1 + np.exp(log_snr)) ** -0.5
    return alpha * ((1 - d_min) * np.exp(-freq2 * (sigma_max * np.sin(np.pi * t / 2) ** 2) ** 2 / 2) + d_min), sigma
""",
        "step": """
def step_back(u_t, eps_hat, at_t, at_s, noise):  # one refresh for all frequencies
    (alpha_t, sigma_t), (alpha_s, sigma_s) = at_t, at_s
    a = alpha_t / alpha_s
    refresh = sigma_s * np.sqrt(1 - sigma_s**2 / sigma_t**2)
    return (u_t - sigma_t * eps_hat) / a + a * sigma_s**2 / sigma_t * eps_hat + refresh * noise
""",
        "buried": """
def buried_at(process, n, m, v):  # without the blur
    low, high = np.arctan(np.exp(-5)), np.arctan(np.exp(5))
    return (np.arctan(np.sqrt(v)) - low) / (high - low)
""",
    },
    "05_steps": {
        "marginal": """
def marginal(D, beta, f):  # the last step's blur, and not the sum
    alpha = np.sqrt(np.prod(1 - beta)) * D ** f[-1]
    return alpha, np.sqrt(1 - alpha**2)
""",
        "score": """
def score(eps, sigma):  # as printed
    return -eps / sigma**2
""",
        "missing": """
def missing(alpha_t, sigma_t, alpha_s, c, v):  # nothing learnt from u_t
    return (alpha_s - c * alpha_t) ** 2 * v
""",
    },
    "06_cold": {
        "walk": """
def walk(x, restore, degrade, times, algorithm):  # Algorithm 1, whatever is asked
    for t, s in zip(times[:-1], times[1:]):
        x = degrade(restore(x, t), s)
    return x
""",
        "share": """
def share(alpha, epsilon, algorithm):  # the first step's restoration, and not the walk's
    guess = alpha[0] ** 2 / (alpha[0] ** 2 + epsilon)
    return guess if algorithm == 1 else alpha[0] + (1 - alpha[0]) * guess
""",
        "equal": "wrong_modes = {3, 4}",
    },
    "07_laboratory": {
        "sampled": """
def sampled_variance(alpha, sigma, v, rule):  # starts from variance 1
    variance = 1.0
    for alpha_t, sigma_t, alpha_s, sigma_s in zip(alpha, sigma, alpha[1:], sigma[1:]):
        carry, refresh = rule(alpha_t, sigma_t, alpha_s, sigma_s)
        gain = alpha_t * v / (alpha_t**2 * v + sigma_t**2)
        variance = (carry + (alpha_s - carry * alpha_t) * gain) ** 2 * variance + refresh**2
    return variance
""",
        "kl": """
def kl(r):  # true || sampled
    return 0.5 * (1 / r - 1 + np.log(r))
""",
    },
    "08_training": {
        "precondition": """
def precondition(alpha, sigma, v):  # a root forgotten
    total = alpha**2 * v + sigma**2
    return alpha * v / total, np.sqrt(v) * sigma / total
""",
        "batch": """
def batch_of(seed, step, count, size):  # (0, 1) and (1, 0) are one
    return np.random.default_rng(seed + step).choice(count, size, replace=False)
""",
        "told": """
def told_apart(a, b):  # the means
    return abs(np.mean(a) - np.mean(b)) > 0.1
""",
    },
}
CASES = [(name, cell) for name, cells in WRONG.items() for cell in cells]


def cells(notebook: Path) -> dict[str, dict]:
    """grade_id -> cell, in order; a cell's source as one text."""
    read = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return {cell["metadata"]["nbgrader"]["grade_id"]: cell | {"source": "".join(cell["source"])} for cell in read}


def source_of(name: str) -> dict[str, dict]:
    return cells(SOURCE / name / f"{name}.ipynb")


def run(sources: list[str], names: dict | None = None) -> dict:
    """What the cells leave, run one after the other."""
    names = {} if names is None else names
    for source in sources:
        exec(compile(source, "a cell", "exec"), names)
    return names


def code(found: dict[str, dict]) -> dict[str, str]:
    return {name: cell["source"] for name, cell in found.items() if cell["cell_type"] == "code"}


def secrets(found: dict[str, dict]) -> set[str]:
    """The lines that no student may get: of solutions, hidden checks, model answers; none that stands openly too."""
    lines: set[str] = set()
    opened: set[str] = set()
    for cell in found.values():
        hidden = cell["cell_type"] == "markdown" and cell["metadata"]["nbgrader"]["solution"]
        for line in cell["source"].splitlines():
            if line.strip().startswith("### "):
                hidden = "BEGIN" in line
            else:
                (lines if hidden else opened).add(line.strip())
    return lines - opened


def graders_config(home: Path, exchange: Path, monkeypatch, user: str, lecturer: bool = False):
    """nbgrader's configuration as the hub gives it to a user."""
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]))  # of alembic
    monkeypatch.setenv("JUPYTERHUB_USER", user)
    monkeypatch.setenv("BDBOOK_EXCHANGE", str(exchange))
    monkeypatch.setenv("BDBOOK_COURSE", str(SOURCE) if lecturer else "")
    config = PyFileConfigLoader("nbgrader_config.py", str(ROOT / "course/jupyter")).load_config()
    config.Exchange.cache = str(home / "cache")
    return config


def released(name: str) -> dict[str, dict]:
    """What a student gets, by nbgrader's own preprocessors and without its data base."""
    notebook = nbformat.read(SOURCE / name / f"{name}.ipynb", as_version=4)
    config = PyFileConfigLoader("nbgrader_config.py", str(ROOT / "course/jupyter")).load_config()
    for preprocessor in GenerateAssignment().preprocessors:
        if preprocessor is not SaveCells and preprocessor is not CheckCellMetadata:
            notebook, _ = preprocessor(config=config).preprocess(notebook, {})
    return {cell.metadata.nbgrader.grade_id: dict(cell) for cell in notebook.cells}


def test_there_are_eight_and_each_has_a_plausible_wrong_answer():
    assert len(ASSIGNMENTS) == 8
    assert list(WRONG) == ASSIGNMENTS


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_an_assignment_asks_two_to_four_things_one_of_them_in_words(name):
    found = source_of(name)
    asked = [cell for cell in found.values() if cell["metadata"]["nbgrader"]["solution"]]
    assert 2 <= len(asked) <= 4
    assert [cell["metadata"]["nbgrader"]["grade"] for cell in asked if cell["cell_type"] == "markdown"] == [True]
    for cell in found.values():
        assert cell["metadata"]["nbgrader"]["locked"] != cell["metadata"]["nbgrader"]["solution"]
        assert cell.get("outputs", []) == []


def no_secret(name: str, release: dict[str, dict]) -> None:
    kept = secrets(source_of(name))
    assert len(kept) > 12
    given = "\n".join(cell["source"] for cell in release.values())
    assert kept & {line.strip() for line in given.splitlines()} == set()
    assert "SOLUTION" not in given
    assert "HIDDEN" not in given


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_a_student_gets_no_solution_and_no_hidden_check(name):
    no_secret(name, released(name))


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_the_solution_passes_and_the_stub_does_not(name):
    run(list(code(source_of(name)).values()))
    stub, names, failed = code(released(name)), {}, set()
    for cell, text in stub.items():
        try:
            run([text], names)
        except Exception:
            failed.add(cell)
    assert failed >= {cell for cell in stub if cell.endswith("-check")}


@pytest.mark.parametrize(("name", "cell"), CASES)
def test_a_plausible_wrong_answer_passes_what_is_seen_and_is_refused(name, cell):
    found = code(source_of(name)) | {cell: WRONG[name][cell]}
    order = list(found)
    names = run([found[each] for each in order[: order.index(f"{cell}-hidden")]])
    with pytest.raises(AssertionError) as refusal:
        run([found[f"{cell}-hidden"]], names)
    assert len(str(refusal.value)) > 30, "it says what is wrong"


# --- the lecturer's page, and the slides ------------------------------------------------------------------------------


def rows() -> list[str]:
    """The plan's table in course/README.md, a line a meeting."""
    return re.findall(r"^\| \d .*$", (ROOT / "course/README.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_marks_of_the_lecturers_page_are_those_of_the_assignments():
    text = (ROOT / "course/README.md").read_text(encoding="utf-8")
    for row, by_hand in (("checks", False), ("in words, by hand", True)):
        shown = re.search(rf"^\| {row} \|(.*)\|$", text, re.MULTILINE)[1]
        points = [
            sum(
                cell["metadata"]["nbgrader"].get("points", 0)
                for cell in source_of(name).values()
                if cell["metadata"]["nbgrader"]["solution"] == by_hand
            )
            for name in ASSIGNMENTS
        ]
        assert [int(number) for number in shown.split("|")] == points


@pytest.mark.parametrize("number", range(1, 9))
def test_a_meeting_shows_what_its_chapters_have(number):
    row, book = rows()[number - 1], handout.read(ROOT)
    pages = {f"notebooks/{name}" for name in re.findall(r"notebooks/(\w+)\.ipynb", "".join(rows()[:number]))}
    assert f"`{ASSIGNMENTS[number - 1]}` |" in row
    there = {target.name for target in book.labels.values() if target.page in pages}
    named = re.findall(r"(Figure|Exercise|Proposition|Theorem)s? (\d+)(?:(?:,| to) (\d+))?", row)
    assert named
    assert {f"{kind} {each}" for kind, *numbers in named for each in numbers if each} <= there


def test_links_of_the_course_lead_somewhere():
    for page in ("README.md", "exam.md"):
        text = (ROOT / "course" / page).read_text(encoding="utf-8")
        for link in re.findall(r"\]\((?!http)([^)#]+)\)", text):
            assert (ROOT / "course" / link).exists(), link


def test_every_slide_can_be_made(monkeypatch):
    """But for the pictures, which take executed chapters."""
    plan = yaml.safe_load((ROOT / "course/plan.yml").read_text(encoding="utf-8"))
    assert len(plan) == 8
    shelf = slides.Shelf(handout.read(ROOT), ROOT / "notebooks")
    with pytest.raises(ValueError, match="printed no picture"):
        shelf.slide("fig-blurs")
    with pytest.raises(ValueError, match="did you mean 'fig-blurs'"):
        shelf.slide("fig-blur")
    monkeypatch.setattr(slides, "pictures", lambda outputs: f"<img> of {len(outputs or [])}")
    for number, meeting in enumerate(plan, 1):
        page = slides.deck(number, meeting, shelf)
        assert page.count("<section") == len(meeting["slides"]) + 1 > 10
        assert re.findall(r"\{[\w:]+\}`|`{3,}\{|Proof\.|<details>|\.ipynb", page) == []
        assert re.findall(r'(?:src|href)="(?:https?:)?//', re.sub(r'<a href="https:[^>]*>', "", page)) == []


# --- one assignment by the grader itself ----------------------------------------------------------------------------

NAME = "01_frequency"


def hand_in(home: Path, exchange: Path, monkeypatch, user: str, answers: dict[str, str]) -> None:
    """Fetch the assignment as this student, write the answers, submit."""
    config = graders_config(home, exchange, monkeypatch, user)
    config.CourseDirectory.assignment_id = NAME
    parts = {"coursedir": CourseDirectory(config=config), "authenticator": Authenticator(config=config)}
    home.mkdir()
    with chdir(home):
        ExchangeFactory(config=config).FetchAssignment(**parts, config=config).start()
        notebook = home / NAME / f"{NAME}.ipynb"
        written = json.loads(notebook.read_text())
        for cell in written["cells"]:
            name = cell["metadata"]["nbgrader"]["grade_id"]
            cell["source"] = answers.get(name, cell["source"])
        notebook.write_text(json.dumps(written))
        ExchangeFactory(config=config).Submit(**parts, config=config).start()


def test_one_assignment_from_release_to_feedback(tmp_path, monkeypatch):
    home, exchange = tmp_path / "ada", tmp_path / "exchange"
    shutil.copytree(SOURCE / NAME, home / "course/source" / NAME)
    exchange.mkdir()
    exchange.chmod(0o777)
    nbgrader = NbGraderAPI(config=graders_config(home, exchange, monkeypatch, "ada", lecturer=True))

    def do(step: str, *of: str) -> dict:
        with chdir(home):
            return getattr(nbgrader, step)(NAME, *of)

    assert do("generate_assignment")["success"]
    assert do("release_assignment")["success"]
    no_secret(NAME, cells(exchange / f"bdbook/outbound/{NAME}/{NAME}.ipynb"))
    right = {name: text for name, text in code(source_of(NAME)).items() if name in WRONG[NAME]}
    right["words"] = "In exact arithmetic nothing is lost."
    students = {"ann": right, "ben": right | {"blur": WRONG[NAME]["blur"]}, "cy": {"basis": "import os\nos._exit(1)"}}
    for user, answers in students.items():
        hand_in(tmp_path / user, exchange, monkeypatch, user, answers)
    assert do("collect")["success"]
    done = {user: do("autograde", user) for user in students}
    assert [user for user in students if done[user]["success"]] == ["ann", "ben"], done
    assert "Kernel died" in done["cy"]["log"]
    marks = {each["student"]: each for each in nbgrader.get_submissions(NAME)}
    assert (marks["ann"]["score"], marks["ben"]["score"]) == (8, 6)
    assert marks["ann"]["needs_manual_grade"]
    assert not marks["cy"]["autograded"]
    assert do("generate_feedback", "ben")["success"]
    feedback = (home / f"course/feedback/ben/{NAME}/{NAME}.html").read_text(encoding="utf-8")
    assert "look at tau, and at H and W" in feedback


# What the plan of the meetings calls by number, in the order in which it does.
NAMED = {
    "Exercise": "ex-mean ex-ddim ex-clock ex-scratch ex-two-errors ex-nat ex-same-seed",
    "Proposition": "prop-delta prop-blurring-one-step prop-posterior",
    "Theorem": "thm-toy",
}


@pytest.mark.parametrize("kind", NAMED)
def test_the_plan_names_what_it_means_by_the_number_that_it_has(kind):
    labels = handout.read(ROOT).labels
    meant = [labels[label].number for label in NAMED[kind].split()]
    plan = (ROOT / "course" / "README.md").read_text(encoding="utf-8")
    assert [int(number) for number in re.findall(rf"\b{kind} (\d+)", plan)] == meant


def test_the_figures_of_the_plan_are_of_the_chapters_beside_them():
    figures = {target.number: target.page for target in handout.read(ROOT).labels.values() if target.kind == "Figure"}
    plan = (ROOT / "course" / "README.md").read_text(encoding="utf-8")
    rows = [line for line in plan.splitlines() if re.match(r"\| \d ", line)]
    assert len(rows) == 8
    for row in rows:
        chapters = set(re.findall(r"\.\./(notebooks/\w+)\.ipynb", row))
        named = [
            int(number) for words in re.findall(r"Figures? ([\d, to]+\d)", row) for number in re.findall(r"\d+", words)
        ]
        assert named
        assert {figures[number] for number in named} <= chapters
