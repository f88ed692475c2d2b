"""One server with the reference city, its demo day planned, and a Chromium to drive it."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page

from tests.conftest import need

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
DAY = "2016-06-21"


@pytest.fixture(scope="module")
def address(reference_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running server; its store holds the plan of `DAY` and nothing else."""
    need(CHROMIUM.exists(), f"{CHROMIUM} is not installed")
    import uvicorn

    from energy.app import build_app, open_service
    from energy.service.cities import reference_city_directory

    home = shutil.copytree(reference_home, tmp_path_factory.mktemp("browser"), dirs_exist_ok=True)
    before = {name: os.environ.get(name) for name in ("WATTSHED_HOME", "DATABASE_URL")}
    os.environ["WATTSHED_HOME"] = str(home)
    os.environ.pop("DATABASE_URL", None)
    city = shutil.copytree(reference_city_directory(), home / "city")  # the built-in one takes no entries
    service = open_service([city])
    service.plan("reference", DAY)
    server = uvicorn.Server(uvicorn.Config(build_app(service), host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    base = f"http://127.0.0.1:{port}"
    assert httpx.get(f"{base}/healthz").status_code == 200
    yield base
    server.should_exit = True
    thread.join(timeout=10)
    service.close()
    for name, value in before.items():
        if value is not None:
            os.environ[name] = value
        else:
            os.environ.pop(name, None)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A Chromium, gone before other modules: its driver keeps an event loop running in this thread."""
    from playwright.sync_api import sync_playwright

    need(CHROMIUM.exists(), f"{CHROMIUM} is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        browser.close()


class Reader:
    """A reader with one browser window; notes every console error and every request to another host."""

    def __init__(self, browser: Browser, address: str, width: int = 1440, height: int = 1000) -> None:
        self.address = address
        self.complaints: list[str] = []
        self.page = browser.new_page(viewport={"width": width, "height": height})
        self.page.set_default_timeout(30_000)
        self.page.on("console", lambda m: m.type == "error" and self.complaints.append(m.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self._note(request.url))

    def _note(self, url: str) -> None:
        if not url.startswith((self.address, "data:", "blob:")):
            self.complaints.append(f"request to {url}")

    def open(self, path: str = "/", **query: str) -> Page:
        """Open a page and wait until its cards are there and its charts are drawn."""
        search = "&".join(f"{name}={value}" for name, value in query.items())
        self.page.goto(f"{self.address}{path}?{search}")
        self.page.wait_for_selector(".cards, .empty")
        return self.page

    def drawn(self, chart: str) -> None:
        """Wait until the chart of that id has traces."""
        self.page.wait_for_function(
            "id => { const g = document.querySelector('#' + id + ' .js-plotly-plot');"
            " return g && g.data && g.data.length && g._fullLayout && g._fullLayout.xaxis !== null; }",
            arg=chart,
        )


@pytest.fixture
def reader(chromium: Browser, address: str) -> Iterator[Reader]:
    """A desktop reader, who must have had nothing to complain about at the end."""
    someone = Reader(chromium, address)
    yield someone
    someone.page.close()
    assert someone.complaints == []


@pytest.fixture
def small_reader(chromium: Browser, address: str) -> Iterator[Reader]:
    """A reader with a phone, 390 px wide."""
    someone = Reader(chromium, address, 390, 844)
    yield someone
    someone.page.close()
    assert someone.complaints == []
