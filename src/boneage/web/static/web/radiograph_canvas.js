// Draws a radiograph and its heat map: by WebGL2, or without it by the browser's own pictures.
//
// `view` is { scale, x, y: a radiograph's pixel p lies at p * scale + (x, y) on the stage, CSS pixels;
//             window, level: 0..255; invert; heat: whether shown; opacity: 0..1; colours: [[r, g, b], ...] }

const FAINTEST = 0.08; // below this part of the strongest the heat map shows nothing, as in the report

const VERTEX = `#version 300 es
void main() { vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1); gl_Position = vec4(corner * 4.0 - 1.0, 0.0, 1.0); }`;

const FRAGMENT = `#version 300 es
precision highp float;
uniform sampler2D radiograph, heat, colours;
uniform vec2 size, origin;   // of the radiograph, radiograph pixels; the radiograph's pixel in the canvas's upper left corner
uniform float step_, height; // radiograph pixels a canvas pixel; canvas pixels
uniform float window_, level, opacity;
uniform bool invert;
out vec4 colour;
void main() {
  vec2 at = (origin + vec2(gl_FragCoord.x, height - gl_FragCoord.y) * step_) / size;
  float grey = clamp((texture(radiograph, at, -0.4).r * 255.0 - level) / window_ + 0.5, 0.0, 1.0);
  if (invert) grey = 1.0 - grey;
  vec3 mixed = vec3(grey);
  if (opacity > 0.0) {
    vec4 heated = texture(colours, vec2((texture(heat, at).r * 255.0 + 0.5) / 256.0, 0.5));
    mixed = mix(mixed, heated.rgb, heated.a * opacity);
  }
  bool inside = all(greaterThanEqual(at, vec2(0.0))) && all(lessThan(at, vec2(1.0)));
  colour = inside ? vec4(mixed, 1.0) : vec4(0.0, 0.0, 0.0, 1.0);
}`;

/** 256 colours between the given ones, RGBA: the weaker, the more transparent. */
function ramp(colours) {
  const data = new Uint8Array(256 * 4);
  for (let level = 0; level < 256; level += 1) {
    const at = (level / 255) * (colours.length - 1);
    const low = Math.min(Math.floor(at), colours.length - 2);
    for (let channel = 0; channel < 3; channel += 1) {
      data[4 * level + channel] = colours[low][channel] + (at - low) * (colours[low + 1][channel] - colours[low][channel]);
    }
    data[4 * level + 3] = Math.round(255 * Math.max(0, (level / 255 - FAINTEST) / (1 - FAINTEST)) ** 0.75);
  }
  return data;
}

/** A picture no larger than the graphics card takes. */
async function bitmap(source, largest) {
  const [width, height] = [source.naturalWidth, source.naturalHeight];
  const zoom = Math.min(1, largest / Math.max(width, height));
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  if (zoom < 1) Object.assign(options, { resizeWidth: Math.floor(width * zoom), resizeHeight: Math.floor(height * zoom), resizeQuality: "high" });
  return createImageBitmap(source, options);
}

