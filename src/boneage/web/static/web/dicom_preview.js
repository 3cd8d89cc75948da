// The image of a DICOM file for a preview, in the browser: uncompressed grey of 8 or 16 bits, and baseline JPEG.
import { ITEM, TRANSFER_SYNTAX, UNDEFINED, startOf, valueOf, walk } from "./dicom_header.js";

const SAMPLES = 0x00280002, PHOTOMETRIC = 0x00280004, ROWS = 0x00280010, COLUMNS = 0x00280011;
const BITS = 0x00280100, SIGNED = 0x00280103, PIXELS = 0x7fe00010;
const NUMBERS = new Set([SAMPLES, ROWS, COLUMNS, BITS, SIGNED]);
const TEXTS = new Set([TRANSFER_SYNTAX, PHOTOMETRIC]);
const BASELINE_JPEG = "1.2.840.10008.1.2.4.50";

/**
 * Return what `createImageBitmap` can draw of a file: the file itself unless it is DICOM.
 * @param {Blob} file
 * @param {number} longest - longest side of the preview, pixels
 * @returns {Promise<Blob | ImageData>}
 * @throws {Error} if the image is compressed in a way that browsers do not know
 */
export async function drawable(file, longest) {
  const head = new Uint8Array(await file.slice(0, 132).arrayBuffer());
  if (startOf(head) === null) return file;
  const bytes = new Uint8Array(await file.arrayBuffer());
  const elements = elementsOf(bytes);
  const pixels = elements.get(PIXELS);
  if (!pixels) throw new Error("no pixels");
  if (pixels.length !== UNDEFINED) return drawn(bytes, elements, pixels, longest);
  if (elements.get(TRANSFER_SYNTAX) !== BASELINE_JPEG) throw new Error("compressed");
  return new Blob(fragments(bytes, pixels.body), { type: "image/jpeg" });
}

function elementsOf(bytes) {
  const data = new DataView(bytes.buffer), elements = new Map();
  walk(bytes, startOf(bytes), (tag, element) => {
    const { body, length } = element;
    if (tag === PIXELS) elements.set(tag, element);
    else if (NUMBERS.has(tag) && length === 2) elements.set(tag, data.getUint16(body, true));
    else if (TEXTS.has(tag)) elements.set(tag, valueOf(bytes, body, length));
    return tag < PIXELS;
  });
  return elements;
}

/** Return every so many pixels of an uncompressed image, its range spread over 8 bits. */
function drawn(bytes, elements, { body }, longest) {
  const [rows, columns, bits] = [ROWS, COLUMNS, BITS].map((tag) => elements.get(tag));
  const size = rows * columns * (bits / 8);
  if (elements.get(SAMPLES) !== 1 || ![8, 16].includes(bits) || !size || body + size > bytes.length) throw new Error("not grey");
  const data = new DataView(bytes.buffer, body), isSigned = elements.get(SIGNED) === 1;
  const read = bits === 8 ? (at) => data.getUint8(at) : (at) => (isSigned ? data.getInt16(2 * at, true) : data.getUint16(2 * at, true));
  const step = Math.max(1, Math.floor(Math.max(rows, columns) / longest));
  const [height, width] = [Math.floor(rows / step), Math.floor(columns / step)];
  const levels = Float32Array.from({ length: width * height }, (_, at) => read(Math.floor(at / width) * step * columns + (at % width) * step));
  const sorted = levels.toSorted(), low = sorted[0], range = sorted.at(-1) - low || 1;
  const isInverted = elements.get(PHOTOMETRIC) === "MONOCHROME1";
  const image = new ImageData(width, height);
  levels.forEach((level, at) => {
    const grey = (255 * (level - low)) / range;
    image.data.fill(isInverted ? 255 - grey : grey, 4 * at, 4 * at + 3);
    image.data[4 * at + 3] = 255;
  });
  return image;
}

/** Return the fragments of a compressed image, which follow the table of offsets (PS3.5, A.4). */
function fragments(bytes, body) {
  const data = new DataView(bytes.buffer), found = [];
  for (let at = body; at + 8 <= bytes.length;) {
    const tag = data.getUint16(at, true) * 0x10000 + data.getUint16(at + 2, true), length = data.getUint32(at + 4, true);
    if (tag !== ITEM) break;
    found.push(bytes.subarray(at + 8, at + 8 + length));
    at += 8 + length;
  }
  return found.slice(1);
}
