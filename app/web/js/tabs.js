// Tabs, as the ARIA practices describe them.

import { el } from "./dom.js";

/** @param pages `[{key, name, content}]`; `changed(key)` is told which one is shown. */
export function tabs(label, pages, changed = () => {}) {
  const buttons = pages.map(({ key, name }) =>
    el(
      "button",
      { type: "button", role: "tab", id: `tab-${key}`, "aria-controls": `page-${key}`, onclick: () => choose(key) },
      name,
    ),
  );
  const panels = pages.map(({ key, content }) =>
    el("div", { role: "tabpanel", id: `page-${key}`, "aria-labelledby": `tab-${key}`, class: "tab-page" }, content),
  );
  const list = el("div", { role: "tablist", class: "tab-list", "aria-label": label }, buttons);

  function choose(key) {
    pages.forEach((page, place) => {
      const isChosen = page.key === key;
      buttons[place].setAttribute("aria-selected", String(isChosen));
      buttons[place].tabIndex = isChosen ? 0 : -1;
      panels[place].hidden = !isChosen;
    });
    changed(key);
  }

  list.addEventListener("keydown", (event) => {
    const place = buttons.indexOf(event.target);
    const next = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (place < 0 || next === undefined) return;
    event.preventDefault();
    const target = (next + buttons.length) % buttons.length;
    choose(pages[target].key);
    buttons[target].focus();
  });
  choose(pages[0].key);
  return { element: el("section", { class: "panel tabs" }, list, panels), choose };
}
