// A session live: clean pictures, each with the result of its very frame.

import { path } from "./api.js";
import { PartParser } from "./multipart.js";
import { Pairing } from "./pairing.js";
import { EventParser } from "./sse.js";
import { keepReading } from "./stream.js";

/**
 * @param known gives the number of the newest result that is known, to begin with.
 * @param on `result(result)`, `pair(picture, result)`, `state(state)`, `status(name, problem)`. A picture is
 *   `{seq, blob, bitmap, release}`; whoever gets it releases it.
 */
export function feed(id, width, signal, known, on) {
  const pairing = new Pairing();
  signal.addEventListener("abort", () => pairing.release());
  const give = (pair) => pair && on.pair(pair.picture, pair.result);

  // One result before the newest is enough to draw the last picture of a camera that stands still.
  const results = () => path(id, `/results/stream?after_seq=${Math.max(0, known() - 1)}`);
  keepReading(results, signal, () => readEvents(on, pairing, give), on.status);
  const pictures = () => path(id, `/preview.mjpeg?objects=false&width=${width}`);
  keepReading(
    pictures,
    signal,
    () => readPictures(pairing, give, signal),
    () => {},
  );
}

function readEvents(on, pairing, give) {
  const parser = new EventParser();
  return (bytes) => {
    for (const { event, data } of parser.push(bytes)) {
      if (event === "state") on.state(JSON.parse(data));
      if (event !== "result") continue;
      const result = JSON.parse(data);
      on.result(result);
      give(pairing.addResult(result));
    }
  };
}

function readPictures(pairing, give, signal) {
  const parser = new PartParser();
  return async (bytes) => {
    // Of several at once only the last is worth decoding.
    const part = parser.push(bytes).at(-1);
    if (!part) return;
    const blob = new Blob([part.body], { type: part.headers["content-type"] });
    const bitmap = await createImageBitmap(blob);
    const picture = { seq: Number(part.headers["x-frame-seq"]), blob, bitmap, release: () => bitmap.close() };
    if (signal.aborted) picture.release();
    else give(pairing.addPicture(picture));
  };
}
