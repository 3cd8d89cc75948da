// The reference plate beside the radiograph: the nearest by age with its neighbours, or the most similar ones.

export function startPlates(root) {
  const data = JSON.parse(document.getElementById("plates-data").textContent);
  const find = (name) => root.querySelector(`[data-plate-${name}]`);
  const place = new Map(data.plates.map((plate, index) => [plate.key, index]));
  const rank = find("rank");
  const picture = find("picture");
  const mostSimilarNames = ["mostSimilar", "second", "third"];
  let mode = "age";
  let at = place.get(data.by_age);

  function rankOf(key) {
    if (mode === "age") return key === data.by_age ? rank.dataset.byAge : "";
    const index = data.by_similarity.indexOf(key);
    return index < 0 ? "" : rank.dataset[mostSimilarNames[index]] ?? "";
  }

  function show(index) {
    at = index;
    const plate = data.plates[at];
    picture.src = plate.url;
    picture.alt = picture.dataset.alt.replace("{age}", plate.age);
    find("link").href = plate.url;
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

  function choose(chosen) {
    mode = chosen;
    const explained = find("explained");
    explained.textContent = explained.dataset[mode];
    root.dataset.mode = mode;
    find("most-similar").hidden = mode === "age" || data.by_similarity.length < 2;
    show(place.get(mode === "age" ? data.by_age : data.by_similarity[0]));
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
  document.addEventListener("viewer:invert", (event) => picture.classList.toggle("inverted", event.detail));
  root.querySelector("[data-plates-choice]").hidden = false;
  find("buttons").hidden = false;
  choose(root.querySelector("input[name=plates]:checked:not(:disabled)")?.value ?? "age");
}
