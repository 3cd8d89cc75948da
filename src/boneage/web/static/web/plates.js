// Beside the radiograph: the reference plate nearest by age with its neighbours, the most similar ones, or the child's
// earlier radiograph. What has a place in the registered frame lies and moves as the hand on the radiograph does.
import { compose } from "./camera.js";

export function startPlates(root, viewer) {
  const data = JSON.parse(document.getElementById("plates-data").textContent);
  const find = (name) => root.querySelector(`[data-plate-${name}]`);
  const place = new Map(data.plates.map((plate, index) => [plate.key, index]));
  const rank = find("rank");
  const picture = find("picture"), over = viewer.root.querySelector("[data-plate-over]");
  const mostSimilarNames = ["mostSimilar", "second", "third"];
  let mode = "age";
  let at = place.get(data.by_age);

  const rowsToMatrix = ([[a, c, e], [b, d, f]]) => [a, b, c, d, e, f];

  /** Return the matrix from the shown image's pixels to the frame; null if its place is not known. */
  function toFrame({ naturalWidth, naturalHeight }) {
    const [left, top, width, height] = mode === "earlier" ? [0, 0, data.earlier.width, data.earlier.height] : data.frame_box ?? [];
    const placed = [width / naturalWidth, 0, 0, height / naturalHeight, left, top];
    if (mode !== "earlier") return data.frame_box && placed;
    return data.earlier.to_frame && compose(rowsToMatrix(data.earlier.to_frame), placed);
  }

  function lay(image, matrix, isInverted) {
    image.classList.toggle("inverted", isInverted);
    const inFrame = viewer.data.frame && image.naturalWidth ? toFrame(image) : null;
    image.classList.toggle("placed", Boolean(inFrame));
    Object.assign(image.style, { width: "", height: "", transform: "" });
    if (!inFrame) return;
    Object.assign(image.style, { width: `${image.naturalWidth}px`, height: `${image.naturalHeight}px` });
    image.style.transform = `matrix(${compose(matrix, compose(rowsToMatrix(viewer.data.frame), inFrame)).join(",")})`;
  }

  function rankOf(key) {
    if (mode === "age") return key === data.by_age ? rank.dataset.byAge : "";
    const index = data.by_similarity.indexOf(key);
    return index < 0 ? "" : rank.dataset[mostSimilarNames[index]] ?? "";
  }

  function show(index) {
    at = index;
    const plate = data.plates[at];
    picture.src = over.src = plate.url;
    picture.alt = picture.dataset.alt.replace("{age}", plate.age);
    find("age").textContent = plate.age;
    find("compared").textContent = plate.compared;
    find("source").textContent = plate.source;
    rank.textContent = rankOf(plate.key);
    rank.hidden = !rank.textContent;
    for (const button of root.querySelectorAll("[data-plate-step]")) {
      button.disabled = data.plates[at + Number(button.dataset.plateStep)] === undefined;
    }
    for (const step of [-1, 1]) { // so that the next one is there at once
      const next = data.plates[at + step];
      if (next) new Image().src = next.url;
    }
  }

  function showEarlier() {
    const { url, age, title } = data.earlier;
    picture.src = over.src = url;
    picture.alt = title;
    find("age").textContent = age;
    find("compared").textContent = title;
    find("source").textContent = "";
    rank.hidden = true;
  }

  function drawOver(matrix, isShown, isInverted) {
    over.hidden = !isShown;
    lay(over, matrix, isInverted);
  }

  function choose(chosen) {
    mode = chosen;
    const explained = find("explained");
    explained.textContent = explained.dataset[mode];
    root.dataset.mode = mode;
    find("most-similar").hidden = mode !== "similarity" || data.by_similarity.length < 2;
    find("buttons").hidden = mode === "earlier";
    const isRegistered = Boolean(viewer.data.frame && (mode === "earlier" ? data.earlier.to_frame : data.frame_box));
    find("unregistered").hidden = isRegistered;
    viewer.overlay(isRegistered ? drawOver : null);
    if (mode === "earlier") showEarlier();
    else show(place.get(mode === "age" ? data.by_age : data.by_similarity[0]));
  }

  root.addEventListener("change", (event) => {
    if (event.target.name === "plates") choose(event.target.value);
  });
  root.addEventListener("click", (event) => {
    const step = event.target.closest("[data-plate-step]");
    if (step) show(at + Number(step.dataset.plateStep));
    if (event.target.closest("[data-plate-most-similar]")) {
      const shown = data.by_similarity.indexOf(data.plates[at].key);
      show(place.get(data.by_similarity[(shown + 1) % data.by_similarity.length]));
    }
  });
  for (const image of [picture, over]) image.addEventListener("load", () => viewer.change());
  root.querySelector("[data-plates-choice]").hidden = false;
  choose(root.querySelector("input[name=plates]:checked:not(:disabled)")?.value ?? "age");
  viewer.attach(find("stage"), (matrix, isInverted) => lay(picture, matrix, isInverted));
}
