// Who the person is, in the top line, and how to be somebody else.

import { followWho } from "./access.js";
import { changeToken } from "./api.js";
import { el, say } from "./dom.js";
import { closeByItself } from "./popup.js";

const ALLOWED = {
  read: "It lets you see sessions, pictures and measurements.",
  push: "It lets you see everything and send frames.",
  admin: "It lets you do everything.",
};

/** Fills the element; it stays hidden where the service asks for no tokens. */
export function personMenu(element, signal) {
  const [nameText, roleText] = [el("span", { class: "person-name" }), el("span", { class: "person-role" })];
  const allowed = el("p", { class: "hint" });
  const other = el(
    "button",
    { type: "button", class: "plain", id: "other-token", onclick: () => void become(details) },
    "Use another token",
  );
  const summary = el("summary", {}, el("span", { class: "unseen" }, "Your token: "), nameText, roleText);
  const details = el("details", {}, summary, el("div", { class: "popup" }, allowed, other));
  element.append(details);
  closeByItself(details, signal);
  followWho(signal, ({ name, role }) => {
    element.hidden = name === null;
    say(nameText, name ?? "");
    say(roleText, role);
    say(allowed, `You use the token ${name}. ${ALLOWED[role]}`);
  });
}

/** What was shown to somebody else begins anew. */
async function become(details) {
  details.open = false;
  // The dialog gives the focus back to what had it, and the button cannot be seen any more.
  details.querySelector("summary").focus();
  if (await changeToken()) location.reload();
}
