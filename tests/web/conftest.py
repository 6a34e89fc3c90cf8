"""The service behind a gate, and a browser before it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from app.core.clock import SystemClock
from app.ingest.camera.feed import FileFeed, convert
from app.ingest.camera.server import Camera, CameraOptions
from app.ingest.camera.thread import CameraThread
from app.main import create_app
from tests.api.conftest import server_for, settings
from tests.offline.clips import image_folder
from tests.web.gate import Gate, GateMiddleware

if TYPE_CHECKING:
    from tests.web.browser import Browser

CHROMIUM, CHROMEDRIVER = "chromium", "chromedriver"
OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--hide-scrollbars", "--window-size=1440,1000", "--remote-debugging-pipe"),
)


@dataclass(frozen=True, slots=True)
class Site:
    """A running service."""

    url: str
    gate: Gate

    def get(self, path: str) -> Any:
        """A document of the service, past the browser."""
        response = httpx.get(self.url + path)
        response.raise_for_status()
        return response.json()


@contextmanager
def site_with(gate: Gate, **values: Any) -> Iterator[Site]:
    # However slow the machine is, sessions are what they were made.
    app = create_app(settings(**{"stale_after_s": 600.0} | values))
    app.add_middleware(GateMiddleware, gate=gate)
    with server_for(app) as address:
        yield Site(f"http://{address}", gate)


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """The service with its demo."""
    with site_with(Gate(), demo=True, source_allow="127.0.0.1") as found:
        yield found


@pytest.fixture(scope="session")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a small camera."""
    recording = tmp_path_factory.mktemp("web") / "squares.mp4"
    convert(str(image_folder(recording.parent / "frames", 15)), recording)
    clock = SystemClock()
    start_s = clock.now_s()

    def make(folder: Path) -> Camera:
        return Camera(FileFeed(recording, clock, start_s), clock, start_s, CameraOptions(port=0), folder)

    thread = CameraThread(make)
    yield thread.start().url
    thread.stop()


@pytest.fixture(scope="session")
def tab() -> Iterator["Browser"]:
    """One Chromium for all tests."""
    pytest.importorskip("selenium", reason="the dashboard is tested with selenium")
    chromium, chromedriver = shutil.which(CHROMIUM), shutil.which(CHROMEDRIVER)
    if not (chromium and chromedriver):
        pytest.skip("the dashboard is tested with the programs chromium and chromedriver")
    from selenium.webdriver import Chrome, ChromeOptions  # noqa: PLC0415 - may be missing
    from selenium.webdriver.chrome.service import Service  # noqa: PLC0415

    from tests.web.browser import Browser  # noqa: PLC0415

    options = ChromeOptions()
    options.binary_location = chromium
    for option in OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options, Service(chromedriver))
    driver.set_script_timeout(20)
    yield Browser(driver)
    driver.quit()


@pytest.fixture
def browser(tab: "Browser") -> Iterator["Browser"]:
    """A person at a desk in daylight, who has never been here; nothing may turn up on the console."""
    tab.resize(1440, 1000)
    tab.prefer("light")
    tab.complaints()
    yield tab
    complaints = tab.complaints()
    if tab.driver.current_url.startswith("http"):
        tab.driver.execute_script("localStorage.clear(); sessionStorage.clear();")
        tab.driver.get("about:blank")
    assert [text for text in complaints if " - Failed to load resource" not in text] == []
