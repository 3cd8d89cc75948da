// The viewer holds one state, which buttons, sliders, keys, wheel and fingers change. It redraws only after a change.
import { makeRadiograph } from "./radiograph_canvas.js";
import { makeMarks } from "./radiograph_marks.js";

const STORAGE_KEY = "viewer"; // in the browser's storage: visible layers, opacity and colours
const LAYERS = ["heat", "outline", "points", "regions"];
const KEYS = {
  "+": "in", "=": "in", "-": "out", "_": "out", 0: "fit", 1: "full", Backspace: "reset",
  i: "invert", h: "heat", o: "outline", k: "points", r: "regions", f: "screen", "?": "help",
  "[": "narrower", "]": "wider", w: "narrower", W: "wider", "{": "lower", "}": "higher", l: "lower", L: "higher",
};
const ARROWS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
const STEP = 60; // of an arrow key, CSS pixels
const ZOOM_STEP = 1.25;
const LARGEST_ZOOM = 16;

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

function storedSettings() {
  try { return JSON.parse(localStorage.getItem(STORAGE_KEY)) ?? {}; } catch { return {}; }
}

export class Viewer {
  constructor(root) {
    this.root = root;
    this.data = JSON.parse(document.getElementById("viewer-data").textContent);
    this.stage = root.querySelector("[data-stage]");
    this.image = root.querySelector("[data-picture]");
    this.readout = root.querySelector("[data-readout]");
    const stored = storedSettings();
    this.shown = Object.fromEntries(LAYERS.map((name) => [name, stored[name] === true]));
    this.colours = this.data.scales[stored.colours] ? stored.colours : "inferno";
    this.opacity = clamp(Number(stored.opacity) || 62, 5, 100);
    this.invert = false;
    Object.assign(this, { window: 255, level: 127.5, scale: 1, x: 0, y: 0, isFit: true, fingers: new Map() });
    this.marks = makeMarks(root.querySelector("[data-marks]"), this.data);
    this.radiograph = makeRadiograph({
      image: this.image, canvas: root.querySelector("canvas[data-radiograph]"), heatCanvas: root.querySelector("canvas[data-heat]"),
      size: this.data, onLost: (plain) => { this.radiograph = plain; this.load(); },
    });
    this.listen();
    this.fit();
    this.load();
  }

  async load() {
    try {
      await this.image.decode();
      await this.radiograph.setRadiograph(this.image);
      this.change();
      this.loadHeat();
    } catch {
      this.root.querySelector("[data-trouble]").hidden = false;
    }
  }

