// Making elements. Text goes in as text, never as HTML.

const SVG = "http://www.w3.org/2000/svg";

/** An element; `children` are elements or text. Properties that start with `on` are listeners. */
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same for SVG. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Change an element's text only where it differs: screen readers and layout notice every change. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Tell people who do not see the change. */
export function announce(text) {
  say(document.getElementById("announcer"), text);
}

/** Keep one child of `parent` for each item, in their order; elements that stay keep focus and state. */
export function keyed(parent, items, key, make, update) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const children = items.map((item) => {
    const name = String(key(item));
    const child = known.get(name) ?? make(item);
    known.delete(name);
    child.dataset.key = name;
    update(child, item);
    return child;
  });
  for (const child of known.values()) child.remove();
  arrange(parent, children);
}

/** An element that is moved loses the focus, so the one that has it stays, and the others are put round it. */
function arrange(parent, children) {
  const places = new Map([...parent.children].map((child, place) => [child, place]));
  const focused = children.find((child) => child.contains(document.activeElement));
  const settled = longestInOrder(children, places, focused);
  let next = null;
  for (const child of children.toReversed()) {
    if (!settled.has(child)) parent.insertBefore(child, next);
    next = child;
  }
}

/** As many as possible of the children whose order is right already, with `pinned` among them if there is one. */
function longestInOrder(children, places, pinned) {
  const runs = [];
  let isPast = false;
  for (const child of children) {
    const place = places.get(child);
    if (place === undefined) continue;
    if (child === pinned) isPast = true;
    // Who stands on the wrong side of the pinned one cannot stay.
    else if (pinned && isPast !== place > places.get(pinned)) continue;
    const before = longest(runs.filter((run) => run.place < place));
    runs.push({ child, place, before, length: 1 + (before?.length ?? 0) });
  }
  const found = new Set();
  for (let run = longest(runs); run; run = run.before) found.add(run.child);
  return found;
}

function longest(runs) {
  return runs.reduce((best, run) => (best && best.length >= run.length ? best : run), null);
}
