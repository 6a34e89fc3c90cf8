// Streams that stay open: they come back after failures, and rest while nobody looks.

import { Problem, connect, get } from "./api.js";

const FIRST_PAUSE_MS = 400;
const LONGEST_PAUSE_MS = 5000;
/** Longer than the service's heartbeats: a connection that gives nothing for so long is dead. */
const SILENCE_MS = 30_000;
/** With which the service closes a WebSocket when its session ends. */
const SESSION_ENDED = 4410;

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
 * Listen to a WebSocket for as long as the signal allows.
 *
 * @param about the path of what it is about: asked first, as a browser does not tell why a WebSocket was refused.
 * @param url makes the path of the next connection.
 * @param take is given each message's data.
 * @param tell is told "live", "lost" (with the problem), "refused" or "gone" (the session is no more: nothing more
 *   comes).
 */
export function keepListening(about, url, signal, take, tell) {
  whileVisible(signal, (visible) => void listenOn(about, url, visible, take, tell));
}

async function listenOn(about, url, signal, take, tell) {
  let pause_ms = FIRST_PAUSE_MS;
  while (!signal.aborted) {
    try {
      await get(about, signal);
      const code = await listenOnce(url(), signal, take, () => {
        pause_ms = FIRST_PAUSE_MS;
        tell("live");
      });
      // What became of a session that has ended is asked next.
      if (code !== SESSION_ENDED) tell("lost", null);
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

/** Resolves to the code with which the connection was closed; rejects when aborted. */
function listenOnce(url, signal, take, isOpen) {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const socket = connect(url);
    let silence = 0;
    const end = () => {
      clearTimeout(silence);
      signal.removeEventListener("abort", stop);
      socket.onmessage = null;
      socket.onclose = null;
      socket.close();
    };
    const stop = () => {
      end();
      reject(signal.reason);
    };
    const closed = (event) => {
      end();
      resolve(event?.code);
    };
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(closed, SILENCE_MS);
    };
    signal.addEventListener("abort", stop, { once: true });
    socket.onopen = isOpen;
    socket.onclose = closed;
    socket.onmessage = ({ data }) => {
      heard();
      take(data);
    };
    heard();
  });
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