  async loadHeat() {
    const heat = new Image();
    heat.src = this.root.dataset.heatUrl;
    try {
      await heat.decode();
      await this.radiograph.setHeat(heat);
      this.change();
    } catch {
      this.button("heat").disabled = true;
    }
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
    this.root.addEventListener("keydown", (event) => this.key(event));
    const { stage } = this;
    stage.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    stage.addEventListener("pointerdown", (event) => this.press(event));
    stage.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, (event) => this.fingers.delete(event.pointerId));
    stage.addEventListener("contextmenu", (event) => event.preventDefault());
    stage.addEventListener("dblclick", (event) => (this.isFit ? this.zoomTo(this.pixelScale, ...this.on(event)) : this.fit()));
    new ResizeObserver(() => this.resized()).observe(stage);
    document.addEventListener("fullscreenchange", () => this.change());
    const screen = this.button("screen");
    screen.hidden = !document.fullscreenEnabled;
    for (const name of ["outline", "points", "regions"]) this.button(name).hidden = !this.marks.has(name);
    const scale = this.root.querySelector("[data-scale]");
    scale.value = this.colours;
  }

  button(name) {
    return this.root.querySelector(`[data-do="${name}"]`);
  }

  do(name, isKey = false) {
    const middle = [this.stage.clientWidth / 2, this.stage.clientHeight / 2];
    if (LAYERS.includes(name)) this.toggle(name, isKey);
    else if (name === "invert") this.turn(isKey);
    else if (name === "in") this.zoomTo(this.scale * ZOOM_STEP, ...middle);
    else if (name === "out") this.zoomTo(this.scale / ZOOM_STEP, ...middle);
    else if (name === "fit") this.fit();
    else if (name === "full") this.zoomTo(this.pixelScale, ...middle);
    else if (name === "narrower") this.setWindow(this.window / 1.12, this.level);
    else if (name === "wider") this.setWindow(this.window * 1.12, this.level);
    else if (name === "lower") this.setWindow(this.window, this.level - 6);
    else if (name === "higher") this.setWindow(this.window, this.level + 6);
    else if (name === "reset") this.reset();
    else if (name === "screen") this.fillScreen();
    else if (name === "help") this.root.querySelector("dialog[data-help]").showModal();
  }

  key(event) {
    const { target } = event;
    const typesHere = target.closest("select, dialog");
    const altGr = event.getModifierState("AltGraph"); // brackets are typed with it on many keyboards
    if (typesHere || ((event.ctrlKey || event.metaKey || event.altKey) && !altGr)) return;
    const arrow = target === this.stage ? ARROWS[event.key] : undefined;
    const name = KEYS[event.key] ?? KEYS[event.key.toLowerCase()];
    if (arrow) this.pan(arrow[0] * STEP, arrow[1] * STEP);
    else if (name) this.do(name, true);
    else return;
    event.preventDefault();
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
    const button = this.button(name);
    if (button.hidden || button.disabled) return;
    this.shown[name] = !this.shown[name];
    if (isKey) this.say(button, this.shown[name]);
    this.keep();
  }

  turn(isKey) {
    this.invert = !this.invert;
    if (isKey) this.say(this.button("invert"), this.invert);
    document.dispatchEvent(new CustomEvent("viewer:invert", { detail: this.invert }));
    this.change();
  }

  /** Announce a change to screen readers, because the focus is on the radiograph and not on the button. */
  say(button, isOn) {
    const spoken = this.root.querySelector("[data-spoken]");
    spoken.textContent = (isOn ? spoken.dataset.on : spoken.dataset.off).replace("{what}", button.textContent.trim());
  }

  keep() {
    try {
      localStorage.setItem(STORAGE_KEY, JSON.stringify({ ...this.shown, opacity: this.opacity, colours: this.colours }));
    } catch { /* forgotten with the page */ }
    this.change();
  }

  async fillScreen() {
    if (document.fullscreenElement) await document.exitFullscreen();
    else await this.root.requestFullscreen().catch(() => {});
    this.stage.focus();
  }

  reset() {
    if (this.invert) this.turn(false);
    this.setWindow(255, 127.5);
    this.fit();
  }

  // --- pointers ---

  on(event) {
    const box = this.stage.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
    const speed = event.ctrlKey ? 0.01 : 0.0016; // fingers on a trackpad come as a wheel with the control key
    this.zoomTo(this.scale * Math.exp(-clamp(event.deltaY * lines, -300, 300) * speed), ...this.on(event));
  }

  press(event) {
    if (event.button === 1 || this.fingers.size > 1) return;
    this.stage.focus({ preventScroll: true });
    this.stage.setPointerCapture(event.pointerId);
    const windows = event.button === 2 || event.shiftKey;
    this.fingers.set(event.pointerId, { at: this.on(event), windows });
  }

  move(event) {
    const finger = this.fingers.get(event.pointerId);
    if (!finger) return;
    const others = [...this.fingers].filter(([id]) => id !== event.pointerId).map(([, one]) => one.at);
    const [before, now] = [finger.at, this.on(event)];
    finger.at = now;
    const [dx, dy] = [now[0] - before[0], now[1] - before[1]];
    if (others.length) this.pinch(before, now, others[0]);
    else if (finger.windows) this.setWindow(this.window + dx, this.level - dy * 0.5);
    else this.pan(dx, dy);
  }

  pinch(before, now, other) {
    const far = (one) => Math.max(1, Math.hypot(one[0] - other[0], one[1] - other[1]));
    const middle = (one) => [(one[0] + other[0]) / 2, (one[1] + other[1]) / 2];
    const [from, to] = [middle(before), middle(now)];
    this.pan(to[0] - from[0], to[1] - from[1]);
    this.zoomTo((this.scale * far(now)) / far(before), ...to);
  }

  // --- the state ---

  get fitScale() {
    return Math.min(this.stage.clientWidth / this.data.width, this.stage.clientHeight / this.data.height) || 1;
  }

  get pixelScale() {
    return 1 / devicePixelRatio;
  }

  fit() {
    this.isFit = true;
    this.scale = this.fitScale;
    this.x = (this.stage.clientWidth - this.data.width * this.scale) / 2;
    this.y = (this.stage.clientHeight - this.data.height * this.scale) / 2;
    this.change();
  }

  zoomTo(scale, x, y) {
    const least = Math.min(this.fitScale, this.pixelScale);
    const next = clamp(scale, least, Math.max(LARGEST_ZOOM * this.pixelScale, least));
    if (next <= this.fitScale * 1.001 && scale <= this.scale) {
      this.fit();
      return;
    }
    const factor = next / this.scale;
    this.isFit = false;
    this.scale = next;
    this.x = x - (x - this.x) * factor;
    this.y = y - (y - this.y) * factor;
    this.pan(0, 0);
  }

  pan(dx, dy) {
    // The middle of the stage stays upon the radiograph.
    const [middleX, middleY] = [this.stage.clientWidth / 2, this.stage.clientHeight / 2];
    this.x = clamp(this.x + dx, middleX - this.data.width * this.scale, middleX);
    this.y = clamp(this.y + dy, middleY - this.data.height * this.scale, middleY);
    if (dx || dy) this.isFit = false;
    this.change();
  }

  resized() {
    if (this.isFit) this.fit();
    else this.pan(0, 0);
  }

  setWindow(width, level) {
    this.window = clamp(width, 4, 510);
    this.level = clamp(level, 0, 255);
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
    const density = Math.min(devicePixelRatio, 2);
    const view = {
      scale: this.scale, x: this.x, y: this.y, window: this.window, level: this.level, invert: this.invert,
      heat: this.shown.heat, opacity: this.opacity / 100, colours: this.data.scales[this.colours],
    };
    this.radiograph.draw(view, this.stage.clientWidth, this.stage.clientHeight, density);
    this.marks.draw(view, this.shown);
    this.updateControls(view);
  }

  /** Update the controls from the state. */
  updateControls(view) {
    for (const name of LAYERS) this.button(name).setAttribute("aria-pressed", this.shown[name]);
    this.button("invert").setAttribute("aria-pressed", this.invert);
    this.button("screen").setAttribute("aria-pressed", document.fullscreenElement === this.root);
    this.root.classList.toggle("with-heat", this.shown.heat);
    this.stage.classList.toggle("fitted", this.isFit);
    const slide = (name, value) => {
      const input = this.root.querySelector(`[data-slide=${name}]`);
      if (Number(input.value) !== Math.round(value)) input.value = Math.round(value);
    };
    slide("window", this.window);
    slide("level", this.level);
    slide("opacity", this.opacity);
    if (this.legendOf !== view.colours) {
      this.legendOf = view.colours;
      const stops = view.colours.map((rgb) => `rgb(${rgb.join(" ")})`);
      this.root.querySelector("[data-legend]").style.backgroundImage = `linear-gradient(to right, ${stops.join(", ")})`;
    }
    this.readout.textContent = this.readout.dataset.text
      .replace("{zoom}", Math.round((this.scale / this.pixelScale) * 100))
      .replace("{window}", Math.round(this.window))
      .replace("{level}", Math.round(this.level));
  }
}

export function startViewer(root) {
  return new Viewer(root);
}
