// A session live: clean pictures, each with the result of its very frame.

import { path } from "./api.js";
import { Pairing } from "./pairing.js";
import { keepListening } from "./stream.js";

const SEQ_BYTES = 8;

/**
 * @param known gives the number of the newest result that is known, to begin with.
 * @param on `result(result)`, `pair(picture, result)`, `state(state)`, `status(name, problem)`. A picture is
 *   `{seq, blob, bitmap, release}`; whoever gets it releases it.
 */
export function feed(id, width, signal, known, on) {
  const pairing = new Pairing();
  signal.addEventListener("abort", () => pairing.release());
  const give = (pair) => pair && on.pair(pair.picture, pair.result);
  const show = newestOnly((data) => showPicture(data, pairing, give, signal));

  function take(data) {
    if (typeof data !== "string") {
      show(data);
      return;
    }
    const { event, data: told } = JSON.parse(data);
    if (event === "state") on.state(told);
    if (event !== "result") return;
    on.result(told);
    give(pairing.addResult(told));
  }

  // One result before the newest is enough to draw the last picture of a camera that stands still.
  const live = () => path(id, `/live?objects=false&width=${width}&after_seq=${Math.max(0, known() - 1)}`);
  keepListening(path(id), live, signal, take, on.status);
}

async function showPicture(data, pairing, give, signal) {
  const seq = Number(new DataView(data).getBigUint64(0));
  const blob = new Blob([new Uint8Array(data, SEQ_BYTES)], { type: "image/jpeg" });
  const bitmap = await createImageBitmap(blob);
  const picture = { seq, blob, bitmap, release: () => bitmap.close() };
  if (signal.aborted) picture.release();
  else give(pairing.addPicture(picture));
}

/** Does one after the other; of those that come meanwhile only the last is worth doing. */
function newestOnly(work) {
  let isBusy = false;
  let next = null;
  return async function take(data) {
    next = data;
    if (isBusy) return;
    isBusy = true;
    while (next !== null) {
      const now = next;
      next = null;
      // A picture that cannot be read is left out.
      await work(now).catch(() => {});
    }
    isBusy = false;
  };
}
