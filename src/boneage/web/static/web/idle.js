// Covers a page that is not used until the password is entered again, asks before the session ends, and leaves the page
// once it has ended, so that no data stays on the screen. Pages of the same session in other tabs count too.
const idleDialog = document.getElementById("idle");
const lockDialog = document.getElementById("lock");
const KEY = "session-used";
const WARNING_MS = 120_000;
const REPORT_MS = 60_000; // the service records the last use to the minute
const LEAST_MOVEMENT = 4; // pixels: tables tremble
const idleMs = Number(idleDialog.dataset.minutes) * 60_000;
const warningMs = Math.min(WARNING_MS, idleMs / 2);
const lockMs = lockDialog ? Number(lockDialog.dataset.minutes) * 60_000 : Infinity;
const usualTitle = document.title;
const token = () => document.querySelector("[name=csrfmiddlewaretoken]").value;
const isLocked = () => "locked" in document.documentElement.dataset;

let loaded = 0;
let focusBefore = null;
let reported = Date.now();

function used() {
  loaded = Date.now();
  try { localStorage.setItem(KEY, String(loaded)); } catch { /* this tab alone */ }
}
function lastUse() {
  try { return Math.max(loaded, Number(localStorage.getItem(KEY)) || 0); } catch { return loaded; }
}
const reload = () => location.assign(location.pathname + location.search);

/** Send a request that a locked or ended session answers otherwise than 204. */
async function ask(address, method, body) {
  const headers = { Accept: "application/json", "X-CSRFToken": token() };
  return fetch(address, { method, body, headers, redirect: "manual" }).catch(() => null);
}

// --- use ---

/** Keys and the pointer are use, although no request follows; the service is informed once a minute. */
function active() {
  if (isLocked() || Date.now() - lastUse() >= Math.min(lockMs, idleMs)) { check(); return; }
  if (idleDialog.open) return; // it wants an answer
  loaded = Date.now();
  if (loaded - reported < REPORT_MS) return;
  reported = loaded;
  used();
  ask(idleDialog.querySelector("form").action, "POST").then((answer) => {
    if (answer?.status === 423) lock();
    else if (answer && answer.status !== 204) reload();
  });
}
document.addEventListener("keydown", active);
document.addEventListener("pointerdown", active);
document.addEventListener("wheel", active, { passive: true });
document.addEventListener("pointermove", (event) => {
  if (Math.abs(event.movementX) + Math.abs(event.movementY) >= LEAST_MOVEMENT) active();
}, { passive: true });

// --- lock ---

function lock() {
  if (isLocked() || !lockDialog) return;
  document.documentElement.dataset.locked = "";
  document.title = lockDialog.dataset.title;
  focusBefore = document.activeElement;
  if (idleDialog.open) idleDialog.close();
  lockDialog.showModal();
}
function uncover() {
  delete document.documentElement.dataset.locked;
  document.title = usualTitle;
  lockDialog.querySelector("[data-unlock]")?.reset();
  showError("");
  lockDialog.close();
  focusBefore?.focus(); // a browser that closed the dialog on its own does not return it
  reported = Date.now();
  used();
}
function showError(text) {
  const error = lockDialog.querySelector("#lock-error");
  if (error) error.textContent = text;
}
/** Uncover the page if the session was unlocked in another tab. */
async function followOthers() {
  const answer = await ask(lockDialog.dataset.lock, "GET");
  if (answer?.status === 204) uncover();
  else if (answer && answer.status !== 423) reload();
}
async function unlock(event) {
  event.preventDefault();
  const form = event.currentTarget;
  const answer = await ask(form.action, "POST", new FormData(form));
  if (answer?.status === 204) { uncover(); return; }
  if (answer?.type === "opaqueredirect") { reload(); return; }
  const { failed, guessed } = form.dataset;
  showError(answer?.status === 422 ? (await answer.json()).message : answer?.status === 429 ? guessed : failed);
  form.elements.password.value = "";
  form.elements.password.focus();
}
if (lockDialog) {
  lockDialog.addEventListener("cancel", (event) => event.preventDefault());
  lockDialog.addEventListener("close", () => { if (isLocked()) lockDialog.showModal(); });
  lockDialog.querySelector("[data-unlock]")?.addEventListener("submit", unlock);
  addEventListener("storage", (event) => { if (event.key === KEY && isLocked()) followOthers(); });
}

// --- time ---

function check() {
  const idle = Date.now() - lastUse();
  if (idle >= idleMs) reload();
  else if (idle >= lockMs) {
    if (isLocked()) return;
    lock();
    ask(lockDialog.dataset.lock, "POST");
  } else if (isLocked()) return;
  else if (idle >= idleMs - warningMs) { if (!idleDialog.open) idleDialog.showModal(); }
  else if (idleDialog.open) idleDialog.close();
}

idleDialog.querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await ask(event.currentTarget.action, "POST");
  if (answer?.status !== 204) reload();
  reported = Date.now();
  used();
  idleDialog.close();
});
used();
setInterval(check, Math.min(5_000, warningMs / 4));
document.addEventListener("visibilitychange", check);
addEventListener("pageshow", (event) => { if (event.persisted) check(); });
