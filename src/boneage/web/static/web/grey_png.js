// Decodes a PNG of 16-bit grey, which browsers themselves reduce to 8 bits (PNG, third edition: sections 5, 9 and 11).

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const BYTES = 2; // of a pixel

/**
 * @param {ArrayBuffer} buffer
 * @returns {Promise<{width: number, height: number, pixels: Uint16Array}>}
 * @throws {Error} if it is another kind of file, or damaged
 */
export async function readGreyPng(buffer) {
  const bytes = new Uint8Array(buffer), view = new DataView(buffer);
  if (SIGNATURE.some((one, place) => bytes[place] !== one)) throw new Error("no PNG");
  const width = view.getUint32(16), height = view.getUint32(20);
  const [depth, colour, , , interlaced] = bytes.subarray(24, 29);
  if (depth !== 16 || colour !== 0 || interlaced !== 0) throw new Error("another kind of PNG");
  const parts = [];
  for (let at = 8; at + 12 <= bytes.length;) {
    const length = view.getUint32(at);
    if (String.fromCharCode(...bytes.subarray(at + 4, at + 8)) === "IDAT") parts.push(bytes.subarray(at + 8, at + 8 + length));
    at += length + 12;
  }
  const stream = new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate"));
  const lines = new Uint8Array(await new Response(stream).arrayBuffer());
  if (lines.length < height * (width * BYTES + 1)) throw new Error("damaged");
  return { width, height, pixels: unfiltered(lines, width, height) };
}

function unfiltered(lines, width, height) {
  const pixels = new Uint16Array(width * height), stride = width * BYTES;
  let above = new Uint8Array(stride + BYTES), line = new Uint8Array(stride + BYTES); // with an empty pixel before the first
  for (let row = 0; row < height; row += 1) {
    const start = row * (stride + 1), filter = lines[start];
    for (let at = 0; at < stride; at += 1) {
      const left = line[at], up = above[at + BYTES], corner = above[at];
      line[at + BYTES] = lines[start + 1 + at] + predicted(filter, left, up, corner); // modulo 256
    }
    for (let x = 0; x < width; x += 1) pixels[row * width + x] = (line[BYTES * (x + 1)] << 8) | line[BYTES * (x + 1) + 1];
    [above, line] = [line, above];
    line.fill(0, 0, BYTES);
  }
  return pixels;
}

function predicted(filter, left, up, corner) {
  if (filter === 1) return left;
  if (filter === 2) return up;
  if (filter === 3) return (left + up) >> 1;
  if (filter !== 4) return 0;
  const straight = left + up - corner;
  const [byLeft, byUp, byCorner] = [Math.abs(straight - left), Math.abs(straight - up), Math.abs(straight - corner)];
  if (byLeft <= byUp && byLeft <= byCorner) return left;
  return byUp <= byCorner ? up : corner;
}

/** Return the levels below which these shares of the pixels lie, as `boneage.explain.display_picture` stretches them. */
export function percentiles(pixels, levels, shares) {
  const counts = new Uint32Array(levels);
  for (const level of pixels) counts[level] += 1;
  let level = -1, sum = 0;
  return shares.map((share) => {
    while (sum <= share * (pixels.length - 1)) sum += counts[level += 1];
    return level;
  });
}
