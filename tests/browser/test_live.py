"""The figures under a real kernel, in JupyterLab: Python sees what the reader moves, and moves what the reader sees."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
import numpy as np
import pytest
from figures import OWN, encoded, hand_over, said
from kernels import asking
from playwright import sync_api as playwright

from bdbook.page import widgets

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parents[2]
CELL = """
from pathlib import Path
from bdbook.page.widgets import BlurringSlider

slider = BlurringSlider(sigma_max=20.0, t=0.5)

def seen(change):
    slider.t = 0.25  # Python answers by moving the other control
    Path("seen.txt").write_text(str(change.new))

slider.observe(seen, "sigma_max")
slider
"""

# Every value of every figure that Python may set, in an order in which each changes what is drawn.
CHANGES = {
    "BlurringSlider": {"sigma_max": 7.3, "t": 0.35, "d_min": 0.01, "schedule": "sin"},
    "BlurDiffusionSlider": {
        "f_max": 0.3,
        "t": 0.36,
        "kernel_sigma": 0.5,
        "overlay": True,
        "sigma_max": 7.3,
        "f_type": "log",
        "steps": 250,
        "boundary": "symmetric",
    },
    "LaboratorySlider": {
        "sigma_max": 7.3,
        "d_min": 0.01,
        "process": "blurring_sin",
        "steps": 40,
        "rule": "ddim",
        "order": 2,
        "kept": {"process": "cosine", "sigma_max": 20.0, "d_min": 1e-3, "steps": 50, "rule": "ancestral", "order": 1},
    },
    "CarrySlider": {
        "process": "blurring_sin2",
        "sigma_max": 7.3,
        "d_min": 0.01,
        "rho": 0.25,
        "t": 0.35,
        "steps": 40,
        "mode": 20,
    },
    "RestorationSlider": {"sigma_max": 7.3, "epsilon": 0.01, "bias": 0.1, "steps": 25},
    "SeveritySlider": {"sigma_max": 5.0, "t": 0.35, "degradation": "snow"},
}
LINKED = {"LaboratorySlider": "sigma_max", "RestorationSlider": "sigma_max"}  # to a FloatSlider; of the others, t

CELLS = f"""
import ipywidgets, traitlets
from IPython.display import display
from bdbook.page import widgets

figures = {{name: getattr(widgets, name)() for name in {list(CHANGES)}}}
hands = {{}}
for name, figure in figures.items():
    key = {LINKED}.get(name, "t")
    fine = 0.001 if name == "BlurDiffusionSlider" else 0.005  # as the figure's own, which it would round otherwise
    low, high, step = (fine, 1, fine) if key == "t" else (0.5, 30, 0.1)
    hands[name] = ipywidgets.FloatSlider(min=low, max=high, step=step, readout_format=".3f")
    traitlets.link((figure, key), (hands[name], "value"))
    display(figure, hands[name])
in_page = ipywidgets.FloatSlider(min=0, max=30, step=0.1)
ipywidgets.jslink((figures["BlurringSlider"], "sigma_max"), (in_page, "value"))
display(in_page)
"""


@dataclass
class Jupyter:
    """A server that runs: where it answers, where it keeps the notebooks and its kernels' connection files."""

    url: str
    notebooks: Path
    runtime: Path

    def api(self, path: str, method: str = "GET") -> bytes:
        request = urllib.request.Request(f"{self.url}/api{path}", method=method)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.read()


@pytest.fixture(scope="module")
def jupyter(tmp_path_factory) -> Iterator[Jupyter]:
    """One JupyterLab for all tests; each has a notebook and a kernel of its own."""
    folder = tmp_path_factory.mktemp("jupyter")
    (folder / "notebooks").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = (
        f"--port={port}",
        "--ServerApp.port_retries=0",
        "--no-browser",
        "--allow-root",
        "--IdentityProvider.token=",
        "--ServerApp.disable_check_xsrf=True",  # for a test that shuts a kernel down
    )
    options += (f"--LabApp.app_settings_dir={ROOT / 'hub/lab'}",)  # as a student's: figures are saved
    command = [sys.executable, "-m", "jupyterlab", *options, f"--ServerApp.root_dir={folder / 'notebooks'}"]
    with (folder / "server.log").open("w") as log:
        environment = os.environ | {"JUPYTER_RUNTIME_DIR": str(folder / "runtime")}
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=environment)
    started = Jupyter(f"http://127.0.0.1:{port}", folder / "notebooks", folder / "runtime")
    deadline = time.monotonic() + 300
    while True:
        try:
            started.api("")
            break
        except OSError:
            if time.monotonic() > deadline or server.poll() is not None:
                pytest.fail("JupyterLab did not start:\n" + (folder / "server.log").read_text()[-2000:])
            time.sleep(0.2)
    yield started
    server.terminate()
    server.wait(timeout=120)


