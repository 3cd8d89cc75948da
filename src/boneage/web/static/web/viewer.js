// The viewer holds one state, which buttons, sliders, keys, wheel and fingers change. It redraws only after a change.
import { Camera, apply, clamp, invert } from "./camera.js";
import { listenToGestures } from "./gestures.js";
import { percentiles, readGreyPng } from "./grey_png.js";
import { Measure } from "./measure.js";
import { makeRadiograph } from "./radiograph_canvas.js";
import { makeMarks } from "./radiograph_marks.js";
import { Controls } from "./viewer_controls.js";

const STORAGE_KEY = "viewer"; // in the browser's storage: visible layers, opacity and colours
const LAYERS = ["heat", "outline", "epiphyses", "points", "regions", "bones"];
const TOOLS = ["plate", "loupe", "measure"]; // switched on and off, too, but not kept
const KEYS = {
  "+": "in", "=": "in", "-": "out", "_": "out", 0: "fit", 1: "full", 2: "whole", Backspace: "reset",
  i: "invert", h: "heat", o: "outline", e: "epiphyses", k: "points", r: "regions", b: "bones", f: "screen", "?": "help", t: "turn", T: "turnBack",
  p: "plate", z: "loupe", m: "measure", Escape: "off",
  "[": "narrower", "]": "wider", w: "narrower", W: "wider", "{": "lower", "}": "higher", l: "lower", L: "higher",
};
const ARROWS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
const STEP = 60; // of an arrow key, CSS pixels
const MEASURE_STEP = 4; // of an arrow key that moves an end of the ruler, CSS pixels
const ZOOM_STEP = 1.25;
const LARGEST_ZOOM = 16;
const HAND_MARGIN = 0.04; // around the hand, as a share of its longer side
const SHOWN_SHARES = [0.002, 0.998]; // of the grey levels that the window shows at first

function storedSettings() {
  try { return JSON.parse(localStorage.getItem(STORAGE_KEY)) ?? {}; } catch { return {}; }
}

export class Viewer {
  constructor(root) {
    this.root = root;
    this.data = JSON.parse(document.getElementById("viewer-data").textContent);
    this.stage = root.querySelector("[data-stage]");
    this.image = root.querySelector("[data-picture]");
    this.controls = new Controls(root);
    const stored = storedSettings();
    this.shown = Object.fromEntries([...LAYERS, ...TOOLS].map((name) => [name, LAYERS.includes(name) && stored[name] === true]));
    this.colours = this.data.scales[stored.colours] ? stored.colours : "orange";
    this.opacity = clamp(Number(stored.opacity) || 62, 5, 100);
    Object.assign(this, { invert: false, pointer: null, panes: [], fitted: "hand" });
    this.grey = { top: 255, window: 255, level: 127.5 }; // highest level; window and level at first
    Object.assign(this, { window: this.grey.window, level: this.grey.level });
    this.camera = new Camera(this.data, this.data.turns);
    const svg = root.querySelector("[data-marks]");
    this.marks = makeMarks(svg, this.data, root.querySelector("[data-bone-reading]"));
    this.measure = this.data.spacing ? new Measure(svg, this.data.spacing, this.controls.button("measure").dataset.unit) : null;
    this.radiograph = makeRadiograph({
      image: this.image, canvas: root.querySelector("canvas[data-radiograph]"), heatCanvas: root.querySelector("canvas[data-heat]"),
      size: this.data, onLost: (plain) => this.lose(plain),
    });
    this.listen();
    this.fit();
    this.load();
  }

  // --- pictures ---

  async load() {
    try {
      await this.image.decode();
      await this.radiograph.setRadiograph(this.image);
      this.change();
    } catch {
      this.root.querySelector("[data-trouble]").hidden = false;
      return;
    }
    await this.loadHeat();
    await this.loadGrey();
  }

