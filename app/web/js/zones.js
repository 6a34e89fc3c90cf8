// The editor of zones and masks: by mouse on the picture, by keyboard in the list.

import { forAdmins, followWho, refusal } from "./access.js";
import { Problem, change, path } from "./api.js";
import { areaList } from "./arealist.js";
import { drawAreas } from "./areas.js";
import { announce, el, say } from "./dom.js";
import { dropCorner, middleRectangle, moveCorner, splitEdge } from "./polygons.js";
import { sketcher } from "./sketch.js";

const KINDS = ["zone", "mask"];
const HINTS = {
  waiting: "Zones can be drawn once there is a picture.",
  sketching:
    "Click the corners on the picture; click the first one again, or press Enter, to finish. " +
    "Backspace takes the last one back, Escape gives up.",
  editing:
    "An object is in a zone that holds the middle of its lower edge; in a mask, it is ignored. " +
    "Drag corners, or the middle of an edge for a new one.",
};

/** Areas of a session's filters: `{kind, name, polygon}`. */
export function areasOf({ zones, masks }) {
  return [
    ...zones.map(({ name, polygon }) => ({ kind: "zone", name, polygon })),
    ...masks.map((polygon) => ({ kind: "mask", name: "", polygon })),
  ];
}

/** The other way round, as a PATCH takes it. */
export function filtersOf(areas) {
  const zones = areas
    .filter(({ kind }) => kind === "zone")
    .map(({ name, polygon }) => ({ name: name.trim(), polygon }));
  const masks = areas.filter(({ kind }) => kind === "mask").map(({ polygon }) => polygon);
  return { zones, masks };
}

/** A name that no area has. */
export function freeName(areas) {
  const names = new Set(areas.map(({ name }) => name));
  let number = 1;
  while (names.has(`zone ${number}`)) number += 1;
  return `zone ${number}`;
}

/** @param saved is given the session's document after it was changed. */
export function zoneEditor(id, drawing, signal, saved) {
  return new ZoneEditor(id, drawing, signal, saved);
}

class ZoneEditor {
  #areas = [];
  #kept = [];
  #size = null;
  #selected = -1;
  #isOpen = false;
  #isChanged = false;

