// One session, live.

import { forAdmins } from "./access.js";
import { Problem, change, get, path, serviceNow_ms } from "./api.js";
import { charts } from "./charts.js";
import { confirmed } from "./dialogs.js";
import { announce, el, say } from "./dom.js";
import { explainTable } from "./explain.js";
import { feed } from "./feed.js";
import { History } from "./history.js";
import { guardLeaving } from "./leaving.js";
import { lookPanel } from "./look.js";
import { Looks } from "./looks.js";
import { visible } from "./overlay.js";
import { showState, whyOf } from "./overview.js";
import { settingsForm } from "./settings.js";
import { stage } from "./stage.js";
import { keepAsking } from "./stream.js";
import { tabs } from "./tabs.js";
import { Trails } from "./trails.js";
import { detectorWords, duration, plural, sizeWords, sourceWords, thriftWords } from "./words.js";
import { zoneEditor } from "./zones.js";

const PERIOD_MS = 2000;
const CHARTS_MS = 500;
const TABLE_MS = 1000;
/** Patches stay on the picture for so many frames after theirs: on a single one nobody would see them. */
const LINGER_FRAMES = 10;
/** How wide the pictures are asked for: enough for the canvas to be put together, little enough to be sent. */
const WIDTHS = [640, 960, 1280];

export function sessionView(main, signal, id, health) {
  new SessionView(main, signal, id, health).begin();
}

class SessionView {
  constructor(main, signal, id, health) {
    Object.assign(this, { signal, id, health });
    this.session = null;
    this.seq = 0;
    this.newest_ms = 0;
    this.history = new History();
    this.trails = new Trails();
    this.looks = new Looks(id, signal, (look) => this.looked(look));
    this.picture = null;
    this.current = null;
    this.newest = null;
    this.holders = new Set();
    this.highlighted = null;
    this.wanted = null;
    this.feedEnd = null;
    this.isAsking = false;
    this.isRemoved = false;
    this.table_ms = -Infinity;
    this.tableTimer = null;
    this.tabled = 0;

    this.stage = stage(signal);
    this.panel = lookPanel(() => this.toggleHold());
    this.table = explainTable({
      highlight: (one) => this.highlight(one),
      attention: (is) => this.setHeld("table", is),
      step: (way) => void this.step(way),
      choose: (seq) => void this.choose(seq),
    });
    this.zones = zoneEditor(id, this.stage.drawing, signal, (session) => this.know(session));
    this.settings = settingsForm(id, signal, (session) => this.know(session));
    this.charts = charts();
    this.head = header(id, signal, () => void this.remove());
    const pages = [
      { key: "why", name: "Why there", content: this.table.element },
      { key: "zones", name: "Zones", content: this.zones.element },
      { key: "settings", name: "Settings", content: this.settings.element },
    ];
    const side = tabs("About the session", pages, (key) => this.zones.setOpen(key === "zones"));
    this.element = el(
      "div",
      { class: "session", id: "session" },
      this.head.element,
      el(
        "div",
        { class: "bench" },
        el("div", { class: "bench-main" }, this.stage.element, this.stage.toolbar, this.charts.element),
        el("div", { class: "bench-side" }, this.panel.element, side.element),
      ),
    );
    main.append(this.element);
  }

  begin() {
    const { signal } = this;
    keepAsking(PERIOD_MS, signal, (visible) => this.ask(visible));
    guardLeaving(signal, () => !this.isRemoved && (this.zones.isUnsaved || this.settings.isUnsaved));
    const timer = setInterval(() => this.drawCharts(), CHARTS_MS);
    signal.addEventListener("abort", () => {
      clearInterval(timer);
      clearTimeout(this.tableTimer);
      this.picture?.release();
      this.newest?.bitmap?.close();
    });
  }

  async ask(visible) {
    try {
      this.know(await get(path(this.id), visible));
    } catch (error) {
      if (error instanceof Problem && (error.status === 404 || error.status === 410)) this.gone(error);
      else if (error.name !== "AbortError" && !this.session) this.stage.note(error.message);
    }
  }

  /** The session's document. */
  know(session) {
    if (this.session && this.session.state !== session.state)
      announce(`${session.id} is ${session.state}. ${whyOf(session)}`);
    if (session.created_at !== this.session?.created_at) this.forget();
    this.session = session;
    this.head.show(session);
    if (session.frame_size) this.stage.setSize(session.frame_size);
    this.zones.know(session);
    this.settings.know(session);
    if (!session.last_seq) this.stage.note(whyOf(session) || noPicture(session));
    if (!this.feedEnd) this.beginFeed();
  }

  beginFeed() {
    this.feedEnd = new AbortController();
    const signal = AbortSignal.any([this.signal, this.feedEnd.signal]);
    const width = WIDTHS.find((one) => one >= this.stage.frame.clientWidth * devicePixelRatio) ?? WIDTHS.at(-1);
    feed(this.id, width, signal, () => this.session.last_seq, {
      result: (result) => this.measured(result),
      pair: (picture, result) => this.paired(picture, result),
      state: (state) => this.changed(state),
      status: (name, problem) => this.status(name, problem),
    });
  }