  async loadHeat() {
    const heat = new Image();
    heat.src = this.root.dataset.heatUrl;
    try {
      await heat.decode();
      await this.radiograph.setHeat(heat);
      this.change();
    } catch {
      this.controls.button("heat").disabled = true;
    }
  }

  /** Replace the 8-bit picture by the radiograph's own grey levels, and let the radiograph look as before. */
  async loadGrey() {
    if (!this.data.grey) return;
    try {
      const response = await fetch(this.data.grey);
      if (!response.ok) return;
      const grey = await readGreyPng(await response.arrayBuffer());
      if (!this.radiograph.setGrey(grey)) return;
      const [low, high] = percentiles(grey.pixels, this.data.levels, SHOWN_SHARES);
      this.useLevels(this.data.levels - 1, low, Math.max(1, high - low));
    } catch { /* the 8-bit picture stays */ }
  }

  useLevels(top, low, width) {
    const convert = ({ window, level }) => ({ window: (window * width) / 255, level: low + (level * width) / 255 });
    this.grey = { top, ...convert(this.grey) };
    Object.assign(this, convert(this));
    for (const name of ["window", "level"]) this.root.querySelector(`[data-slide=${name}]`).max = name === "window" ? 2 * top : top;
    this.root.dataset.levels = top + 1;
    this.change();
  }

  /** Go on without the graphics card, in 8 bits. */
  lose(plain) {
    this.radiograph = plain;
    Object.assign(this.grey, { top: 255, window: 255, level: 127.5 });
    this.data.grey = null;
    this.shown.loupe = false;
    this.setWindow(255, 127.5);
    this.load();
  }

  // --- panes ---

  /**
   * Let a pane beside the radiograph move with it.
   * @param {HTMLElement} stage
   * @param {function(number[], boolean)} draw - with the matrix from the radiograph's pixels to the pane's, and inversion
   */
  attach(stage, draw) {
    this.panes.push({ stage, draw });
    this.gesturesOn(stage);
    new ResizeObserver(() => this.resized()).observe(stage);
  }

  /** @param {?function(number[]): void} draw - draws a plate over the radiograph; null without a registered one */
  overlay(draw) {
    this.drawPlate = draw;
    this.controls.button("plate").hidden = !draw;
    this.change();
  }

  // --- commands ---

  listen() {
    this.root.addEventListener("click", (event) => {
      const button = event.target.closest("[data-do]");
      if (button) this.do(button.dataset.do);
    });
    this.root.addEventListener("input", (event) => this.slide(event.target));
    this.root.addEventListener("change", (event) => {
      if (event.target.matches("[data-scale]")) this.choose(event.target.value);
    });
    this.gesturesOn(this.stage);
    new ResizeObserver(() => this.resized()).observe(this.stage);
    document.addEventListener("fullscreenchange", () => this.change());
    this.controls.button("screen").hidden = !document.fullscreenEnabled;
    for (const name of ["outline", "epiphyses", "points", "regions", "bones"]) this.controls.button(name).hidden = !this.marks.has(name);
    this.controls.button("fit").hidden = !this.data.outline.length;
    this.controls.button("measure").hidden = !this.measure;
    this.controls.button("loupe").hidden = !this.radiograph.hasLoupe;
    this.root.querySelector("[data-scale]").value = this.colours;
  }

  do(name, isKey = false) {
    const { stage, grey } = this;
    const middle = [stage.clientWidth / 2, stage.clientHeight / 2];
    const commands = {
      invert: () => this.setInvert(!this.invert, isKey),
      in: () => this.zoomTo(this.camera.scale * ZOOM_STEP, middle),
      out: () => this.zoomTo(this.camera.scale / ZOOM_STEP, middle),
      fit: () => this.fit(),
      whole: () => this.fit("whole"),
      full: () => this.zoomTo(this.pixelScale, middle),
      turn: () => this.turn(1),
      turnBack: () => this.turn(-1),
      narrower: () => this.setWindow(this.window / 1.12, this.level),
      wider: () => this.setWindow(this.window * 1.12, this.level),
      lower: () => this.setWindow(this.window, this.level - grey.window / 42),
      higher: () => this.setWindow(this.window, this.level + grey.window / 42),
      reset: () => this.reset(),
      screen: () => this.fillScreen(),
      help: () => this.root.querySelector("dialog[data-help]").showModal(),
      off: () => this.toolsOff(),
    };
    if (name in this.shown) this.toggle(name, isKey);
    else commands[name]?.();
  }

