"""A person before the page."""

from collections.abc import Callable
from typing import Any, TypeVar

from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

WAIT_S = 20.0
CONTROLS = frozenset({"button", "checkbox", "combobox", "dialog", "link", "searchbox", "spinbutton", "tab", "textbox"})

T = TypeVar("T")


class Browser:
    """One tab, and what a person does with it."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def open(self, address: str) -> None:
        """A page as somebody sees it who was never here."""
        self.driver.get("about:blank")
        self.driver.get(address)

    def find(self, selector: str) -> WebElement:
        """The first element, once there is one."""
        return self.until(lambda: next(iter(self.all(selector)), None))

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def click(self, selector: str) -> None:
        """Once it can be clicked."""
        self.until(lambda: self.find(selector).is_enabled())
        self.in_view(selector).click()

    def in_view(self, selector: str) -> WebElement:
        """By itself a driver scrolls to the edge only: below the line that stays on top."""
        element = self.find(selector)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        return element

    def type(self, selector: str, text: str) -> None:
        """In place of what is there."""
        element = self.find(selector)
        element.send_keys(Keys.CONTROL, "a")
        element.send_keys(text)

    def press(self, *keys: str) -> None:
        """On whatever has the focus."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def click_at(self, selector: str, *points: tuple[float, float]) -> None:
        """Click points of an element, as shares of its width and height."""
        element = self.in_view(selector)
        size = element.size
        chain = ActionChains(self.driver, duration=0)
        for x, y in points:
            dx, dy = round((x - 0.5) * size["width"]), round((y - 0.5) * size["height"])
            chain = chain.move_to_element_with_offset(element, dx, dy).click()
        chain.perform()

    def drag(self, selector: str, dx: float, dy: float) -> None:
        """By shares of the picture's width and height."""
        size = self.find(".stage-areas").size
        chain = ActionChains(self.driver, duration=0).click_and_hold(self.in_view(selector))
        chain.move_by_offset(round(dx * size["width"]), round(dy * size["height"])).release().perform()

    def text(self, selector: str) -> str:
        return self.until(lambda: self.find(selector).text)

    def data(self, name: str) -> int:
        """A number that the session's view exposes; 0 while it is not known."""
        found = self.all("#session")
        return int((found and found[0].get_attribute(f"data-{name}")) or 0)

    def run(self, script: str, *arguments: Any) -> Any:
        """The result of an asynchronous script's body."""
        wrapped = (
            "const done = arguments[arguments.length - 1];"
            f"(async (...args) => {{ {script} }})(...arguments)"
            ".then((value) => done({value}), (error) => done({error: `${error} ${error.stack}`}));"
        )
        answer = self.driver.execute_async_script(wrapped, *arguments)
        assert "error" not in answer, answer["error"]
        return answer.get("value")

    def until(self, ask: Callable[[], T | None]) -> T:
        """What is asked for, once it is there and not false."""

        def answer(_driver: Chrome) -> T | None:
            return ask() or None

        waiting = WebDriverWait(self.driver, WAIT_S, 0.05, [StaleElementReferenceException])
        found = waiting.until(answer)
        assert found is not None
        return found

    def resize(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, scheme: str) -> None:
        """Light or dark, as the system would say."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def nameless(self) -> list[tuple[str, str]]:
        """Role and description of controls that a screen reader could not tell apart."""
        nodes = self.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        return [
            (node["role"]["value"], str(node.get("properties")))
            for node in nodes
            if node.get("role", {}).get("value") in CONTROLS
            and not node.get("ignored")
            and not node.get("name", {}).get("value")
        ]

    def complaints(self) -> list[str]:
        """What the console said since it was asked last."""
        return [f"{entry['level']} {entry['message']}" for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]
