"""What does the first page cost a reader, before a click and until it has drawn?

Run: python benchmarks/first_seconds.py [_build/html]   (needs Chromium and a built book; prints a Markdown table)

On a desktop, and at 1.6 Mbit/s, 150 ms away, on a quarter of the processor. The book comes from a server that
compresses, as hosts of static pages do. First paint and the pictures of Draw, pressed as soon as it is there, are
counted from the address on; "by the network" is what the page says that its ten calls took. Other programs make all
times longer.
"""

from __future__ import annotations

import gzip
import sys
import threading
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book"))
import chromium

FIRST = "book/index.html"
SLOW = {"offline": False, "latency": 150, "downloadThroughput": 1.6e6 / 8, "uploadThroughput": 0.75e6 / 8}
PACKED = {".html", ".css", ".js", ".svg", ".json"}
PATIENCE = 600_000  # ms
ENTRIES = """() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
  .reduce(([plain, sent], entry) => [plain + entry.decodedBodySize, sent + entry.encodedBodySize], [0, 0])"""
PAINT = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
ROOT = ".bd-both-ways"


@cache
def packed(path: Path) -> bytes:
    return gzip.compress(path.read_bytes())


class Compressing(SimpleHTTPRequestHandler):
    """Serves text compressed."""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if path.suffix not in PACKED or not path.is_file():
            return super().do_GET()
        body = packed(path)
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return None

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def measured(browser: Browser, address: str, slow: bool) -> list[str]:
    """A row of the table: paint and pictures, s; bytes before a click, plain and as sent, and in all, MB."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    cdp = context.new_cdp_session(page)
    cdp.send("Network.enable")
    if slow:
        cdp.send("Network.emulateNetworkConditions", SLOW)
        cdp.send("Emulation.setCPUThrottlingRate", {"rate": 4})
    page.goto(address, wait_until="load")
    button = page.locator(f"{ROOT} .bd-go")
    button.wait_for()
    paint = page.wait_for_function(PAINT).json_value()
    plain, sent = page.evaluate(ENTRIES)
    button.evaluate("(button) => { button.dispatchEvent(new Event('pointerenter')); button.click(); }")
    page.wait_for_function(f"['done', 'failed'].includes(document.querySelector('{ROOT}').dataset.state)")
    drawn, words = page.evaluate("performance.now()"), page.locator(f"{ROOT} .bd-go-row [role=status]").inner_text()
    _, all_sent = page.evaluate(ENTRIES)
    context.close()
    times = [f"{paint / 1e3:.1f}", f"{drawn / 1e3:.1f}", words.rpartition(", ")[2]]
    return times + [f"{size / 1e6:.2f}" for size in (plain, sent, all_sent)]


def main(folder: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Compressing, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/{FIRST}"
    print("| | first paint, s | drawn, s | by the network | MB before a click | as sent | with the network, as sent |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with sync_playwright() as playwright:
        browser = chromium.launch(playwright)
        for name, slow in (("desktop", False), ("1.6 Mbit/s, a quarter of the CPU", True)):
            print("|", " | ".join([name, *measured(browser, address, slow)]), "|", flush=True)
        browser.close()
    server.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "_build/html"))
