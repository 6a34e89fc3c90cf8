// What a session puts out, and what it may spend.

import { forAdmins } from "./access.js";
import { Problem, change, path } from "./api.js";
import { announce, el, say } from "./dom.js";
import { clearProblems, field, namesIn, placeProblem } from "./forms.js";

/** @param saved is given the session's document after it was changed. */
export function settingsForm(id, signal, saved) {
  const fields = {
    min_score: field(
      "min-score",
      "Least score",
      el("input", { type: "number", min: "0", max: "1", step: "0.05" }),
      "Objects with a lower score are left out: 0 to 1.",
    ),
    megapixels_per_frame: field(
      "megapixels",
      "Megapixels a frame",
      el("input", { type: "number", min: "0.001", max: "16", step: "0.01" }),
      "What the detector may look at on an average frame.",
    ),
    classes: field(
      "classes",
      "Classes",
      el("input", { autocomplete: "off", spellcheck: "false", placeholder: "all" }),
      "Those to keep, with commas between.",
    ),
  };
  const problem = el("p", { class: "problem", role: "alert" });
  const save = el("button", { class: "primary", id: "settings-save" }, "Save");
  const controls = el(
    "fieldset",
    {},
    Object.values(fields).map((one) => one.element),
    problem,
    el("div", { class: "form-buttons" }, save),
  );
  const form = el("form", { class: "settings", novalidate: true }, forAdmins(signal, controls), controls);
  let isChanged = false;
  form.addEventListener("input", () => {
    isChanged = true;
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    clearProblems(fields);
    say(problem, "");
    save.disabled = true;
    try {
      const session = await change("PATCH", path(id), documentOf(fields), signal);
      isChanged = false;
      show(session);
      saved(session);
      announce("Settings were saved.");
    } catch (error) {
      if (error.name !== "AbortError")
        say(problem, error instanceof Problem ? placeProblem(error, fields) : String(error));
    } finally {
      save.disabled = false;
    }
  });

  function show({ filters, flexpatch, detector }) {
    if (isChanged) return;
    fields.min_score.input.value = filters.min_score;
    fields.megapixels_per_frame.input.value = flexpatch.megapixels_per_frame;
    fields.classes.input.value = (filters.classes ?? []).join(", ");
    const known = detector.classes.slice(0, 12).join(", ") + (detector.classes.length > 12 ? ", …" : "");
    fields.classes.input.placeholder = `all: ${known}`;
  }
  return {
    element: form,
    know: (session) => form.contains(document.activeElement) || show(session),
    get isUnsaved() {
      return isChanged;
    },
  };
}

/** An empty number goes out as null, and what the service says about it is shown. */
function documentOf({ min_score, megapixels_per_frame, classes }) {
  const number = (input) => (input.value === "" ? null : Number(input.value));
  return {
    filters: { min_score: number(min_score.input), classes: namesIn(classes.input.value) },
    flexpatch: { megapixels_per_frame: number(megapixels_per_frame.input) },
  };
}