@pytest.fixture(params=[CELL])
def lab(jupyter, request) -> Iterator[str]:
    """The address, in a JupyterLab, of live.ipynb: one cell, which a test asks for."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(request.param)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, jupyter.notebooks / "live.ipynb")
    yield f"{jupyter.url}/lab/tree/live.ipynb?reset"
    for session in json.loads(jupyter.api("/sessions")):  # its kernel, with the connection file
        jupyter.api(f"/sessions/{session['id']}", "DELETE")
    for file in jupyter.notebooks.iterdir():
        file.unlink() if file.is_file() else shutil.rmtree(file)


def run(lab, open_page, **options):
    """The notebook's page, its cell started."""
    page = open_page(lab, width=1400, own=True, **options)
    page.get_by_text("Python 3 (ipykernel) | Idle").or_(page.get_by_text("Python 3 | Idle")).wait_for()
    page.locator(".jp-CodeCell .cm-content").first.click()
    page.locator(".jp-CodeCell.jp-mod-active .cm-focused").wait_for()
    page.keyboard.press("Shift+Enter")
    return page


@pytest.fixture
def python(jupyter):
    """`python(expression, code="")` -> the value of a literal, in the notebook's kernel, after running the code."""
    with asking(jupyter.runtime) as ask:
        yield ask


def comes_true(page, get: Callable, expected, what: str) -> None:
    """Waits until get() gives what is expected."""
    deadline = time.monotonic() + 180
    while (got := get()) != expected:
        assert time.monotonic() < deadline, f"{what}: {got}, expected {expected}"
        page.wait_for_timeout(50)


def all_are_there(page, elements, count: int) -> None:
    """Waits for as many elements; where they do not come, the failure says what the page shows instead."""
    try:
        elements.nth(count - 1).wait_for()
    except playwright.TimeoutError:
        pytest.fail(f"{elements.count()} of {count} came; the page shows:\n{page.locator('body').inner_text()}")


def shown_in(figure) -> list[str]:
    """What a figure says of its plots and pictures, with the values in it, its legends, and the pictures."""
    labels = figure.locator("[role=img]").evaluate_all("els => els.map((e) => e.getAttribute('aria-label'))")
    labels += figure.locator(".bd-key").evaluate_all("els => els.map((e) => e.textContent)")
    return labels + figure.locator("canvas").evaluate_all("els => els.map((e) => e.toDataURL())")


def value_of(figure, name: str):
    """What a control says of itself: a number, a word, or whether it is ticked."""
    control = figure.locator(f'[name="{name}"]')
    if control.get_attribute("type") == "checkbox":
        return control.is_checked()
    text = control.get_attribute("aria-valuetext") or control.input_value()
    number = re.match(r"[\d.]+", text)
    return float(number[0]) if number else text


def shown_value(name: str, value):
    """What the control should say of a value of Python's."""
    if name == "mode":  # its frequency
        return round(np.sqrt(2) * np.pi * value / 64, 2)
    return value if isinstance(value, bool | str) else round(float(value), 6)  # a linked slider leaves rounding errors


def python_sets(page, figure, trait, changes, python) -> None:
    """Each value of `changes` is set: its control says it, and something else is drawn."""
    for key, value in changes.items():
        before = shown_in(figure)
        python("None", f"{trait}.{key} = {value!r}")
        if figure.locator(f'[name="{key}"]').count():
            comes_true(page, lambda key=key: value_of(figure, key), shown_value(key, value), f"{trait}.{key}")
        comes_true(page, lambda before=before: shown_in(figure) != before, True, f"{trait}.{key} is drawn")


def reader_moves(page, figure, trait, python) -> None:
    """Each control is moved by a key: Python has what it says."""
    controls = figure.locator(":is(input:not([type=file]), select):enabled")
    for key in controls.evaluate_all("els => els.map((e) => e.name)"):
        control, before = figure.locator(f'[name="{key}"]'), value_of(figure, key)
        if control.evaluate("c => c.localName") == "select":
            control.select_option(index=control.evaluate("c => (c.selectedIndex || c.length) - 1"))
        else:
            control.press("Space" if isinstance(before, bool) else "ArrowLeft")
        now = value_of(figure, key)
        assert now != before, f"{trait}.{key}"
        comes_true(page, lambda key=key: shown_value(key, python(f"{trait}.{key}")), now, f"{trait}.{key} in Python")


