"""What a person does at the dashboard, before a real service and in a real browser."""

from typing import TYPE_CHECKING

import httpx
import pytest

from app.api.auth import new_token
from tests.web.conftest import Site, site_with
from tests.web.gate import Gate

if TYPE_CHECKING:
    from tests.web.browser import Browser

# One worker, one browser.
pytestmark = pytest.mark.xdist_group("browser")

DEMO = "/#/sessions/demo"
ESCAPE, ENTER, TAB, RIGHT, DOWN = "\ue00c", "\ue007", "\ue004", "\ue014", "\ue015"
LAYOUT_SHIFT = """
  return await new Promise((resolve) => {
    let sum = 0;
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) if (!entry.hadRecentInput) sum += entry.value;
    }).observe({type: "layout-shift", buffered: true});
    requestAnimationFrame(() => requestAnimationFrame(() => resolve(sum)));
  });
"""
ANSWER_LATE = """
  const [path, ask] = [arguments[0], window.fetch];
  const pause = (ms) => new Promise((done) => setTimeout(done, ms));
  window.fetch = async (...request) => {
    const answer = await ask(...request);
    if (!String(request[0]).endsWith(path)) return answer;
    await pause(1000);
    setTimeout(() => { window.answeredLate = true; }, 200);
    return answer;
  };
"""
CAPTIONS = """
  const said = [];
  const [words, past] = [document.querySelector(".caption-words"), document.querySelector("#past")];
  for (const end = performance.now() + 4000; performance.now() < end;) {
    await new Promise((done) => requestAnimationFrame(done));
    said.push([words.textContent, past.textContent]);
  }
  return said;
"""
NO_MORE_LOOKS = """
  const ask = window.fetch;
  const isAhead = () => {
    const told = document.querySelector(".explain-summary").textContent;
    return !told.startsWith(`Frame ${document.querySelector("#session").dataset.look}:`);
  };
  window.fetch = async (...request) => {
    window.isOver ||= isAhead();
    if (window.isOver && String(request[0]).includes("/explain/")) throw new TypeError("No look comes any more.");
    return ask(...request);
  };
"""
DEAF = """
  const isSeen = (element) => element.checkVisibility({visibilityProperty: true}) && !element.closest("[inert]");
  const all = document.querySelectorAll("a[href], button, input, select, summary, [tabindex]");
  return [...all].filter((element) => element.tabIndex >= 0 && !element.disabled && isSeen(element)
    && !element.dataset.reached).map((element) => element.outerHTML.slice(0, 120));
"""


def open_demo(browser: "Browser", site: Site) -> None:
    browser.open(site.url + DEMO)
    browser.until(lambda: browser.data("objects") > 0 and browser.data("look") > 5)


def unseen(site: Site) -> list[int]:
    """Numbers of late frames that the detector did not look at."""
    last = site.get("/sessions/demo")["last_seq"]
    results = site.get(f"/sessions/demo/results?after_seq={max(last - 100, 0)}")["results"]
    return [result["seq"] for result in results if result["work"]["mode"] == "track"]


def pixels(browser: "Browser", selector: str) -> str:
    """A canvas as it is now, once what was asked of it is drawn."""
    script = """
      await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
      return document.querySelector(args[0]).toDataURL();
    """
    return str(browser.run(script, selector))


def test_the_page_lists_the_sessions_without_moving_about(browser: "Browser", site: Site) -> None:
    browser.open(site.url)
    card = browser.find("#sessions .card")
    browser.until(lambda: "running" in card.text and "1280×720" in card.text)
    assert "flexpatch-nano · onnxruntime" in card.text
    browser.find(".card .still.is-shown")
    assert browser.text("#health .health-words") == "Ready"
    assert "1 of 64 sessions" in browser.text("#health")
    browser.until(lambda: "v0." in browser.find("#health").text)
    browser.click("#health summary")
    assert "flexpatch-nano on onnxruntime-cpu" in browser.text(".health-checks")
    assert browser.run(LAYOUT_SHIFT) < 0.1


