// The canvas as the detector saw it, put together again from the frame's picture and the explanation.

import { KIND_COLOURS } from "./colours.js";
import { paintCorners } from "./overlay.js";

/** Canvas pixels of no patch are grey, as in the detector's training. */
const PADDING = "#727272";

/** Where each patch is cut from the picture, and where it lies on the canvas: x, y, width, height. */
export function placements(candidates, frameSize, pictureSize) {
  const [sx, sy] = [pictureSize[0] / frameSize[0], pictureSize[1] / frameSize[1]];
  return candidates
    .filter((candidate) => candidate.is_taken && candidate.canvas_box)
    .map((candidate) => {
      const [x1, y1, x2, y2] = candidate.box;
      const [u1, v1, u2, v2] = candidate.canvas_box;
      return {
        candidate,
        from: [x1 * sx, y1 * sy, (x2 - x1) * sx, (y2 - y1) * sy],
        to: [u1, v1, u2 - u1, v2 - v1],
      };
    });
}

/**
 * Draw the packed canvas, which gives the element its size.
 *
 * @param look `{bitmap, size, explanation}`
 * @param highlight a candidate; the other patches are darkened.
 */
export function paintCanvas(element, look, highlight = null) {
  const [width, height] = look.explanation.canvas;
  const density = Math.max(1, 1280 / width);
  element.width = Math.round(width * density);
  element.height = Math.round(height * density);
  const context = element.getContext("2d");
  context.fillStyle = PADDING;
  context.fillRect(0, 0, element.width, element.height);
  for (const { candidate, from, to } of placements(look.explanation.candidates, look.size, sizeOf(look))) {
    const target = to.map((value) => value * density);
    if (look.bitmap) context.drawImage(look.bitmap, ...from, ...target);
    if (highlight && highlight !== candidate) {
      context.fillStyle = "rgba(0, 0, 0, 0.6)";
      context.fillRect(...target);
    }
    paintCorners({ context, density: 2 }, target, KIND_COLOURS[candidate.kind]);
  }
}

function sizeOf({ bitmap, size }) {
  return bitmap ? [bitmap.width, bitmap.height] : size;
}
