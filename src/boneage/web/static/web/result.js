// The page of one assessment. It starts the viewer and the plates, also after htmx has replaced the waiting text.
import { startPlates } from "./plates.js";
import { startViewer } from "./viewer.js";

function start(root) {
  for (const element of root.querySelectorAll("[data-viewer]:not([data-started])")) {
    element.dataset.started = "";
    startViewer(element);
  }
  for (const element of root.querySelectorAll("[data-plates]:not([data-started])")) {
    element.dataset.started = "";
    startPlates(element);
  }
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
