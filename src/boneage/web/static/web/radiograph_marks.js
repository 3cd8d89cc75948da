// What is drawn upon the radiograph as lines: outline, regions and key points, in the radiograph's own coordinates.
import { invert } from "./camera.js";

const SVG = "http://www.w3.org/2000/svg";

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

export function makeMarks(svg, data) {
  const root = add(svg, "g", {});
  const layers = Object.fromEntries(["outline", "regions", "points"].map((name) => [name, add(root, "g", { class: name })]));
  const corners = (points) => points.map((xy) => xy.join(",")).join(" ");
  if (data.outline.length) add(layers.outline, "polygon", { points: corners(data.outline) });
  const heights = data.boxes.flatMap(({ xy }) => xy.map((one) => one[1]));
  const near = 0.04 * (Math.max(...heights) - Math.min(...heights));
  const named = [];
  for (const { name, xy } of data.boxes) {
    add(layers.regions, "polygon", { points: corners(xy) });
    const top = xy.reduce((best, one) => (one[0] + one[1] < best[0] + best[1] ? one : best));
    // Boxes that begin at one height have their names one below the other.
    const above = named.filter((y) => Math.abs(y - top[1]) < near).length;
    named.push(top[1]);
    label(layers.regions, top, name, 6, 17 + 16 * above);
  }
  for (const { name, xy } of data.points) {
    const group = label(layers.points, xy, name, 11, 4);
    add(group, "circle", { r: 6 });
    add(group, "circle", { r: 1.6, class: "dot" });
  }
  const all = [...root.querySelectorAll("g")].filter((group) => group.pinnedAt);

  return {
    has: (name) => layers[name].childElementCount > 0,
    draw(view, shown) {
      for (const [name, layer] of Object.entries(layers)) layer.toggleAttribute("hidden", !shown[name]);
      const [a, b, c, d] = invert(view.matrix);
      root.setAttribute("transform", `matrix(${view.matrix.join(" ")})`);
      for (const group of all) group.setAttribute("transform", `matrix(${[a, b, c, d, ...group.pinnedAt].join(" ")})`);
    },
  };
}
