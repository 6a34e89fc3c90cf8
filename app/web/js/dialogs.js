// Questions to the person.

import { el } from "./dom.js";

/** A dialog in the middle of the page; Escape closes it, and focus goes back to where it was. */
export function dialog(title, ...content) {
  const heading = el("h2", { id: `dialog-${crypto.getRandomValues(new Uint32Array(1))[0]}` }, title);
  const element = el("dialog", { "aria-labelledby": heading.id }, heading, content);
  const before = document.activeElement;
  document.body.append(element);
  element.addEventListener("close", () => {
    element.remove();
    before?.focus?.();
  });
  element.showModal();
  return element;
}

/** Resolves to whether the person agreed. */
export function confirmed(title, text, verb) {
  return new Promise((resolve) => {
    const yes = el(
      "button",
      { type: "button", class: "danger", id: "confirm", onclick: () => element.close("yes") },
      verb,
    );
    const no = el(
      "button",
      { type: "button", class: "plain", autofocus: true, onclick: () => element.close() },
      "Cancel",
    );
    const element = dialog(title, el("p", {}, text), el("div", { class: "dialog-buttons" }, no, yes));
    element.addEventListener("close", () => resolve(element.returnValue === "yes"));
  });
}

/** Resolves to the token that the person gives, or to null. */
export function askedToken(detail, wasRefused) {
  return new Promise((resolve) => {
    const input = el("input", {
      id: "token",
      type: "password",
      autocomplete: "current-password",
      required: true,
      spellcheck: "false",
    });
    const problem = el("p", { class: "problem", role: "alert" }, wasRefused ? detail : "");
    const form = el(
      "form",
      { method: "dialog" },
      // Password managers want to know whose it is.
      el("input", { autocomplete: "username", value: "FlexPatch", hidden: true }),
      el("p", {}, "The service wants a token with every request. It is kept until this tab is closed."),
      el("label", { for: "token" }, "Token"),
      input,
      problem,
      el(
        "div",
        { class: "dialog-buttons" },
        el("button", { type: "button", class: "plain", onclick: () => element.close() }, "Cancel"),
        el("button", { class: "primary", value: "given" }, "Go on"),
      ),
    );
    const element = dialog("Who is there?", form);
    input.focus();
    element.addEventListener("close", () => resolve(element.returnValue === "given" ? input.value.trim() : null));
  });
}
