// The buttons, sliders and texts around the radiograph: they show the viewer's state, and announce changes of it.

export class Controls {
  constructor(root) {
    this.root = root;
    this.readout = root.querySelector("[data-readout]");
    this.spoken = root.querySelector("[data-spoken]");
  }

  button(name) {
    return this.root.querySelector(`[data-do="${name}"]`);
  }

  /** Announce a text to screen readers. */
  announce(text) {
    this.spoken.textContent = text;
  }

  /** Announce that something was switched on or off by a key, because the focus is not on its button. */
  say(button, isOn) {
    this.announce((isOn ? this.spoken.dataset.on : this.spoken.dataset.off).replace("{what}", button.textContent.trim()));
  }

  /**
   * @param {Viewer} viewer
   * @param {object} view - as drawn, see radiograph_canvas.js
   */
  update(viewer, view) {
    const { shown, stage, invert } = viewer;
    const pressed = { ...shown, invert, screen: document.fullscreenElement === this.root };
    for (const [name, isOn] of Object.entries(pressed)) this.button(name).setAttribute("aria-pressed", isOn);
    this.root.classList.toggle("with-heat", shown.heat);
    stage.classList.toggle("fitted", viewer.fitted !== null && !shown.measure && !shown.loupe);
    stage.classList.toggle("covered", shown.plate);
    stage.classList.toggle("measuring", shown.measure);
    for (const name of ["window", "level", "opacity"]) this.slide(name, viewer[name]);
    this.drawLegend(view.colours);
    this.readout.textContent = this.readout.dataset.text
      .replace("{zoom}", Math.round((viewer.camera.scale / viewer.pixelScale) * 100))
      .replace("{window}", Math.round(viewer.window))
      .replace("{level}", Math.round(viewer.level));
  }

  slide(name, value) {
    const input = this.root.querySelector(`[data-slide=${name}]`);
    if (Number(input.value) !== Math.round(value)) input.value = Math.round(value);
  }

  drawLegend(colours) {
    if (this.legendOf === colours) return;
    this.legendOf = colours;
    const strength = (index) => Math.abs((2 * index) / (colours.length - 1) - 1);
    const stops = colours.map((rgb, index) => `rgb(${rgb.join(" ")} / ${strength(index)})`);
    this.root.querySelector("[data-legend]").style.backgroundImage = `linear-gradient(to right, ${stops.join(", ")})`;
  }
}