def linked_sliders_follow(page, figure, trait, key, hand, widget, python) -> None:
    """The figure and a FloatSlider that traitlets.link joins to it: each moves the other."""
    readout = widget.locator(".widget-readout")
    comes_true(page, lambda: float(readout.inner_text()), python(f"round({trait}.{key}, 3)"), f"{hand} follows {trait}")
    python("None", f"{hand}.value = 0.8")
    comes_true(page, lambda: float(readout.inner_text()), 0.8, f"{hand} in the page")
    comes_true(page, lambda: value_of(figure, key), 0.8, f"{trait} follows {hand}")
    widget.locator(".noUi-handle").press("ArrowRight")
    step = 0.1 if key == "sigma_max" else 0.001 if "BlurDiffusion" in trait else 0.005
    comes_true(page, lambda: round(python(f"{trait}.{key}"), 6), 0.8 + step, f"{trait} in Python follows {hand}")
    comes_true(page, lambda: value_of(figure, key), 0.8 + step, f"{trait} in the page follows {hand}")
    assert float(readout.inner_text()) == 0.8 + step


@pytest.mark.parametrize("lab", [CELLS], indirect=True)
def test_every_value_is_read_set_and_linked(lab, jupyter, open_page, figure_page, python):
    page = run(lab, open_page)
    page.locator(".bdbook-widget").nth(len(CHANGES) - 1).wait_for()
    figures = {name: page.locator(".bdbook-widget").nth(i) for i, name in enumerate(CHANGES)}
    for i, (name, figure) in enumerate(figures.items()):
        trait, kind = f'figures["{name}"]', getattr(widgets, name)
        assert set(CHANGES[name]) == {key for key in kind().state() if key[0] != "_"} - {"link", "size"}
        python_sets(page, figure, trait, CHANGES[name], python)
        # The tests of each figure check what it draws in a page of its own; here it draws the same.
        alone = figure_page([kind(**CHANGES[name])]).locator(".bdbook-widget")
        comes_true(page, lambda figure=figure: shown_in(figure), shown_in(alone), f"{name} as Python set it")
        page.bring_to_front()
        reader_moves(page, figure, trait, python)
        hand = page.locator(".widget-slider").nth(i)
        linked_sliders_follow(page, figure, trait, LINKED.get(name, "t"), f'hands["{name}"]', hand, python)

    figure, hand = figures["BlurringSlider"], page.locator(".widget-slider").last  # joined by jslink
    figure.locator('[name="sigma_max"]').fill("12.5")
    comes_true(page, lambda: hand.locator(".widget-readout").inner_text(), "12.50", "jslink")
    hand.locator(".noUi-handle").press("ArrowRight")
    comes_true(page, lambda: value_of(figure, "sigma_max"), 12.6, "jslink, back")
    comes_true(page, lambda: round(python('figures["BlurringSlider"].sigma_max'), 6), 12.6, "jslink, in Python")

    # Without its kernel each figure is drawn and moves, and says that nobody listens: at once, and opened again.
    unheard = page.locator(".bd-unheard")
    assert [note.is_visible() for note in unheard.all()] == [False] * len(CHANGES)
    page.keyboard.press("Control+s")
    page.locator(".jp-mod-dirty").wait_for(state="detached")
    drawn = {name: shown_in(figure) for name, figure in figures.items()}
    kernel = "__import__('os').getpid()"
    killed = python(kernel)
    os.kill(killed, signal.SIGKILL)
    page.get_by_text("appears to have died").wait_for()
    unheard.last.wait_for()
    assert all(note.is_visible() for note in unheard.all())
    assert python(kernel) != killed, "another took its place: nothing is being restarted any more"
    for session in json.loads(jupyter.api("/sessions")):
        jupyter.api(f"/sessions/{session['id']}", "DELETE")
    page.goto(lab)
    all_are_there(page, unheard, len(CHANGES))
    for name, figure in figures.items():
        comes_true(page, lambda figure=figure: shown_in(figure), drawn[name], f"{name} as it was saved")
        control = figure.locator("input[type=range]:enabled").first
        control.press("ArrowLeft")
        comes_true(page, lambda figure=figure, name=name: shown_in(figure) != drawn[name], True, f"{name} moves")


