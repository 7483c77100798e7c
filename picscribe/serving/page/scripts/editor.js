// One photo, large, with the text that a person makes of the model's suggestion.
import { announce, show } from "./announcements.js";
import { Comparison, Conversation, Labels } from "./rooms.js";
import { bar, copy, element, find, icon, percent, setText } from "./dom.js";
import { draw, seenPart, spokenPlace } from "./heat_map.js";
import { hintsFor, lengthHint, lengthOf } from "./hints.js";
import { isUnsure, isVideo, STATES, stateOf } from "./photos.js";
import { settings } from "./settings.js";

const EXISTING = { alt_text: "Alternative text", extended_description: "Long description", description: "Description", title: "Title" };

export class Editor {
  id = null;
  #url = null;
  #explanations = new Map();
  #asking = null;
  #typing = false;
  #said = "";

  constructor(root, { photos, pictures, store, service, models, onRetry, onCancel }) {
    Object.assign(this, { root, photos, pictures, store, service, models, onRetry, onCancel });
    const part = (name) => find(`[data-part="${name}"]`, root);
    const names = [
      "title", "state", "picture", "video", "heat", "seen", "legend", "frames", "words", "why", "why-note", "existing", "text", "count", "hints", "length",
      "check", "alternatives", "alternatives-box", "accept", "undo", "copy", "decorative", "decorative-note", "error", "retry", "cancel", "stage", "again",
    ];
    this.parts = Object.fromEntries(names.map((name) => [name, part(name)]));
    this.rooms = {
      questions: new Conversation(find("#panel-questions"), this, models),
      labels: new Labels(find("#panel-labels"), this, models),
      compare: new Comparison(find("#panel-compare"), this, models),
    };
    photos.addEventListener("change", ({ detail }) => detail.id === this.id && this.#update(detail.what));
    photos.addEventListener("list", () => this.id && !photos.get(this.id) && this.open(null));
    this.#watch();
    this.#watchTabs();
  }

  get record() {
    return this.photos.get(this.id);
  }

  /** Show a photo; null shows none. */
  open(id) {
    if (id === this.id) return;
    this.#asking?.abort();
    this.#asking = null;
    this.id = id;
    this.#typing = false;
    this.root.hidden = id === null;
    this.#hideHeat();
    if (id === null) return;
    const { record, parts } = this;
    setText(parts.title, record.name);
    parts.words.replaceChildren();
    parts.words.dataset.of = "";
    setText(parts["why-note"], "");
    parts.text.value = record.text;
    this.#said = lengthHint(lengthOf(record.text));
    this.#showPicture(id);
    this.#update("all");
    for (const room of Object.values(this.rooms)) room.open(record);
  }

  async #showPicture(id) {
    const { picture, video } = this.parts;
    URL.revokeObjectURL(this.#url);
    this.#url = null;
    picture.hidden = false;
    picture.removeAttribute("src");
    video.hidden = true;
    URL.revokeObjectURL(video.src);
    video.removeAttribute("src");
    this.root.dataset.picture = "loading";
    picture.alt = "The photo that the text below describes";
    const isShown = await this.#drawOne(id);
    if (id !== this.id) return;
    this.root.dataset.picture = isShown ? "shown" : "missing";
    if (!isShown) picture.alt = "There is no picture of this file";
    const file = isShown && isVideo(this.record) && (await this.store.get("files", id));
    if (file && id === this.id) this.#offerVideo(file);
  }

  /** Show the first blob of a photo that this browser can draw; false where there is none. */
  async #drawOne(id) {
    try {
      for await (const blob of this.pictures.viewable(id)) {
        if (id !== this.id) return false;
        URL.revokeObjectURL(this.#url);
        this.#url = URL.createObjectURL(blob);
        this.parts.picture.src = this.#url;
        try {
          await this.parts.picture.decode();
          return true;
        } catch {
          // the next one may do
        }
      }
    } catch {
      // the service makes no picture of it either; its caption says what is wrong
    }
    return false;
  }

  #offerVideo(file) {
    const { picture, video } = this.parts;
    const url = URL.createObjectURL(file);
    video.onloadeddata = () => {
      if (video.src !== url) return;
      video.hidden = false;
      picture.hidden = true;
    };
    video.onerror = () => URL.revokeObjectURL(url); // a codec that this browser lacks: the preview stays
    video.src = url;
  }

