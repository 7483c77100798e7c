// What a person takes along: texts in several forms, sidecars, photos with their metadata written.
import { show } from "./announcements.js";
import { download, element, find, setText } from "./dom.js";
import { changeSettings, settings } from "./settings.js";
import { zip } from "./zip.js";

/** What is exported of a photo: {file, path, alt, decorative, decision, suggestion, confidence, model}. */
export function entryOf(record) {
  const decorative = record.decision === "decorative";
  return {
    file: record.name,
    path: record.path,
    alt: decorative ? "" : record.text.trim(),
    decorative,
    decision: record.decision ? (record.decision === "accepted" && record.edited ? "edited" : record.decision) : "undecided",
    suggestion: record.suggestion?.text ?? "",
    confidence: record.suggestion ? Math.round(1e4 * record.suggestion.confidence) / 1e4 : null,
    model: record.suggestion?.model ?? "",
  };
}

/** A cell that no spreadsheet takes for a formula. */
const cell = (value) => {
  const text = String(value ?? "");
  const harmless = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
};

export function asCsv(entries) {
  const names = ["file", "path", "alt", "decorative", "decision", "suggestion", "confidence", "model"];
  const rows = entries.map((entry) => names.map((name) => cell(entry[name])).join(","));
  return `\ufeff${[names.join(","), ...rows].join("\r\n")}\r\n`;
}

export const asJson = (entries) => `${JSON.stringify(entries, null, 2)}\n`;

/** One line a photo, its name, a tab, its text. */
export const asText = (entries) =>
  entries.map((entry) => `${entry.path}\t${entry.decorative ? "(decorative)" : entry.alt.replace(/\s+/g, " ")}\n`).join("");

const escaped = (text) =>
  text.replace(/[&<>"]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[sign]);
const address = (path) => path.split("/").map(encodeURIComponent).join("/");

/** A page of the photos, which lie beside it, with their alternative texts. */
export function asHtml(entries) {
  const figures = entries.map((entry) => `  <img src="${escaped(address(entry.path))}" alt="${escaped(entry.alt)}">`);
  return `<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Photos</title>\n</head>\n<body>\n${figures.join("\n")}\n</body>\n</html>\n`;
}

/** A path inside an archive: no way up, none twice. */
export function safePaths(paths, ending = "") {
  const used = new Set();
  return paths.map((path) => {
    const parts = path.split(/[\\/]+/).filter((part) => part && part !== "." && part !== "..");
    const clean = (parts.join("/") || "photo").replace(/[\u0000-\u001f<>:"|?*]/g, "_");
    const [, stem, suffix] = clean.match(/^(.*?)(\.[^./]*)?$/s);
    let made = clean + ending;
    for (let number = 2; used.has(made.toLowerCase()); number++) made = `${stem}-${number}${suffix ?? ""}${ending}`;
    used.add(made.toLowerCase());
    return made;
  });
}

const FORMS = {
  csv: { label: "CSV", note: "a table for spreadsheets", make: asCsv, type: "text/csv" },
  json: { label: "JSON", note: "everything, for programs", make: asJson, type: "application/json" },
  txt: { label: "Text", note: "one line per photo", make: asText, type: "text/plain" },
  html: { label: "HTML", note: "images with their alt texts", make: asHtml, type: "text/html" },
  xmp: { label: "XMP sidecars", note: "files beside the photos, which photo programs read" },
  photos: { label: "Photos with metadata", note: "copies of your photos with the texts inside" },
};

/** The dialog. `chosen()` gives the photos that it is about. */
export class TakeAlong {
  constructor({ photos, store, service }) {
    Object.assign(this, { photos, store, service });
    this.dialog = find("#take-along");
    this.form = find("form", this.dialog);
    this.progress = find("progress", this.dialog);
    this.said = find("#take-along-said");
    const choices = find("#forms");
    for (const [name, { label, note }] of Object.entries(FORMS)) {
      choices.append(
        element("label", { class: "choice" },
          element("input", { type: "radio", name: "form", value: name, checked: name === settings.format }),
          element("span", {}, element("strong", { text: label }), element("small", { text: note }))),
      );
    }
    this.form.elements.all.checked = settings.all;
    this.form.addEventListener("change", () => this.#count());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#run();
    });
    this.dialog.addEventListener("close", () => this.working?.abort());
  }

  open(limits) {
    const choice = this.form.querySelector('[value="photos"]');
    choice.disabled = limits !== null && !limits.writes_metadata;
    choice.closest("label").querySelector("small").textContent = choice.disabled
      ? "this server has no ExifTool: take XMP sidecars instead"
      : FORMS.photos.note;
    if (choice.disabled && choice.checked) this.form.elements.form.value = "xmp";
    this.#count();
    this.dialog.showModal();
  }

  get #records() {
    const all = this.form.elements.all.checked;
    return this.photos.all.filter((record) => record.decision || (all && record.text.trim()));
  }

  #count() {
    const number = this.#records.length;
    const undecided = this.photos.all.filter((record) => !record.decision && record.text.trim()).length;
    const rest = undecided && !this.form.elements.all.checked ? ` ${undecided} more are suggestions that nobody decided on.` : "";
    setText(this.said, `${number} ${number === 1 ? "photo" : "photos"} to take along.${rest}`);
    find("#take-along-go").disabled = !number;
    changeSettings({ format: this.form.elements.form.value, all: this.form.elements.all.checked });
  }

  async #run() {
    const name = this.form.elements.form.value;
    const records = this.#records;
    const made = FORMS[name].make;
    if (made) {
      download(new Blob([made(records.map(entryOf))], { type: FORMS[name].type }), `alt-texts.${name}`);
      this.dialog.close();
      return;
    }
    this.working = new AbortController();
    find("#take-along-go").disabled = true;
    this.progress.hidden = false;
    try {
      await this.#archive(name, records, this.working.signal);
    } catch (error) {
      if (error.name !== "AbortError") setText(this.said, error.message);
    } finally {
      this.progress.hidden = true;
      find("#take-along-go").disabled = false;
    }
  }

  async #archive(name, records, signal) {
    const described = records.filter((record) => entryOf(record).alt);
    const left = records.length - described.length;
    const paths = safePaths(described.map((record) => record.path), name === "xmp" ? ".xmp" : "");
    const entries = [];
    const failed = [];
    for (const [place, record] of described.entries()) {
      this.progress.value = place / described.length;
      try {
        entries.push({ name: paths[place], blob: await this.#made(name, record, signal) });
      } catch (error) {
        if (error.name === "AbortError" || error.code === "offline" || error.status === 401) throw error;
        failed.push(`${record.name}: ${error.message}`);
      }
    }
    const said = [];
    if (left) said.push(`${left} decorative ${left === 1 ? "photo has" : "photos have"} no text to write.`);
    if (failed.length) said.push(`${failed.length} could not be written. ${failed.slice(0, 3).join(" ")}`);
    if (entries.length === 1) download(entries[0].blob, entries[0].name.split("/").pop());
    else if (entries.length) download(await zip(entries), name === "xmp" ? "sidecars.zip" : "photos.zip");
    if (said.length) show(said.join(" "));
    this.dialog.close();
  }

  async #made(name, record, signal) {
    const texts = { alt_text: entryOf(record).alt };
    if (name === "xmp") return this.service.sidecar(texts, { signal });
    const file = await this.store.get("files", record.id);
    if (!file) throw new Error("the photo is no longer kept in this browser.");
    return this.service.write(file, record.name, texts, { signal });
  }
}
