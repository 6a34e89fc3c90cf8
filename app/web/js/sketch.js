// A polygon while it is drawn with the mouse, corner by corner.

import { pointOf, unitOf } from "./areas.js";
import { svg } from "./dom.js";
import { asPoints, distance, inside } from "./polygons.js";

/** So near to the first corner, in CSS pixels, a click closes the polygon. */
const CLOSE_PX = 12;
const LEAST_CORNERS = 3;

/**
 * @param drawing the SVG over the picture.
 * @param on `changed()`; `done(kind, polygon)`: the polygon is closed.
 */
export function sketcher(drawing, signal, on) {
  let kind = null;
  let points = [];
  let pointer = null;
  let size = null;

  function end() {
    kind = null;
    on.changed();
  }

  function close() {
    if (points.length < LEAST_CORNERS) return;
    const drawn = kind;
    kind = null;
    on.done(drawn, points);
  }

  drawing.addEventListener("pointerdown", (event) => {
    if (!kind || event.button !== 0) return;
    event.preventDefault();
    const point = inside(pointOf(drawing, event), size);
    const isOnFirst = points.length > 0 && distance(point, points[0]) < CLOSE_PX * unitOf(drawing);
    if (isOnFirst && points.length >= LEAST_CORNERS) return close();
    points.push(point);
    on.changed();
  });

  drawing.addEventListener("pointermove", (event) => {
    if (!kind) return;
    pointer = inside(pointOf(drawing, event), size);
    on.changed();
  });

  function byKey(event) {
    if (!kind) return;
    if (event.key === "Escape") end();
    else if (event.key === "Backspace" && points.length) {
      points.pop();
      on.changed();
    } else if (event.key === "Enter" && points.length >= LEAST_CORNERS) {
      // Whichever button has the focus must not be pressed, too.
      event.preventDefault();
      close();
    }
  }
  document.addEventListener("keydown", byKey, { signal });

  return {
    begin(what, frameSize) {
      kind = what;
      size = frameSize;
      points = [];
      pointer = null;
      on.changed();
    },
    end,
    close,
    get isActive() {
      return kind !== null;
    },
    get canClose() {
      return kind !== null && points.length >= LEAST_CORNERS;
    },
    draw() {
      if (!kind) return;
      const line = pointer ? [...points, pointer] : points;
      const dots = points.map(([x, y], index) =>
        svg("circle", { class: index ? "corner" : "corner first", cx: x, cy: y, r: 6 * unitOf(drawing) }),
      );
      drawing.append(svg("polyline", { class: `sketch area-${kind}`, points: asPoints(line) }), ...dots);
    },
  };
}