def test_a_session_is_seen_live_with_what_the_detector_looks_at(browser: "Browser", site: Site) -> None:
    open_demo(browser, site)
    first = browser.data("seq")
    browser.until(lambda: browser.data("seq") > first + 5)
    assert browser.find("#session-state").text == "● running"
    assert "Frame " in browser.text(".stage-caption")
    assert browser.run(LAYOUT_SHIFT) < 0.1
    browser.click("#hold")
    drawn = {pixels(browser, ".stage-canvas")}
    for layer in ("boxes", "labels", "patches"):
        browser.click(f"#layer-{layer}")
        drawn.add(pixels(browser, ".stage-canvas"))
    assert len(drawn) == 4, "each layer leaves the canvas another one"
    caption = browser.text(".look-caption")
    assert f"Frame {browser.data('look')}: " in caption
    explained = site.get(f"/sessions/demo/explain/{browser.data('look')}")
    assert "{}×{}".format(*explained["canvas"]) in caption
    shape = "const canvas = document.querySelector('#look-canvas'); return canvas.width / canvas.height;"
    assert browser.run(shape) == pytest.approx(explained["canvas"][0] / explained["canvas"][1], rel=0.02)
    held = browser.data("look")
    browser.until(lambda: browser.data("seq") > first + 15)
    assert browser.data("look") == held
    assert browser.find(".chart-figure").text.endswith("ms")


def test_the_caption_says_which_earlier_frame_the_patches_are_of(browser: "Browser", site: Site) -> None:
    open_demo(browser, site)
    said = [(int(words.split()[1].rstrip(":")), past) for words, past in browser.run(CAPTIONS)]
    ages = {seq - int(past.removeprefix("Faded: patches of frame ")) for seq, past in said if past}
    assert ages, "patches can be seen for longer than one frame"
    assert ages <= set(range(1, 10))
    browser.click("#layer-patches")
    browser.until(lambda: not browser.find("#past").text)
    browser.click("#layer-patches")
    browser.click("#hold")
    browser.until(lambda: "held" in browser.text(".caption-words"))
    assert not browser.find("#past").text, "a look that is held is shown on its own frame"


def test_after_the_last_look_the_table_tells_of_it_as_the_canvas_does(browser: "Browser", site: Site) -> None:
    open_demo(browser, site)
    browser.driver.execute_script(NO_MORE_LOOKS)
    browser.until(lambda: browser.driver.execute_script("return window.isOver"))
    browser.until(lambda: f"Frame {browser.data('look')}: " in browser.text(".explain-summary"))
    assert f"Frame {browser.data('look')}: " in browser.text(".look-caption")


def test_the_explanation_says_why_and_shows_where(browser: "Browser", site: Site) -> None:
    open_demo(browser, site)
    browser.click("#hold")
    explained = site.get(f"/sessions/demo/explain/{browser.data('look')}")
    assert len(browser.all(".explain-table tbody tr")) == len(explained["candidates"])
    assert explained["reason"] in browser.text(".explain-summary")
    browser.click(".explain-table th:nth-child(3) button")
    worths = [float(cell.text) for cell in browser.all(".explain-table td:nth-child(3)")]
    assert worths == sorted(worths, reverse=True)
    assert browser.find(".explain-table th:nth-child(3)").get_attribute("aria-sort") == "descending"
    before = pixels(browser, ".stage-canvas")
    browser.driver.execute_script("document.querySelector('.explain-table tbody tr').focus()")
    assert pixels(browser, ".stage-canvas") != before, "the region of the row with the focus stands out"
    browser.click("#hold")
    shown = browser.text(".explain-summary")
    browser.until(lambda: browser.text(".explain-summary") != shown)
    browser.driver.execute_script("document.querySelector('.explain-table tbody tr').focus()")
    browser.press(DOWN)
    assert browser.driver.switch_to.active_element == browser.all(".explain-table tbody tr")[1]
    # Frames that come while the service is busy are dropped: those that were processed are asked for.
    # The page keeps the looks that it showed; for what was not looked at it has to ask.
    slow, earlier = browser.until(lambda: tuple(unseen(site)[:2]) if len(unseen(site)) > 1 else None)
    browser.driver.execute_script(ANSWER_LATE, f"/explain/{slow}")
    browser.type("#frame-number", f"{slow}{ENTER}")
    browser.type("#frame-number", f"{earlier}{ENTER}")
    browser.until(lambda: f"Frame {earlier}: " in browser.text(".explain-summary"))
    browser.until(lambda: browser.driver.execute_script("return window.answeredLate"))
    assert f"Frame {earlier}: " in browser.text(".explain-summary"), "what was asked for last stays"
    browser.type("#frame-number", f"999999{ENTER}")
    assert "999999" in browser.text(".explain .problem")


