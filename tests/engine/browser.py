"""A headless Chromium driven over a pipe: what a page does, asks for and says, in real time."""

import contextlib
import itertools
import json
import os
import select
import shlex
import shutil
import subprocess
import time

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SECONDS = 60.0
"""How long anything may take."""


class Tab:
    """One page of the browser.

    Attributes:
        requests: every address it asked for.
        said: whatever its console was told, and every uncaught error.
    """

    def __init__(self, reading, writing):
        self._reading, self._writing, self._buffer = reading, writing, b""
        self._numbers, self._session = itertools.count(1), {}
        self.requests, self.said = [], []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        """One command of the DevTools protocol, and its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params, **self._session}
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer.get("method"), answer.get("params", {}))

    def _receive(self):
        ends = time.monotonic() + SECONDS
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._reading], [], [], ends - time.monotonic())
            assert ready, "the browser does not answer"
            read = os.read(self._reading, 1 << 20)
            assert read, "the browser has ended"
            self._buffer += read
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, method, params):
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.said.append(params)

    def evaluate(self, code):
        """The value of a JavaScript expression, awaited if it is a promise."""
        result = self.call(
            "Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def visit(self, path, *, width=1200, height=900):
        """Opens a file and waits until its charts are drawn."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        started = time.monotonic()
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not self.evaluate("document.documentElement?.dataset.ready === 'true'"):
            assert time.monotonic() - started < SECONDS, self.said
            time.sleep(0.02)

    def point(self, x, y):
        """Moves the mouse."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def press(self, key, code):
        """Presses and releases a key."""
        text = {"text": "\r"} if key == "Enter" else {}
        known = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", **known, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **known)


@contextlib.contextmanager
def browser(profile):
    """A tab of a browser of its own, with its profile in a folder of the test."""
    (child_reads, writing), (reading, child_writes) = os.pipe(), os.pipe()
    command = [
        str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        "--disable-dev-shm-usage", f"--user-data-dir={profile}", "--remote-debugging-pipe",
    ]  # fmt: skip
    line = f"exec {shlex.join(command)} 3<&{child_reads} 4>&{child_writes}"
    process = subprocess.Popen(
        ["bash", "-c", line],
        pass_fds=(child_reads, child_writes),
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    os.close(child_reads)
    os.close(child_writes)
    try:
        yield Tab(reading, writing)
    finally:
        process.terminate()
        process.wait(timeout=SECONDS)
        os.close(reading)
        os.close(writing)