  constructor(id, drawing, signal, saved) {
    Object.assign(this, { id, drawing, signal, saved });
    this.list = areaList({
      select: (index) => this.#select(index) && this.list.focus(index, "input"),
      toggle: (index) => this.#toggle(index),
      rename: (index, name) => this.#change(index, { name }),
      remove: (index) => this.#remove(index),
      place: (...where) => this.#place(...where),
      split: (index, corner) => this.#reform(index, splitEdge(this.#areas[index].polygon, corner)),
      drop: (index, corner) => this.#reform(index, dropCorner(this.#areas[index].polygon, corner)),
    });
    this.sketch = sketcher(drawing, signal, {
      changed: () => this.#draw(),
      done: (kind, polygon) => this.#add(kind, polygon),
    });
    this.#build();
    const observer = new ResizeObserver(() => this.#draw());
    observer.observe(drawing);
    signal.addEventListener("abort", () => observer.disconnect());
    followWho(signal, () => this.#draw());
  }

  /** The session's document; what somebody is changing is left alone. */
  know({ filters, frame_size: size }) {
    const found = areasOf(filters);
    const isSame = JSON.stringify([found, size]) === JSON.stringify([this.#kept, this.#size]);
    this.#kept = found;
    this.#size = size;
    if (isSame || this.#isChanged || this.sketch.isActive) return;
    this.#show(found, this.#selected < found.length ? this.#selected : -1);
  }

  /** Something was drawn or changed, and not saved. */
  get isUnsaved() {
    return this.#isChanged || this.sketch.canClose;
  }

  setOpen(isOpen) {
    this.#isOpen = isOpen;
    if (!isOpen && this.sketch.isActive) this.sketch.end();
    this.#draw();
  }

  #build() {
    const button = (text, run, more) => el("button", { type: "button", class: "plain", onclick: run, ...more }, text);
    this.hint = el("p", { class: "hint" });
    this.problem = el("p", { class: "problem", id: "zones-problem", role: "alert" });
    this.save = button("Save", () => void this.#send(), { class: "primary", id: "zones-save" });
    this.discard = button("Discard", () => this.#reset());
    this.finish = button("Finish", () => this.sketch.close());
    this.cancel = button("Cancel", () => this.sketch.end());
    this.start = KINDS.map((kind) => button(`✎ Draw a ${kind}`, () => this.#begin(kind), { id: `draw-${kind}` }));
    this.ready = KINDS.map((kind) =>
      button(`Rectangular ${kind}`, () => this.#add(kind, middleRectangle(this.#size)), { id: `add-${kind}` }),
    );
    const or = el("span", {}, "Or, without a mouse, start from a rectangle in the middle:");
    this.tools = el("div", { class: "zone-tools" }, this.start, or, this.ready);
    this.sketching = el("div", { class: "zone-tools", hidden: true }, this.finish, this.cancel);
    const end = el("div", { class: "form-buttons" }, this.discard, this.save);
    const parts = [this.hint, this.tools, this.sketching, this.list.element, this.problem, end];
    const controls = el("fieldset", {}, parts);
    this.element = el("div", { class: "zones" }, forAdmins(this.signal, controls), controls);
  }

  #draw() {
    const { drawing, sketch } = this;
    const isEditing = this.#isOpen && !refusal();
    drawAreas(drawing, this.#areas, isEditing && this.#size && !sketch.isActive ? this.#handles() : null);
    sketch.draw();
    drawing.classList.toggle("is-editing", isEditing);
    drawing.classList.toggle("is-sketching", sketch.isActive);
    this.tools.hidden = sketch.isActive;
    this.sketching.hidden = !sketch.isActive;
    this.finish.disabled = !sketch.canClose;
    this.save.disabled = this.discard.disabled = !this.#isChanged;
    for (const button of [...this.start, ...this.ready]) button.disabled = !this.#size;
    say(this.hint, HINTS[this.#size ? (sketch.isActive ? "sketching" : "editing") : "waiting"]);
  }

  #handles() {
    return {
      selected: this.#selected,
      size: this.#size,
      select: (index) => this.#select(index),
      change: (index, polygon, byKeyboard, corner) => {
        this.#change(index, { polygon });
        if (!this.list.follow(index, polygon)) this.#drawList();
        if (byKeyboard) this.drawing.querySelector(`[data-corner="${corner}"]`)?.focus();
      },
      drop: (index, corner) => this.#reform(index, dropCorner(this.#areas[index].polygon, corner)),
    };
  }

  #drawList() {
    this.list.draw(this.#areas, this.#selected, this.#size);
  }

  #show(areas, selected) {
    this.#areas = areas;
    this.#selected = selected;
    this.#draw();
    this.#drawList();
  }

  /** Says whether another one was selected before. */
  #select(index) {
    if (this.#selected === index) return false;
    this.#show(this.#areas, index);
    return true;
  }

  #toggle(index) {
    this.#show(this.#areas, this.#selected === index ? -1 : index);
    this.list.focus(index, "[aria-expanded]");
  }

  /** The list stays as it is: somebody may be typing in it. */
  #change(index, parts) {
    this.#areas = this.#areas.with(index, { ...this.#areas[index], ...parts });
    this.#isChanged = true;
    this.#draw();
  }

  #reform(index, polygon) {
    this.#change(index, { polygon });
    this.#drawList();
    this.list.focus(index, "[aria-expanded]");
  }

  #place(index, corner, axis, value) {
    const { polygon } = this.#areas[index];
    const point = polygon[corner].with(axis, value);
    this.#change(index, { polygon: moveCorner(polygon, corner, point, this.#size) });
    return this.#areas[index].polygon[corner][axis];
  }

  #begin(kind) {
    this.#show(this.#areas, -1);
    this.sketch.begin(kind, this.#size);
    this.cancel.focus();
  }

  #add(kind, polygon) {
    const name = kind === "zone" ? freeName(this.#areas) : "";
    this.#isChanged = true;
    this.#show([...this.#areas, { kind, name, polygon }], this.#areas.length);
    this.list.focus(this.#selected, kind === "zone" ? "input" : "button");
    announce(`A ${kind} was added. Save to make it count.`);
  }

  #remove(index) {
    this.#isChanged = true;
    this.#show(this.#areas.toSpliced(index, 1), -1);
    if (!this.list.focus(Math.min(index, this.#areas.length - 1), "button")) this.start[0].focus();
  }

  async #send() {
    this.save.disabled = true;
    say(this.problem, "");
    try {
      const session = await change("PATCH", path(this.id), { filters: filtersOf(this.#areas) }, this.signal);
      this.#isChanged = false;
      this.saved(session);
      announce("Zones and masks were saved.");
    } catch (error) {
      if (error.name !== "AbortError") say(this.problem, error instanceof Problem ? error.message : String(error));
    }
    this.#draw();
  }

  #reset() {
    this.#isChanged = false;
    say(this.problem, "");
    this.#show(this.#kept, -1);
  }
}
