// The page on which radiographs are submitted. Dropped, pasted or chosen files become rows. Each file is sent on its own,
// and its row then shows the outcome. All texts come from the template and from #assess-settings.
import { headerOf } from "./dicom_header.js";
import { drawable } from "./dicom_preview.js";

const FIRST_PAUSE = 300, LONGEST_PAUSE = 4000; // ms between polls for a radiograph that is being assessed
const PICTURE = 144; // longest side of a preview, pixels
const STORAGE_KEY = "boneage.rows"; // in the mode open: the addresses of this tab's radiographs, which no list holds

const settings = JSON.parse(document.getElementById("assess-settings").textContent);
const page = document.querySelector(".assess");
const find = (name, within = page) => within.querySelector(`[data-${name}]`);
const list = find("radiographs"), bar = find("bar"), alertBox = find("alert");
const radiographs = [];
let made = 0;

// --- messages ---

function say(name, values = {}) {
  return settings.texts[name].replace(/%\((\w+)\)s/g, (_, key) => values[key]);
}

function announce(text) {
  find("status").textContent = text;
}

function alertPage(text) {
  alertBox.textContent = text;
  alertBox.hidden = !text;
}

function sizeOf(bytes) {
  const [name, unit, digits] = bytes < 1048576 ? ["kB", 1024, 0] : ["MB", 1048576, 1]; // as Django counts them
  const number = new Intl.NumberFormat(document.documentElement.lang, { maximumFractionDigits: digits });
  return say(name, { size: number.format(bytes && Math.max(1, bytes / unit)) });
}

// --- rows ---

/** A row of the list, for a file or for an earlier assessment (`address`). */
class Radiograph {
  constructor(file, address = "") {
    this.file = file;
    this.address = address;
    this.state = file ? "ready" : "sent"; // then sending and sent; final once there is a result
    this.fileSex = this.fileBirth = null;
    this.item = copyOfTemplate();
    this.form = find("form", this.item);
    this.item.classList.toggle("old", !file);
    list.append(this.item);
    radiographs.push(this);
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    find("remove", this.item).addEventListener("click", () => this.remove());
    find("confirm-button", this.item).addEventListener("click", () => {
      this.confirm();
      find("send", this.item).focus();
    });
    for (const radio of this.radios) radio.addEventListener("click", () => this.confirm());
    this.form.elements.birth_date.addEventListener("input", () => this.compareBirth());
  }

  get radios() { return [...this.form.querySelectorAll("input[name=sex]")]; }
  get sex() { return this.form.elements.sex.value; }
  get isConfirmed() { return find("confirm", this.item).hidden; }
  get isWaiting() { return this.state === "ready"; }
  get isUsable() { return this.isWaiting && !find("send", this.item).disabled; }

  name(text) {
    find("name", this.item).textContent = text;
    find("remove", this.item).setAttribute("aria-label", say("remove", { name: text }));
  }

  choose(sex, { isSure }) {
    for (const radio of this.radios) radio.checked = radio.value === sex;
    if (isSure) this.confirm();
    else {
      find("confirm", this.item).hidden = false;
      showBar();
    }
  }

  /** Apply the sex chosen for all radiographs. This confirms the sex from this radiograph's file, but never replaces it. */
  async chooseWithAll(sex) {
    await this.isRead;
    if (this.isUsable && (!this.fileSex || this.sex === sex)) this.choose(sex, { isSure: true });
  }

  /** Confirm the sex that is selected now. */
  confirm() {
    find("confirm", this.item).hidden = true;
    for (const note of this.item.querySelectorAll("[data-file-says]")) {
      note.hidden = !(this.fileSex && this.fileSex !== this.sex && note.dataset.fileSays === this.fileSex);
    }
    this.showProblems([]);
    showBar();
  }

  /** Fill the empty fields with the facts from the file. */
  prefill(facts) {
    if (!facts || !this.isWaiting) return;
    [this.fileSex, this.fileBirth] = [facts.sex, facts.birthDate];
    this.compareBirth();
    if (facts.sex && !this.sex) this.choose(facts.sex, { isSure: false });
    else if (this.sex) this.confirm();
    this.offer(facts);
    find("ages-differ", this.item).hidden = !facts.agesDiffer;
    if (facts.agesDiffer) find("ages-differ", this.item).closest("details").open = true;
    else find("prefilled", this.item).hidden = !this.fillAge(facts);
  }

  /** Offer the references in the file. Nothing is entered, and so nothing is sent, until the user takes one. */
  offer(facts) {
    const field = this.form.elements.reference, offers = this.item.querySelector("[data-offers]");
    if (!field || !offers || field.value) return;
    for (const button of offers.querySelectorAll("[data-offer]")) {
      const reference = facts[button.dataset.offer];
      button.hidden = !reference;
      button.querySelector("b").textContent = reference ?? "";
      button.addEventListener("click", () => {
        field.value = reference;
        offers.hidden = true;
        field.closest("details").open = true;
        field.focus();
      });
    }
    offers.hidden = !(facts.patientId || facts.accession);
  }

