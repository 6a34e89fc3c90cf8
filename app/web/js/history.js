// What the last two minutes measured.

export const SPAN_MS = 120_000;

/** Samples `{at_ms, …}` of the last two minutes, oldest first. */
export class History {
  #samples = [];

  add(result, sourcePixels, at_ms) {
    this.#samples.push({
      at_ms,
      age: result.age_ms,
      stages: result.stage_ms,
      detector: result.work.detector_pixels,
      source: sourcePixels,
      mode: result.work.mode,
    });
    let old = 0;
    while (this.#samples[old].at_ms < at_ms - SPAN_MS) old += 1;
    // Dropping many at a time: shifting an array at every frame copies it at every frame.
    if (old > 64) this.#samples.splice(0, old);
  }

  since(at_ms) {
    return this.#samples.filter((sample) => sample.at_ms >= at_ms);
  }

  clear() {
    this.#samples = [];
  }
}

/** The value below which a share of them lies; null if there are none. */
export function quantile(values, share) {
  if (!values.length) return null;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}

/** Share of the source's pixels that the detector was spared; none where it looks at more than there are. */
export function saved(samples) {
  const source = samples.reduce((sum, sample) => sum + sample.source, 0);
  const detector = samples.reduce((sum, sample) => sum + sample.detector, 0);
  return source ? Math.max(0, 1 - detector / source) : null;
}

/** Samples in `n` equal steps of time; each step has the mean of `value`, or null where nothing was measured. */
export function steps(samples, value, n, now_ms) {
  const sums = new Float64Array(n);
  const counts = new Uint32Array(n);
  for (const sample of samples) {
    const place = Math.floor(((sample.at_ms - (now_ms - SPAN_MS)) / SPAN_MS) * n);
    const measured = value(sample);
    if (place < 0 || place >= n || measured === null || measured === undefined) continue;
    sums[place] += measured;
    counts[place] += 1;
  }
  return Array.from(sums, (sum, place) => (counts[place] ? sum / counts[place] : null));
}

/** A round number at or above a value, for the top of an axis. */
export function roundUp(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].find((step) => step * power >= value * 0.999) * power;
}

/** With short gaps filled: a frame rate below that of the steps leaves some of them empty. */
export function bridged(values, longestGap = 4) {
  const found = [...values];
  let last = -1;
  values.forEach((value, place) => {
    if (value === null) return;
    if (last >= 0 && place - last <= longestGap) found.fill(values[last], last + 1, place);
    last = place;
  });
  return found;
}
