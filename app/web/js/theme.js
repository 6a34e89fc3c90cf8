// Light, dark, or as the system has it.

import { forgetColours } from "./colours.js";

const KEY = "flexpatch-theme";
const NEXT = { system: "light", light: "dark", dark: "system" };
const WORDS = { system: "◐ Auto", light: "☀ Light", dark: "☾ Dark" };

export function themeSwitch(button) {
  const show = () => {
    const theme = localStorage.getItem(KEY) ?? "system";
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = WORDS[theme];
    button.setAttribute("aria-label", `Theme: ${theme}. Change to ${NEXT[theme]}.`);
    forgetColours();
  };
  button.addEventListener("click", () => {
    const next = NEXT[localStorage.getItem(KEY) ?? "system"];
    if (next === "system") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, next);
    show();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", forgetColours);
  show();
}
