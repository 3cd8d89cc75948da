// The part of the radiograph that is shown: one centre, scale and rotation for all panes, so that they move together.
// Matrices are [a, b, c, d, e, f] as in CSS: x' = a x + c y + e, y' = b x + d y + f.

const ROTATIONS = [[1, 0, 0, 1], [0, 1, -1, 0], [-1, 0, 0, -1], [0, -1, 1, 0]]; // by quarter turns, clockwise

export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** Return the matrix that applies `first` and then `second`. */
export function compose(second, first) {
  const [a, b, c, d, e, f] = second, [g, h, i, j, k, l] = first;
  return [a * g + c * h, b * g + d * h, a * i + c * j, b * i + d * j, a * k + c * l + e, b * k + d * l + f];
}

export function invert([a, b, c, d, e, f]) {
  const area = a * d - b * c;
  return [d / area, -b / area, -c / area, a / area, (c * f - d * e) / area, (b * e - a * f) / area];
}

export function apply([a, b, c, d, e, f], [x, y]) {
  return [a * x + c * y + e, b * x + d * y + f];
}

export class Camera {
  /** @param {{width: number, height: number}} size of the radiograph, pixels */
  constructor(size, turns = 0) {
    this.size = size;
    this.centre = [size.width / 2, size.height / 2];
    this.scale = 1; // CSS pixels for one of the radiograph's
    this.turns = ((turns % 4) + 4) % 4;
  }

  /** Return the matrix from the radiograph's pixels to a pane's CSS pixels. `pane` is an element. */
  matrix(pane) {
    const linear = ROTATIONS[this.turns].map((one) => one * this.scale);
    const [x, y] = apply([...linear, 0, 0], this.centre);
    return [...linear, pane.clientWidth / 2 - x, pane.clientHeight / 2 - y];
  }

  pan(dx, dy) {
    const [a, b, c, d] = ROTATIONS[this.turns]; // its inverse is its transpose
    this.moveTo([this.centre[0] - (a * dx + b * dy) / this.scale, this.centre[1] - (c * dx + d * dy) / this.scale]);
  }

  /** Show this point in the middle; the middle stays upon the radiograph. */
  moveTo([x, y]) {
    this.centre = [clamp(x, 0, this.size.width), clamp(y, 0, this.size.height)];
  }

  /** Change the scale and keep the radiograph's point that lies at `at` of the pane. */
  zoom(scale, at, pane) {
    const point = apply(invert(this.matrix(pane)), at);
    const factor = this.scale / scale;
    this.scale = scale;
    this.moveTo(point.map((one, axis) => one + (this.centre[axis] - one) * factor));
  }

  /** Return the scale at which a box of the radiograph fills a pane. */
  scaleFor([left, top, right, bottom], pane) {
    const isOnSide = this.turns % 2 === 1;
    const [width, height] = isOnSide ? [bottom - top, right - left] : [right - left, bottom - top];
    return Math.min(pane.clientWidth / width, pane.clientHeight / height) || 1;
  }

  /** Show this box of the radiograph, [left, top, right, bottom], in each of some panes. */
  fit(box, panes) {
    this.scale = Math.min(...panes.map((pane) => this.scaleFor(box, pane)));
    this.moveTo([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]);
  }
}