  /** What was known belongs to another session with this name. */
  forget() {
    this.newest_ms = 0;
    this.history.clear();
    this.trails.clear();
    this.looks.clear();
  }

  changed({ state, reason, error }) {
    if (this.session && this.session.state !== state) this.know({ ...this.session, state, reason, error });
  }

  status(name, problem) {
    this.element.dataset.status = name;
    if (name === "gone") this.gone(problem);
    else if (name === "lost") this.stage.note("The stream broke off. Trying again…");
    else if (name === "refused") this.stage.note(problem.message);
    else this.stage.note("");
  }

  gone(problem) {
    this.feedEnd?.abort();
    this.feedEnd = null;
    this.stage.note(`${problem.message} If it comes back, it is shown here.`);
    this.head.gone();
  }

  // What the feed brings.

  measured(result) {
    // Numbers that go back are those of a service that was started anew.
    if (result.seq < this.seq) this.trails.clear();
    this.seq = result.seq;
    this.newest_ms = performance.now() - (result.age_ms ?? 0);
    const size = this.session.frame_size;
    if (size) this.history.add(result, size[0] * size[1], performance.now());
    this.trails.add(result.objects, performance.now());
  }

  paired(picture, result) {
    const size = this.sizeOf(picture.bitmap);
    this.stage.setSize(size);
    this.picture?.release();
    this.picture = picture;
    this.current = { size, bitmap: picture.bitmap, objects: result.objects, result, trails: this.trails };
    void this.looks.add(picture, result, size);
    this.element.dataset.seq = result.seq;
    this.element.dataset.objects = visible(result.objects, false).length;
    this.stage.note("");
    if (!this.holders.size) this.drawLive();
  }

  /** The frame's size; until it is known, or once it is another, the picture's has at least the same shape. */
  sizeOf({ width, height }) {
    const size = this.session.frame_size;
    if (size && Math.abs(width / height / (size[0] / size[1]) - 1) < 0.02) return size;
    if (!this.isAsking) {
      this.isAsking = true;
      void this.ask(this.signal).finally(() => {
        this.isAsking = false;
      });
    }
    return [width, height];
  }

  drawLive() {
    if (!this.current) return;
    const { result } = this.current;
    const age = this.newest ? result.seq - this.newest.seq : -1;
    const look = age >= 0 && age < LINGER_FRAMES ? this.newest.explanation : null;
    this.stage.show({ ...this.current, seq: result.seq, look }, captionOf(result));
  }

  looked(look) {
    if (this.holders.size) {
      look.bitmap.close();
      return;
    }
    this.setLook(look);
    // The stage shows that very frame still, or one of the next: now its patches are known.
    this.drawLive();
  }

  setLook(look) {
    const before = this.newest;
    this.newest = look;
    this.panel.show(look);
    this.element.dataset.look = look.seq;
    before?.bitmap?.close();
    if (this.holders.size) this.showTable(look);
    else this.showTableSoon();
  }

  /** Rows that change several times a second cannot be read; the newest look comes into the table all the same. */
  showTableSoon() {
    const show = () => {
      this.tableTimer = null;
      if (!this.holders.size) this.showTable(this.newest);
    };
    this.tableTimer ??= setTimeout(show, Math.max(0, this.table_ms + TABLE_MS - performance.now()));
  }

  /** Rows that are there already stay, and so does the focus on one of them. */
  showTable({ seq, explanation }) {
    if (this.tabled === seq) return;
    this.tabled = seq;
    this.table_ms = performance.now();
    this.table.show(explanation);
  }

  // Looking at one frame for longer.

  toggleHold() {
    this.setHeld("button", !this.holders.has("button"));
  }

  /** While somebody reads, the look and its frame stay; `name` says who. */
  setHeld(name, isHeld) {
    if (isHeld === this.holders.has(name) || (isHeld && !this.newest)) return;
    const wasHeld = this.holders.size > 0;
    this.holders[isHeld ? "add" : "delete"](name);
    this.panel.held(this.holders.has("button"));
    if (!this.holders.size) {
      this.drawLive();
      this.showTableSoon();
    }
    // The table is a moment behind; who reads it wants the look that it tells of.
    else if (!wasHeld && name === "table") void this.turnTo(this.tabled);
    else if (!wasHeld) this.showHeld();
  }

  showHeld() {
    const look = this.newest;
    this.showTable(look);
    const scene = {
      size: look.size,
      bitmap: look.bitmap,
      seq: look.seq,
      objects: look.result?.objects ?? [],
      look: look.explanation,
      highlight: this.highlighted,
    };
    this.stage.show(scene, `Frame ${look.seq}, held.`);
  }

