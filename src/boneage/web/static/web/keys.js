// Keys of the result's page. They work wherever the focus is but in fields and dialogs; a switch in the list of keys
// limits them to the viewer, as people need who use single keys otherwise (WCAG 2.1.4).

const STORAGE_KEY = "keys"; // "viewer" if they are limited
const TYPED = "textarea, select, dialog, [contenteditable], input:not([type=range], [type=radio], [type=checkbox])";

function isLimited() {
  try { return localStorage.getItem(STORAGE_KEY) === "viewer"; } catch { return false; }
}

/** @param {function(string, KeyboardEvent): boolean} run - is called with a key; returns whether it has used the key. */
export function listenToKeys(viewer, run) {
  document.addEventListener("keydown", (event) => {
    const { target } = event;
    const altGr = event.getModifierState("AltGraph"); // brackets are typed with it on many keyboards
    if (event.defaultPrevented || ((event.ctrlKey || event.metaKey || event.altKey) && !altGr)) return;
    if (target.closest?.(TYPED) || document.querySelector("dialog[open]")) return;
    if (isLimited() && !viewer.contains(target)) return;
    if (run(event.key, event)) event.preventDefault();
  });
  const toggle = viewer.querySelector("[data-keys-everywhere]");
  toggle.checked = !isLimited();
  toggle.addEventListener("change", () => {
    try { localStorage.setItem(STORAGE_KEY, toggle.checked ? "page" : "viewer"); } catch { /* forgotten with the page */ }
  });
}