  compareBirth() {
    const entered = this.form.elements.birth_date.value, note = find("birth-differs", this.item);
    note.hidden = !entered || !this.fileBirth || entered === this.fileBirth;
    if (!note.hidden) note.closest("details").open = true;
  }

  fillAge(facts) {
    const fields = this.form.elements;
    const birth = fields.birth_date.value || facts.birthDate;
    if (birth && facts.studyDate && birth <= facts.studyDate) {
      [fields.birth_date.value, fields.study_date.value] = [birth, facts.studyDate];
      return true;
    }
    if (facts.studyDate) fields.study_date.value = facts.studyDate;
    if (facts.ageMonths === null || fields.birth_date.value) return Boolean(facts.studyDate);
    const months = Math.floor(facts.ageMonths); // completed ones, as clinics count
    fields.given_age_years.value = Math.floor(months / 12);
    if (!facts.ageInYears) fields.given_age_months.value = months % 12; // 013Y does not tell the months
    return true;
  }

  /** Show the problems of a row; an empty list clears them. */
  showProblems(problems) {
    const messages = problems.map(({ message }) => Object.assign(document.createElement("p"), { textContent: message }));
    find("errors", this.item).replaceChildren(...messages);
    const invalid = new Set(problems.map(({ field }) => field));
    for (const input of this.form.elements) {
      if (!input.name) continue;
      if (invalid.has(input.name)) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
    }
    const inDetails = this.form.querySelector("details [aria-invalid]");
    if (inDetails) inDetails.closest("details").open = true;
  }

  answer(text, { isBusy = false } = {}) {
    const tag = Object.assign(document.createElement("span"), { className: "tag queued", textContent: text });
    tag.classList.toggle("busy", isBusy);
    find("answer", this.item).replaceChildren(...(text ? [tag] : []));
  }

  /** Mark a file that cannot be sent at all. */
  reject(text) {
    find("send", this.item).disabled = find("send", this.item).hidden = true;
    find("fields", this.item).hidden = true;
    this.showProblems([{ field: "radiograph", message: text }]);
  }

  /** Return the name of the message for a missing entry; empty if the radiograph can be sent. */
  missing() {
    if (!this.sex) return "chooseSex";
    return this.isConfirmed ? "" : "confirmSex";
  }

  focus() {
    if (!this.isConfirmed) find("confirm-button", this.item).focus();
    else if (!this.sex) this.radios[0].focus();
    else find("send", this.item).focus();
  }

  submit() {
    if (!this.isUsable) return false;
    const missing = this.missing();
    if (missing) {
      this.showProblems([{ field: "sex", message: say(missing) }]);
      this.focus();
      return false;
    }
    this.lock("sending");
    this.showProblems([]);
    this.answer(say("inLine"));
    enqueue(() => this.send());
    return true;
  }

  lock(state) {
    this.state = state;
    const isLocked = state !== "ready";
    find("fields", this.item).disabled = find("fields", this.item).hidden = isLocked;
    find("send", this.item).hidden = isLocked;
    find("remove", this.item).hidden = state === "sending";
    this.item.classList.toggle("sent", isLocked);
    showBar();
  }

  async send() {
    this.answer(say("sending"), { isBusy: true });
    const fields = find("fields", this.item);
    fields.disabled = false; // what is disabled is not sent
    const data = new FormData(this.form);
    fields.disabled = true;
    data.set("radiograph", this.file, this.file.name);
    const headers = { Accept: "application/json", "X-CSRFToken": document.querySelector("[name=csrfmiddlewaretoken]").value };
    let response, body;
    try {
      response = await fetch(page.dataset.submit, { method: "POST", body: data, headers });
      body = response.redirected ? { message: say("loggedOut") } : await response.json();
    } catch {
      body = { message: say(response ? "failed" : "notSent") };
    }
    if (response?.status === 201 && body.row) this.accepted(body);
    else this.returned(body.problems || [{ field: "", message: body.message || say("failed") }]);
  }

  returned(problems) {
    this.answer("");
    this.lock("ready");
    this.showProblems(problems);
  }

  accepted(body) {
    this.address = body.row;
    this.lock("sent");
    keep();
    if (radiographs.length === 1) location.assign(body.result);
    else this.follow();
  }

  /** Poll until the assessment is final. */
  async follow() {
    let pause = FIRST_PAUSE;
    while (this.item.isConnected && this.state === "sent") {
      const hasAnswered = await this.poll();
      if (!hasAnswered) pause = LONGEST_PAUSE;
      await new Promise((resolve) => { setTimeout(resolve, document.hidden ? LONGEST_PAUSE : pause); });
      pause = Math.min(pause * 1.25, LONGEST_PAUSE);
    }
  }

