"""A whole assignment on a real hub: `make rehearsal`. `make browser` leaves it out, it takes minutes."""

import csv
import json
import re
import subprocess
import sys
import time

import psutil
import pytest
import test_course
import test_jupyterhub as hubs
from pages import QUIET

pytestmark = pytest.mark.browser
NAME = test_course.NAME
LECTURER, STUDENTS = "teacher", ("ann", "ben", "cat")


def server_of(hub: hubs.Hub, user: str) -> dict[str, str]:
    """The environment that the spawner gave to a user's server."""
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except psutil.Error:
            continue
        if environment.get("JUPYTERHUB_USER") == user and environment.get("HOME") == str(hub.home(user)):
            return environment
    raise AssertionError(f"{user} has no server")


def nbgrader(hub: hubs.Hub, user: str, *command: str) -> str:
    """What `nbgrader COMMAND` says in a terminal of this user's server."""
    line = [sys.executable, "-m", "nbgrader", *command]
    where = hub.home(user) / ("course" if user == LECTURER else "")
    done = subprocess.run(
        line, env=server_of(hub, user), cwd=where, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.stdout


class Clock:
    """Says what was done, and how long it took."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def __call__(self, what: str) -> None:
        now = time.monotonic()
        print(f"{now - self.last:6.1f} s  {what}", flush=True)
        self.last = now


def write_answers(hub: hubs.Hub, user: str, answers: dict[str, str]) -> None:
    """Put code into the fetched notebook's cells."""
    notebook = hub.home(user) / NAME / f"{NAME}.ipynb"
    written = json.loads(notebook.read_text())
    for cell in written["cells"]:
        name = cell["metadata"]["nbgrader"]["grade_id"]
        cell["source"] = answers.get(name, cell["source"])
    notebook.write_text(json.dumps(written))


def assignment_list(page, hub: hubs.Hub, user: str):
    """nbgrader's panel in a student's JupyterLab, once it has asked the exchange."""
    page.goto(f"{hub.url}/user/{user}/lab?reset")
    page.set_default_timeout(90_000)
    page.locator(".lm-MenuBar-item", has_text=re.compile("^Nbgrader$")).click()
    page.locator(".lm-Menu-item", has_text=re.compile("Assignment List")).click()
    page.locator("#nbgrader-assignment-list").wait_for()
    return page


def test_a_whole_assignment(open_page, tmp_path, capfd):
    with capfd.disabled(), hubs.starting(tmp_path) as start:
        print()
        clock = Clock()
        hub = start(OPEN_SIGNUP="1", LECTURERS=LECTURER)
        clock("the hub runs")
        pages = {}
        for user in (LECTURER, *STUDENTS):
            pages[user] = open_page("about:blank", width=1400, own=True)
            hubs.sign_up(pages[user], hub, user)
            hubs.enter(pages[user], hub, user)
            clock(f"{user} signs up and has a server")
        assert not (hub.home("ann") / "course").exists()
        assert pages["ann"].request.get(f"{hub.url}/user/ann/formgrader").status == 404
        assert len(list((hub.home(LECTURER) / "course/source").iterdir())) == 8

        page = pages[LECTURER]
        page.goto(f"{hub.url}/user/{LECTURER}/formgrader")
        row = page.locator("tr", has_text=NAME)
        row.wait_for()
        row.locator(".glyphicon-education").click()
        page.get_by_text("Successfully created").wait_for()
        clock("the lecturer makes the students' version, in the formgrader")
        page.reload()
        row.locator(".glyphicon-cloud-upload").click()
        page.get_by_text("Successfully released").wait_for()
        clock("and releases it")

        page = assignment_list(pages["ann"], hub, "ann")
        page.locator("#released_assignments_list button").click()
        hubs.comes_true(lambda: (hub.home("ann") / NAME).is_dir(), "the assignment arrives")
        clock("ann fetches it in JupyterLab")
        test_course.no_secret(NAME, test_course.cells(hub.home("ann") / NAME / f"{NAME}.ipynb"))
        solved = test_course.code(test_course.source_of(NAME))
        right = {name: solved[name] for name in test_course.WRONG[NAME]} | {"words": "By rounding, at the latest."}
        write_answers(hub, "ann", right)
        page.locator("#fetched_assignments_list button", has_text="Submit").click()
        inbound = hub.state / "exchange/bdbook/inbound"
        hubs.comes_true(lambda: list(inbound.glob("ann+*")), "ann's submission arrives")
        clock("ann submits it in JupyterLab")
        others = {"ben": right | {"blur": test_course.WRONG[NAME]["blur"]}, "cat": {"basis": "import os\nos._exit(1)"}}
        for user, answers in others.items():
            assert "Fetched as" in nbgrader(hub, user, "fetch_assignment", NAME)
            write_answers(hub, user, answers)
            assert "Submitted as" in nbgrader(hub, user, "submit", NAME)
            clock(f"{user} fetches and submits, in a terminal")

        assert nbgrader(hub, LECTURER, "collect", NAME).count("Collecting submission") == len(STUDENTS)
        clock("the lecturer collects")
        said = nbgrader(hub, LECTURER, "autograde", NAME)
        clock("and marks all of them")
        assert said.count("There was an error processing assignment '01_frequency' for student 'cat'") == 1, said
        page, formgrader = pages[LECTURER], f"{hub.url}/user/{LECTURER}/formgrader"
        page.goto(f"{formgrader}/gradebook/{NAME}/{NAME}")
        for number in (1, 2):  # in the order of the table, without names
            page.goto(f"{formgrader}/gradebook/{NAME}/{NAME}")
            page.get_by_role("link", name=f"Submission #{number}").click()
            page.evaluate(QUIET)  # the page asks for the marks so far, and only then listens
            with page.expect_response(re.compile(r"/api/grade/")):  # saved as soon as it is changed
                page.locator("input.score").last.fill("2")
                page.locator("input.score").last.blur()
        clock("gives both answers in words 2 points of 3, in the formgrader")
        nbgrader(hub, LECTURER, "export")
        with (hub.home(LECTURER) / "course/grades.csv").open() as file:
            marks = {line["student_id"]: float(line["score"]) for line in csv.DictReader(file)}
        assert marks == {"ann": 10, "ben": 8, "cat": 0}
        nbgrader(hub, LECTURER, "generate_feedback", NAME)
        nbgrader(hub, LECTURER, "release_feedback", NAME)
        clock("makes the feedback and releases it")

        page = assignment_list(pages["ann"], hub, "ann")
        page.locator("#submitted_assignments_list button", has_text="Fetch Feedback").click()
        hubs.comes_true(lambda: list(hub.home("ann").glob(f"{NAME}/feedback/*/*.html")), "feedback arrives")
        (feedback,) = hub.home("ann").glob(f"{NAME}/feedback/*/*.html")
        page.goto(f"{hub.url}/user/ann/files/{feedback.relative_to(hub.home('ann'))}")
        assert "Score: 10.0 / 11.0" in page.inner_text("body")
        clock("ann fetches her feedback and reads it")
        print(f"marks: {marks}")
