// Where objects stood in the last moments.

const LENGTH_MS = 1800;

/** The feet of each track over the last moments. */
export class Trails {
  #tracks = new Map();

  /** Note where objects are: `{track_id, box}`, at a time in milliseconds. */
  add(objects, now_ms) {
    for (const { track_id, box } of objects) {
      const points = this.#tracks.get(track_id) ?? [];
      points.push([(box[0] + box[2]) / 2, box[3], now_ms]);
      this.#tracks.set(track_id, points);
    }
    for (const [id, points] of this.#tracks) {
      while (points.length && points[0][2] < now_ms - LENGTH_MS) points.shift();
      if (!points.length) this.#tracks.delete(id);
    }
  }

  /** Points `[x, y, ms]`, oldest first. */
  of(trackId) {
    return this.#tracks.get(trackId) ?? [];
  }

  clear() {
    this.#tracks.clear();
  }

  get size() {
    return this.#tracks.size;
  }
}