  /** Poll once. Return whether the service answered. */
  async poll() {
    try {
      const response = await fetch(this.address, { headers: { Accept: "text/html" } });
      if (response.redirected || response.status === 404) {
        this.lock("final");
        this.answer(say(response.redirected ? "loggedOut" : "gone"));
      } else if (response.ok) {
        this.showOutcome(await response.text());
      }
      return response.ok;
    } catch {
      this.answer(say("offline"), { isBusy: true });
      return false;
    }
  }

  showOutcome(html) {
    const before = this.answerState;
    find("answer", this.item).innerHTML = html; // our own template's
    const outcome = this.item.querySelector(".outcome");
    this.answerState = outcome.dataset.state;
    if (!this.file) this.name(outcome.dataset.name);
    this.showThumbnail(outcome.dataset.thumbnail);
    if ("final" in outcome.dataset) this.lock("final");
    if (before !== this.answerState && this.file) announce(outcome.dataset.announcement);
  }

  /** Show the service's thumbnail where the browser could draw none. */
  showThumbnail(address) {
    const place = this.item.querySelector(".radiograph-picture");
    if (!address || !this.file || !place.querySelector("canvas").hidden || place.querySelector("img")) return;
    place.prepend(Object.assign(new Image(), { src: address, alt: "" }));
    find("kind", this.item).hidden = true;
  }

  remove() {
    const next = radiographs[radiographs.indexOf(this) + 1] || radiographs[radiographs.indexOf(this) - 1];
    announce(say("removed", { name: find("name", this.item).textContent }));
    this.drop();
    if (next) find("remove", next.item).focus();
    else find("files").focus();
  }

  drop() {
    radiographs.splice(radiographs.indexOf(this), 1);
    this.item.remove();
    keep();
    showBar();
  }
}

/** Return a copy of the template's row with its own ids. */
function copyOfTemplate() {
  made += 1;
  const item = document.getElementById("radiograph").content.firstElementChild.cloneNode(true);
  for (const element of item.querySelectorAll("[id], [for], [aria-labelledby], [aria-describedby]")) {
    for (const name of ["id", "for", "aria-labelledby", "aria-describedby"]) {
      const value = element.getAttribute(name);
      if (value) element.setAttribute(name, value.replaceAll("radiograph-0-", `radiograph-${made}-`));
    }
  }
  return item;
}

function showBar() {
  const ready = radiographs.filter((radiograph) => radiograph.isUsable), unsure = ready.filter((radiograph) => !radiograph.isConfirmed);
  list.hidden = radiographs.length === 0;
  bar.hidden = radiographs.length < 2;
  find("bar-sex").hidden = ready.length < 2;
  find("all").hidden = ready.length < 2;
  find("all-confirm").hidden = unsure.length < 2;
  page.classList.toggle("has-radiographs", radiographs.length > 0);
}

// --- files become rows ---

async function add(files, sex = "") {
  alertPage("");
  const added = [...files].map((file) => addOne(file, sex));
  if (added.length === 0) return;
  const usable = added.filter((radiograph) => radiograph.isUsable); // the rows of the others show their own problems
  announce(usable.map(({ file }) => say("added", { name: file.name })).join(" "));
  showBar();
  await Promise.all(added.map((radiograph) => radiograph.isRead));
  if (radiographs.length === 1 && radiographs[0].isUsable) radiographs[0].focus();
}

function addOne(file, sex) {
  const radiograph = new Radiograph(file);
  radiograph.name(file.name);
  find("size", radiograph.item).textContent = sizeOf(file.size);
  find("kind", radiograph.item).textContent = kindOf(file.name);
  if (file.size === 0) radiograph.reject(say("empty"));
  else if (file.size > settings.limit) radiograph.reject(say("tooLarge", { limit: sizeOf(settings.limit) }));
  else {
    if (sex) radiograph.choose(sex, { isSure: true });
    radiograph.isRead = headerOf(file).then((facts) => radiograph.prefill(facts));
    preview(radiograph);
  }
  return radiograph;
}

function kindOf(name) {
  const ending = /\.([a-z0-9]{2,5})$/i.exec(name);
  return ending ? ending[1].toUpperCase() : "DICOM"; // DICOM files often have no ending
}

let previewing = Promise.resolve();