  /** Run the command of a key. Return whether there is one. */
  key(key, { target, shiftKey }) {
    const arrow = target.closest?.("[data-stage], [data-plate-stage]") ? ARROWS[key] : undefined;
    const name = KEYS[key] ?? KEYS[key.toLowerCase()];
    if (arrow && this.measure?.ends) this.moveEnd(arrow, shiftKey ? 0 : 1);
    else if (arrow) this.pan(arrow[0] * STEP, arrow[1] * STEP);
    else if (name) this.do(name, true);
    else return false;
    return name !== "off"; // Escape goes on to whoever else listens
  }

  slide(input) {
    const value = Number(input.value);
    if (input.dataset.slide === "window") this.setWindow(value, this.level);
    if (input.dataset.slide === "level") this.setWindow(this.window, value);
    if (input.dataset.slide === "opacity") {
      this.opacity = value;
      this.shown.heat = true;
      this.keep();
    }
  }

  choose(colours) {
    this.colours = colours;
    this.shown.heat = true;
    this.keep();
  }

  toggle(name, isKey) {
    const button = this.controls.button(name);
    if (button.hidden || button.disabled) return;
    this.shown[name] = !this.shown[name];
    if (name === "measure") this.placeMeasure();
    if (isKey) this.controls.say(button, this.shown[name]);
    this.keep();
  }

  toolsOff() {
    for (const name of TOOLS) this.shown[name] = false;
    this.placeMeasure();
    this.change();
  }

  setInvert(isInverted, isKey = false) {
    this.invert = isInverted;
    if (isKey) this.controls.say(this.controls.button("invert"), this.invert);
    this.change();
  }

  keep() {
    const layers = Object.fromEntries(LAYERS.map((name) => [name, this.shown[name]]));
    try {
      localStorage.setItem(STORAGE_KEY, JSON.stringify({ ...layers, opacity: this.opacity, colours: this.colours }));
    } catch { /* forgotten with the page */ }
    this.change();
  }

  async fillScreen() {
    if (document.fullscreenElement) await document.exitFullscreen();
    else await this.root.requestFullscreen().catch(() => {});
    this.stage.focus();
  }

  reset() {
    this.setInvert(false);
    this.setWindow(this.grey.window, this.grey.level);
    this.camera = new Camera(this.data, this.data.turns);
    this.toolsOff();
    this.fit();
  }

  turn(quarters) {
    this.camera.turns = (this.camera.turns + quarters + 4) % 4;
    if (this.fitted) this.fit(this.fitted);
    this.change();
  }

  // --- gestures ---

  gesturesOn(pane) {
    listenToGestures(pane, {
      zoom: (factor, at) => this.zoomTo(this.camera.scale * factor, at, pane),
      pan: (dx, dy) => this.pan(dx, dy),
      level: (dx, dy) => this.setWindow(this.window + (dx * this.grey.window) / 255, this.level - (dy * this.grey.window) / 510),
      double: (at) => (this.fitted ? this.zoomTo(this.pixelScale, at, pane) : this.fit()),
      drag: (kind, at, isTouch) => pane === this.stage && this.drag(kind, at, isTouch),
    });
  }

  drag(kind, at, isTouch) {
    this.pointer = kind === "leave" ? null : at;
    if (this.shown.loupe) this.change();
    if (!this.shown.measure) return this.shown.loupe && isTouch;
    const point = apply(invert(this.camera.matrix(this.stage)), at);
    if (kind === "start") this.measure.ends = [point, point];
    if (kind === "move") this.measure.ends[1] = point;
    if (kind === "end") this.sayLength();
    this.change();
    return true;
  }

