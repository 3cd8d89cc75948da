// Applies the chosen theme before the first paint. This is not a module, so that it is not deferred.
try {
  const chosen = localStorage.getItem("theme");
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
} catch { /* storage is forbidden: the system's theme it is */ }
