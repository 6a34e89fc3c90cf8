// All sessions.

import { forAdmins } from "./access.js";
import { get, serviceNow_ms } from "./api.js";
import { addCamera } from "./camera.js";
import { announce, el, keyed, say } from "./dom.js";
import { hashOf } from "./router.js";
import { stills } from "./stills.js";
import { keepAsking } from "./stream.js";
import { byUrgency, detectorWords, duration, isTroubled, plural, sizeWords, sourceWords, stateOf, thriftWords } from "./words.js";

const PERIOD_MS = 2000;
/** More sessions than these are shown in rows, unless the person chose. */
const MOST_CARDS = 12;
const LAYOUT = "flexpatch-layout";

const PUSH = `curl -X POST ${location.origin}/sessions \\
     -H 'Content-Type: application/json' -d '{"id": "cam-7"}'
curl -X POST ${location.origin}/sessions/cam-7/frames \\
     -H 'Content-Type: image/jpeg' --data-binary @frame.jpg`;

/** The view; ends with the signal. */
export function overview(main, signal, health) {
  const summary = el("p", { class: "overview-summary", id: "summary" }, "Asking the service…");
  const filter = el("input", {
    type: "search",
    id: "filter",
    placeholder: "Filter by name or state",
    "aria-label": "Filter sessions by name or state",
    autocomplete: "off",
  });
  const layout = el("button", { type: "button", class: "plain", id: "layout" });
  const add = el("button", { type: "button", class: "primary", id: "add-camera", onclick: addCamera }, "Add camera");
  const list = el("ul", { class: "cards", id: "sessions", "aria-label": "Sessions" });
  const addFirst = el("button", { type: "button", class: "primary", onclick: addCamera }, "Add a camera");
  const empty = emptyState(addFirst);
  main.append(
    el(
      "div",
      { class: "overview-head" },
      el("div", {}, el("h1", { tabindex: "-1" }, "Sessions"), summary, forAdmins(signal, add, addFirst)),
      el("div", { class: "overview-tools" }, filter, layout, add),
    ),
    empty,
    list,
  );

  const pictures = stills(signal);
  let sessions = [];
  let states = new Map();

  function draw() {
    const wanted = filter.value.trim().toLowerCase();
    const shown = sessions
      .filter((session) => `${session.id} ${session.state}`.toLowerCase().includes(wanted))
      .sort(byUrgency);
    const asRows = (localStorage.getItem(LAYOUT) ?? (sessions.length > MOST_CARDS ? "rows" : "cards")) === "rows";
    list.className = asRows ? "cards as-rows" : "cards";
    say(layout, asRows ? "▦ Cards" : "☰ Rows");
    layout.hidden = filter.hidden = !sessions.length;
    const before = new Set(list.children);
    keyed(
      list,
      shown,
      (session) => session.id,
      (session) => card(session, pictures),
      showSession,
    );
    for (const child of before) if (!child.isConnected) pictures.leave(child.querySelector("img"));
    say(summary, summaryOf(sessions, shown));
    empty.hidden = sessions.length > 0;
  }

  filter.addEventListener("input", draw);
  layout.addEventListener("click", () => {
    localStorage.setItem(LAYOUT, list.classList.contains("as-rows") ? "cards" : "rows");
    draw();
  });
  keepAsking(PERIOD_MS, signal, async (visible) => {
    try {
      const found = await get("/sessions", visible);
      ({ sessions } = found);
      health.count(found);
      states = tellChanges(states, sessions);
      draw();
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!sessions.length) say(summary, error.message);
      // What is not heard of grows old all the same.
      [...list.children].forEach(showAge);
    }
  });
}

function emptyState(add) {
  return el(
    "section",
    { class: "empty", hidden: true },
    el("h2", {}, "No session yet"),
    el("p", {}, "A session follows one video stream. Let the service fetch a camera's stream:"),
    el("p", {}, add),
    el("p", {}, "Or push frames from a program of your own:"),
    el("pre", { tabindex: "0" }, el("code", {}, PUSH)),
    el("p", {}, "All that the service can do is in the ", el("a", { href: "/docs", target: "_blank", rel: "noopener" }, "API documentation"), "."),
  );
}

function summaryOf(all, shown) {
  if (!all.length) return "None at present.";
  const troubled = all.filter(isTroubled).length;
  const words = troubled ? `${troubled} ${troubled === 1 ? "needs" : "need"} attention` : "all well";
  const running = all.filter((session) => session.state === "running").length;
  const hidden = all.length - shown.length;
  return `${plural(all.length, "session")}: ${running} running, ${words}${hidden ? `; ${hidden} filtered out` : ""}.`;
}

/** Says aloud what changed its state, and nothing the first time. */
function tellChanges(before, sessions) {
  const changed = sessions.filter(({ id, state }) => before.has(id) && before.get(id) !== state);
  if (changed.length) announce(changed.map(({ id, state }) => `${id} is ${state}.`).join(" "));
  return new Map(sessions.map(({ id, state }) => [id, state]));
}

function card(session, pictures) {
  const image = el("img", { class: "still", alt: "", width: "320", height: "180", "data-session": session.id });
  const fact = (name, label) => [el("dt", {}, label), el("dd", { class: `fact-${name}` })];
  const element = el(
    "li",
    { class: "card" },
    el("div", { class: "card-picture" }, image),
    el(
      "div",
      { class: "card-head" },
      el("h2", {}, el("a", { href: hashOf(session.id) }, session.id)),
      el("span", { class: "state" }),
    ),
    el("p", { class: "card-why" }),
    el(
      "dl",
      { class: "card-facts" },
      fact("fps", "Frames"),
      fact("age", "Newest"),
      fact("size", "Size"),
      fact("detector", "Detector"),
      fact("source", "Source"),
    ),
    el("p", { class: "card-thrift" }),
  );
  pictures.watch(image);
  return element;
}

function showSession(element, session) {
  const part = (name) => element.querySelector(name);
  showState(part(".state"), session.state);
  element.dataset.tone = stateOf(session.state).tone;
  element.dataset.state = session.state;
  part("img").dataset.seq = session.last_seq;
  say(part(".card-why"), whyOf(session));
  say(part(".fact-fps"), `${session.fps.toFixed(1)}/s`);
  say(part(".fact-size"), sizeWords(session.frame_size));
  say(part(".fact-detector"), detectorWords(session));
  say(part(".fact-source"), sourceWords(session.source));
  say(part(".card-thrift"), session.thrift ? `The machine is busy: goes without ${thriftWords(session.thrift)}.` : "");
  element.dataset.lastFrame = session.last_frame_at ?? "";
  showAge(element);
}

function showAge(element) {
  const { lastFrame } = element.dataset;
  const age = lastFrame ? `${duration((serviceNow_ms() - Date.parse(lastFrame)) / 1000)} ago` : "never";
  say(element.querySelector(".fact-age"), age);
}

/** A state's mark, word and colour. */
export function showState(element, state) {
  const { tone, mark } = stateOf(state);
  element.dataset.tone = tone;
  say(element, `${mark} ${state}`);
}

/** Why a session is in its state; the reason often holds the error already. */
export function whyOf({ state, reason, error }) {
  // The reason names how long was waited when that began, which contradicts the age that grows beside it.
  if (state === "stale") return "No new frame comes.";
  if (!error || reason.includes(error.detail)) return reason;
  return error.detail.includes(reason) ? error.detail : `${reason} ${error.detail}`;
}
