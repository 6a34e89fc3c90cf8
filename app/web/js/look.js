// The newest look of the detector: its packed canvas, and what that cost.

import { paintCanvas } from "./canvas.js";
import { el, say } from "./dom.js";
import { kindMark } from "./explain.js";
import { KINDS, count, percent, plural, sizeWords } from "./words.js";

/** @param onHold the person wants that this look stays, or does not any more. */
export function lookPanel(onHold) {
  const canvas = el("canvas", {
    class: "look-canvas",
    id: "look-canvas",
    role: "img",
    "aria-label": "The detector's canvas",
    width: "640",
    height: "384",
  });
  const caption = el("p", { class: "look-caption" }, "The detector has not looked yet.");
  const hold = el(
    "button",
    { type: "button", class: "plain", id: "hold", "aria-pressed": "false", onclick: onHold },
    "‖ Hold",
  );
  const element = el(
    "section",
    { class: "look panel", "aria-labelledby": "look-title" },
    el("div", { class: "panel-head" }, el("h2", { id: "look-title" }, "What the detector sees"), hold),
    el("div", { class: "look-frame" }, canvas),
    caption,
    legend(),
    el(
      "p",
      { class: "hint look-hint" },
      "Only this canvas goes to the detector. All else is followed from frame to frame by optical flow.",
    ),
  );
  let shown = null;
  return {
    element,
    show(look) {
      shown = look;
      element.dataset.seq = look.seq;
      const taken = look.explanation.candidates.filter((candidate) => candidate.is_taken);
      if (look.explanation.canvas) paintCanvas(canvas, look);
      canvas.classList.toggle("is-empty", !look.explanation.canvas);
      element.dataset.patches = taken.length;
      say(caption, captionOf(look, taken));
      canvas.setAttribute("aria-label", `The detector's canvas. ${captionOf(look, taken)}`);
    },
    highlight(candidate) {
      if (shown?.explanation.canvas) paintCanvas(canvas, shown, candidate);
    },
    held(isHeld) {
      hold.setAttribute("aria-pressed", String(isHeld));
      say(hold, isHeld ? "▶ Live" : "‖ Hold");
    },
    get shown() {
      return shown;
    },
  };
}

function captionOf({ seq, size, bitmap, explanation }, taken) {
  if (!explanation.canvas) return `Frame ${seq}: nothing was looked at.`;
  const [width, height] = explanation.canvas;
  const what =
    taken.length === 1 && taken[0].kind === "frame"
      ? `the whole frame${taken[0].scale < 1 ? ", reduced" : ""}`
      : plural(taken.length, "patch", "patches");
  const share = percent((width * height) / (size[0] * size[1]));
  const picture = bitmap ? "" : " Its picture is not kept any more.";
  const cost = `${count(width * height)} pixels: ${share} of the frame's.`;
  return `Frame ${seq}: ${what} on ${sizeWords(explanation.canvas)}, ${cost}${picture}`;
}

function legend() {
  const items = Object.entries(KINDS).map(([kind, { name, hint }]) => el("li", { title: hint }, kindMark(kind), name));
  return el("ul", { class: "legend", "aria-label": "Kinds of patches" }, items);
}
