"""The parts of the dashboard that need no page: parsers, geometry, pairing, words."""

import re
from typing import TYPE_CHECKING, Any

import pytest

from app.api.pages import DASHBOARD
from tests.web.conftest import Site

if TYPE_CHECKING:
    from tests.web.browser import Browser

# One worker, one browser.
pytestmark = pytest.mark.xdist_group("browser")

WEB = DASHBOARD.parent


class Modules:
    """Runs scripts that import modules of the dashboard."""

    def __init__(self, browser: "Browser") -> None:
        self._browser = browser

    def run(self, module: str, names: str, script: str, *arguments: Any) -> Any:
        return self._browser.run(f"const {{{names}}} = await import('/web/js/{module}.js'); {script}", *arguments)


@pytest.fixture
def modules(browser: "Browser", site: Site) -> Modules:
    browser.driver.get(f"{site.url}/livez")
    return Modules(browser)


def test_a_picture_waits_for_its_own_result(modules: Modules) -> None:
    script = """
      const released = [];
      const picture = (seq) => ({seq, release: () => released.push(seq)});
      const seqs = (pair) => pair && [pair.picture.seq, pair.result.seq];
      const pairing = new Pairing(3);
      return [
        seqs(pairing.addPicture(picture(5))), seqs(pairing.addResult({seq: 4})), seqs(pairing.addResult({seq: 5})),
        seqs(pairing.addResult({seq: 6})), seqs(pairing.addPicture(picture(6))),
        seqs(pairing.addPicture(picture(8))), seqs(pairing.addPicture(picture(9))), seqs(pairing.addResult({seq: 8})),
        seqs(pairing.addResult({seq: 9})), seqs(pairing.addPicture(picture(4))),
        seqs(pairing.addResult({seq: 1})), seqs(pairing.addPicture(picture(9))), released,
      ];
    """
    found = modules.run("pairing", "Pairing", script)
    assert found == [
        *(None, None, [5, 5]),
        *(None, [6, 6]),
        *(None, None, None),
        *([9, 9], None),
        *(None, None),
        [8, 4],  # overtaken by the next; and 4 was forgotten
    ]


def test_trails_end_with_their_tracks(modules: Modules) -> None:
    script = """
      const trails = new Trails();
      const object = (track_id, x) => ({track_id, box: [x, 0, x + 10, 20]});
      trails.add([object(1, 0), object(2, 50)], 0);
      trails.add([object(1, 10)], 1000);
      const early = [[...trails.of(1)], trails.size];
      trails.add([object(1, 20)], 2500);
      return [...early, trails.of(1), trails.size, trails.of(2)];
    """
    assert modules.run("trails", "Trails", script) == [
        [[5, 20, 0], [15, 20, 1000]],
        2,
        [[15, 20, 1000], [25, 20, 2500]],
        1,
        [],
    ]


def test_patches_lie_on_the_canvas_where_the_explanation_says(modules: Modules) -> None:
    script = """
      const candidate = (is_taken, canvas_box) => ({kind: "object", box: [100, 200, 300, 600], is_taken, canvas_box});
      const all = [candidate(true, [10, 20, 60, 120]), candidate(false, null)];
      return placements(all, [1920, 1080], [960, 540]).map(({from, to}) => [from, to]);
    """
    assert modules.run("canvas", "placements", script) == [[[50, 100, 100, 200], [10, 20, 50, 100]]]


def test_patches_of_an_earlier_frame_are_drawn_weaker_and_named(modules: Modules) -> None:
    script = """
      const context = new OffscreenCanvas(100, 100).getContext("2d", {willReadFrequently: true});
      const strength = (seq, look) => {
        paintFrame(context, {size: [100, 100], seq, look}, {patches: true});
        return context.getImageData(50, 50, 1, 1).data[3];
      };
      const taken = {seq: 7, candidates: [{kind: "object", box: [0, 0, 100, 100], is_taken: true}]};
      const left = {seq: 7, candidates: [{...taken.candidates[0], is_taken: false}]};
      const [own, past] = [strength(7, taken), strength(9, taken)];
      const words = [[7, taken], [9, taken], [9, left], [9, null]].map(([seq, look]) => pastWords({seq, look}));
      return [own > 30, past > 5, past < own / 2, strength(9, left), words];
    """
    assert modules.run("overlay", "paintFrame, pastWords", script) == [
        *(True, True, True, 0),
        ["", "Faded: patches of frame 7", "", ""],
    ]


