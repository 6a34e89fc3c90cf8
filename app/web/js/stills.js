// Small pictures of sessions in a list: only those in sight, a few at a time.

import { open, path } from "./api.js";
import { pause, whileVisible } from "./stream.js";

const WIDTH = 320;
const PERIOD_MS = 3000;
const AT_ONCE = 2;

/** Keeps the pictures fresh of those `<img data-session>` that are in sight. */
export function stills(signal) {
  const inSight = new Set();
  const observer = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) inSight[isIntersecting ? "add" : "delete"](target);
  });
  const shown_ms = new WeakMap();
  signal.addEventListener("abort", () => {
    observer.disconnect();
    for (const image of inSight) forget(image);
  });

  async function work(visible) {
    while (!visible.aborted) {
      const image = oldest();
      if (image) await renew(image, visible);
      else await pause(200, visible).catch(() => {});
    }
  }

  function oldest() {
    const due = performance.now() - PERIOD_MS;
    const age = (image) => shown_ms.get(image) ?? -Infinity;
    const waiting = [...inSight].filter((image) => image.isConnected && age(image) < due && image.dataset.seq !== "0");
    return waiting.sort((a, b) => age(a) - age(b))[0];
  }

  async function renew(image, visible) {
    shown_ms.set(image, performance.now());
    try {
      const response = await open(path(image.dataset.session, `/snapshot.jpg?objects=false&width=${WIDTH}`), {
        signal: visible,
      });
      const url = URL.createObjectURL(await response.blob());
      const before = image.src;
      image.src = url;
      await image.decode().catch(() => {});
      if (before) URL.revokeObjectURL(before);
      image.classList.add("is-shown");
    } catch {
      // No picture yet, or the session is gone: the list says so.
    }
  }

  whileVisible(signal, (visible) => {
    for (let n = 0; n < AT_ONCE; n += 1) void work(visible);
  });
  return {
    watch: (image) => observer.observe(image),
    leave: (image) => {
      observer.unobserve(image);
      inSight.delete(image);
      forget(image);
    },
  };
}

function forget(image) {
  if (image.src) URL.revokeObjectURL(image.src);
}