  #update(what) {
    const { record, parts } = this;
    const live = this.photos.live(this.id);
    const state = stateOf(record);
    const isDecorative = record.decision === "decorative";
    this.root.dataset.state = state;
    setText(parts.state, STATES[state]);
    parts.state.dataset.state = state;

    const working = record.status === "working" || record.status === "waiting";
    parts.stage.hidden = !working;
    setText(find("span", parts.stage), record.status === "waiting" ? "Waiting for its turn" : `${live.stage ?? "Writing"}…`);
    const meter = find("progress", parts.stage);
    if (typeof live.share === "number") meter.value = live.share;
    else meter.removeAttribute("value");
    parts.error.hidden = record.status !== "failed" && record.status !== "cancelled";
    setText(find("span", parts.error), record.status === "failed" ? record.error.message : "Cancelled: no caption was made.");

    const streamed = working && live.words && !record.edited && !record.decision;
    if (what !== "text" || parts.text.value !== record.text) {
      const shown = streamed ? live.words : record.text;
      if (parts.text.value !== shown) parts.text.value = shown;
    }
    parts.text.classList.toggle("streaming", Boolean(streamed));
    parts.text.disabled = isDecorative;
    parts.text.placeholder = working ? "A suggestion is on its way; you can write your own" : "Describe the photo in a sentence or two";
    parts.check.hidden = !(record.suggestion && isUnsure(record) && !record.decision && !record.edited);
    if (!parts.check.hidden) {
      setText(find("span", parts.check), `Check this: the model is only ${percent(record.suggestion.confidence)} sure.`);
    }
    parts.decorative.setAttribute("aria-pressed", String(isDecorative));
    parts["decorative-note"].hidden = !isDecorative;
    const accepted = record.decision === "accepted" || record.decision === "existing";
    parts.accept.classList.toggle("done", accepted);
    setText(find("span", parts.accept), accepted ? "Accepted" : "Accept");
    parts.accept.disabled = isDecorative || !parts.text.value.trim() || Boolean(streamed);
    parts.undo.disabled = !record.history.length;
    parts.copy.disabled = isDecorative || !record.text.trim();
    parts.again.hidden = working || record.status !== "ready";

