// The photos at hand: what is known of each, what a person decided, and what changes.
import { asSentence } from "./hints.js";
import { settings } from "./settings.js";

const UNDO_STEPS = 50;

export const newId = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");

const identity = (record) => [record.path, record.size, record.modified].join("\u0000");

/**
 * The records by id. A record: id, order, name, path, type, size, modified; `status` (waiting, working, ready, failed,
 * cancelled), `error`; `suggestion` {text, confidence, model}, `alternatives`, `existing` (texts of its metadata);
 * `text` and `decision` (null, accepted, existing, decorative), `edited`, `history` for undo; `conversation`, `labels`,
 * `comparison`.
 * Events: "change" with `detail` {id, what}, "list" for photos that came or went.
 */
export class Photos extends EventTarget {
  #records = new Map();
  #live = new Map();

  constructor(store) {
    super();
    this.store = store;
  }

  async load() {
    for (const record of await this.store.load()) {
      if (record.removed) {
        this.store.remove([record.id]);
        continue;
      }
      if (record.status === "working") record.status = "waiting";
      this.#records.set(record.id, record);
    }
    this.#tell("list");
  }

  get all() {
    return [...this.#records.values()];
  }
  get size() {
    return this.#records.size;
  }
  get(id) {
    return this.#records.get(id);
  }

  /** Add files, `[{file, path}]`; those that are here already are left out. Returns {added, known}. */
  add(entries) {
    const here = new Map(this.all.map((record) => [identity(record), record]));
    let order = Math.max(0, ...this.all.map((record) => record.order));
    const added = [];
    let known = 0;
    for (const { file, path } of entries) {
      const record = {
        id: newId(), order: ++order, name: file.name, path: path || file.name, type: file.type, size: file.size,
        modified: file.lastModified, status: "waiting", error: null, suggestion: null, alternatives: [], existing: null,
        text: "", edited: false, decision: null, history: [], conversation: [], labels: null, comparison: null,
      };
      if (here.has(identity(record))) {
        known += 1;
        continue;
      }
      here.set(identity(record), record);
      this.#records.set(record.id, record);
      this.store.hold(record.id, file);
      added.push({ record, file });
    }
    if (added.length) this.#tell("list");
    return { added, known };
  }

  /** Change what is known of a photo, and keep it. */
  change(id, changes, what = "facts") {
    const record = this.#records.get(id);
    if (!record) return;
    Object.assign(record, changes);
    this.store.save(record);
    this.dispatchEvent(new CustomEvent("change", { detail: { id, what } }));
  }

  /** What is known for the moment only: the stage of the work, words as they come. */
  live(id) {
    return this.#live.get(id) ?? {};
  }
  setLive(id, changes) {
    if (changes === null) this.#live.delete(id);
    else this.#live.set(id, { ...this.live(id), ...changes });
    if (this.#records.has(id)) this.dispatchEvent(new CustomEvent("change", { detail: { id, what: "live" } }));
  }

  /** Take a model's caption. A text that a person wrote, or decided on, stays. */
  suggest(id, answer) {
    const record = this.#records.get(id);
    if (!record) return;
    const suggestion = { text: answer.caption, confidence: answer.confidence, model: answer.model };
    const alternatives = (answer.alternatives ?? []).map(({ caption, confidence }) => ({ text: caption, confidence }));
    const changes = { suggestion, alternatives, status: "ready", error: null };
    if (!record.decision && !record.edited) changes.text = sentenced(answer.caption);
    this.change(id, changes);
  }

  /** Note how a text and its decision are now, for undo. */
  #note(record) {
    const { text, decision, edited } = record;
    record.history.push({ text, decision, edited });
    if (record.history.length > UNDO_STEPS) record.history.shift();
  }

  /** The person typed. With `first` this begins a new step of undo. */
  edit(id, text, first) {
    const record = this.#records.get(id);
    if (first) this.#note(record);
    const decision = record.decision === "decorative" ? null : record.decision === "existing" ? "accepted" : record.decision;
    this.change(id, { text, edited: true, decision }, "text");
  }

  /** Put another text into the box, undecided: an alternative, another model's caption. */
  use(id, text) {
    this.#note(this.#records.get(id));
    this.change(id, { text: sentenced(text), edited: false, decision: null }, "decision");
  }

  decide(id, decision, text = null) {
    const record = this.#records.get(id);
    if (record.decision === decision && (text === null || text === record.text)) return;
    this.#note(record);
    this.change(id, { decision, ...(text === null ? {} : { text }) }, "decision");
  }

  /** Take the last step back; false where there is none. */
  undo(id) {
    const record = this.#records.get(id);
    const last = record.history.pop();
    if (!last) return false;
    this.change(id, last, "decision");
    return true;
  }

  /** Take photos away; they are deleted with the next load, and `restore` brings them back until then. */
  remove(ids) {
    const gone = ids.map((id) => this.#records.get(id)).filter(Boolean);
    for (const record of gone) {
      this.#records.delete(record.id);
      this.#live.delete(record.id);
      this.store.save(Object.assign(record, { removed: true }));
    }
    this.#tell("list");
    return gone;
  }

  restore(records) {
    for (const record of records) {
      delete record.removed;
      if (record.status === "working") record.status = "waiting";
      this.#records.set(record.id, record);
      this.store.save(record);
    }
    const sorted = this.all.sort((a, b) => a.order - b.order);
    this.#records = new Map(sorted.map((record) => [record.id, record]));
    this.#tell("list");
  }

  #tell(what) {
    this.dispatchEvent(new Event(what));
  }
}

const sentenced = (text) => (settings.sentences ? asSentence(text) : text);

export const isVideo = (record) => record.type.startsWith("video/") || /\.(mp4|mov|m4v|webm|mkv|avi)$/i.test(record.name);

/** Whether the model itself is unsure. */
export const isUnsure = (record) => record.suggestion !== null && record.suggestion.confidence < settings.sure;

/** A state as the table and the filters have it. */
export function stateOf(record) {
  if (record.decision) return record.decision === "accepted" && record.edited ? "edited" : record.decision;
  if (record.status !== "ready") return record.status;
  return isUnsure(record) ? "check" : "review";
}

export const STATES = {
  waiting: "Waiting", working: "Writing…", review: "To review", check: "Check this", accepted: "Accepted",
  edited: "Edited", existing: "Kept", decorative: "Decorative", failed: "Failed", cancelled: "Cancelled",
};
