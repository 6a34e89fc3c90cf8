// Streams that stay open: they come back after failures, and rest while nobody looks.

import { Problem, open } from "./api.js";

const FIRST_PAUSE_MS = 400;
const LONGEST_PAUSE_MS = 5000;
/** Longer than the service's heartbeats: a connection that gives nothing for so long is dead. */
const SILENCE_MS = 30_000;

/** Resolves after a time; at once, by rejecting, when aborted. */
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal.addEventListener("abort", stop, { once: true });
  });
}

/** Run `work(signal)` while the page is visible; it is aborted when hidden, and begun anew when shown. */
export function whileVisible(signal, work) {
  let now = null;
  const follow = () => {
    if (document.hidden || signal.aborted) {
      now?.abort();
      now = null;
    } else if (!now) {
      now = new AbortController();
      work(now.signal);
    }
  };
  document.addEventListener("visibilitychange", follow, { signal });
  signal.addEventListener("abort", follow, { once: true });
  follow();
}

/**
 * Read a stream's bytes for as long as the signal allows.
 *
 * @param url makes the address of the next connection.
 * @param begin makes what takes the bytes of one connection: a function of a chunk.
 * @param tell is told "live", "lost" (with the problem) or "gone" (the session is no more: nothing more comes).
 */
export function keepReading(url, signal, begin, tell) {
  whileVisible(signal, (visible) => void readOn(url, visible, begin, tell));
}

async function readOn(url, signal, begin, tell) {
  let pause_ms = FIRST_PAUSE_MS;
  while (!signal.aborted) {
    try {
      await readOnce(url, signal, begin(), () => {
        pause_ms = FIRST_PAUSE_MS;
        tell("live");
      });
      tell("lost", null);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Problem && (error.status === 404 || error.status === 410)) return tell("gone", error);
      if (error instanceof Problem && error.status === 401) return tell("refused", error);
      tell("lost", error);
    }
    await pause(pause_ms * (0.75 + Math.random() / 2), signal).catch(() => {});
    pause_ms = Math.min(LONGEST_PAUSE_MS, pause_ms * 2);
  }
}

async function readOnce(url, signal, take, isOpen) {
  const connection = new AbortController();
  const end = () => connection.abort();
  signal.addEventListener("abort", end, { once: true });
  let silence = 0;
  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(end, SILENCE_MS);
  };
  try {
    heard();
    const response = await open(url(), { signal: connection.signal });
    isOpen();
    const reader = response.body.getReader();
    for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
      heard();
      await take(chunk.value);
    }
  } finally {
    clearTimeout(silence);
    signal.removeEventListener("abort", end);
    end();
  }
}

/** Ask again and again while the page is visible: `ask(signal)`, then a pause of `period_ms`. */
export function keepAsking(period_ms, signal, ask) {
  whileVisible(signal, async (visible) => {
    while (!visible.aborted) {
      await ask(visible).catch(() => {});
      await pause(period_ms, visible).catch(() => {});
    }
  });
}
