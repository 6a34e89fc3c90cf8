// Numbers and states in words.

/** How each state looks, and how soon somebody should look at it: lower comes first in lists. */
export const STATES = {
  failed: { tone: "bad", rank: 0, mark: "✕" },
  backoff: { tone: "bad", rank: 1, mark: "↻" },
  stale: { tone: "warn", rank: 2, mark: "!" },
  connecting: { tone: "busy", rank: 3, mark: "…" },
  starting: { tone: "busy", rank: 3, mark: "…" },
  paused: { tone: "idle", rank: 4, mark: "‖" },
  draining: { tone: "idle", rank: 4, mark: "▾" },
  running: { tone: "good", rank: 5, mark: "●" },
  stopped: { tone: "idle", rank: 6, mark: "■" },
};

export const KINDS = {
  object: { name: "object", hint: "round a track that may be failing" },
  frame: { name: "whole frame", hint: "all of it" },
  tile: { name: "tile", hint: "where something new is overdue" },
  motion: { name: "motion", hint: "something moves that no track explains" },
  new_object: { name: "new object", hint: "an unknown object that an edge cut" },
};

const THRIFT = [
  "nothing",
  "its largest canvas",
  "its two largest canvases",
  "its two largest canvases, and half of its pixels",
  "its two largest canvases, and three quarters of its pixels",
];

/** What looks, what runs that, and where vision is if not on the processor. */
export function detectorWords({ detector, vision }) {
  return `${detector.name} · ${detector.backend}${vision === "gpu" ? ", vision on the GPU" : ""}`;
}

/** What a session goes without. */
export function thriftWords(thrift) {
  return THRIFT[Math.min(Math.max(thrift, 0), THRIFT.length - 1)];
}

export function stateOf(name) {
  return STATES[name] ?? { tone: "idle", rank: 3, mark: "?" };
}

/** Sessions that need somebody first, then by name as people sort names. */
export function byUrgency(a, b) {
  return rank(a) - rank(b) || a.id.localeCompare(b.id, undefined, { numeric: true });
}

function rank(session) {
  const base = stateOf(session.state).rank;
  return session.thrift > 0 ? Math.min(base, 2.5) : base;
}

export function isTroubled(session) {
  return stateOf(session.state).rank <= 2;
}

/** Seconds as people say them: 0.4 s, 12 s, 3 min, 2 h, 5 d. */
export function duration(seconds) {
  if (seconds < 10) return `${Math.max(0, seconds).toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

/** A count with three figures: 512, 8.19 k, 246 k, 2.07 M. */
export function count(number) {
  if (number < 1000) return String(Math.round(number));
  const [value, unit] = number < 999_500 ? [number / 1e3, "k"] : [number / 1e6, "M"];
  return `${value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : Math.round(value)} ${unit}`;
}

export function percent(share) {
  const value = share * 100;
  if (value !== 0 && Math.abs(value) < 10) return `${value.toFixed(1)} %`;
  return `${Math.round(value)} %`;
}

export function milliseconds(value) {
  return value === null || value === undefined ? "–" : `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
}

export function sizeWords(size) {
  return size ? `${size[0]}×${size[1]}` : "–";
}

export function plural(number, one, many = `${one}s`) {
  return `${number} ${number === 1 ? one : many}`;
}

export function sourceWords(source) {
  if (source.kind === "rtsp") return source.url;
  return source.kind === "file" ? source.path : "frames are pushed";
}
