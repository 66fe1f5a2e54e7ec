"""Chromium over the built book, with nothing else to talk to.

`BDBOOK_HTML` names the folder of the book, `_build/html` without it. Tests that need Chromium are skipped
where there is none, unless `CI` is set: then that is an error.
"""

import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import chromium as installed_chromium
import pytest
from figures import HEAD
from playwright.sync_api import Browser, Page, Route, sync_playwright

from bdbook.page import widgets

# Several hubs, one after the other: make classroom, make rehearsal.
collect_ignore = [] if os.environ.get("BDBOOK_CLASSROOM") else ["test_hub_logins.py", "test_rehearsal.py"]
PATIENCE = 180_000  # ms; a slow machine is no failure
# Every address but those of this machine. The browser's driver compares; Python hears only of what is outside.
OUTSIDE = re.compile(
    r"^(?!(?:file|data|blob|about):|https?://(?:127\.0\.0\.1|localhost|\[::1\])(?::[0-9]+)?(?:[/?#]|$))"
)
# sphinx-thebe, where a theme loads it, declares this constant twice on each page; nothing depends on it.
HARMLESS = "Identifier 'THEBE_JS_URL' has already been declared"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The installed Chromium, or playwright's own, headless."""
    with sync_playwright() as playwright:
        try:
            browser = installed_chromium.launch(playwright)
        except FileNotFoundError as error:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"not run, {error}")
        yield browser
        browser.close()


def _new_page(chromium: Browser) -> Page:
    """A page in a context of its own, which keeps what it may not ask for in `external` and its errors in `errors`."""
    context = chromium.new_context()
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.errors, page.external = [], []

    def refuse(route: Route) -> None:
        page.external.append(route.request.url)
        route.abort()

    def hear(text: str) -> None:
        if HARMLESS not in text:
            page.errors.append(text)

    context.route(OUTSIDE, refuse)
    page.on("console", lambda message: hear(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: hear(str(error)))
    return page


def _wash(page: Page) -> None:
    """Leaves the page as a new one is."""
    page.evaluate("() => { if (location.origin !== 'null' || location.protocol === 'file:') localStorage.clear(); }")
    page.context.clear_cookies()
    page.goto("about:blank")
    page.mouse.move(-1, -1)  # or the next page would find the pointer in it


@pytest.fixture(scope="session")
def spare_pages(chromium: Browser) -> Iterator[list[Page]]:
    """Washed pages: to open a new one costs more than most tests do with it."""
    spare = []
    yield spare
    for page in spare:
        page.context.close()


@contextmanager
def _opening(request: pytest.FixtureRequest, chromium: Browser, spare: list[Page]) -> Iterator[Callable[..., Page]]:
    lent, failures = [], request.session.testsfailed

    def open_(url: str, width: int = 1280, height: int = 900, dark: bool = False, own: bool = False) -> Page:
        page = _new_page(chromium) if own or not spare else spare.pop()
        lent.append((page, own))
        page.errors, page.external = [], []
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(media="null", color_scheme="dark" if dark else "light", reduced_motion="null")
        page.goto(url, wait_until="load")
        return page

    yield open_
    for page, own in lent:
        if own or page.is_closed() or request.session.testsfailed > failures:
            page.context.close()
        else:
            _wash(page)
            spare.append(page)


@pytest.fixture
def open_page(request, chromium: Browser, spare_pages: list[Page]) -> Iterator[Callable[..., Page]]:
    """`open_page(url, width=1280, height=900, dark=False, own=False)` -> a loaded Page.

    Requests beyond this machine are refused and listed in `page.external`; errors on the console and uncaught
    exceptions are listed in `page.errors`. A test that gives the context what cannot be taken back (a script for every
    page, a database) asks for its `own`; the others get one that was washed.
    """
    with _opening(request, chromium, spare_pages) as open_:
        yield open_


@pytest.fixture(scope="module")
def open_shared_page(request, chromium: Browser, spare_pages: list[Page]) -> Iterator[Callable[..., Page]]:
    """As `open_page`; the page stays open for the tests of the module."""
    with _opening(request, chromium, spare_pages) as open_:
        yield open_


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a request a line would bury the tests' own words."""


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[[Path], str]]:
    """`serve(folder)` -> the base URL, without a closing slash, of a server on loopback."""
    servers: dict[Path, ThreadingHTTPServer] = {}

    def serve_(folder: Path) -> str:
        if folder not in servers:
            handler = partial(_Quiet, directory=str(folder))
            servers[folder] = ThreadingHTTPServer(("127.0.0.1", 0), handler)
            threading.Thread(target=servers[folder].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[folder].server_port}"

    yield serve_
    for server in servers.values():
        server.shutdown()
        server.server_close()


@pytest.fixture
def figure_page(tmp_path: Path, open_page: Callable[..., Page], serve: Callable[[Path], str]) -> Iterator[Callable]:
    """`figure_page(sliders, scheme="file", head=HEAD, **options)` -> a Page with their static mounts, drawn."""

    def open_(sliders, scheme: str = "file", head: str = HEAD, **options) -> Page:
        widgets.new_page()
        body = "<hr>".join(slider.static_html() for slider in sliders)
        (tmp_path / "index.html").write_text(head + body, encoding="utf-8")
        base = tmp_path.as_uri() if scheme == "file" else serve(tmp_path)
        page = open_page(f"{base}/index.html", **options)
        for i in range(len(sliders)):
            drawn = page.locator(".bdbook-widget").nth(i).locator("svg path.bd-line[d], canvas[data-name=cold]")
            drawn.last.wait_for(state="attached")
        return page

    yield open_
    widgets.new_page()


@pytest.fixture(scope="session")
def book() -> Path:
    """The folder of the built book."""
    folder = Path(os.environ.get("BDBOOK_HTML", "_build/html")).resolve()
    if not (folder / "index.html").is_file():
        pytest.fail(f"no book in {folder}: run `make book`, or name another folder in BDBOOK_HTML")
    return folder
