// Draws a radiograph and its heat map: by WebGL2, or without it by the browser's own pictures.
//
// `view` is { matrix: from the radiograph's pixels to the stage's CSS pixels (camera.js); window, level: grey levels;
//             invert; heat: whether shown; opacity: 0..1; colours: [[r, g, b], ...]; loupe: [x, y] on the stage or null }

import { invert } from "./camera.js";

export const LOUPE = { radius: 96, power: 2.5 }; // CSS pixels; magnification of what is around it

const FAINTEST = 0.08; // below this part of the strongest the heat map shows nothing, as in the report

const VERTEX = `#version 300 es
void main() { vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1); gl_Position = vec4(corner * 4.0 - 1.0, 0.0, 1.0); }`;

const FRAGMENT = `#version 300 es
precision highp float;
uniform sampler2D radiograph, heat, colours;
uniform vec2 size;           // of the radiograph, its pixels
uniform mat3 placed;         // from canvas pixels to the radiograph's
uniform float height;        // canvas pixels
uniform vec2 bytes;          // weights of a grey level's two bytes
uniform float window_, level, opacity;
uniform bool invert;
uniform vec4 loupe;          // centre and radius, canvas pixels; magnification; a radius of 0 for none
out vec4 colour;
void main() {
  vec2 point = vec2(gl_FragCoord.x, height - gl_FragCoord.y);
  float away = distance(point, loupe.xy) - loupe.z;
  if (abs(away) < 1.5 && loupe.z > 0.0) {
    colour = vec4(1.0, 0.82, 0.4, 1.0);
    return;
  }
  if (away < 0.0) point = loupe.xy + (point - loupe.xy) / loupe.w;
  vec2 at = (placed * vec3(point, 1.0)).xy / size;
  float grey = clamp((dot(texture(radiograph, at, -0.4).rg, bytes) - level) / window_ + 0.5, 0.0, 1.0);
  if (invert) grey = 1.0 - grey;
  vec3 mixed = vec3(grey);
  if (opacity > 0.0) {
    vec4 heated = texture(colours, vec2((texture(heat, at).r * 255.0 + 0.5) / 256.0, 0.5));
    mixed = mix(mixed, heated.rgb, heated.a * opacity);
  }
  bool inside = all(greaterThanEqual(at, vec2(0.0))) && all(lessThan(at, vec2(1.0)));
  colour = inside ? vec4(mixed, 1.0) : vec4(0.0, 0.0, 0.0, 1.0);
}`;

const NONE = 128; // level of the heat map that stands for no evidence; 255 raised the age most, 1 lowered it

/** 256 colours between the given ones, from evidence of a younger hand to that of an older one, RGBA: the weaker, the more transparent. */
function ramp(colours) {
  const data = new Uint8Array(256 * 4);
  for (let level = 0; level < 256; level += 1) {
    const value = Math.max(-1, (level - NONE) / (255 - NONE));
    const at = ((value + 1) / 2) * (colours.length - 1);
    const low = Math.min(Math.floor(at), colours.length - 2);
    for (let channel = 0; channel < 3; channel += 1) {
      data[4 * level + channel] = colours[low][channel] + (at - low) * (colours[low + 1][channel] - colours[low][channel]);
    }
    data[4 * level + 3] = Math.round(255 * Math.max(0, (Math.abs(value) - FAINTEST) / (1 - FAINTEST)) ** 0.75);
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
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.R8, 1, 1, 0, gl.RED, gl.UNSIGNED_BYTE, new Uint8Array([NONE]));
      gl.uniform1i(this.place(name), unit);
    });
    gl.uniform2f(this.place("size"), size.width, size.height);
    gl.uniform2f(this.place("bytes"), 255, 0);
  }

  get hasLoupe() { return true; }

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

  /**
   * Show the radiograph's own grey levels in place of the 8-bit picture.
   * @param {{width: number, height: number, pixels: Uint16Array}} grey - from grey_png.js
   * @returns {boolean} false if the graphics card takes no picture of this size
   */
  setGrey({ width, height, pixels }) {
    const { gl } = this;
    if (Math.max(width, height) > gl.getParameter(gl.MAX_TEXTURE_SIZE)) return false;
    gl.activeTexture(gl.TEXTURE0);
    // Two bytes a pixel: the sum of both is filtered as the level itself would be. Halved pictures are made here, because
    // the graphics card would round each byte.
    for (let [step, one] = [0, { width, height, pixels }]; ; step += 1) {
      const data = new Uint8Array(one.pixels.buffer);
      gl.texImage2D(gl.TEXTURE_2D, step, gl.RG8, one.width, one.height, 0, gl.RG, gl.UNSIGNED_BYTE, data);
      if (one.width === 1 && one.height === 1) break;
      one = halved(one);
    }
    gl.uniform2f(this.place("bytes"), 255, 255 * 256);
    return true;
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
    const [a, b, c, d, e, f] = invert(view.matrix);
    gl.uniformMatrix3fv(this.place("placed"), false, [a / density, b / density, 0, c / density, d / density, 0, e, f, 1]);
    gl.uniform1f(this.place("height"), h);
    const [x, y] = view.loupe ?? [0, 0];
    gl.uniform4f(this.place("loupe"), x * density, y * density, view.loupe ? LOUPE.radius * density : 0, LOUPE.power);
    gl.uniform1f(this.place("window_"), view.window);
    gl.uniform1f(this.place("level"), view.level);
    gl.uniform1f(this.place("opacity"), view.heat ? view.opacity : 0);
    gl.uniform1i(this.place("invert"), view.invert ? 1 : 0);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }
}

/** Return a picture of half the size, each pixel the mean of four. */
function halved({ width, height, pixels }) {
  const [w, h] = [Math.max(1, width >> 1), Math.max(1, height >> 1)];
  const small = new Uint16Array(w * h), [right, below] = [width > 1 ? 1 : 0, height > 1 ? width : 0];
  for (let y = 0; y < h; y += 1) {
    for (let x = 0; x < w; x += 1) {
      const at = 2 * y * width * (height > 1) + 2 * x * (width > 1);
      small[y * w + x] = (pixels[at] + pixels[at + right] + pixels[at + below] + pixels[at + right + below] + 2) >> 2;
    }
  }
  return { width: w, height: h, pixels: small };
}

/** The picture element itself, moved and filtered by CSS, with a small coloured canvas over it for the heat map. */
class PlainRadiograph {
  constructor(image, canvas, size) {
    Object.assign(this, { image, canvas, size });
  }

  get hasLoupe() { return false; }

  setGrey() { return false; }

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
      element.style.transform = `matrix(${view.matrix.join(",")})`;
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
