"""The slider under a real kernel, in JupyterLab: Python sees what the reader moves, and moves what the reader sees."""

import socket
import subprocess
import sys
import time
import urllib.request

import nbformat
import pytest

pytestmark = pytest.mark.browser

CELL = """
from pathlib import Path
from bdbook.widgets import BlurringSlider

slider = BlurringSlider(sigma_max=20.0, t=0.5)

def seen(change):
    slider.t = 0.25  # Python answers by moving the other control
    Path("seen.txt").write_text(str(change.new))

slider.observe(seen, "sigma_max")
slider
"""


@pytest.fixture
def lab(tmp_path):
    """The address of a JupyterLab with one notebook, live.ipynb."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "live.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = (
        f"--port={port}",
        "--ServerApp.port_retries=0",
        "--no-browser",
        "--allow-root",
        "--IdentityProvider.token=",
    )
    command = [sys.executable, "-m", "jupyterlab", *options, f"--ServerApp.root_dir={tmp_path}"]
    with (tmp_path / "server.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path)
    base = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 300
    while True:
        try:
            urllib.request.urlopen(f"{base}/api", timeout=20).close()
            break
        except OSError:
            if time.monotonic() > deadline or server.poll() is not None:
                pytest.fail("JupyterLab did not start:\n" + (tmp_path / "server.log").read_text()[-2000:])
            time.sleep(0.2)
    yield f"{base}/lab/tree/live.ipynb?reset"
    server.terminate()
    server.wait(timeout=120)


def test_python_and_the_reader_move_the_same_slider(lab, tmp_path, open_page):
    page = open_page(lab, width=1400)
    page.locator(".jp-CodeCell .cm-content").first.click()
    page.get_by_text("Python 3 (ipykernel) | Idle").or_(page.get_by_text("Python 3 | Idle")).wait_for()
    page.keyboard.press("Shift+Enter")
    figure = page.locator(".bdbook-figure, .bd-curves").first
    figure.wait_for()
    control = page.locator('[name="sigma_max"]').first
    assert page.locator('[name="t"]').first.input_value() == "0.5"
    box = control.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.2, box["y"] + box["height"] / 2)
    page.keyboard.press("ArrowLeft")  # JupyterLab leaves the keys to a control that has the focus
    shown = float(control.input_value())
    assert shown < 7
    deadline = time.monotonic() + 180
    seen = tmp_path / "seen.txt"
    while time.monotonic() < deadline and not (seen.exists() and seen.read_text() == str(shown)):
        page.wait_for_timeout(100)
    assert seen.read_text() == str(shown)
    page.wait_for_function("() => document.querySelector('[name=\"t\"]').value === '0.25'")