def test_a_camera_is_added_changed_and_removed(browser: "Browser", site: Site, camera: str) -> None:
    browser.open(site.url)
    browser.click("#add-camera")
    browser.type("#camera-url", "http://camera/stream")
    browser.type("#camera-id", "door")
    browser.click("#camera-submit")
    assert "must be rtsp://" in browser.text("#camera-url-error")
    assert browser.find("#camera-url").get_attribute("aria-invalid") == "true"
    browser.type("#camera-url", camera)
    browser.type("#camera-id", "demo")
    browser.click("#camera-submit")
    assert "There is a session 'demo' already" in browser.text("#camera-id-error")
    assert not browser.find("#camera-url-error").text
    browser.type("#camera-id", "door")
    browser.type("#camera-classes", "person, car")
    browser.click("#camera-submit")
    browser.until(lambda: browser.driver.current_url.endswith("#/sessions/door"))
    browser.until(lambda: browser.data("seq") > 0)
    assert site.get("/sessions/door")["filters"]["classes"] == ["person", "car"]

    browser.click("#tab-zones")
    browser.click("#draw-zone")
    browser.click_at(".stage-areas", (0.2, 0.2), (0.6, 0.2), (0.6, 0.8), (0.2, 0.2))
    browser.type(".area-list input[type=text]", "<b>door</b>")
    browser.click("#zones-save")
    zone = browser.until(lambda: next(iter(site.get("/sessions/door")["filters"]["zones"]), None))
    assert zone["name"] == "<b>door</b>"
    assert zone["polygon"] == [pytest.approx(point, abs=1) for point in ([64, 36], [192, 36], [192, 144])]
    assert browser.find(".area-name").text == "<b>door</b>"
    assert not browser.all("main b")

    browser.drag('circle[data-corner="1"]', -0.1, 0.1)
    browser.click("#zones-save")
    browser.until(lambda: site.get("/sessions/door")["filters"]["zones"] != [zone])
    moved = site.get("/sessions/door")["filters"]["zones"][0]["polygon"]
    assert moved == [pytest.approx(point, abs=1) for point in ([64, 36], [160, 54], [192, 144])]

    browser.driver.execute_script("document.querySelector('#add-mask').focus()")
    browser.press(ENTER)
    browser.type(".area-list li:last-child .corner-list input", f"10{TAB}")
    browser.driver.execute_script("document.querySelector('circle[data-corner=\"1\"]').focus()")
    browser.press(RIGHT, RIGHT)
    browser.driver.execute_script("document.querySelector('#zones-save').focus()")
    browser.press(ENTER)
    mask = browser.until(lambda: next(iter(site.get("/sessions/door")["filters"]["masks"]), None))
    assert mask == [[10, 54], [226, 54], [224, 126], [96, 126]]
    assert len(site.get("/sessions/door")["filters"]["zones"]) == 1
    browser.click(".area-list input[type=text]")
    assert browser.driver.switch_to.active_element.get_attribute("value") == "<b>door</b>", "selecting keeps the focus"
    browser.click('[aria-label="Delete <b>door</b>"]')
    browser.click("#zones-save")
    browser.until(lambda: not site.get("/sessions/door")["filters"]["zones"])

    browser.click("#tab-settings")
    browser.type("#min-score", "2")
    browser.click("#settings-save")
    assert "less than or equal to 1" in browser.text("#min-score-error")
    browser.type("#min-score", "0.4")
    browser.type("#megapixels", "0.05")
    browser.click("#settings-save")
    browser.until(lambda: site.get("/sessions/door")["filters"]["min_score"] == 0.4)
    assert site.get("/sessions/door")["flexpatch"]["megapixels_per_frame"] == 0.05
    assert site.get("/sessions/door")["filters"]["masks"] == [mask]

    browser.click("#remove")
    browser.press(ESCAPE)
    browser.until(lambda: not browser.all("dialog"))
    assert browser.driver.switch_to.active_element.get_attribute("id") == "remove"
    browser.click("#remove")
    browser.click("#confirm")
    browser.until(lambda: len(browser.all("#sessions .card")) == 1)
    assert httpx.get(f"{site.url}/sessions/door").status_code == 404


