// Theme and language, on every page. Pages can be read without this script.
const dark = matchMedia("(prefers-color-scheme: dark)");

function toggleTheme() {
  const root = document.documentElement;
  const isDark = root.dataset.theme === "dark" || (root.dataset.theme !== "light" && dark.matches);
  root.dataset.theme = isDark ? "light" : "dark";
  try { localStorage.setItem("theme", root.dataset.theme); } catch { /* forgotten with the page */ }
}

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-theme-toggle]")) toggleTheme();
});
document.addEventListener("change", (event) => {
  if (event.target.matches("select[data-submit]")) event.target.form.requestSubmit();
});
