// Who the person is to the service, and what their role allows: the one place that knows.

import { get } from "./api.js";
import { el, say } from "./dom.js";

/** Until the service has said it, nothing is refused: it may ask nobody for tokens. */
let who = { name: null, role: "admin" };
const followers = new Set();

/** Ask the service; `follow` is told where it is somebody else than before. */
export async function learnWho(signal) {
  const found = await get("/whoami", signal);
  if (found.name === who.name && found.role === who.role) return;
  who = found;
  for (const tell of followers) tell(who);
}

/** Call `tell({name, role})` now and whenever it changes, until the signal ends. */
export function followWho(signal, tell) {
  followers.add(tell);
  signal.addEventListener("abort", () => followers.delete(tell));
  tell(who);
}

/** Why the person may change nothing; empty if they may. */
export function refusal() {
  return who.role === "admin" ? "" : `Changes take the role admin; the token ${who.name} has the role ${who.role}.`;
}

/** Disable controls for those who may not change anything; returns the line that tells them why. */
export function forAdmins(signal, ...controls) {
  const reason = el("p", { class: "refusal" });
  followWho(signal, () => {
    say(reason, refusal());
    for (const control of controls) control.disabled = Boolean(refusal());
  });
  return reason;
}
