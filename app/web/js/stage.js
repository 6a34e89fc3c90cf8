// The picture of a session, with what is drawn over it.

import { el, say, svg } from "./dom.js";
import { paintFrame, pastWords } from "./overlay.js";

const LAYERS = [
  { key: "boxes", name: "Boxes", isOn: true },
  { key: "trails", name: "Trails", isOn: true },
  { key: "labels", name: "Labels", isOn: true },
  { key: "patches", name: "Patches", isOn: true },
  { key: "areas", name: "Zones", isOn: true },
  { key: "faint", name: "Faint", isOn: false, hint: "objects with a score below 25 %, too" },
];
const KEPT = "flexpatch-layers";

/** The stage: `show(scene, text)` draws; a scene's bitmap stays its giver's, and must live until the next one. */
export function stage(signal) {
  const canvas = el("canvas", { class: "stage-canvas", role: "img", "aria-label": "The camera's picture" });
  const drawing = svg("svg", {
    class: "stage-areas",
    preserveAspectRatio: "none",
    role: "group",
    "aria-label": "Zones and masks",
  });
  const note = el("p", { class: "stage-note" });
  const words = el("span", { class: "caption-words" }, "Waiting for a picture…");
  const past = el("span", { class: "caption-past", id: "past" });
  const caption = el("figcaption", { class: "stage-caption" }, words, past);
  const frame = el("div", { class: "stage-frame" }, canvas, drawing, note);
  const layers = readLayers();
  const toolbar = el(
    "div",
    { class: "toolbar", role: "group", "aria-label": "What is drawn" },
    LAYERS.map((layer) => layerToggle(layer, layers, changed)),
    lineLegend(),
  );
  const element = el("figure", { class: "stage" }, frame, caption);
  let scene = null;
  let isDue = false;

  function changed() {
    localStorage.setItem(KEPT, JSON.stringify(layers));
    drawing.classList.toggle("is-off", !layers.areas);
    redraw();
  }

  /** However many changes come, there is one drawing for each of the screen's own frames. */
  function redraw() {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(() => {
      isDue = false;
      if (scene && !signal.aborted) draw();
    });
  }

  function draw() {
    const density = Math.min(2, devicePixelRatio || 1);
    const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((side) => Math.round(side * density));
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    paintFrame(canvas.getContext("2d"), scene, layers, density);
    say(words, scene.text);
    canvas.setAttribute("aria-label", `The camera's picture. ${scene.text}`);
    say(past, layers.patches ? pastWords(scene) : "");
  }

  const observer = new ResizeObserver(redraw);
  observer.observe(canvas);
  signal.addEventListener("abort", () => observer.disconnect());
  drawing.classList.toggle("is-off", !layers.areas);

  return {
    element,
    toolbar,
    drawing,
    frame,
    redraw,
    /** The frame's own size fixes the shape of the stage. */
    setSize([width, height]) {
      const shape = `${width} / ${height}`;
      if (frame.dataset.shape === shape) return;
      frame.dataset.shape = shape;
      frame.style.setProperty("aspect-ratio", shape);
      // What is taller than a screen cannot be watched.
      frame.style.setProperty("max-width", `calc(72vh * ${width / height})`);
      drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
    },
    /** What is drawn and what is said of it change together. */
    show(next, text) {
      scene = { ...next, text };
      redraw();
    },
    highlight(candidate) {
      if (!scene) return;
      scene = { ...scene, highlight: candidate };
      redraw();
    },
    note(text) {
      say(note, text);
    },
  };
}

function layerToggle({ key, name, hint }, layers, changed) {
  const input = el("input", { type: "checkbox", id: `layer-${key}` });
  input.checked = layers[key];
  input.addEventListener("change", () => {
    layers[key] = input.checked;
    changed();
  });
  return el("label", { class: "toggle", title: hint }, input, el("span", {}, name));
}

function lineLegend() {
  const entry = (origin, text) =>
    el("span", {}, el("i", { class: `line line-${origin}`, "aria-hidden": "true" }), text);
  return el(
    "p",
    { class: "line-legend" },
    entry("detected", "seen by the detector"),
    entry("tracked", "followed by optical flow"),
  );
}

function readLayers() {
  const layers = Object.fromEntries(LAYERS.map(({ key, isOn }) => [key, isOn]));
  try {
    const kept = JSON.parse(localStorage.getItem(KEPT) ?? "{}");
    for (const key of Object.keys(layers)) if (typeof kept[key] === "boolean") layers[key] = kept[key];
  } catch {
    // What was kept makes no sense any more.
  }
  return layers;
}
