// The service's API: every request carries the token, every error is a Problem.

const TOKEN = "flexpatch-token";
const PROTOCOL = "flexpatch";

/** An error the service explains (RFC 9457), or that it could not be reached. */
export class Problem extends Error {
  constructor(status, document) {
    super(document.detail || document.title || `The service answered ${status}.`);
    this.status = status;
    this.code = document.code ?? "";
    this.errors = document.errors ?? [];
    this.document = document;
  }
}

let askForToken = async () => null;
let tellLocked = () => {};
let question = null;
let isDeclined = false;

/**
 * @param ask asks the person for a token: gets what was wrong, gives the token, or null if they would not.
 * @param locked is told when they would not; nobody is asked again until `giveToken`.
 */
export function onUnauthorised(ask, locked) {
  askForToken = ask;
  tellLocked = locked;
}

/** The person wants to give a token after all. Resolves to whether they did. */
export function giveToken() {
  isDeclined = false;
  return renewed(sessionStorage.getItem(TOKEN), "");
}

/** The person wants to use another token: asks until one is known. Resolves to whether there is one. */
export async function changeToken() {
  let problem = null;
  for (;;) {
    const token = cleaned(await asked(problem?.message ?? "", problem !== null));
    if (!token) return false;
    problem = await problemWith(token);
    if (problem) continue;
    sessionStorage.setItem(TOKEN, token);
    return true;
  }
}

/** The token that is in use stays until the service knows the other one. */
async function problemWith(token) {
  try {
    const response = await send("/whoami", { headers: {}, token });
    return response.ok ? null : await problemOf(response);
  } catch (error) {
    return error;
  }
}

export const path = (id, rest = "") => `/sessions/${encodeURIComponent(id)}${rest}`;

/** A response with a good status; asks for a token where one is wanted, and tries again. */
export async function open(url, { method = "GET", body, signal, headers = {} } = {}) {
  for (;;) {
    const token = sessionStorage.getItem(TOKEN);
    const response = await send(url, { method, body, signal, headers, token });
    if (response.ok) return response;
    const problem = await problemOf(response);
    if (response.status !== 401 || !(await renewed(token, problem.message))) throw problem;
  }
}

export async function get(url, signal) {
  const response = await open(url, { signal });
  learnClock(response);
  return response.status === 204 ? null : response.json();
}

export async function change(method, url, document, signal) {
  const response = await open(url, { method, body: document && JSON.stringify(document), signal });
  return response.status === 204 ? null : response.json();
}

/** A WebSocket; its token goes as a protocol, as browsers send no header with it. */
export function connect(url) {
  const token = sessionStorage.getItem(TOKEN);
  const address = new URL(url, location.href);
  address.protocol = address.protocol.replace("http", "ws");
  const socket = new WebSocket(address, token ? [PROTOCOL, `bearer.${encoded(token)}`] : [PROTOCOL]);
  socket.binaryType = "arraybuffer";
  return socket;
}

/** As the name of a protocol may be written. */
const encoded = (token) => encodeURIComponent(token).replace(/[()]/g, (sign) => (sign === "(" ? "%28" : "%29"));

async function send(url, { method, body, signal, headers, token }) {
  const all = { ...headers };
  if (body) all["Content-Type"] = "application/json";
  if (token) all.Authorization = `Bearer ${token}`;
  try {
    return await fetch(url, { method, body, signal, headers: all, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { code: "unreachable", detail: "The service cannot be reached." });
  }
}

async function problemOf(response) {
  try {
    return new Problem(response.status, await response.json());
  } catch {
    return new Problem(response.status, {});
  }
}

/** Whoever asks while the person is being asked gets the same answer. */
function asked(detail, isWrong) {
  question ??= askForToken(detail, isWrong).finally(() => {
    question = null;
  });
  return question;
}

/** Many requests may learn at once that a token is wanted; the person is asked once. */
async function renewed(used, detail) {
  if (sessionStorage.getItem(TOKEN) !== used) return true;
  if (isDeclined) return false;
  const token = cleaned(await asked(detail, used !== null));
  if (!token) {
    isDeclined = true;
    tellLocked();
    return false;
  }
  sessionStorage.setItem(TOKEN, token);
  return true;
}

/** A header takes no other characters, and a person may have copied some along. */
const cleaned = (given) => given && given.replace(/[^\x21-\x7e]/g, "");

let ahead_ms = 0;

/** Learn from an answer how far the service's clock is ahead of this one's; its header has whole seconds. */
function learnClock(response) {
  const theirs = Date.parse(response.headers.get("Date") ?? "");
  if (Number.isNaN(theirs)) return;
  const ours = Date.now();
  if (ours + ahead_ms < theirs || ours + ahead_ms > theirs + 1500) ahead_ms = theirs + 500 - ours;
}

export const serviceNow_ms = () => Date.now() + ahead_ms;
