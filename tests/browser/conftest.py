"""Chromium over the built book, with nothing else to talk to.

`BDBOOK_HTML` names the folder of the book, `_build/html` without it. Tests that need Chromium are skipped
where there is none, unless `CI` is set: then that is an error.
"""

import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import chromium as installed_chromium
import pytest
from figures import HEAD
from playwright.sync_api import Browser, Page, sync_playwright

from bdbook.page import widgets

PATIENCE = 180_000  # ms; a slow machine is no failure
LOCAL_SCHEMES = {"file", "data", "blob", "about"}
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
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


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """`open_page(url, width=1280, height=900, dark=False)` -> a loaded Page.

    Requests beyond this machine are refused and listed in `page.external`; errors on the console and uncaught
    exceptions are listed in `page.errors`.
    """
    contexts = []

    def open_(url: str, width: int = 1280, height: int = 900, dark: bool = False) -> Page:
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
        )
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.errors, page.external = [], []

        def police(route):
            parts = urlsplit(route.request.url)
            if parts.scheme in LOCAL_SCHEMES or parts.hostname in LOOPBACK:
                route.continue_()
            else:
                page.external.append(route.request.url)
                route.abort()

        def hear(text: str) -> None:
            if HARMLESS not in text:
                page.errors.append(text)

        context.route("**/*", police)
        page.on("console", lambda message: hear(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: hear(str(error)))
        page.goto(url, wait_until="load")
        return page

    yield open_
    for context in contexts:
        context.close()


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
