// The page of one assessment. It starts the viewer and the plates, also after htmx has replaced the waiting text.
import { startCopying } from "./copy_text.js";
import { listenToKeys } from "./keys.js";
import { startPlates } from "./plates.js";
import { startViewer } from "./viewer.js";

/** Accept, correct, next. A critical number is only asked about: accepting it then takes the button itself. */
const PAGE_KEYS = {
  a: () => document.querySelector("[data-accept]")?.click(),
  c: () => {
    const details = document.querySelector("[data-correct]");
    if (!details) return;
    details.open = true;
    details.querySelector("input:not([type=hidden])").focus();
  },
  n: () => document.querySelector("[data-next]")?.click(),
};

function begin(root, selector, run) {
  for (const element of root.querySelectorAll(`${selector}:not([data-started])`)) {
    element.dataset.started = "";
    run(element);
  }
}

let viewer = null;

function start(root) {
  begin(root, "[data-copy]", startCopying);
  begin(root, "[data-viewer]", (element) => {
    viewer = startViewer(element);
    listenToKeys(element, (key, event) => {
      const run = event.repeat ? null : PAGE_KEYS[key];
      if (run) run();
      return Boolean(run) || viewer.key(key, event);
    });
  });
  begin(root, "[data-plates]", (element) => startPlates(element, viewer));
}

// An invalid form comes back with status 422 and its errors.
document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.xhr.status !== 422) return;
  event.detail.shouldSwap = true;
  event.detail.isError = false;
});
// Another user has decided on the radiograph or deleted it meanwhile: show the current page.
document.addEventListener("htmx:responseError", (event) => {
  if (event.detail.target?.id === "decision" && [403, 404, 409].includes(event.detail.xhr.status)) location.reload();
});
document.addEventListener("htmx:load", (event) => start(event.detail.elt.parentElement ?? document));
document.addEventListener("htmx:afterSettle", (event) => {
  const decision = event.detail.target?.id === "decision" ? document.getElementById("decision") : null;
  (decision?.querySelector("#confirm-critical") ?? decision?.querySelector("[aria-invalid]") ?? decision?.querySelector("summary"))?.focus();
});
start(document);
