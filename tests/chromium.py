"""Headless Chromium, if the machine has one, by its own protocol over a pipe."""

import json
import os
import select
import shutil
import subprocess
import time
from base64 import b64decode
from contextlib import suppress

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATH = next((path for path in map(shutil.which, NAMES) if path), None)
needed = pytest.mark.skipif(PATH is None, reason="there is no Chromium here")
SECONDS = 30  # for an answer


class Chromium:
    """One page of a browser; a context."""

    def __init__(self, profile):
        theirs, self._to = os.pipe()
        self._from, mine = os.pipe()
        # The protocol's descriptors are 3 and 4.
        command = (
            f'exec "$0" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage '
            f'--hide-scrollbars --no-first-run --user-data-dir="$1" --remote-debugging-pipe '
            f"3<&{theirs} 4>&{mine}"
        )
        self._process = subprocess.Popen(
            ["bash", "-c", command, PATH, str(profile)],
            pass_fds=(theirs, mine),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs)
        os.close(mine)
        self._buffer, self._number, self.events, self._session = b"", 0, [], None
        target = self("Target.createTarget", url="about:blank")["targetId"]
        attached = self("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._session = None
        with suppress(OSError, TimeoutError):
            self("Browser.close")
        os.close(self._to)
        os.close(self._from)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __call__(self, method, **parameters):
        """The result of a method of the protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def _read(self):
        until = time.monotonic() + SECONDS
        while b"\0" not in self._buffer:
            if not select.select([self._from], [], [], max(until - time.monotonic(), 0))[0]:
                raise TimeoutError("Chromium does not answer")
            read = os.read(self._from, 1 << 16)
            if not read:
                raise OSError("Chromium has ended")
            self._buffer += read
        text, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(text)

    def open(self, url, width=1280, height=800, dark=False):
        """Show a page, as on a screen of such a width and scheme."""
        self(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self("Page.navigate", url=url)
        until = time.monotonic() + SECONDS
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            assert time.monotonic() < until
            self.evaluate("0")

    def evaluate(self, expression):
        """The value of a JavaScript expression; a promise's, once it has one."""
        found = self(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, expression):
        """Wait until an expression is true."""
        until = time.monotonic() + SECONDS
        while not self.evaluate(expression):
            assert time.monotonic() < until, expression
            time.sleep(0.05)

    def point_at(self, x, y):
        """Move the pointer."""
        self("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    @property
    def errors(self):
        """What the page has written to the console as an error."""
        return [
            event
            for event in self.events
            if event.get("method") == "Runtime.exceptionThrown"
            or event.get("params", {}).get("type") == "error"
            or event.get("params", {}).get("entry", {}).get("level") == "error"
        ]

    def picture(self, path):
        """Write the whole page as a PNG file."""
        taken = self("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(b64decode(taken["data"]))
