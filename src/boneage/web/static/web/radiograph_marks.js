// What is drawn upon the radiograph as lines: outline, epiphyses and carpal bones, regions, single bones and key points, in the radiograph's own coordinates.
import { apply, invert } from "./camera.js";

const SVG = "http://www.w3.org/2000/svg";
const NAME_HEIGHT = 16; // CSS pixels

const sum = ([x, y]) => x + y;

function add(parent, kind, attributes, text = "") {
  const element = parent.appendChild(document.createElementNS(SVG, kind));
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

/** A group that keeps its size on the screen, whatever the zoom. */
function pinned(parent, [x, y]) {
  const group = add(parent, "g", {});
  group.pinnedAt = [x, y];
  return group;
}

function label(parent, at, text, dx, dy) {
  const group = pinned(parent, at);
  add(group, "text", { x: dx, y: dy, class: "halo" }, text);
  add(group, "text", { x: dx, y: dy }, text);
  return group;
}

/** Show the text and the ruler of the bone under the pointer. */
function showReading(panel, bone) {
  panel.textContent = bone ? bone.name : "";
  if (bone) panel.append(...new DOMParser().parseFromString(bone.ruler, "text/html").body.children); // drawn on the server
  panel.hidden = !bone;
}

export function makeMarks(svg, data, boneReading) {
  const root = add(svg, "g", {});
  const layers = Object.fromEntries(["outline", "epiphyses", "regions", "bones", "points"].map((name) => [name, add(root, "g", { class: name })]));
  const corners = (points) => points.map((xy) => xy.join(",")).join(" ");
  if (data.outline.length) add(layers.outline, "polygon", { points: corners(data.outline) });
  for (const outline of data.epiphyses) add(layers.epiphyses, "polygon", { points: corners(outline) });
  const names = data.boxes.map(({ name, xy }) => {
    add(layers.regions, "polygon", { points: corners(xy) });
    return { xy, group: label(layers.regions, xy[0], name, 6, 17) };
  });
  for (const bone of data.bones) {
    const tile = add(layers.bones, "polygon", { points: corners(bone.xy) });
    tile.addEventListener("pointerenter", () => showReading(boneReading, bone));
    tile.addEventListener("pointerleave", () => showReading(boneReading, null));
  }
  for (const { name, xy } of data.points) {
    const group = label(layers.points, xy, name, 11, 4);
    add(group, "circle", { r: 6 });
    add(group, "circle", { r: 1.6, class: "dot" });
  }
  const all = [...root.querySelectorAll("g")].filter((group) => group.pinnedAt);

  /** Put the names of regions into the corners that are the upper left ones as the radiograph lies now. */
  function placeNames(matrix) {
    const named = []; // heights, CSS pixels
    for (const { xy, group } of names) {
      const [top, at] = xy.map((one) => [one, apply(matrix, one)]).reduce((best, one) => (sum(one[1]) < sum(best[1]) ? one : best));
      let y = at[1]; // one below the other
      for (const other of named.toSorted((one, two) => one - two)) if (Math.abs(y - other) < NAME_HEIGHT) y = other + NAME_HEIGHT;
      named.push(y);
      group.pinnedAt = top;
      for (const text of group.querySelectorAll("text")) text.setAttribute("y", 17 + y - at[1]);
    }
  }

  return {
    has: (name) => layers[name].childElementCount > 0,
    draw(view, shown) {
      for (const [name, layer] of Object.entries(layers)) layer.toggleAttribute("hidden", !shown[name]);
      const [a, b, c, d] = invert(view.matrix);
      placeNames(view.matrix);
      root.setAttribute("transform", `matrix(${view.matrix.join(" ")})`);
      for (const group of all) group.setAttribute("transform", `matrix(${[a, b, c, d, ...group.pinnedAt].join(" ")})`);
    },
  };
}
