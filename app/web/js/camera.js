// Adding a camera.

import { Problem, change } from "./api.js";
import { dialog } from "./dialogs.js";
import { announce, el, say } from "./dom.js";
import { clearProblems, field, namesIn, placeProblem } from "./forms.js";
import { hashOf } from "./router.js";

const CODES = {
  address_forbidden: "url",
  source_error: "url",
  session_exists: "id",
  model_not_found: "detector",
  model_error: "detector",
  model_unreadable: "detector",
  model_altered: "detector",
  model_not_recognised: "detector",
};

/** The form; the new session is shown once there is one. */
export function addCamera() {
  const text = { autocomplete: "off", autocapitalize: "off", spellcheck: "false" };
  const fields = {
    url: field(
      "camera-url",
      "Address",
      el("input", { ...text, placeholder: "rtsp://camera.example.org/stream", inputmode: "url" }),
      "rtsp:// or rtsps://; user and password may be part of it, and are shown nowhere.",
    ),
    transport: field(
      "camera-transport",
      "Transport",
      el("select", {}, el("option", { value: "tcp" }, "TCP"), el("option", { value: "udp" }, "UDP")),
      "TCP gets through firewalls; UDP is quicker where packets are lost.",
    ),
    id: field(
      "camera-id",
      "Name",
      el("input", { ...text, placeholder: "entrance" }),
      "Letters, digits, . _ -; empty: one is made up.",
    ),
    detector: field(
      "camera-detector",
      "Detector",
      el("input", { ...text, placeholder: "the service's default" }),
      "A model in the service's models folder.",
    ),
    classes: field(
      "camera-classes",
      "Classes",
      el("input", { ...text, placeholder: "all" }),
      "Those to keep, with commas between: person, car.",
    ),
  };
  const problem = el("p", { class: "problem", id: "camera-problem", role: "alert" });
  const submit = el("button", { class: "primary", id: "camera-submit" }, "Add camera");
  const cancel = el("button", { type: "button", class: "plain", onclick: () => element.close() }, "Cancel");
  const form = el(
    "form",
    { novalidate: true, id: "camera-form" },
    Object.values(fields).map((one) => one.element),
    problem,
    el("div", { class: "dialog-buttons" }, cancel, submit),
  );
  const element = dialog("Add a camera", form);
  fields.url.input.focus();

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    clearProblems(fields);
    say(problem, "");
    submit.disabled = true;
    try {
      const session = await change("POST", "/sessions", documentOf(fields));
      element.close();
      announce(`Session ${session.id} was made.`);
      location.hash = hashOf(session.id);
    } catch (error) {
      say(problem, error instanceof Problem ? placeProblem(error, fields, CODES) : String(error));
    } finally {
      submit.disabled = false;
    }
  });
}

function documentOf({ url, transport, id, detector, classes }) {
  const document = { source: { kind: "rtsp", url: url.input.value.trim(), transport: transport.input.value } };
  if (id.input.value.trim()) document.id = id.input.value.trim();
  if (detector.input.value.trim()) document.detector = detector.input.value.trim();
  const names = namesIn(classes.input.value);
  if (names) document.filters = { classes: names };
  return document;
}
