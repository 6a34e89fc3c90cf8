// The health line: can the service work, which version is it, how many sessions has it.

import { Problem, get, open } from "./api.js";
import { banner } from "./banner.js";
import { announce, el, keyed, say } from "./dom.js";
import { closeByItself } from "./popup.js";
import { keepAsking } from "./stream.js";
import { plural } from "./words.js";

const PERIOD_MS = 5000;
/** Views that read the list of sessions tell it; else it is read for its length, less often. */
const COUNT_MS = 9000;

export function healthLine(element, signal) {
  const mark = el("span", { class: "health-mark", "aria-hidden": "true" });
  const words = el("span", { class: "health-words" }, "Asking…");
  const checks = el("ul", { class: "health-checks popup" });
  const sessions = el("span", { class: "health-fact", id: "n-sessions" });
  const version = el("span", { class: "health-fact" });
  const details = el("details", {}, el("summary", {}, mark, words), checks);
  element.append(details, sessions, version);
  closeByItself(details, signal);

  let state = "";
  let counted_ms = -Infinity;

  /** The list of sessions was read. */
  function count({ sessions: all, max_sessions }) {
    counted_ms = performance.now();
    say(sessions, `${all.length} of ${plural(max_sessions, "session")}`);
  }
  const show = (name, text, list) => {
    element.dataset.state = name;
    say(words, text);
    keyed(
      checks,
      list,
      (check) => check.name,
      () => el("li"),
      showCheck,
    );
    banner("lost", name === "lost" ? "The service cannot be reached. Trying again…" : null);
    if (state && state !== name) announce(text);
    state = name;
  };

  keepAsking(PERIOD_MS, signal, async (visible) => {
    try {
      const { checks: list } = await get("/readyz", visible);
      show("ready", "Ready", list);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error instanceof Problem && error.document.checks) show("unready", "Not ready", error.document.checks);
      else if (error.status === 401) show("locked", "Token wanted", []);
      else show("lost", "No connection", []);
      return;
    }
    if (performance.now() > counted_ms + COUNT_MS) count(await get("/sessions", visible));
    if (!version.textContent) say(version, await readVersion(visible));
  });
  return { count };
}

function showCheck(item, check) {
  item.className = check.ok ? "ok" : "not-ok";
  say(item, `${check.ok ? "✓" : "✕"} ${check.name}: ${check.detail}`);
}

/** The measurements name it; where they are kept elsewhere, there is none. */
async function readVersion(signal) {
  try {
    const text = await (await open("/metrics", { signal })).text();
    const found = text.match(/^flexpatch_build_info\{.*?version="([^"]*)"/m);
    return found ? `v${found[1]}` : "";
  } catch {
    return "";
  }
}