  // --- the ruler ---

  /** Lay the ruler across the middle of the stage, or take it away. */
  placeMeasure() {
    if (!this.measure) return;
    const { clientWidth: width, clientHeight: height } = this.stage;
    const back = invert(this.camera.matrix(this.stage));
    const ends = [[width * 0.3, height / 2], [width * 0.7, height / 2]];
    this.measure.ends = this.shown.measure ? ends.map((one) => apply(back, one)) : null;
  }

  moveEnd([dx, dy], end) {
    const matrix = this.camera.matrix(this.stage);
    const [x, y] = apply(matrix, this.measure.ends[end]);
    this.measure.ends[end] = apply(invert(matrix), [x - dx * MEASURE_STEP, y - dy * MEASURE_STEP]);
    this.sayLength();
    this.change();
  }

  sayLength() {
    this.controls.announce(this.measure.words);
  }

  // --- the state ---

  get pixelScale() {
    return 1 / devicePixelRatio;
  }

  get wholeBox() {
    return [0, 0, this.data.width, this.data.height];
  }

  /** The box around the hand with a margin; the whole radiograph where the hand is not known. */
  get handBox() {
    if (!this.data.outline.length) return this.wholeBox;
    const [xs, ys] = [0, 1].map((axis) => this.data.outline.map((one) => one[axis]));
    const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const margin = HAND_MARGIN * Math.max(right - left, bottom - top);
    return [left - margin, top - margin, right + margin, bottom + margin];
  }

  /** Show the hand in every pane, or the whole radiograph in its own. */
  fit(what = "hand") {
    this.fitted = what;
    const isWhole = what === "whole", panes = isWhole ? [] : this.panes.map(({ stage }) => stage);
    this.camera.fit(isWhole ? this.wholeBox : this.handBox, [this.stage, ...panes]);
    this.change();
  }

  zoomTo(scale, at, pane = this.stage) {
    const whole = this.camera.scaleFor(this.wholeBox, this.stage), least = Math.min(whole, this.pixelScale);
    const next = clamp(scale, least, Math.max(LARGEST_ZOOM * this.pixelScale, least));
    if (next <= whole * 1.001 && scale <= this.camera.scale) {
      this.fit("whole");
      return;
    }
    this.fitted = null;
    this.camera.zoom(next, at, pane);
    this.change();
  }

  pan(dx, dy) {
    this.fitted = null;
    this.camera.pan(dx, dy);
    this.change();
  }

  resized() {
    if (this.fitted) this.fit(this.fitted);
    else this.change();
  }

  setWindow(width, level) {
    this.window = clamp(width, 4, 2 * this.grey.top);
    this.level = clamp(level, 0, this.grey.top);
    this.change();
  }

  /** Draw once before the next frame, however much changes until then. */
  change() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = undefined;
      this.draw();
    });
  }

  draw() {
    const density = Math.min(devicePixelRatio, 2), { stage } = this;
    const matrix = this.camera.matrix(stage);
    const middle = [stage.clientWidth / 2, stage.clientHeight / 2];
    const view = {
      matrix, window: this.window, level: this.level, invert: this.invert,
      heat: this.shown.heat, opacity: this.opacity / 100, colours: this.data.scales[this.colours],
      loupe: this.shown.loupe ? this.pointer ?? middle : null,
    };
    this.radiograph.draw(view, stage.clientWidth, stage.clientHeight, density);
    this.marks.draw(view, this.shown);
    this.measure?.draw((point) => apply(matrix, point));
    this.drawPlate?.(matrix, this.shown.plate, this.invert);
    for (const pane of this.panes) pane.draw(this.camera.matrix(pane.stage), this.invert);
    this.controls.update(this, view);
  }
}

export function startViewer(root) {
  return new Viewer(root);
}