def test_history_keeps_two_minutes_and_knows_what_was_saved(modules: Modules) -> None:
    script = """
      const history = new History();
      const result = (detector_pixels) => ({age_ms: 10, stage_ms: {}, work: {detector_pixels, mode: "track"}});
      for (let at = 0; at < 300; at += 1) history.add(result(at < 290 ? 0 : 50), 100, at * 1000);
      const last = history.since(280_000);
      const lines = stacked([{values: [1, null, 2]}, {values: [3, null, 4]}]);
      return [
        history.since(0).length < 200, last.length, saved(last), saved([{source: 10, detector: 40}]),
        quantile([5, 1, 9], 0.5), quantile([], 0.5),
        bridged([null, 1, null, 3, null, null, null, null, null, 2, null]),
        steps([{at_ms: 119_999, v: 3}, {at_ms: 0, v: 5}], ({v}) => v, 4, 120_000),
        roundUp(0), roundUp(7), roundUp(230), roundUp(1000), lines[1].values, lines[1].base,
        runs([null, 1, 1, null, 2]),
      ];
    """
    script = "const {runs, stacked} = await import('/web/js/charts.js');" + script
    assert modules.run("history", "History, bridged, quantile, roundUp, saved, steps", script) == [
        *(True, 20, 0.75, 0, 5, None),
        [None, 1, 1, 3, None, None, None, None, None, 2, None],
        [5, None, None, 3],
        *(1, 10, 250, 1000),
        *([4, None, 6], [1, None, 2]),
        [[1, 2], [4, 4]],
    ]


def test_polygons_stay_inside_the_frame_and_keep_three_corners(modules: Modules) -> None:
    script = """
      const square = [[0, 0], [10, 0], [10, 10], [0, 10]];
      return [
        moveCorner(square, 2, [99, -5.123], [50, 40]), splitEdge(square, 3), dropCorner(square, 0).length,
        dropCorner(dropCorner(square, 0), 0).length, middle(square), middle([[1, 1], [1, 1], [4, 1]]),
        middleRectangle([1000, 500]), inside([3.14159, 7], [10, 5]), square.length,
      ];
    """
    names = "dropCorner, inside, middle, middleRectangle, moveCorner, splitEdge"
    assert modules.run("polygons", names, script) == [
        [[0, 0], [10, 0], [50, 0], [0, 10]],
        [[0, 0], [10, 0], [10, 10], [0, 10], [0, 5]],
        *(3, 3, [5, 5], [2, 1]),
        [[300, 150], [700, 150], [700, 350], [300, 350]],
        *([3.1, 5], 4),
    ]


def test_sessions_in_trouble_come_first_and_names_sort_as_people_do(modules: Modules) -> None:
    script = """
      const session = (id, state, thrift = 0) => ({id, state, thrift});
      const all = [session("cam-10", "running"), session("cam-2", "running"), session("x", "failed"),
                   session("y", "stale"), session("busy", "running", 2), session("z", "connecting")];
      return [all.sort(byUrgency).map(({id}) => id), [0.04, 12.4, 300, 7300, 3e5].map(duration),
              [950, 8192, 245760, 999_700].map(count), [0.0812, 0.5, 0, 1].map(percent)];
    """
    assert modules.run("words", "byUrgency, count, duration, percent", script) == [
        ["x", "y", "busy", "z", "cam-2", "cam-10"],
        ["0.0 s", "12 s", "5 min", "2 h", "3 d"],
        ["950", "8.19 k", "246 k", "1.00 M"],
        ["8.1 %", "50 %", "0 %", "100 %"],
    ]


def test_why_a_session_is_in_its_state_is_told_once_and_without_a_second_age(modules: Modules) -> None:
    script = """
      const why = (state, reason, detail) => whyOf({state, reason, error: detail ? {detail} : null});
      return [why("stale", "No frame for 5 s."), why("backoff", "Again in 2 s.", "It refused."),
              why("backoff", "It refused. Again in 2 s.", "It refused."), why("failed", "Refused.", "Refused. Gone.")];
    """
    assert modules.run("overview", "whyOf", script) == [
        "No new frame comes.",
        "Again in 2 s. It refused.",
        "It refused. Again in 2 s.",
        "Refused. Gone.",
    ]


