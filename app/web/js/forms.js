// Fields with what is wrong with them beside them.

import { el, say } from "./dom.js";

/** A labelled input: `{element, input, fail(text)}`. */
export function field(id, label, input, hint) {
  input.id = id;
  const error = el("p", { class: "problem", id: `${id}-error`, role: "alert" });
  const help = hint ? el("p", { class: "hint", id: `${id}-hint` }, hint) : null;
  input.setAttribute("aria-describedby", `${hint ? `${id}-hint ` : ""}${id}-error`);
  const element = el("div", { class: "field" }, el("label", { for: id }, label), input, help, error);
  return {
    element,
    input,
    fail(text) {
      say(error, text);
      if (text) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
    },
  };
}

/**
 * Show a problem at the fields that it is about, in the service's own words.
 *
 * @param fields by the last part of where the service says they are: `url` for `body.source.rtsp.url`.
 * @param codes fields by the problem's code, for problems that name no place.
 * @returns what belongs to no field; empty if there is nothing.
 */
export function placeProblem(problem, fields, codes = {}) {
  const rest = [];
  const findings = problem.errors?.length ? problem.errors : [{ where: "", message: problem.message }];
  let first = null;
  for (const { where, message } of findings) {
    const name = fieldOf(where, fields) ?? codes[problem.code];
    if (!fields[name]) rest.push(where ? `${where}: ${message}` : message);
    else {
      fields[name].fail(message);
      first ??= fields[name];
    }
  }
  first?.input.focus();
  return rest.join("; ");
}

function fieldOf(where, fields) {
  return where.split(".").findLast((part) => part in fields);
}

export const clearProblems = (fields) => Object.values(fields).forEach((one) => one.fail(""));

/** `person, car` as a list; null where nothing is named, which stands for all. */
export function namesIn(text) {
  const names = text
    .split(",")
    .map((name) => name.trim())
    .filter(Boolean);
  return names.length ? names : null;
}
