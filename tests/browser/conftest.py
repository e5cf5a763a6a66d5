"""A real server and a real Chromium, shared by the tests of this folder; without a Chromium they are reported as not run."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.capture_factory import make_capture

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WAIT = 60_000  # milliseconds; a bound for a broken build
# Notes when the page last asked the server for something, when a run of the script last ended, and since when a test waits.
LISTEN = """() => {
    if (window.__heard) { window.__heard.since = performance.now(); return; }
    window.__heard = {asked: -1, answered: 0, since: performance.now()};
    const send = WebSocket.prototype.send;
    WebSocket.prototype.send = function (...all) { window.__heard.asked = performance.now(); return send.apply(this, all); };
    new MutationObserver(() => {
        if (document.querySelector('[data-testid="stApp"]')?.dataset.testScriptState === "notRunning")
            window.__heard.answered = performance.now();
    }).observe(document, {subtree: true, attributeFilter: ["data-test-script-state"]});
}"""
# A wish that no run answers (the address for an upload) is given 3 seconds, a page that asks again and again, as while a job
# runs, 10. A skeleton stands where code is still being loaded.
QUIET = """() => {
    const {asked, answered, since} = window.__heard ?? {asked: -1, answered: 0, since: performance.now()}, now = performance.now();
    return document.querySelector('[data-testid="stApp"]')?.dataset.testScriptState === "notRunning"
        && (answered > asked || now - asked > 3000 || now - since > 10000)
        && !document.querySelector('[data-testid="stSkeleton"]');
}"""


@dataclass
class Server:
    """The dashboard as a process of its own.

    Attributes:
        url: where it listens.
        process: the process.
        home: its $WORKBENCH_HOME; captures "small" and "large" lie in the library.
        ids: name of a capture -> its id in an address.
        log: its output.
    """

    url: str
    process: subprocess.Popen[bytes]
    home: Path
    ids: dict[str, str]
    log: Path
    foreign: list[str] = field(default_factory=list)  # requests that left this machine

    def loaded_torch(self) -> bool:
        """Whether the process has mapped torch's library into its memory."""
        import psutil

        return any("torch" in Path(entry.path).name for entry in psutil.Process(self.process.pid).memory_maps())


def start_server(home: Path, log: Path, app: str = "app.py") -> tuple[subprocess.Popen[bytes], str]:
    """Start `streamlit run` with an app on a free port and wait until it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", app, "--server.port", str(port)]
    environment = os.environ | {"WORKBENCH_HOME": str(home), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with log.open("wb") as sink:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=sink, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=5):
                return process, url
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.1)
    process.kill()
    raise AssertionError(f"the dashboard did not start: {log.read_text()[-2000:]}")


@contextmanager
def serving(base: Path, app: str = "app.py") -> Iterator[str]:
    """A server of its own, for pages that load torch or write; gives its address."""
    process, address = start_server(base / "home", base / "log", app)
    try:
        yield address
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    base = tmp_path_factory.mktemp("dashboard")
    home = base / "home"
    captures = {
        "small": make_capture(4, 12, 3, [300, 200, 100]),
        "large": make_capture(60, 256, 6, 40, top_k=8, blocks=4, seed=1),
    }
    for name, capture in captures.items():
        capture.save(home / "captures" / name)
    process, url = start_server(home, base / "server.log")
    try:
        yield Server(url, process, home, _ids(home), base / "server.log")
    finally:
        process.terminate()
        process.wait(20)


def _ids(home: Path) -> dict[str, str]:
    """The ids as a process with this home knows them; asked elsewhere, so that this process keeps its own environment."""
    code = "from workbench import session; print('\\n'.join(f'{p.name} {p.id}' for p in session.places()))"
    out = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"WORKBENCH_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(line.split(" ") for line in out.stdout.splitlines())


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless Chromium: $CHROME, else the system's, else playwright's own; none: the tests are skipped with a sentence."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="Browser tests not run: playwright is missing, `make test` installs it."
    )
    path = os.environ.get("CHROME") or next((found for name in NAMES if (found := shutil.which(name))), None)
    with playwright.sync_playwright() as driver:
        try:
            browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except playwright.Error:
            pytest.skip(
                "Browser tests not run: no Chromium starts here; install one (for example `apt-get install chromium`) and test again."
            )
        yield browser
        browser.close()


@pytest.fixture
def visit(server: Server, chromium: Any) -> Iterator[Callable[..., Any]]:
    """visit(path, theme="light", width=1440) -> a fresh tab that has finished drawing; requests to elsewhere are noted."""
    opened = []

    def open_tab(path: str = "", theme: str = "light", width: int = 1440, height: int = 1000) -> Any:
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=theme, accept_downloads=True
        )
        opened.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT)
        page.on("request", lambda request: _note(server, request.url))
        page.goto(f"{server.url}/{path}")
        settle(page)
        return page

    yield open_tab
    for context in opened:
        context.close()


def _note(server: Server, url: str) -> None:
    if not url.startswith((server.url, "data:", "blob:", server.url.replace("http", "ws"))):
        server.foreign.append(url)


def settle(page: Any) -> None:
    """Wait until every change has been answered, the script has run, and its elements stand, those too that load when first shown."""
    page.evaluate(LISTEN)
    page.wait_for_function(QUIET)
    page.wait_for_selector("h1")
    page.wait_for_timeout(300)
    page.wait_for_function(QUIET)