def test_addresses_name_sessions(modules: Modules) -> None:
    script = """
      const hashes = ["", "#/", "#/sessions/a.b-c", "#/sessions/a%20b", "#/sessions/", "#/sessions/%", "#/x"];
      return hashes.map(sessionOf);
    """
    assert modules.run("router", "sessionOf", script) == [None, None, "a.b-c", "a b", None, None, None]


def test_candidates_are_sorted_by_any_column(modules: Modules) -> None:
    script = """
      const one = (kind, value, pixels, is_taken, reason) => ({kind, value, pixels, is_taken, reason});
      const all = [one("tile", 1, 10, false, "b"), one("object", 3, 30, true, "c"), one("frame", 2, 90, false, "a")];
      const by = (key, isReversed) => sorted(all, key, isReversed).map(({kind}) => kind[0]).join("");
      return ["is_taken", "kind", "value", "pixels", "rate", "reason"].map((key) => by(key)).concat(by("value", true));
    """
    assert modules.run("explain", "sorted", script) == ["otf", "oft", "oft", "fot", "tof", "fto", "tfo"]


def test_a_list_that_is_sorted_anew_keeps_its_focus_and_moves_only_what_changed_its_place(modules: Modules) -> None:
    script = """
      const orders = (rest) => rest.length
        ? rest.flatMap((one) => orders(rest.filter((other) => other !== one)).map((order) => [one, ...order])) : [[]];
      const list = el("ul");
      document.body.append(list);
      const make = (item) => el("li", {}, el("button", {}, item));
      const draw = (items) => keyed(list, items, (item) => item, make, () => {});
      const wrong = [];
      for (const order of orders(["a", "b", "c", "d", "x"])) {
        for (const focused of ["a", "b", "c", "d", null]) {
          list.replaceChildren();
          draw(["a", "b", "gone", "c", "d"]);
          const button = list.querySelector(`[data-key="${focused}"] button`);
          button?.focus();
          draw(order);
          if (list.textContent !== order.join("")) wrong.push([order, list.textContent]);
          if (button && document.activeElement !== button) wrong.push([order, focused]);
          document.activeElement.blur();
        }
      }
      const moves = (before, after) => {
        list.replaceChildren();
        draw([...before]);
        const observer = new MutationObserver(() => {});
        observer.observe(list, {childList: true});
        draw([...after]);
        const added = observer.takeRecords().flatMap((record) => [...record.addedNodes]);
        return added.map((node) => node.textContent).join("");
      };
      return [wrong, moves("abcde", "bcdea"), moves("abcde", "eabcd"), moves("abcde", "abcde"), moves("abc", "axbc")];
    """
    assert modules.run("dom", "el, keyed", script) == [[], "a", "e", "", "x"]


def test_problems_go_to_their_fields(modules: Modules) -> None:
    script = """
      const said = {};
      const fail = (name) => (text) => { said[name] = text; };
      const field = (name) => ({fail: fail(name), input: {focus: () => { said.focus ??= name; }}});
      const fields = {url: field("url"), id: field("id")};
      const findings = [["body.source.rtsp.url", "too long"], ["body.queue.depth", "too small"]];
      const errors = findings.map(([where, message]) => ({where, message}));
      const rest = [
        placeProblem({errors, message: "all"}, fields, {}),
        placeProblem({errors: [], code: "session_exists", message: "taken"}, fields, {session_exists: "id"}),
        placeProblem({errors: [], code: "else", message: "no room"}, fields, {}),
      ];
      return [said, rest, namesIn(" person, ,car "), namesIn(" ")];
    """
    assert modules.run("forms", "namesIn, placeProblem", script) == [
        {"url": "too long", "id": "taken", "focus": "url"},
        ["body.queue.depth: too small", "", "no room"],
        ["person", "car"],
        None,
    ]


def test_the_page_preloads_every_module_and_has_nothing_inline() -> None:
    """Modules would be fetched one after the other, as each learns of the next."""
    page = (WEB / "index.html").read_text()
    assert set(re.findall(r"/web/js/([\w.]+)", page)) == {path.name for path in (WEB / "js").glob("*.js")}
    assert not re.search(r"<script>|<style|\sstyle=|\son\w+=", page)
