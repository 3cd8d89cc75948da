// A ruler upon the radiograph, in mm. It exists only where the file states the distance between its pixels.

const SVG = "http://www.w3.org/2000/svg";

function add(parent, kind, attributes) {
  const element = parent.appendChild(document.createElementNS(SVG, kind));
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

export class Measure {
  /**
   * @param {SVGElement} svg - over the stage
   * @param {[number, number]} spacing - mm between columns and between rows
   * @param {string} unit - text with {length}
   */
  constructor(svg, spacing, unit) {
    Object.assign(this, { spacing, unit, ends: null });
    this.group = add(svg, "g", { class: "measure" });
    this.line = add(this.group, "line", { class: "measure-line" });
    this.dots = [0, 1].map(() => add(this.group, "circle", { r: 4 }));
    this.halo = add(this.group, "text", { class: "halo" });
    this.text = add(this.group, "text", {});
  }

  get length() {
    if (!this.ends) return null;
    const [[x, y], [u, v]] = this.ends;
    return Math.hypot((u - x) * this.spacing[0], (v - y) * this.spacing[1]);
  }

  get words() {
    const number = new Intl.NumberFormat(document.documentElement.lang, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
    return this.unit.replace("{length}", number.format(this.length));
  }

  /** @param {function([number, number]): [number, number]} place - from the radiograph to the stage */
  draw(place) {
    this.group.toggleAttribute("hidden", !this.ends);
    if (!this.ends) return;
    const [[x, y], [u, v]] = this.ends.map(place);
    for (const [name, value] of Object.entries({ x1: x, y1: y, x2: u, y2: v })) this.line.setAttribute(name, value);
    this.dots.forEach((dot, index) => {
      dot.setAttribute("cx", index ? u : x);
      dot.setAttribute("cy", index ? v : y);
    });
    for (const text of [this.halo, this.text]) {
      text.setAttribute("x", (x + u) / 2 + 10);
      text.setAttribute("y", (y + v) / 2 - 8);
      text.textContent = this.words;
    }
  }
}
