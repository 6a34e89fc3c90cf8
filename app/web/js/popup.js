// Details that open over the page.

/** They close by Escape, and where something else is clicked. */
export function closeByItself(details, signal) {
  document.addEventListener("keydown", (event) => event.key === "Escape" && (details.open = false), { signal });
  document.addEventListener("click", (event) => details.contains(event.target) || (details.open = false), { signal });
}