@pytest.mark.parametrize(
    "lab", ["from bdbook.page import widgets\nslider = widgets.BlurringSlider()\nslider"], indirect=True
)
def test_python_gets_the_readers_picture(lab, open_page, python):
    page = run(lab, open_page)
    figure = page.locator(".bdbook-widget")
    figure.wait_for()
    assert "Only this notebook's kernel gets to see it." in page.locator(".bd-own-picture").inner_text()
    hand_over(page, encoded(OWN))
    said(page, "Shown")
    pixels = "((slider.photo + 1) * 127.5).round().int().tolist()"
    comes_true(page, lambda: python(pixels), OWN.transpose(2, 0, 1).tolist(), "the picture in Python")

    cells = page.locator(".jp-Cell").count()
    page.keyboard.press("Escape")
    page.keyboard.press("c")
    figure.locator("canvas").last.click()
    page.keyboard.press("Control+v")  # for the figure, not for the notebook, which would paste a cell
    page.locator(".jp-Cell .jp-InputPrompt").first.click()
    page.keyboard.press("b")  # the notebook's turn has come, and gone by: it adds this cell and no other
    page.locator(".jp-Cell").nth(cells).wait_for()
    assert page.locator(".jp-Cell").count() == cells + 1


def test_python_and_the_reader_move_the_same_slider(lab, jupyter, open_page):
    page = run(lab, open_page)
    figure = page.locator(".bdbook-figure, .bd-curves").first
    figure.wait_for()
    control = page.locator('[name="sigma_max"]').first
    assert page.locator('[name="t"]').first.input_value() == "0.5"
    box = control.bounding_box()
    control.click(position={"x": box["width"] * 0.2, "y": box["height"] / 2})  # once it stands still
    page.keyboard.press("ArrowLeft")  # JupyterLab leaves the keys to a control that has the focus
    shown = float(control.input_value())
    assert shown < 7
    seen = jupyter.notebooks / "seen.txt"
    comes_true(page, lambda: seen.exists() and seen.read_text(), str(shown), "what Python saw")
    page.wait_for_function("() => document.querySelector('[name=\"t\"]').value === '0.25'")


RESAMPLER = """
import ipywidgets, torch
from bdbook import samplers
from bdbook.page import live, widgets

denoiser, length, begun = live.run_of("fashion-cosine").denoiser, 5, []

def walk(rho, seed):
    begun.append(rho)
    random = torch.Generator().manual_seed(seed)
    start = torch.randn(4, 1, 16, 16, generator=random)
    return samplers.sample(denoiser, start, denoiser.process.times(length), samplers.partial_carry(rho), random)

figure = widgets.Resampler(walk, rho=ipywidgets.FloatSlider(1.0, max=1, step=0.01), seed=ipywidgets.IntSlider(0))
figure
"""


@pytest.mark.parametrize("lab", [RESAMPLER], indirect=True)
def test_a_slider_samples_in_python_while_it_is_dragged(lab, open_page, python):
    page = run(lab, open_page)
    picture = page.locator("img[alt='4 images at t = 0.000']")
    picture.wait_for()
    first = picture.get_attribute("src")
    target = page.locator(".widget-slider .noUi-target").first
    target.hover()  # which waits until it stands still
    rail = target.bounding_box()
    y, moves = rail["y"] + rail["height"] / 2, 20
    page.mouse.move(rail["x"] + rail["width"], y)
    page.mouse.down()
    for i in range(moves):
        page.mouse.move(rail["x"] + rail["width"] * (1 - 0.6 * (i + 1) / moves), y)
    page.mouse.up()
    shown = float(page.locator(".widget-readout").first.inner_text())
    assert 0.3 < shown < 0.5
    comes_true(page, lambda: python("(round(figure.values()['rho'], 2), figure.state)"), (shown, "done"), "the walk")
    begun = python("begun")
    assert round(begun[-1], 2) == shown
    assert len(begun) < moves, "a slider that still moves is waited for"
    assert picture.get_attribute("src") != first

    python("None", "length = 20_000")
    page.locator(".widget-slider .noUi-handle").last.press("ArrowRight")
    comes_true(page, lambda: python("figure.state"), "sampling", "a long walk")
    comes_true(page, lambda: python("0 < figure._progress.value < 1"), True, "its progress")
    page.get_by_role("button", name="Stop").click()
    comes_true(page, lambda: python("figure.state"), "stopped", "Stop")
    assert len(python("begun")) == len(begun) + 1
