// Runs before the first paint, so that a chosen theme does not flash in as the other one.
(() => {
  const theme = localStorage.getItem("flexpatch-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