def test_zones_that_are_not_saved_are_not_left_without_a_question(browser: "Browser", site: Site) -> None:
    def is_shown(view: str) -> bool:
        return browser.find("#main").get_attribute("data-view") == view and not browser.all("dialog")

    def may_close() -> bool:
        script = "return dispatchEvent(new Event('beforeunload', {cancelable: true}))"
        return bool(browser.driver.execute_script(script))

    browser.open(f"{site.url}/#/")
    browser.click("#sessions .card a")
    browser.until(lambda: browser.data("seq") > 0)
    browser.click("#tab-zones")
    assert may_close()
    browser.click("#add-zone")
    assert not may_close()
    browser.click(".back")
    assert browser.driver.switch_to.active_element.text == "Cancel"
    browser.press(ESCAPE)
    browser.until(lambda: is_shown("session") and browser.driver.current_url.endswith(DEMO))
    assert "back" in (browser.driver.switch_to.active_element.get_attribute("class") or "")
    assert browser.find(".area-list input").get_attribute("value") == "zone 1"
    browser.driver.back()
    browser.find("dialog")
    browser.press(ENTER)
    browser.until(lambda: is_shown("session") and browser.driver.current_url.endswith(DEMO))
    browser.driver.execute_script("location.hash = '#/sessions/other'")
    browser.find("dialog")
    browser.press(ESCAPE)
    browser.until(lambda: is_shown("session") and browser.driver.current_url.endswith(DEMO))
    browser.driver.execute_script("location.hash = '#/sessions/other'")
    browser.click("#confirm")
    browser.until(lambda: browser.driver.title.startswith("other"))
    assert browser.driver.switch_to.active_element.text == "other"
    assert may_close()
    browser.driver.back()
    browser.until(lambda: browser.driver.title.startswith("demo"))
    assert not browser.all("dialog")
    browser.click("#tab-zones")
    browser.click("#draw-zone")
    browser.click_at(".stage-areas", (0.2, 0.2), (0.6, 0.2), (0.6, 0.8))
    assert not may_close(), "a sketch that could be closed"
    browser.click(".back")
    browser.click("#confirm")
    browser.until(lambda: is_shown("overview"))
    assert not site.get("/sessions/demo")["filters"]["zones"]


def test_settings_that_are_not_saved_are_not_left_without_a_question(browser: "Browser", site: Site) -> None:
    browser.open(site.url + DEMO)
    browser.until(lambda: browser.data("seq") > 0)
    browser.click("#tab-settings")
    browser.type("#min-score", "0.01")
    browser.click(".back")
    browser.press(ESCAPE)
    browser.until(lambda: not browser.all("dialog"))
    assert browser.find("#min-score").get_attribute("value") == "0.01"
    browser.click("#settings-save")
    browser.until(lambda: site.get("/sessions/demo")["filters"]["min_score"] == 0.01)
    browser.until(lambda: browser.find("#settings-save").is_enabled())
    browser.click(".back")
    browser.until(lambda: browser.all("#sessions .card"))
    assert not browser.all("dialog")


def test_a_telephone_shows_everything_without_scrolling_sideways(browser: "Browser", site: Site) -> None:
    browser.resize(360, 740)
    for address in ("/#/", DEMO):
        browser.open(site.url + address)
        browser.until(lambda: browser.all(".card .is-shown") or browser.data("look") > 0)
        for tab in browser.all("[role=tab]"):
            tab.click()
            assert (
                browser.driver.execute_script("return [document.documentElement.scrollWidth, innerWidth]") == [360] * 2
            )
        assert browser.driver.execute_script("return document.documentElement.scrollWidth") == 360


def test_on_a_narrow_telephone_a_long_address_leaves_labels_in_one_piece(browser: "Browser", site: Site) -> None:
    source = {"kind": "rtsp", "url": f"rtsp://127.0.0.1:9/{'stream-of-the-camera-' * 8}"}
    httpx.post(f"{site.url}/sessions", json={"id": "long", "source": source}).raise_for_status()
    try:
        browser.resize(320, 700)
        browser.open(f"{site.url}/#/sessions/long")
        browser.until(lambda: "camera-" in browser.find(".facts .fact-source dd").text)
        heights = [browser.find(f".facts .fact-{name} dt").size["height"] for name in ("source", "fps")]
        assert heights[0] == heights[1]
        assert browser.driver.execute_script("return document.documentElement.scrollWidth") == 320
    finally:
        httpx.delete(f"{site.url}/sessions/long")