  highlight(candidate) {
    this.highlighted = candidate;
    if (!this.holders.size) return;
    this.stage.highlight(candidate);
    this.panel.highlight(candidate);
  }

  async step(way) {
    const seq = this.newest && this.looks.beside(this.newest.seq, way);
    if (seq) await this.choose(seq);
  }

  async choose(seq) {
    if (!this.newest) return;
    this.setHeld("button", true);
    await this.turnTo(seq);
  }

  /** Show another look, if it is still wanted once it is there: the look that was asked for last. */
  async turnTo(seq) {
    const wanted = Symbol(seq);
    this.wanted = wanted;
    const isWanted = () => !this.signal.aborted && this.holders.size > 0 && this.wanted === wanted;
    try {
      const look = await this.looks.find(seq, this.newest.size);
      if (!isWanted()) {
        look.bitmap?.close();
        return;
      }
      this.setLook(look);
      this.showHeld();
    } catch (error) {
      if (error.name !== "AbortError" && isWanted()) this.table.fail(error.message);
    }
  }

  drawCharts() {
    if (!document.hidden) this.charts.draw(this.history, performance.now());
    if (this.session) this.head.showAge(this.session, this.newest_ms && performance.now() - this.newest_ms);
  }

  async remove() {
    const question = `It ends, and its zones and settings are forgotten. The camera itself is left alone.`;
    if (!(await confirmed(`Remove ${this.id}?`, question, "Remove"))) return;
    try {
      await change("DELETE", path(this.id), null, this.signal);
      this.isRemoved = true;
      announce(`${this.id} was removed.`);
      location.hash = "#/";
    } catch (error) {
      if (error.name !== "AbortError") this.stage.note(error.message);
    }
  }
}

function header(id, signal, remove) {
  const state = el("span", { class: "state", id: "session-state" });
  const why = el("p", { class: "session-why" });
  const end = el("button", { type: "button", class: "plain danger-text", id: "remove", onclick: remove }, "Remove…");
  const names = {
    fps: "Frames",
    age: "Newest",
    size: "Size",
    detector: "Detector",
    source: "Source",
    frames: "Results",
    thrift: "Goes without",
  };
  const facts = Object.fromEntries(Object.keys(names).map((name) => [name, el("dd", {}, "–")]));
  const element = el(
    "div",
    { class: "session-head" },
    el("nav", { "aria-label": "Path" }, el("a", { class: "back", href: "#/" }, "‹ Sessions")),
    el("div", { class: "session-title" }, el("h1", { tabindex: "-1" }, id), state),
    end,
    why,
    forAdmins(signal, end),
    el(
      "dl",
      { class: "facts" },
      Object.entries(names).map(([name, label]) =>
        el("div", { class: `fact-${name}` }, el("dt", {}, label), facts[name]),
      ),
    ),
  );
  return {
    element,
    show(session) {
      showState(state, session.state);
      say(why, whyOf(session));
      say(facts.fps, `${session.fps.toFixed(1)}/s`);
      say(facts.size, sizeWords(session.frame_size));
      say(facts.detector, detectorWords(session));
      say(facts.source, sourceWords(session.source));
      say(facts.frames, framesWords(session.frames));
      say(facts.thrift, thriftWords(session.thrift));
    },
    /** The result that came last tells its age better than the clocks of two machines. */
    showAge({ last_frame_at }, since_ms) {
      const age_ms = since_ms || serviceNow_ms() - Date.parse(last_frame_at);
      say(facts.age, last_frame_at ? `${duration(age_ms / 1000)} ago` : "never");
    },
    gone: () => showState(state, "stopped"),
  };
}

function framesWords({ processed, rejected, failed }) {
  const lost = rejected + Object.values(failed).reduce((sum, n) => sum + n, 0);
  return lost ? `${processed.toLocaleString("en")}, ${lost.toLocaleString("en")} lost` : processed.toLocaleString("en");
}

function captionOf(result) {
  const counts = new Map();
  for (const { label } of visible(result.objects, false)) counts.set(label, (counts.get(label) ?? 0) + 1);
  const objects = [...counts].map(([label, n]) => `${n} × ${label}`).join(", ") || "nothing";
  const zones = new Map();
  for (const object of visible(result.objects, false))
    for (const zone of object.zones) zones.set(zone, (zones.get(zone) ?? 0) + 1);
  const inZones = [...zones].map(([zone, n]) => `${n} in ${zone}`).join(", ");
  const how = {
    track: "followed by optical flow",
    full: "the whole frame looked at",
    patch: `${plural(result.work.patches, "patch", "patches")} looked at`,
  };
  return `Frame ${result.seq}: ${objects}${inZones ? `; ${inZones}` : ""} · ${how[result.work.mode]}`;
}

function noPicture({ source, id }) {
  return source.kind === "push"
    ? `No frame yet. Push one to /sessions/${id}/frames.`
    : "Waiting for the first picture…";
}
