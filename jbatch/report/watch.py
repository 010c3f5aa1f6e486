"""Serve a report as a live page, on this machine alone, while runs go on."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from jbatch.errors import Mistake
from jbatch.messages import tell
from jbatch.report.listed import trains_now
from jbatch.report.page import Live, live_page, waiting_page
from jbatch.report.read import read_report
from jbatch.run.below import any_below

ADDRESS = "127.0.0.1"
HOSTS = (ADDRESS, "localhost")
LOOK = 2.0  # seconds between two looks at the runs, and of a page for a newer one
SHARE = 0.1  # of a core's time that looking and building take at most: the runs need it too
CHANGING = ("run.json", "stated.json", "plan.npz", "metrics.jsonl")  # files of a run
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        "connect-src 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
}


def watch(
    directory: Path,
    port: int | None,
    price: float | None,
    ended: threading.Event,
    serving: Callable[[str], None],
) -> None:
    """Serve the report of the runs below a directory, and build it anew when they log more.

    It reads the directory and writes nothing. Nothing but the page can be asked for.

    Args:
        directory: of a run, or of several; there may be none yet.
        port: of 127.0.0.1; None for a free one.
        price: of a device for an hour; None for a report without cost.
        ended: ends it.
        serving: called once, with the page's address.

    Raises:
        Mistake: if the port cannot be used.
    """
    told: set[str] = set()

    def once(text: str) -> None:
        if text not in told:
            told.add(text)
            tell(text)

    with _server(port) as server:
        reading = Live("", round(1000 * LOOK))
        server.page = waiting_page(directory.absolute().name, "Reading the runs.", reading)
        serving(f"http://{ADDRESS}:{server.server_port}/")
        before: list[object] | None = None
        while True:
            begun = time.process_time()
            if (seen := _stamp(directory)) != before:
                before = seen
                live = Live(str(time.time_ns()), round(1000 * LOOK))
                server.page = _built(directory, price, live, once)
                server.built = live.built
            spent = time.process_time() - begun
            if ended.wait(max(LOOK, spent * (1 - SHARE) / SHARE)):
                return


def _built(directory: Path, price: float | None, live: Live, warn: Callable[[str], None]) -> str:
    try:
        return live_page(*read_report(directory, warn), price, live)
    except (Mistake, OSError) as error:  # no run yet, or a file is written or removed just now
        return waiting_page(directory.absolute().name, str(error), live)


def _stamp(directory: Path) -> list[object]:
    """Return what differs when a page has to be built anew."""
    found: list[object] = []
    for run in any_below(directory):  # maybe none yet
        found.append(trains_now(run))
        for name in CHANGING:
            try:
                status = (run / name).stat()
            except OSError:
                continue
            found.append((run, name, status.st_mtime_ns, status.st_size))
    return found


class _Server(ThreadingHTTPServer):
    page = ""
    built = ""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        """Answer with the page or its number; nothing else is there."""
        # By a name of its own for this address, another site could read the page.
        host = self.headers.get("Host", "").partition(":")[0]
        answers = {
            "/": ("text/html", self.server.page),
            "/built": ("text/plain", self.server.built),
        }
        if host not in HOSTS:
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
        elif self.path not in answers:
            self.send_error(HTTPStatus.NOT_FOUND)
        else:
            kind, text = answers[self.path]
            content = text.encode()
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            for name, value in HEADERS.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Print nothing of a request."""


@contextmanager
def _server(port: int | None) -> Iterator[_Server]:
    try:
        server = _Server((ADDRESS, port or 0), _Handler)
    except OSError as error:
        raise Mistake(
            f"cannot serve on port {port} of {ADDRESS} ({error.strerror}): give another --port, or "
            "none for a free one"
        ) from error
    threading.Thread(target=server.serve_forever, name="report", daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