/** Draw a preview of a file that the browser can show, one at a time, because radiographs are large. */
function preview(radiograph) {
  previewing = previewing.then(async () => {
    try {
      const whole = await createImageBitmap(await drawable(radiograph.file, PICTURE));
      const zoom = Math.min(1, PICTURE / Math.max(whole.width, whole.height));
      const canvas = radiograph.item.querySelector("canvas");
      [canvas.width, canvas.height] = [Math.max(1, whole.width * zoom), Math.max(1, whole.height * zoom)];
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.imageSmoothingQuality = "high";
      context.drawImage(whole, 0, 0, canvas.width, canvas.height);
      whole.close();
      stretch(context, canvas);
      canvas.hidden = false;
      find("kind", radiograph.item).hidden = true;
    } catch { /* compressed DICOM, TIFF or damaged: the row shows the file's ending until there is a result */ }
  });
}

/** Stretch the grey values of a preview, because many radiographs are nearly black in the file. */
function stretch(context, { width, height }) {
  const picture = context.getImageData(0, 0, width, height);
  const greys = picture.data.filter((_, place) => place % 4 === 0).sort();
  const low = greys[Math.floor(greys.length * 0.01)], high = greys[Math.floor(greys.length * 0.995)];
  if (high <= low) return;
  for (let at = 0; at < picture.data.length; at += 1) {
    if (at % 4 !== 3) picture.data[at] = ((picture.data[at] - low) * 255) / (high - low);
  }
  context.putImageData(picture, 0, 0);
}

/** Add a reference plate as if it had been dropped. */
async function addPlate(button) {
  button.disabled = true;
  try {
    const response = await fetch(button.dataset.plate);
    if (!response.ok || response.redirected) throw new Error(response.status);
    const picture = await response.blob();
    const name = `plate-${button.dataset.plateKey}.${picture.type.split("/").at(-1)}`;
    await add([new File([picture], name, { type: picture.type })], button.dataset.plateSex);
  } catch {
    alertPage(say("noPlate"));
  } finally {
    button.disabled = false;
  }
}

// --- sending: one at a time, so that the service receives the radiographs in the order of the list ---

let sent = Promise.resolve();

function enqueue(job) {
  sent = sent.then(job, job); // the next one is sent even if one fails
}

function submitAll() {
  const unsent = radiographs.filter((radiograph) => radiograph.isUsable).filter((radiograph) => !radiograph.submit());
  if (unsent.length) unsent[0].focus();
}

// --- this tab's radiographs, in the mode open ---

function keep() {
  if (!settings.keep) return;
  const addresses = radiographs.filter((radiograph) => radiograph.address).map((radiograph) => radiograph.address);
  try { sessionStorage.setItem(STORAGE_KEY, JSON.stringify(addresses)); } catch { /* forgotten with the page */ }
}

/** Add rows for the radiographs that this tab sent earlier and that still exist. */
async function restore() {
  let addresses = [];
  try { addresses = settings.keep ? JSON.parse(sessionStorage.getItem(STORAGE_KEY)) || [] : []; } catch { /* none */ }
  for (const address of addresses) {
    const response = await fetch(address).catch(() => null);
    if (response?.status === 404) continue;
    const radiograph = new Radiograph(null, address); // also where the service cannot be reached just now
    radiograph.lock("sent");
    if (response?.ok) radiograph.showOutcome(await response.text());
    radiograph.follow();
  }
  keep();
  showBar();
}

// --- events ---

page.querySelector("[data-files]").addEventListener("change", (event) => {
  add(event.target.files);
  event.target.value = ""; // so that the same file can be chosen again
});
find("all").addEventListener("click", submitAll);
find("clear").addEventListener("click", () => {
  for (const radiograph of radiographs.filter(({ state }) => state !== "sending")) radiograph.drop();
  find("files").focus();
});
find("all-confirm").addEventListener("click", () => {
  for (const radiograph of radiographs.filter((each) => each.isUsable && !each.isConfirmed)) radiograph.confirm();
  find("all").focus();
});
for (const button of page.querySelectorAll("[data-all-sex]")) {
  button.addEventListener("click", () => {
    for (const radiograph of radiographs.filter((each) => each.isUsable)) radiograph.chooseWithAll(button.dataset.allSex);
  });
}
for (const button of page.querySelectorAll("[data-plate]")) button.addEventListener("click", () => addPlate(button));

document.addEventListener("paste", (event) => {
  if (event.clipboardData?.files.length) {
    event.preventDefault();
    add(event.clipboardData.files);
  }
});
let depth = 0; // dragging over a child leaves its parent
const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
const mark = () => find("drop").classList.toggle("over", depth > 0);
document.addEventListener("dragenter", (event) => { if (hasFiles(event)) { depth += 1; mark(); } });
document.addEventListener("dragleave", (event) => { if (hasFiles(event)) { depth = Math.max(0, depth - 1); mark(); } });
document.addEventListener("dragover", (event) => { if (hasFiles(event)) event.preventDefault(); });
document.addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault(); // anywhere on the page: else the browser would open the radiograph
  depth = 0;
  mark();
  add(event.dataTransfer.files);
});
restore();