def test_dark_is_as_the_system_has_it_or_as_was_chosen(browser: "Browser", site: Site) -> None:
    def ground() -> int:
        script = "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
        return sum(browser.driver.execute_script(script))

    browser.open(site.url)
    light = ground()
    browser.prefer("dark")
    assert light > 600
    assert ground() < 150
    browser.click("#theme")
    assert ground() == light
    assert "Change to dark" in (browser.find("#theme").get_attribute("aria-label") or "")
    browser.click("#theme")
    browser.prefer("light")
    browser.open(site.url)
    assert ground() < 150, "the choice outlives the page"


@pytest.mark.parametrize("address", ["/#/", DEMO])
def test_every_control_is_reached_by_tab(browser: "Browser", site: Site, address: str) -> None:
    browser.open(site.url + address)
    browser.until(lambda: browser.all(".card .is-shown") or browser.data("look") > 0)
    browser.driver.execute_script(
        "document.addEventListener('focusin', (event) => { event.target.dataset.reached = 'yes'; });"
        "document.querySelector('.skip').focus();"
    )
    if browser.all("#hold"):
        browser.driver.execute_script("document.querySelector('#hold').click()")  # rows made anew have not been reached
    browser.press(*[TAB] * 40)
    assert browser.run(DEAF) == []


def test_every_control_has_a_name(browser: "Browser", site: Site) -> None:
    open_demo(browser, site)
    found: list[tuple[str, str]] = []
    for opener in ("#tab-why", "#tab-zones", "#add-mask", "#tab-settings", "#remove"):
        browser.click(opener)
        found += browser.nameless()
    browser.open(f"{site.url}/#/")
    browser.find(".card")
    found += browser.nameless()
    browser.click("#add-camera")
    assert found + browser.nameless() == []


def test_a_service_that_goes_away_is_missed_and_found_again(browser: "Browser", site: Site) -> None:
    open_demo(browser, site)
    try:
        site.gate.is_down = True
        browser.until(lambda: "broke off" in browser.find(".stage-note").text)
    finally:
        site.gate.is_down = False
    seen = browser.data("seq")
    browser.until(lambda: browser.data("seq") > seen)
    assert not browser.find(".stage-note").text


def test_streams_end_with_their_view_and_rest_while_nobody_looks(browser: "Browser", site: Site) -> None:
    open_demo(browser, site)
    browser.until(lambda: site.gate.n_streams == 1)
    browser.driver.switch_to.new_window("tab")
    try:
        browser.until(lambda: site.gate.n_streams == 0)
    finally:
        browser.driver.close()
        browser.driver.switch_to.window(browser.driver.window_handles[0])
    browser.until(lambda: site.gate.n_streams == 1)
    browser.click(".back")
    browser.until(lambda: site.gate.n_streams == 0)
    assert browser.driver.switch_to.active_element.text == "Sessions"


def test_many_windows_leave_the_service_free_for_requests(browser: "Browser", site: Site) -> None:
    # A browser opens six connections to a service, and a stream keeps its own.
    first = browser.driver.current_window_handle
    try:
        for _ in range(7):
            browser.driver.switch_to.new_window("window")
            open_demo(browser, site)
        browser.until(lambda: site.gate.n_streams == 7)
        assert browser.run("return (await fetch('/livez')).status;") == 200
    finally:
        for handle in browser.driver.window_handles:
            if handle != first:
                browser.driver.switch_to.window(handle)
                browser.driver.close()
        browser.driver.switch_to.window(first)
    browser.until(lambda: site.gate.n_streams == 0)


def test_a_session_that_is_not_there_is_told(browser: "Browser", site: Site) -> None:
    browser.open(f"{site.url}/#/sessions/nobody")
    assert "nobody" in browser.text(".stage-note")