class WebGlRadiograph {
  constructor(canvas, gl, size) {
    Object.assign(this, { canvas, gl, size, places: new Map() });
    this.program = this.build();
    gl.useProgram(this.program);
    gl.bindVertexArray(gl.createVertexArray());
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
    ["radiograph", "heat", "colours"].forEach((name, unit) => {
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.R8, 1, 1, 0, gl.RED, gl.UNSIGNED_BYTE, new Uint8Array(1));
      gl.uniform1i(this.place(name), unit);
    });
    gl.uniform2f(this.place("size"), size.width, size.height);
  }

  build() {
    const { gl } = this;
    const program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program) ?? "");
    return program;
  }

  place(name) {
    if (!this.places.has(name)) this.places.set(name, this.gl.getUniformLocation(this.program, name));
    return this.places.get(name);
  }

  async setRadiograph(image) {
    const { gl } = this;
    const picture = await bitmap(image, gl.getParameter(gl.MAX_TEXTURE_SIZE));
    gl.activeTexture(gl.TEXTURE0);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.R8, gl.RED, gl.UNSIGNED_BYTE, picture);
    picture.close();
    gl.generateMipmap(gl.TEXTURE_2D); // a reduced radiograph must not glitter
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_NEAREST);
    image.style.visibility = "hidden";
    this.canvas.hidden = false;
  }

  async setHeat(image) {
    const { gl } = this;
    const picture = await bitmap(image, gl.getParameter(gl.MAX_TEXTURE_SIZE));
    gl.activeTexture(gl.TEXTURE1);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.R8, gl.RED, gl.UNSIGNED_BYTE, picture);
    picture.close();
  }

  draw(view, width, height, density) {
    const { gl, canvas } = this;
    const [w, h] = [Math.max(1, Math.round(width * density)), Math.max(1, Math.round(height * density))];
    if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
    if (view.colours !== this.colours) {
      this.colours = view.colours;
      gl.activeTexture(gl.TEXTURE2);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, ramp(view.colours));
    }
    gl.viewport(0, 0, w, h);
    gl.uniform2f(this.place("origin"), -view.x / view.scale, -view.y / view.scale);
    gl.uniform1f(this.place("step_"), 1 / (view.scale * density));
    gl.uniform1f(this.place("height"), h);
    gl.uniform1f(this.place("window_"), view.window);
    gl.uniform1f(this.place("level"), view.level);
    gl.uniform1f(this.place("opacity"), view.heat ? view.opacity : 0);
    gl.uniform1i(this.place("invert"), view.invert ? 1 : 0);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }
}

/** The picture element itself, moved and filtered by CSS, with a small coloured canvas over it for the heat map. */
class PlainRadiograph {
  constructor(image, canvas, size) {
    Object.assign(this, { image, canvas, size });
  }

  async setRadiograph() {
    this.image.classList.add("placed");
    this.canvas.classList.add("placed");
  }

  async setHeat(image) {
    this.canvas.width = image.naturalWidth;
    this.canvas.height = image.naturalHeight;
    const context = this.canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    this.heat = context.getImageData(0, 0, image.naturalWidth, image.naturalHeight);
    this.colours = null;
  }

  draw(view) {
    const contrast = 255 / view.window;
    const bright = 0.5 + (127.5 - view.level) / 255; // first brightness about the level, then contrast about the middle
    this.image.style.filter = `brightness(${2 * bright}) contrast(${contrast}) invert(${view.invert ? 1 : 0})`;
    for (const element of [this.image, this.canvas]) {
      Object.assign(element.style, { width: `${this.size.width}px`, height: `${this.size.height}px` });
      element.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.scale})`;
    }
    this.canvas.hidden = !view.heat || !this.heat;
    this.canvas.style.opacity = view.opacity;
    if (this.heat && view.colours !== this.colours) this.colour(view.colours);
  }

  colour(colours) {
    this.colours = colours;
    const table = ramp(colours);
    const drawn = new ImageData(this.heat.width, this.heat.height);
    for (let at = 0; at < drawn.data.length; at += 4) {
      const level = this.heat.data[at];
      drawn.data.set(table.subarray(4 * level, 4 * level + 4), at);
    }
    this.canvas.getContext("2d").putImageData(drawn, 0, 0);
  }
}

/** What draws the radiograph: by WebGL2 if the browser has it. `onLost` is called when the graphics card gave it up. */
export function makeRadiograph({ image, canvas, heatCanvas, size, onLost }) {
  const gl = canvas.getContext("webgl2", { alpha: false, antialias: false, depth: false, powerPreference: "low-power" });
  if (gl) {
    canvas.addEventListener("webglcontextlost", () => {
      canvas.hidden = true;
      image.style.visibility = "";
      onLost(new PlainRadiograph(image, heatCanvas, size));
    });
    try {
      return new WebGlRadiograph(canvas, gl, size);
    } catch { /* a driver that cannot: the plain picture can */ }
  }
  return new PlainRadiograph(image, heatCanvas, size);
}
