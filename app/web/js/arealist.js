// Zones and masks as a list, in which everything can be done by keyboard.

import { el } from "./dom.js";

/**
 * @param on `select(index)`, `toggle(index)`, `rename(index, name)`, `remove(index)`, `split(index, corner)`,
 *   `drop(index, corner)`, and `place(index, corner, axis, value)`, which gives the value that came of it.
 */
export function areaList(on) {
  const element = el("ul", { class: "area-list" });
  return {
    element,
    draw(areas, selected, size) {
      element.replaceChildren(...areas.map((area, index) => item(area, index, index === selected, size, areas, on)));
    },
    /** Numbers follow a corner that is dragged, without the list being made anew; says whether they could. */
    follow(index, polygon) {
      const inputs = element.children[index]?.querySelectorAll("input[type=number]") ?? [];
      const numbers = polygon.flat();
      if (inputs.length !== numbers.length) return false;
      inputs.forEach((input, place) => {
        if (input !== document.activeElement) input.value = numbers[place];
      });
      return true;
    },
    focus(index, selector) {
      const found = element.children[index]?.querySelector(selector);
      found?.focus();
      return Boolean(found);
    },
  };
}

function item(area, index, isSelected, size, areas, on) {
  const title = titleOf(area, areas.slice(0, index + 1));
  const edit = button("Corners", `Corners of ${title}`, () => on.toggle(index), {
    "aria-expanded": String(isSelected),
  });
  const remove = button("Delete", `Delete ${title}`, () => on.remove(index), { class: "plain danger-text" });
  const name = area.kind === "zone" ? nameInput(area, index, on) : el("span", { class: "area-title" }, title);
  const swatch = el("i", { class: `swatch swatch-${area.kind}`, "aria-hidden": "true" });
  const head = el("div", { class: "area-head" }, swatch, name, edit, remove);
  return el("li", {}, head, isSelected ? corners(area.polygon, index, title, size, on) : null);
}

function titleOf({ kind, name }, before) {
  if (kind === "zone") return name || "zone";
  return `mask ${before.filter((area) => area.kind === "mask").length}`;
}

function nameInput(area, index, on) {
  return el("input", {
    type: "text",
    value: area.name,
    maxlength: "100",
    "aria-label": "Name of the zone",
    autocomplete: "off",
    onfocus: () => on.select(index),
    oninput: (event) => on.rename(index, event.target.value),
  });
}

function corners(polygon, index, title, size, on) {
  const rows = polygon.map((point, corner) => {
    const numbers = point.map((value, axis) => cornerInput(index, corner, axis, value, size, on));
    const split = button("+", `Add a corner after corner ${corner + 1}`, () => on.split(index, corner));
    const drop = button("−", `Delete corner ${corner + 1}`, () => on.drop(index, corner));
    drop.disabled = polygon.length <= 3;
    return el("li", {}, el("span", { class: "corner-number" }, String(corner + 1)), numbers, split, drop);
  });
  return el("ol", { class: "corner-list", "aria-label": `Corners of ${title}, x and y in pixels` }, rows);
}

function cornerInput(index, corner, axis, value, size, on) {
  return el("input", {
    type: "number",
    step: "1",
    min: "0",
    max: size?.[axis],
    value,
    "aria-label": `${"xy"[axis]} of corner ${corner + 1}`,
    onchange: ({ target }) => {
      target.value = on.place(index, corner, axis, Number(target.value) || 0);
    },
  });
}

function button(text, label, run, more = {}) {
  return el("button", { type: "button", class: "plain", "aria-label": label, onclick: run, ...more }, text);
}
