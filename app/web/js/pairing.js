// Pictures and results come by different ways; a picture is shown with the result of its very frame.

/** Keeps the newest results, and the picture that waits for its own. */
export class Pairing {
  #results = new Map();
  #waiting = null;
  #most;

  constructor(most = 90) {
    this.#most = most;
  }

  /** Returns `{picture, result}` where the result completes the picture that waited, else null. */
  addResult(result) {
    // Numbers that go back are those of a new session, or of a service started anew.
    if (result.seq <= this.newest) this.clear();
    this.#results.set(result.seq, result);
    if (this.#results.size > this.#most) this.#results.delete(this.#results.keys().next().value);
    if (this.#waiting?.seq !== result.seq) return null;
    const picture = this.#waiting;
    this.#waiting = null;
    return { picture, result };
  }

  /** Returns `{picture, result}`, or null while the result is on its way. */
  addPicture(picture) {
    this.#waiting?.release?.();
    this.#waiting = null;
    const result = this.#results.get(picture.seq);
    if (result) return { picture, result };
    this.#waiting = picture;
    return null;
  }

  get newest() {
    let last = 0;
    for (const seq of this.#results.keys()) last = seq;
    return last;
  }

  clear() {
    this.#results.clear();
  }

  release() {
    this.#waiting?.release?.();
    this.#waiting = null;
    this.clear();
  }
}