def test_the_description_of_the_api_needs_nothing_from_elsewhere_and_can_be_tried(
    browser: "Browser", site: Site
) -> None:
    browser.open(f"{site.url}/docs")
    assert "FlexPatch Service" in browser.text(".info .title")
    asked = browser.driver.execute_script(
        "return performance.getEntriesByType('resource').map((entry) => new URL(entry.name).origin)"
    )
    assert set(asked) == {site.url}
    browser.click("#operations-health-live_livez_get .opblock-summary-control")
    browser.click(".try-out__btn")
    browser.click(".execute")
    assert '"status": "alive"' in browser.text(".live-responses-table .microlight")


def test_a_token_is_asked_for_once_and_sent_with_everything(browser: "Browser") -> None:
    secret, admin = new_token("ann", "admin")
    with site_with(Gate(), tokens=[str(admin)]) as site:
        browser.open(site.url)
        browser.find("dialog")
        browser.press(ESCAPE)
        assert "wants a token" in browser.text("#banner")
        browser.click("#banner button")
        browser.type("#token", f"wrong{ENTER}")
        assert "The token is not known." in browser.text("dialog .problem")
        assert len(browser.all("dialog")) == 1
        browser.type("#token", f"{secret}{ENTER}")
        assert "No session yet" in browser.text(".empty h2")
        answer = httpx.post(
            f"{site.url}/sessions", json={"id": "pushed"}, headers={"Authorization": f"Bearer {secret}"}
        )
        answer.raise_for_status()
        browser.until(lambda: browser.all("#sessions .card"))
        browser.click("#sessions .card a")
        assert "Push one to /sessions/pushed/frames" in browser.text(".stage-note")
        browser.until(lambda: site.gate.n_streams == 1)
        assert not browser.all("dialog")
        browser.driver.get("about:blank")


def test_who_may_only_look_sees_why_and_can_become_somebody_else(browser: "Browser") -> None:
    (secret, admin), (weak, reader) = new_token("ann", "admin"), new_token("bob", "read")
    refusal = "Changes take the role admin; the token bob has the role read."
    with site_with(Gate(), tokens=[str(admin), str(reader)]) as site:
        bearer = {"Authorization": f"Bearer {secret}"}
        zone = {"name": "door", "polygon": [[10, 10], [90, 10], [90, 90]]}
        document = {"id": "pushed", "filters": {"zones": [zone]}}
        httpx.post(f"{site.url}/sessions", json=document, headers=bearer).raise_for_status()
        browser.open(site.url)
        browser.type("#token", f"{weak}{ENTER}")
        browser.until(lambda: browser.find("#person summary").text.endswith("bob\nread"))
        assert not browser.find("#add-camera").is_enabled()
        assert browser.text(".overview-head .refusal") == refusal
        browser.click("#sessions .card a")
        assert browser.text(".session-head .refusal") == refusal
        assert not browser.find("#remove").is_enabled()
        browser.click("#tab-settings")
        assert browser.text(".settings .refusal") == refusal
        assert not browser.find("#settings-save").is_enabled()
        browser.click("#tab-zones")
        assert browser.text(".zones .refusal") == refusal
        assert browser.find(".area-list input").get_attribute("value") == "door"
        assert browser.all(".zones :is(button, input):enabled") == []
        assert not browser.all(".stage-areas.is-editing")

        browser.resize(320, 700)
        browser.click("#person summary")
        assert browser.driver.execute_script("return document.documentElement.scrollWidth") == 320
        assert browser.find("#person .popup").location["x"] >= 0
        browser.resize(1440, 1000)
        browser.click("#other-token")
        browser.type("#token", f"wrong{ENTER}")
        assert "The token is not known." in browser.text("dialog .problem")
        browser.press(ESCAPE)
        browser.until(lambda: not browser.all("dialog"))
        assert browser.driver.switch_to.active_element.tag_name == "summary"
        assert browser.driver.execute_script("return sessionStorage.getItem('flexpatch-token')") == weak
        browser.click("#person summary")
        browser.click("#other-token")
        browser.type("#token", f"{secret}{ENTER}")
        browser.until(lambda: browser.find("#person summary").text.endswith("ann\nadmin"))
        assert browser.find("#remove").is_enabled()
        assert not browser.find(".session-head .refusal").is_displayed()
        browser.click("#tab-settings")
        browser.type("#min-score", f"0.5{ENTER}")
        browser.until(lambda: "were saved" in (browser.find("#announcer").get_attribute("textContent") or ""))
        browser.driver.get("about:blank")
