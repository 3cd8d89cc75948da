// Reads sex, dates, age and references from the header of a DICOM file in the browser, so that they can be shown before
// anything is sent. It reads explicit and implicit little endian. Malformed values count as missing; nothing is ever thrown.

/** Number of bytes read: the patient and study elements come long before the pixels. */
export const HEAD_BYTES = 262144;

export const TRANSFER_SYNTAX = 0x00020010;
const SEX = 0x00100040, BIRTH = 0x00100030, AGE = 0x00101010, ACCESSION = 0x00080050, PATIENT_ID = 0x00100020;
const STUDY_DATES = [0x00080020, 0x00080022, 0x00080023]; // study, acquisition, content
const WANTED = new Set([SEX, BIRTH, AGE, TRANSFER_SYNTAX, ACCESSION, PATIENT_ID, ...STUDY_DATES]);
const LAST = AGE; // elements come in order: past this one nothing is left to find
export const ITEM = 0xfffee000;
const ITEM_END = 0xfffee00d, SEQUENCE_END = 0xfffee0dd;
const LONG_VRS = new Set(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"]);
const IMPLICIT = "1.2.840.10008.1.2", UNREAD = ["1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"]; // big endian, deflated
export const UNDEFINED = 0xffffffff;
const REFERENCE = /^[\x20-\x7e]{1,64}$/; // other letters would need the file's character set
const DAYS_PER_MONTH = 365.25 / 12, OLDEST_MONTHS = 1560, FIRST_DAY = "1900-01-01";
const MONTHS_BY_UNIT = { Y: 12, M: 1, W: 7 / DAYS_PER_MONTH, D: 1 / DAYS_PER_MONTH };

/**
 * Return the facts of a file.
 * @param {Blob} file
 * @returns {Promise<?object>} see `readHeader`; null too if the file cannot be read.
 */
export async function headerOf(file) {
  try {
    return readHeader(new Uint8Array(await file.slice(0, HEAD_BYTES).arrayBuffer()));
  } catch {
    return null;
  }
}

/**
 * Return the facts from the first bytes of a file.
 * @param {Uint8Array} bytes
 * @returns {?{sex: ?string, birthDate: ?string, studyDate: ?string, ageMonths: ?number, ageInYears: boolean,
 *   agesDiffer: boolean, patientId: ?string, accession: ?string}} null if this is no DICOM file. Sex is F or M; dates are YYYY-MM-DD; the age, completed months,
 *   is null where the file contradicts itself, and `ageInYears` is true where it is known to the year only.
 */
export function readHeader(bytes) {
  const start = startOf(bytes);
  if (start === null) return null;
  const elements = new Map();
  walk(bytes, start, (tag, { body, length }) => {
    if (tag > LAST) return false;
    if (WANTED.has(tag) && length <= 64 && body + length <= bytes.length) elements.set(tag, valueOf(bytes, body, length));
    return true;
  });
  return factsOf(elements);
}

/** Return a text without its padding. */
export function valueOf(bytes, body, length) {
  return text(bytes, body, length).replace(/[\0 ]+$/, "").trim();
}

/** Return the offset of the first element; null if this is no DICOM file. */
export function startOf(bytes) {
  if (text(bytes, 128, 4) === "DICM") return 132;
  const bare = bytes.length >= 8 && (bytes[0] === 2 || bytes[0] === 8) && bytes[1] === 0; // without a preamble
  return bare ? 0 : null;
}

/**
 * Visit the elements of the outermost level, in their order.
 * @param {Uint8Array} bytes
 * @param {number} start - see `startOf`
 * @param {function(number, {vr: string, body: number, length: number}): boolean} visit - returns false to stop
 */
export function walk(bytes, start, visit) {
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const open = []; // sequences and items of undefined length: whether their content is implicit
  let offset = start, implicit = null, syntax = ""; // null: the head's own group, always explicit
  while (offset + 8 <= data.byteLength) {
    const tag = data.getUint16(offset, true) * 0x10000 + data.getUint16(offset + 2, true);
    if (implicit === null && tag >= 0x00030000) implicit = bodyIsImplicit(bytes, offset, syntax);
    if (implicit === undefined) break;
    if (tag === ITEM_END || tag === SEQUENCE_END) {
      open.pop();
      offset += 8;
      continue;
    }
    const isItem = tag === ITEM;
    const element = lengthOf(data, bytes, offset, isItem || (open.length ? open.at(-1) : implicit === true));
    if (element === null) break;
    if (open.length === 0 && visit(tag, element) === false) break;
    if (tag === TRANSFER_SYNTAX) syntax = valueOf(bytes, element.body, Math.min(element.length, 64));
    if (element.length === UNDEFINED) {
      const within = open.length ? open.at(-1) : implicit === true;
      open.push(isItem ? within : within || element.vr === "UN"); // PS3.5, 6.2.2: UN of undefined length is implicit
      offset = element.body;
      continue;
    }
    offset = element.body + element.length;
  }
}

/** Return whether the data set is implicit; undefined for a transfer syntax that is not supported. */
function bodyIsImplicit(bytes, offset, syntax) {
  if (syntax) return UNREAD.includes(syntax) ? undefined : syntax === IMPLICIT;
  return !/^[A-Z]{2}$/.test(text(bytes, offset + 4, 2)); // without file meta information: by the look of the first element
}

/** Return where an element's value begins and its length; null where there is no element. */
function lengthOf(data, bytes, offset, implicit) {
  if (implicit) return { vr: "", body: offset + 8, length: data.getUint32(offset + 4, true) };
  const vr = text(bytes, offset + 4, 2);
  if (!/^[A-Z]{2}$/.test(vr)) return null;
  if (!LONG_VRS.has(vr)) return { vr, body: offset + 8, length: data.getUint16(offset + 6, true) };
  if (offset + 12 > data.byteLength) return null;
  return { vr, body: offset + 12, length: data.getUint32(offset + 8, true) };
}

function text(bytes, offset, length) {
  return String.fromCharCode(...bytes.subarray(offset, offset + length));
}

function factsOf(elements) {
  const first = (tag) => (elements.get(tag) || "").split("\\")[0].trim();
  const sex = first(SEX).toUpperCase();
  const birthDate = day(first(BIRTH));
  const studyDate = STUDY_DATES.map((tag) => day(first(tag))).find(Boolean) || null;
  const reference = (tag) => (REFERENCE.test(first(tag)) ? first(tag) : null);
  return {
    sex: sex === "F" || sex === "M" ? sex : null, birthDate, studyDate, ...ageOf(first(AGE), birthDate, studyDate),
    patientId: reference(PATIENT_ID), accession: reference(ACCESSION),
  };
}

/** Like `age_in_file` of boneage.clinical.ages: the age from the dates if they agree with the stated age. */
function ageOf(stated, birthDate, studyDate) {
  const match = /^(\d{3})([DWMY])$/.exec(stated.toUpperCase());
  const unit = match ? MONTHS_BY_UNIT[match[2]] : 0;
  const isReadable = match !== null && (Number(match[1]) + 1) * unit <= OLDEST_MONTHS;
  const months = isReadable ? Number(match[1]) * unit : null;
  const ageInYears = isReadable && match[2] === "Y";
  if (!birthDate || !studyDate) return { ageMonths: months, ageInYears, agesDiffer: false };
  if (studyDate < birthDate) return { ageMonths: null, ageInYears: false, agesDiffer: true };
  const exact = birthDate < FIRST_DAY ? null : calendarMonths(birthDate, studyDate);
  if (exact === null || exact > OLDEST_MONTHS) return { ageMonths: null, ageInYears: false, agesDiffer: false };
  const agree = months === null || (months - 0.25 <= exact && exact < months + unit + 0.25);
  return { ageMonths: agree ? exact : null, ageInYears: false, agesDiffer: !agree };
}

/** Like `calendar_months` of boneage.clinical.ages: completed months and the elapsed part of the current one. */
function calendarMonths(birthDate, studyDate) {
  const [birth, study] = [birthDate, studyDate].map((written) => written.split("-").map(Number));
  const months = 12 * (study[0] - birth[0]) + study[1] - birth[1] - (study[2] < birth[2] ? 1 : 0);
  const [start, end] = [months, months + 1].map((count) => dayOfCompletion(birth, count));
  return months + (Date.UTC(study[0], study[1] - 1, study[2]) - start) / (end - start);
}

/** Return the time at which a number of months is complete: on the first of the next month if the month has no such day. */
function dayOfCompletion([year, month, day], months) {
  const time = Date.UTC(year, month - 1 + months, day);
  return new Date(time).getUTCDate() === day ? time : Date.UTC(year, month + months, 1);
}

/** Return DICOM's YYYYMMDD (or YYYY.MM.DD) as YYYY-MM-DD; null if there is no such day. */
function day(written) {
  const match = /^(\d{4})\.?(\d{2})\.?(\d{2})$/.exec(written);
  if (!match || match[1] === "0000") return null;
  const iso = `${match[1]}-${match[2]}-${match[3]}`;
  const date = new Date(`${iso}T00:00:00Z`);
  return !Number.isNaN(date.getTime()) && date.toISOString().slice(0, 10) === iso ? iso : null;
}
