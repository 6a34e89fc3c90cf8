// Geometry of zones and masks: corners `[x, y]` in source-frame pixels.

const clamp = (value, most) => Math.min(Math.max(value, 0), most);

/** A corner inside the frame, in tenths of a pixel. */
export function inside([x, y], [width, height]) {
  return [Math.round(clamp(x, width) * 10) / 10, Math.round(clamp(y, height) * 10) / 10];
}

export function moveCorner(polygon, index, point, size) {
  return polygon.map((corner, place) => (place === index ? inside(point, size) : corner));
}

/** A new corner in the middle of the edge that starts at `index`. */
export function splitEdge(polygon, index) {
  const [a, b] = [polygon[index], polygon[(index + 1) % polygon.length]];
  const middle = [Math.round((a[0] + b[0]) * 5) / 10, Math.round((a[1] + b[1]) * 5) / 10];
  return polygon.toSpliced(index + 1, 0, middle);
}

/** Without a corner; a polygon keeps three. */
export function dropCorner(polygon, index) {
  return polygon.length > 3 ? polygon.toSpliced(index, 1) : polygon;
}

/** A rectangle in the middle of the frame, to start from without a mouse. */
export function middleRectangle([width, height]) {
  const [x1, y1, x2, y2] = [width * 0.3, height * 0.3, width * 0.7, height * 0.7];
  return [
    [x1, y1],
    [x2, y1],
    [x2, y2],
    [x1, y2],
  ].map((corner) => inside(corner, [width, height]));
}

export function distance([ax, ay], [bx, by]) {
  return Math.hypot(ax - bx, ay - by);
}

/** The middle of a polygon's area; of its corners where it has none. */
export function middle(polygon) {
  let [area, x, y] = [0, 0, 0];
  polygon.forEach((a, index) => {
    const b = polygon[(index + 1) % polygon.length];
    const cross = a[0] * b[1] - b[0] * a[1];
    area += cross;
    x += (a[0] + b[0]) * cross;
    y += (a[1] + b[1]) * cross;
  });
  if (Math.abs(area) > 1e-6) return [x / (3 * area), y / (3 * area)];
  const n = polygon.length;
  return [polygon.reduce((sum, p) => sum + p[0], 0) / n, polygon.reduce((sum, p) => sum + p[1], 0) / n];
}

export const asPoints = (polygon) => polygon.map((corner) => corner.join(",")).join(" ");
