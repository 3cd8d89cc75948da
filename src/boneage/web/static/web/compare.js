/* Two radiographs in the registered frame: moving and zooming one moves and zooms the other, and one may lie over the
   other, so that a key switches between them. Without script both stand beside each other. */
const compared = document.querySelector("[data-compared]");
const figures = [...compared.querySelectorAll("[data-registered]")];
const pictures = figures.map((figure) => figure.querySelector("svg"));
const whole = pictures[0].getAttribute("viewBox").split(" ").map(Number);
const tools = document.querySelector("[data-compare-tools]");
const [over, flicker] = [tools.querySelector("[data-over]"), tools.querySelector("[data-flicker]")];
const MOST_ZOOM = 12;
let view = [...whole];

function show(next) {
  view = next;
  for (const picture of pictures) picture.setAttribute("viewBox", view.map((side) => side.toFixed(2)).join(" "));
}

/** Zoom by a factor about a point of the frame, the middle if none is given. */
function zoom(factor, x = view[0] + view[2] / 2, y = view[1] + view[3] / 2) {
  const width = Math.min(whole[2], Math.max(whole[2] / MOST_ZOOM, view[2] / factor));
  const part = width / view[2];
  show([x - (x - view[0]) * part, y - (y - view[1]) * part, width, view[3] * part]);
}

function inFrame(picture, event) {
  return new DOMPoint(event.clientX, event.clientY).matrixTransform(picture.getScreenCTM().inverse());
}

function lay(isOver) {
  compared.classList.toggle("over", isOver);
  over.setAttribute("aria-pressed", String(isOver));
  flicker.disabled = !isOver;
  figures[0].classList.toggle("behind", isOver);
  figures[1].classList.remove("behind");
}

function change() {
  if (!flicker.disabled) for (const figure of figures) figure.classList.toggle("behind");
}

for (const picture of pictures) {
  let from = null;
  picture.addEventListener("pointerdown", (event) => {
    from = inFrame(picture, event);
    picture.setPointerCapture(event.pointerId);
  });
  picture.addEventListener("pointermove", (event) => {
    if (!from) return;
    const to = inFrame(picture, event);
    show([view[0] + from.x - to.x, view[1] + from.y - to.y, view[2], view[3]]);
  });
  for (const end of ["pointerup", "pointercancel"]) picture.addEventListener(end, () => { from = null; });
  picture.addEventListener("wheel", (event) => {
    event.preventDefault();
    const { x, y } = inFrame(picture, event);
    zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15, x, y);
  }, { passive: false });
}
for (const button of tools.querySelectorAll("[data-zoom]")) {
  button.addEventListener("click", () => zoom(Number(button.dataset.zoom)));
}
tools.querySelector("[data-whole]").addEventListener("click", () => show([...whole]));
over.addEventListener("click", () => lay(over.getAttribute("aria-pressed") !== "true"));
flicker.addEventListener("click", change);
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, select, textarea");
  if (event.key.toLowerCase() === "f" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) change();
});
tools.hidden = false;
