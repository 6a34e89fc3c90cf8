// What is drawn over a frame: boxes, trails, labels, patches.

import { KIND_COLOURS, classColour } from "./colours.js";

/** Fainter objects are guesses; they are drawn only on demand. */
export const LEAST_SCORE = 0.25;
const HALO = "rgba(0, 0, 0, 0.55)";
/** How strong patches of an earlier frame are. */
const FADED = 0.4;

/**
 * Draw a frame and what is known of it.
 *
 * @param context of a canvas whose size is that of the view, in device pixels.
 * @param scene `{bitmap, size, seq, objects, trails, look, highlight}`; size is the frame's, in its own pixels; a look
 *   `{seq, candidates}` of an earlier frame is drawn weaker than one of this frame.
 * @param show which layers: `{boxes, trails, labels, patches, faint}`.
 */
export function paintFrame(context, scene, show, density = 1) {
  const { width, height } = context.canvas;
  const scale = width / scene.size[0];
  context.clearRect(0, 0, width, height);
  if (scene.bitmap) context.drawImage(scene.bitmap, 0, 0, width, height);
  const pen = { context, scale, density };
  if (show.patches) for (const patch of patchesOf(scene)) paintPatch(pen, patch, isPast(scene) ? FADED : 1);
  const objects = visible(scene.objects ?? [], show.faint);
  if (show.trails && scene.trails)
    for (const object of objects) paintTrail(pen, object, scene.trails.of(object.track_id));
  if (show.boxes) for (const object of objects) paintBox(pen, object);
  if (show.labels) paintLabels(pen, objects);
  if (scene.highlight) paintHighlight(pen, scene.highlight);
}

function patchesOf({ look }) {
  return look?.candidates.filter((candidate) => candidate.is_taken) ?? [];
}

const isPast = ({ seq, look }) => look.seq !== seq;

/** Which earlier frame the patches are of that are drawn; empty if there are none, or they are this frame's. */
export function pastWords(scene) {
  return patchesOf(scene).length && isPast(scene) ? `Faded: patches of frame ${scene.look.seq}` : "";
}

/** Objects that are drawn, surest last, so that they lie on top. */
export function visible(objects, withFaint) {
  return objects.filter((object) => withFaint || object.score >= LEAST_SCORE).sort((a, b) => a.score - b.score);
}

function paintBox({ context, scale, density }, object) {
  const [x, y, width, height] = rectangle(object.box, scale);
  // Full lines: seen by the detector on this frame; dashed: carried on by optical flow.
  const dashes = object.origin === "tracked" ? [5 * density, 4 * density] : [];
  context.setLineDash(dashes);
  context.lineWidth = 3.5 * density;
  context.strokeStyle = HALO;
  context.strokeRect(x, y, width, height);
  context.lineWidth = 1.75 * density;
  context.strokeStyle = classColour(object.class_id);
  context.strokeRect(x, y, width, height);
  context.setLineDash([]);
}

function paintTrail({ context, scale, density }, object, points) {
  if (points.length < 2) return;
  context.lineCap = "round";
  context.strokeStyle = classColour(object.class_id);
  for (let index = 1; index < points.length; index += 1) {
    const [a, b] = [points[index - 1], points[index]];
    context.globalAlpha = 0.75 * (index / points.length);
    context.lineWidth = (0.75 + 1.5 * (index / points.length)) * density;
    context.beginPath();
    context.moveTo(a[0] * scale, a[1] * scale);
    context.lineTo(b[0] * scale, b[1] * scale);
    context.stroke();
  }
  context.globalAlpha = 1;
}

/** A patch is a tinted area with corners, as a viewfinder has: nothing else looks like it. */
function paintPatch({ context, scale, density }, patch, strength) {
  const [x, y, width, height] = rectangle(patch.box, scale);
  context.fillStyle = KIND_COLOURS[patch.kind];
  context.globalAlpha = strength * (patch.kind === "frame" ? 0.05 : 0.14);
  context.fillRect(x, y, width, height);
  context.globalAlpha = strength;
  paintCorners({ context, density }, [x, y, width, height], KIND_COLOURS[patch.kind]);
  context.globalAlpha = 1;
}

export function paintCorners({ context, density }, [x, y, width, height], colour) {
  const inset = 1.5 * density;
  const [left, top, right, bottom] = [x + inset, y + inset, x + width - inset, y + height - inset];
  const arm = Math.min(18 * density, width / 3, height / 3);
  const corners = [
    [left, top, 1, 1],
    [right, top, -1, 1],
    [right, bottom, -1, -1],
    [left, bottom, 1, -1],
  ];
  context.beginPath();
  for (const [cx, cy, dx, dy] of corners) {
    context.moveTo(cx + dx * arm, cy);
    context.lineTo(cx, cy);
    context.lineTo(cx, cy + dy * arm);
  }
  for (const [width_px, style] of [
    [5, HALO],
    [3, colour],
  ]) {
    context.lineWidth = width_px * density;
    context.strokeStyle = style;
    context.stroke();
  }
}

/** All but one region is darkened. */
function paintHighlight({ context, scale, density }, candidate) {
  const [x, y, width, height] = rectangle(candidate.box, scale);
  const shade = new Path2D();
  shade.rect(0, 0, context.canvas.width, context.canvas.height);
  shade.rect(x, y, width, height);
  context.fillStyle = "rgba(0, 0, 0, 0.5)";
  context.fill(shade, "evenodd");
  context.lineWidth = 2 * density;
  context.strokeStyle = KIND_COLOURS[candidate.kind];
  context.setLineDash(candidate.is_taken ? [] : [7 * density, 5 * density]);
  context.strokeRect(x, y, width, height);
  context.setLineDash([]);
}

/** Labels that would hide one another shrink to their ids, or go. */
function paintLabels({ context, scale, density }, objects) {
  context.font = `600 ${11 * density}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  const height = 15 * density;
  const placed = [];
  for (const object of objects.toReversed()) {
    const [x, y] = rectangle(object.box, scale);
    const texts = [`${object.track_id} ${object.label} ${Math.round(object.score * 100)}`, String(object.track_id)];
    for (const text of texts) {
      const width = context.measureText(text).width + 8 * density;
      const left = Math.max(0, Math.min(x, context.canvas.width - width));
      const box = [left, Math.max(0, y - height - density), width, height];
      if (placed.some((other) => overlaps(box, other))) continue;
      placed.push(box);
      paintLabel(context, box, text, object, density);
      break;
    }
  }
}

function paintLabel(context, [x, y, width, height], text, object, density) {
  context.fillStyle = "rgba(10, 14, 18, 0.8)";
  context.beginPath();
  context.roundRect(x, y, width, height, 3 * density);
  context.fill();
  context.fillStyle = classColour(object.class_id);
  context.fillText(text, x + 4 * density, y + height / 2 + density / 2);
}

function overlaps([ax, ay, aw, ah], [bx, by, bw, bh]) {
  return ax < bx + bw && bx < ax + aw && ay < by + bh && by < ay + ah;
}

export function rectangle([x1, y1, x2, y2], scale) {
  return [x1 * scale, y1 * scale, (x2 - x1) * scale, (y2 - y1) * scale];
}
