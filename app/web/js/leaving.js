// What the person would lose by leaving a view.

import { confirmed } from "./dialogs.js";

const guards = new Set();

const isSomethingLost = () => [...guards].some((isUnsaved) => isUnsaved());

/** Nobody leaves without being asked while `isUnsaved()`; ends with the signal. */
export function guardLeaving(signal, isUnsaved) {
  guards.add(isUnsaved);
  signal.addEventListener("abort", () => guards.delete(isUnsaved));
  // The browser asks in its own words where the whole page is left.
  const ask = (event) => isUnsaved() && event.preventDefault();
  addEventListener("beforeunload", ask, { signal });
}

/** Resolves to whether the view may be left: at once where nothing is lost, else as the person says. */
export async function mayLeave() {
  if (!isSomethingLost()) return true;
  return confirmed("Leave without saving?", "What you changed was not saved.", "Leave");
}
