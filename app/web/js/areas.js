// Zones and masks drawn over the picture, and their corners while somebody changes them.

import { svg } from "./dom.js";
import { asPoints, middle, moveCorner, splitEdge } from "./polygons.js";

/** In CSS pixels. */
const CORNER_PX = 7;
const STEP_PX = 1;
const LONG_STEP_PX = 20;

/**
 * Draw areas.
 *
 * @param areas `[{kind: "zone" | "mask", name, polygon}]`
 * @param edit null, or `{selected, size, select(index), change(index, polygon, isDone), drop(index, corner)}`.
 */
export function drawAreas(drawing, areas, edit) {
  const unit = unitOf(drawing);
  const shapes = areas.map((area, index) => shape(area, index, edit));
  const names = areas.filter((area) => area.name).map((area) => nameTag(area, unit));
  const handles = edit && areas[edit.selected] ? handlesOf(drawing, areas[edit.selected], edit, unit) : [];
  drawing.replaceChildren(...shapes, ...names, ...handles);
}

/** Frame pixels in a CSS pixel. */
export function unitOf(drawing) {
  const width = drawing.viewBox.baseVal?.width || 1;
  return width / (drawing.clientWidth || width);
}

/** Where a pointer is, in frame pixels. */
export function pointOf(drawing, event) {
  const bounds = drawing.getBoundingClientRect();
  const { width, height } = drawing.viewBox.baseVal;
  return [
    ((event.clientX - bounds.left) / bounds.width) * width,
    ((event.clientY - bounds.top) / bounds.height) * height,
  ];
}

function shape(area, index, edit) {
  const isSelected = edit?.selected === index;
  const polygon = svg("polygon", {
    class: `area area-${area.kind}${isSelected ? " is-selected" : ""}`,
    points: asPoints(area.polygon),
  });
  if (edit) polygon.addEventListener("pointerdown", () => edit.select(index));
  return polygon;
}

function nameTag({ name, polygon }, unit) {
  const [x, y] = middle(polygon);
  return svg("text", { class: "area-name", x, y, "font-size": 13 * unit, "stroke-width": 3.5 * unit }, name);
}

function handlesOf(drawing, area, edit, unit) {
  const { polygon } = area;
  const middles = polygon.map((corner, index) => midHandle(drawing, polygon, index, edit, unit));
  const corners = polygon.map((corner, index) => cornerHandle(drawing, polygon, index, edit, unit));
  return [...middles, ...corners];
}

function cornerHandle(drawing, polygon, index, edit, unit) {
  const [x, y] = polygon[index];
  const handle = svg("circle", {
    class: "corner",
    cx: x,
    cy: y,
    r: CORNER_PX * unit,
    tabindex: "0",
    role: "button",
    "data-corner": index,
    "aria-label": `Corner ${index + 1} at ${Math.round(x)}, ${Math.round(y)}. Arrow keys move it, Delete removes it.`,
  });
  handle.addEventListener("pointerdown", (event) => drag(drawing, event, polygon, index, edit));
  handle.addEventListener("keydown", (event) => byKey(event, polygon, index, edit));
  return handle;
}

/** The middle of an edge becomes a corner once it is dragged. */
function midHandle(drawing, polygon, index, edit, unit) {
  const split = splitEdge(polygon, index);
  const [x, y] = split[index + 1];
  const handle = svg("circle", { class: "mid", cx: x, cy: y, r: CORNER_PX * 0.7 * unit, "aria-hidden": "true" });
  handle.addEventListener("pointerdown", (event) => drag(drawing, event, split, index + 1, edit));
  return handle;
}

function drag(drawing, event, polygon, index, edit) {
  event.preventDefault();
  event.stopPropagation();
  // Handles are made anew at each move; the drawing stays, and gets the pointer for itself.
  drawing.setPointerCapture(event.pointerId);
  const end = new AbortController();
  const move = (at) => edit.change(edit.selected, moveCorner(polygon, index, pointOf(drawing, at), edit.size), false);
  drawing.addEventListener("pointermove", move, { signal: end.signal });
  for (const name of ["pointerup", "pointercancel"])
    drawing.addEventListener(name, () => end.abort(), { signal: end.signal });
}

function byKey(event, polygon, index, edit) {
  const step = event.shiftKey ? LONG_STEP_PX : STEP_PX;
  const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
  const move = moves[event.key];
  if (move) {
    event.preventDefault();
    const [x, y] = polygon[index];
    edit.change(edit.selected, moveCorner(polygon, index, [x + move[0], y + move[1]], edit.size), true, index);
  } else if (event.key === "Delete" || event.key === "Backspace") {
    event.preventDefault();
    edit.drop(edit.selected, index);
  }
}