    this.#showCounter();
    if (what !== "text") {
      this.#showExisting();
      this.#showAlternatives();
      this.#showWords();
    }
    if (what !== "live" && what !== "text") for (const room of Object.values(this.rooms)) room.update(record);
  }

  #showCounter() {
    const { parts, record } = this;
    const text = record.decision === "decorative" ? "" : parts.text.value;
    const length = lengthOf(text);
    setText(parts.count, `${length} ${length === 1 ? "character" : "characters"}`);
    const hint = lengthHint(length);
    setText(parts.length, hint);
    parts.count.classList.toggle("long", Boolean(hint));
    if (hint !== this.#said) {
      this.#said = hint;
      if (hint) announce(hint, 1000);
    }
    const hints = parts.text.classList.contains("streaming") ? [] : hintsFor(text, record.name);
    const shown = hints.map((hint) => hint.code).join();
    if (parts.hints.dataset.of === shown) return;
    parts.hints.dataset.of = shown;
    parts.hints.replaceChildren(
      ...hints.map((hint) =>
        element("li", { data: { hint: hint.code } }, icon("hint"), element("span", { text: hint.text }), hint.remedy
          ? element("button", { type: "button", class: "plain", text: hint.remedy.label, on: { click: () => this.#remedy(hint) } })
          : null),
      ),
    );
  }

  #remedy(hint) {
    const text = hint.remedy.apply(this.parts.text.value);
    this.#typing = false;
    this.photos.edit(this.id, text, true);
    this.parts.text.value = text;
    this.#update("text");
    this.parts.text.focus();
    announce(`${hint.remedy.label}: done.`);
  }

  #showExisting() {
    const { existing } = this.record;
    const texts = Object.keys(EXISTING).filter((name) => existing?.[name]);
    const box = this.parts.existing;
    const shown = JSON.stringify([this.id, texts.map((name) => existing[name]), this.record.decision]);
    if (box.dataset.of === shown) return;
    box.dataset.of = shown;
    box.hidden = !texts.length;
    const kept = (name) => this.record.decision === "existing" && this.record.text === existing[name];
    find("dl", box).replaceChildren(
      ...texts.flatMap((name) => [
        element("dt", { text: EXISTING[name] }),
        element("dd", {}, element("p", { dir: "auto", text: existing[name] }),
          element("button", {
            type: "button", class: "plain", text: kept(name) ? "Kept" : "Keep this text", "aria-pressed": String(kept(name)),
            on: { click: () => this.#keep(existing[name]) },
          })),
      ]),
    );
  }

  #keep(text) {
    this.photos.decide(this.id, "existing", text);
    announce("The photo's own text is kept.");
    find("[aria-pressed=true]", this.parts.existing)?.focus();
  }

  #showAlternatives() {
    const { alternatives, text } = this.record;
    const box = this.parts["alternatives-box"];
    box.hidden = alternatives.length < 2;
    const shown = JSON.stringify([this.id, alternatives, text]);
    const list = this.parts.alternatives;
    if (list.dataset.of === shown) return;
    list.dataset.of = shown;
    const held = [...list.querySelectorAll("button")].indexOf(document.activeElement);
    list.replaceChildren(
      ...alternatives.map((one) =>
        element("li", {},
          element("button", { type: "button", class: "alternative", on: { click: () => this.#choose(one.text) } },
            element("span", { class: "alternative-text", dir: "auto", text: one.text }),
            bar(one.confidence),
            element("span", { class: "number", text: percent(one.confidence) }),
            element("span", { class: "off-screen", text: one.confidence < settings.sure ? "sure. Check this." : "sure" }))),
      ),
    );
    if (held >= 0) list.querySelectorAll("button")[held]?.focus();
  }

  #choose(text) {
    this.photos.use(this.id, text);
    announce(`In the text box: ${text}`);
  }

  // Why

  #showWords() {
    const { parts, record } = this;
    const caption = record.suggestion?.text ?? "";
    parts.why.hidden = !caption;
    const known = this.#explanation(this.id);
    const words = known?.words.map(({ word }) => word) ?? caption.split(/\s+/).filter(Boolean);
    const shown = JSON.stringify([this.id, words]);
    if (parts.words.dataset.of === shown) return;
    parts.words.dataset.of = shown;
    const held = focusedItem(parts.words);
    parts.words.replaceChildren(
      ...words.map((word, place) => {
        const look = () => this.#look(place);
        return element("li", {},
          element("button", {
            type: "button", class: "word", text: word,
            on: { mouseenter: look, focus: look, click: look, mouseleave: () => this.#leave(place), blur: () => this.#hideHeat() },
          }));
      }),
    );
    if (held >= 0) find("button", parts.words.children[held])?.focus();
  }

  #leave(place) {
    if (focusedItem(this.parts.words) !== place) this.#hideHeat();
  }

  async #look(place) {
    const { id } = this;
    this.looking = place;
    let known = this.#explanation(id);
    if (!known) {
      setText(this.parts["why-note"], "Looking…");
      try {
        known = await this.#explain(id);
      } catch (error) {
        if (error.name !== "AbortError" && id === this.id) setText(this.parts["why-note"], error.message);
        return;
      }
      if (id !== this.id) return;
      setText(this.parts["why-note"], "");
      this.#showWords();
    }
    if (this.looking === place) this.#showHeat(known, place);
  }

  /** What is known of a suggestion's words; undefined for a suggestion that was made since. */
  #explanation(id) {
    const known = this.#explanations.get(id);
    return known?.of === this.photos.get(id)?.suggestion ? known?.found : undefined;
  }

  #explain(id) {
    if (this.#asking?.of === id) return this.#asking.found;
    const controller = new AbortController();
    const run = async () => {
      const file = await this.store.get("files", id);
      if (!file) throw new Error("The photo is no longer kept in this browser.");
      const record = this.photos.get(id);
      const { model } = record.suggestion;
      const found = await this.service.explain(file, record.name, {
        model, frames: this.models.frames(record, model), signal: controller.signal,
      });
      this.#explanations.set(id, { of: record.suggestion, found });
      return found;
    };
    const found = run().finally(() => (this.#asking = null));
    this.#asking = { of: id, found, abort: () => controller.abort() };
    return found;
  }

  #showHeat(known, place) {
    const word = known.words[place];
    if (!word) return;
    const { heat, seen, picture, video, frames, legend, words } = this.parts;
    const isFilm = known.frames.length > 1;
    video.pause?.();
    frames.hidden = !isFilm;
    if (isFilm) {
      frames.replaceChildren(
        ...known.frames.map((frame, number) => {
          const canvas = element("canvas");
          draw(canvas, word.maps[number]);
          return element("div", { class: "frame" }, element("img", { src: frame, alt: `Frame ${number + 1}` }), canvas);
        }),
      );
    } else {
      const part = seenPart(known.view, picture.naturalWidth, picture.naturalHeight);
      for (const box of [heat, seen]) {
        box.style.left = percentage(part.left);
        box.style.top = percentage(part.top);
        box.style.width = percentage(part.width);
        box.style.height = percentage(part.height);
      }
      heat.hidden = false;
      seen.hidden = part.width === 1 && part.height === 1;
      draw(heat, word.maps[0]);
      heat.dataset.word = word.word;
    }
    legend.hidden = false;
    const where = isFilm ? "in the frames below" : spokenPlace(word.maps[0]);
    setText(legend, `Where the model looked for “${word.word}”: mostly ${where}.`);
    announce(`Mostly ${where}.`, 200);
    [...words.children].forEach((item, number) => item.classList.toggle("looked-at", number === place));
  }

  #hideHeat() {
    this.looking = null;
    const { heat, seen, legend, frames, words } = this.parts;
    for (const box of [heat, seen, legend, frames]) box.hidden = true;
    for (const item of words.children) item.classList.remove("looked-at");
  }

  /** What the rooms ask with: {file, name}. */
  async source() {
    const file = await this.store.get("files", this.id);
    if (!file) throw new Error("The photo is no longer kept in this browser.");
    return { file, name: this.record.name };
  }

  // What a person does

  /** Accept the text as it stands. True where there was one. */
  accept() {
    const { text } = this.parts;
    if (!this.record || this.parts.accept.disabled) return false;
    this.#typing = false;
    if (this.record.decision !== "existing" || text.value !== this.record.text) this.photos.decide(this.id, "accepted", text.value.trim());
    return true;
  }

  undo() {
    this.#typing = false;
    if (!this.photos.undo(this.id)) return;
    this.parts.text.value = this.record.text;
    announce(`Undone: ${STATES[stateOf(this.record)]}.`);
    if (this.parts.undo.disabled) this.parts.text.focus();
  }

  #watch() {
    const { parts } = this;
    parts.text.addEventListener("input", () => {
      this.photos.edit(this.id, parts.text.value, !this.#typing);
      this.#typing = true;
    });
    parts.text.addEventListener("change", () => (this.#typing = false));
    parts.accept.addEventListener("click", () => this.accept() && announce("Accepted."));
    parts.undo.addEventListener("click", () => this.undo());
    parts.copy.addEventListener("click", async () => {
      if (await copy(this.record.text.trim())) announce("Copied.");
      else show("The browser does not allow copying: select the text and copy it by hand.");
      setText(find("span", parts.copy), "Copied");
      setTimeout(() => setText(find("span", parts.copy), "Copy"), 2000);
    });
    parts.decorative.addEventListener("click", () => {
      if (this.record.decision === "decorative") this.undoDecorative();
      else {
        this.photos.decide(this.id, "decorative");
        announce("Decorative: the alternative text is empty.");
      }
    });
    parts.retry.addEventListener("click", () => this.onRetry(this.id));
    parts.again.addEventListener("click", () => this.onRetry(this.id));
    parts.cancel.addEventListener("click", () => this.onCancel(this.id));
  }

  undoDecorative() {
    this.photos.decide(this.id, null);
    announce("Not decorative any more.");
  }

  #watchTabs() {
    const tabs = [...this.root.querySelectorAll('[role="tab"]')];
    const choose = (tab) => {
      for (const one of tabs) {
        const chosen = one === tab;
        one.setAttribute("aria-selected", String(chosen));
        one.tabIndex = chosen ? 0 : -1;
        find(`#${one.getAttribute("aria-controls")}`).hidden = !chosen;
      }
    };
    tabs.forEach((tab, place) => {
      tab.addEventListener("click", () => choose(tab));
      tab.addEventListener("keydown", (event) => {
        const rtl = getComputedStyle(tab).direction === "rtl" ? -1 : 1;
        const step = { ArrowRight: rtl, ArrowLeft: -rtl }[event.key];
        const to = step ? tabs[(place + step + tabs.length) % tabs.length] : { Home: tabs[0], End: tabs.at(-1) }[event.key];
        if (!to) return;
        event.preventDefault();
        choose(to);
        to.focus();
      });
    });
  }
}

const percentage = (share) => `${100 * share}%`;
const focusedItem = (words) => [...words.children].indexOf(document.activeElement?.closest?.("li"));
