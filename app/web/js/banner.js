// One line above everything, for what stands in the way.

import { el } from "./dom.js";

const messages = new Map();

/** Show a message under a name, with something to do about it; without text, take it away. */
export function banner(name, text, action) {
  if ((messages.get(name)?.text ?? null) === (text ?? null)) return;
  if (text) messages.set(name, { text, action });
  else messages.delete(name);
  const element = document.getElementById("banner");
  const first = [...messages.values()][0];
  element.hidden = !first;
  element.replaceChildren(...(first ? content(first) : []));
}

function content({ text, action }) {
  return action ? [text, el("button", { type: "button", class: "plain", onclick: action.run }, action.text)] : [text];
}
