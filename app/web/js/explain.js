// Why each region was looked at, or was not: a table.

import { KIND_COLOURS } from "./colours.js";
import { el, say } from "./dom.js";
import { KINDS, count, plural } from "./words.js";

const MOST_IDS = 3;
const COLUMNS = [
  { key: "is_taken", name: "✓", hint: "taken", order: (row) => (row.is_taken ? 0 : 1) },
  { key: "kind", name: "Kind", order: (row) => Object.keys(KINDS).indexOf(row.kind) },
  {
    key: "value",
    name: "Worth",
    hint: "objects that a look may be expected to mend or find",
    isNumber: true,
    order: (row) => -row.value,
  },
  { key: "pixels", name: "Pixels", hint: "on the detector's canvas", isNumber: true, order: (row) => -row.pixels },
  {
    key: "rate",
    name: "/ Mpx",
    hint: "worth of a megapixel; it must beat the price",
    isNumber: true,
    order: (row) => -rate(row),
  },
  { key: "reason", name: "Why", order: (row) => row.reason },
];

const rate = (row) => (row.pixels ? (row.value / row.pixels) * 1e6 : 0);

/** Rows by a column; rows that are equal there keep the order in which they were considered. */
export function sorted(candidates, key, isReversed = false) {
  const { order } = COLUMNS.find((column) => column.key === key);
  const compare = (a, b) => {
    const [x, y] = [order(a), order(b)];
    return typeof x === "string" ? x.localeCompare(y) : x - y;
  };
  const rows = [...candidates].sort(compare);
  return isReversed ? rows.reverse() : rows;
}

/**
 * The table, and what goes with it.
 *
 * @param on `highlight(candidate | null)`; `attention(isReading)`: somebody points into the table, and it must stand
 *   still; `step(direction)`, `choose(seq)`: another look, or any frame, is wanted.
 */
export function explainTable(on) {
  let shown = null;
  let sort = { key: "is_taken", isReversed: false };
  const summary = el("p", { class: "explain-summary" }, "The detector has not looked yet.");
  const problem = el("p", { class: "problem", role: "alert" });
  const heads = COLUMNS.map((column) => head(column, () => sortBy(column.key)));
  const body = el("tbody");
  const table = el(
    "table",
    { class: "explain-table" },
    el("caption", { class: "unseen" }, "Regions that were considered"),
    el("thead", {}, el("tr", {}, heads)),
    body,
  );
  const scroller = el("div", { class: "explain-scroll" }, table);

  function sortBy(key) {
    sort = { key, isReversed: sort.key === key && !sort.isReversed };
    draw();
  }

  function draw() {
    heads.forEach((cell, place) => {
      const { key, isNumber } = COLUMNS[place];
      // Of numbers the greatest come first, and what is taken before what is not.
      const direction = Boolean(isNumber) === sort.isReversed ? "ascending" : "descending";
      cell.setAttribute("aria-sort", key === sort.key ? direction : "none");
    });
    if (!shown) return;
    const rows = sorted(shown.candidates, sort.key, sort.isReversed);
    body.replaceChildren(...rows.map((candidate, place) => row(candidate, place)));
  }

  function row(candidate, place) {
    const cells = [
      el(
        "td",
        { class: "taken" },
        candidate.is_taken ? "✓" : "",
        el("span", { class: "unseen" }, candidate.is_taken ? "taken" : "left"),
      ),
      el("td", {}, kindMark(candidate.kind), KINDS[candidate.kind]?.name ?? candidate.kind),
      el("td", { class: "number" }, candidate.value.toFixed(3)),
      el("td", { class: "number" }, count(candidate.pixels)),
      el("td", { class: "number" }, rate(candidate).toFixed(1)),
      el("td", { class: "why" }, why(candidate)),
    ];
    return el(
      "tr",
      {
        tabindex: place === 0 ? "0" : "-1",
        class: candidate.is_taken ? "is-taken" : null,
        onpointerenter: () => on.highlight(candidate),
        onpointerleave: () => on.highlight(null),
        onfocus: (event) => event.target === event.currentTarget && on.highlight(candidate),
        onblur: () => on.highlight(null),
      },
      cells,
    );
  }

  body.addEventListener("keydown", moveAmongRows);
  const attention = new Set();
  const attend = (name, isReading) => {
    attention[isReading ? "add" : "delete"](name);
    on.attention(attention.size > 0);
  };
  body.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && attend("pointer", true));
  body.addEventListener("pointerleave", () => attend("pointer", false));
  body.addEventListener("focusin", () => attend("focus", true));
  body.addEventListener("focusout", () => attend("focus", false));

  return {
    element: el("div", { class: "explain" }, chooser(on), problem, summary, scroller),
    fail: (text) => say(problem, text),
    show(explanation) {
      say(problem, "");
      shown = explanation;
      say(summary, summaryOf(explanation));
      draw();
    },
  };
}

function chooser(on) {
  const number = el("input", {
    id: "frame-number",
    type: "number",
    min: "1",
    step: "1",
    placeholder: "Frame",
    "aria-label": "Number of the frame to explain",
  });
  const form = el("form", { class: "look-choose" }, number, el("button", { class: "plain" }, "Explain"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (number.value) on.choose(Number(number.value));
  });
  const step = (direction, text) =>
    el("button", { type: "button", class: "plain", onclick: () => on.step(direction) }, text);
  return el("div", { class: "look-tools" }, step(-1, "‹ Look before"), step(1, "Look after ›"), form);
}

function head(column, sort) {
  const button = el(
    "button",
    { type: "button", title: column.hint, "aria-label": column.name === "✓" ? "Taken" : null, onclick: sort },
    column.name,
  );
  return el("th", { scope: "col", class: column.isNumber ? "number" : null, "aria-sort": "none" }, button);
}

export function kindMark(kind) {
  const mark = el("i", { class: "swatch", "aria-hidden": "true" });
  mark.style.setProperty("background-color", KIND_COLOURS[kind] ?? "gray");
  return mark;
}

function why(candidate) {
  if (!candidate.track_ids.length) return candidate.reason;
  const more = candidate.track_ids.length - MOST_IDS;
  const ids = candidate.track_ids.slice(0, MOST_IDS).join(", ") + (more > 0 ? ` and ${more} more` : "");
  return `${candidate.reason} (for ${ids})`;
}

function summaryOf(explanation) {
  const n_taken = explanation.candidates.filter((candidate) => candidate.is_taken).length;
  const found = `${plural(explanation.candidates.length, "region")} considered, ${n_taken} taken`;
  const price = `Price: ${explanation.price_per_megapixel.toFixed(1)} a megapixel.`;
  return `Frame ${explanation.seq}: ${explanation.reason}. ${found}. ${price}`;
}

/** One tab stop for the whole table; arrows go from row to row. */
function moveAmongRows(event) {
  const row = event.target.closest("tr");
  const moves = {
    ArrowDown: row?.nextElementSibling,
    ArrowUp: row?.previousElementSibling,
    Home: row?.parentElement.firstElementChild,
    End: row?.parentElement.lastElementChild,
  };
  const next = moves[event.key];
  if (!next) return;
  event.preventDefault();
  row.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}
