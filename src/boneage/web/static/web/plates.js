// The reference plate beside the film: the nearest by age with its neighbours, or the likest ones.

export function startPlates(root) {
  const data = JSON.parse(document.getElementById("plates-data").textContent);
  const find = (name) => root.querySelector(`[data-plate-${name}]`);
  const place = new Map(data.plates.map((plate, index) => [plate.key, index]));
  const rank = find("rank");
  const picture = find("picture");
  const likestNames = ["likest", "second", "third"];
  let mode = "age";
  let at = place.get(data.by_age);

  function rankOf(key) {
    if (mode === "age") return key === data.by_age ? rank.dataset.byAge : "";
    const index = data.by_likeness.indexOf(key);
    return index < 0 ? "" : rank.dataset[likestNames[index]] ?? "";
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
    find("likest").hidden = mode === "age" || data.by_likeness.length < 2;
    show(place.get(mode === "age" ? data.by_age : data.by_likeness[0]));
  }

  root.addEventListener("change", (event) => {
    if (event.target.name === "plates") choose(event.target.value);
  });
  root.addEventListener("click", (event) => {
    const step = event.target.closest("[data-plate-step]");
    if (step) show(at + Number(step.dataset.plateStep));
    if (event.target.closest("[data-plate-likest]")) {
      const shown = data.by_likeness.indexOf(data.plates[at].key);
      show(place.get(data.by_likeness[(shown + 1) % data.by_likeness.length]));
    }
  });
  document.addEventListener("viewer:invert", (event) => picture.classList.toggle("inverted", event.detail));
  root.querySelector("[data-plates-choice]").hidden = false;
  find("buttons").hidden = false;
  choose(root.querySelector("input[name=plates]:checked:not(:disabled)")?.value ?? "age");
}
