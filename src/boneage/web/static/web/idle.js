// Asks before an unused session ends, and leaves the page once it has ended, so that no data stays on the screen.
const dialog = document.getElementById("idle");
const KEY = "session-used";
const WARNING_MS = 120_000;
const idleMs = Number(dialog.dataset.minutes) * 60_000;
const warningMs = Math.min(WARNING_MS, idleMs / 2);

// Other tabs of the same session count too.
function used() {
  try { localStorage.setItem(KEY, String(Date.now())); } catch { /* this tab alone */ }
  loaded = Date.now();
}
function lastUse() {
  try { return Math.max(loaded, Number(localStorage.getItem(KEY)) || 0); } catch { return loaded; }
}

let loaded = 0;
used();

function checkIdle() {
  const idle = Date.now() - lastUse();
  if (idle >= idleMs) location.assign(location.pathname + location.search);
  else if (idle >= idleMs - warningMs) { if (!dialog.open) dialog.showModal(); }
  else if (dialog.open) dialog.close();
}

dialog.querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.currentTarget;
  const answer = await fetch(form.action, { method: "POST", body: new FormData(form), redirect: "manual" }).catch(() => null);
  if (answer?.status !== 204) location.assign(location.pathname + location.search);
  used();
  dialog.close();
});
setInterval(checkIdle, Math.min(5_000, warningMs / 4));
