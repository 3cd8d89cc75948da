// The page of one assessment: starts what it holds, also when htmx has put the answer in the place of the waiting text.
import { startPlates } from "./plates.js";
import { startViewer } from "./viewer.js";

function sayTimes(root) {
  const language = document.documentElement.lang;
  for (const time of root.querySelectorAll("time[data-local-time]")) {
    const style = time.dataset.localTime === "date" ? { dateStyle: "medium", timeStyle: "short" } : { timeStyle: "short" };
    time.textContent = new Intl.DateTimeFormat(language, style).format(new Date(time.dateTime));
  }
}

function start(root) {
  sayTimes(root);
  for (const element of root.querySelectorAll("[data-viewer]:not([data-started])")) {
    element.dataset.started = "";
    startViewer(element);
  }
  for (const element of root.querySelectorAll("[data-plates]:not([data-started])")) {
    element.dataset.started = "";
    startPlates(element);
  }
}

// A form that was wrong comes back with 422 and what is wrong in it.
document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.xhr.status !== 422) return;
  event.detail.shouldSwap = true;
  event.detail.isError = false;
});
// What is said of a radiograph that somebody else has decided on, or deleted, meanwhile: the page as it is now.
document.addEventListener("htmx:responseError", (event) => {
  if (event.detail.target?.id === "decision" && [403, 404, 409].includes(event.detail.xhr.status)) location.reload();
});
document.addEventListener("htmx:load", (event) => start(event.detail.elt.parentElement ?? document));
document.addEventListener("htmx:afterSettle", (event) => {
  const decision = event.detail.target?.id === "decision" ? document.getElementById("decision") : null;
  (decision?.querySelector("#confirm-critical") ?? decision?.querySelector("[aria-invalid]") ?? decision?.querySelector("summary"))?.focus();
});
start(document);
