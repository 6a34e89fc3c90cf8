// The newest looks of the detector, each with its frame's picture and its explanation.

import { get, path } from "./api.js";

const KEPT = 60;
/** Explanations are asked for no more often. */
const PERIOD_MS = 250;

export class Looks {
  #id;
  #signal;
  #tell;
  #kept = [];
  #isAsking = false;
  #asked_ms = -Infinity;

  /** @param tell is given each new look: `{seq, size, blob, bitmap, result, explanation}`. */
  constructor(id, signal, tell) {
    this.#id = id;
    this.#signal = signal;
    this.#tell = tell;
  }

  /** A frame was shown; if the detector looked at something on it, learn what. */
  async add(picture, result, size) {
    const now = performance.now();
    if (result.work.mode === "track" || this.#isAsking || now < this.#asked_ms + PERIOD_MS) return;
    this.#isAsking = true;
    this.#asked_ms = now;
    const { blob } = picture;
    try {
      const explanation = await this.explain(result.seq);
      if (explanation.canvas) await this.#keep({ seq: result.seq, size, blob, result, explanation });
    } catch {
      // The frame is forgotten already, or the service busy: another look comes soon.
    } finally {
      this.#isAsking = false;
    }
  }

  explain(seq) {
    return get(path(this.#id, `/explain/${seq}`), this.#signal);
  }

  async #keep(look) {
    this.#kept.push(look);
    if (this.#kept.length > KEPT) this.#kept.shift();
    const shown = { ...look, bitmap: await createImageBitmap(look.blob) };
    if (this.#signal.aborted) shown.bitmap.close();
    else this.#tell(shown);
  }

  /** A frame's look, with its picture if that is still here. */
  async find(seq, size) {
    const known = this.#kept.find((look) => look.seq === seq);
    if (known) return { ...known, bitmap: await createImageBitmap(known.blob) };
    return { seq, size, blob: null, bitmap: null, result: null, explanation: await this.explain(seq) };
  }

  /** The kept look before (-1) or after (1) a frame; null if there is none. */
  beside(seq, direction) {
    const numbers = this.#kept.map((look) => look.seq);
    const found = direction < 0 ? numbers.findLast((n) => n < seq) : numbers.find((n) => n > seq);
    return found ?? null;
  }

  clear() {
    this.#kept = [];
  }
}
