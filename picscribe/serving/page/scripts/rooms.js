// What else one can do with a photo: ask about it, sort it by labels, compare two models on it.
import { announce } from "./announcements.js";
import { bar, element, find, percent, setText } from "./dom.js";
import { changeSettings, settings } from "./settings.js";

/** A form with a busy state and an error line, about the photo that the editor shows. */
class Room {
  constructor(root, editor, models) {
    Object.assign(this, { root, editor, models });
    this.asking = new Set();
    this.form = find("form", root);
    this.said = find("[data-said]", root);
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#run();
    });
  }

  open(record) {
    setText(this.said, this.asking.has(record.id) ? "Working…" : "");
    this.show(record);
  }

  update(record) {
    this.show(record);
  }

  async #run() {
    const { id } = this.editor;
    if (this.asking.has(id)) return;
    this.asking.add(id);
    this.root.setAttribute("aria-busy", "true");
    setText(this.said, "Working…");
    try {
      await this.ask(id, new AbortController().signal); // goes on while another photo is open
      if (id === this.editor.id) setText(this.said, "");
    } catch (error) {
      if (id === this.editor.id) setText(this.said, error.message);
    } finally {
      this.asking.delete(id);
      if (!this.asking.size) this.root.removeAttribute("aria-busy");
    }
  }
}

export class Conversation extends Room {
  constructor(...given) {
    super(...given);
    this.log = find("[role=log]", this.root);
    this.field = find("input", this.root);
    for (const button of this.root.querySelectorAll("[data-question]")) {
      button.addEventListener("click", () => {
        this.field.value = button.textContent;
        this.form.requestSubmit();
      });
    }
  }

  show(record) {
    const able = this.models.able("ask", record.suggestion?.model);
    setText(find("[data-note]", this.root), able
      ? `Each question is answered by itself, by ${able}: the model does not remember the last one.`
      : "No model of this server answers questions.");
    this.form.hidden = !able;
    const shown = `${record.id} ${record.conversation.length}`;
    if (this.log.dataset.of === shown) return;
    this.log.dataset.of = shown;
    this.log.replaceChildren(
      ...record.conversation.flatMap(({ question, answer, confidence }) => [
        element("p", { class: "question", dir: "auto" }, element("span", { class: "off-screen", text: "You: " }), question),
        element("p", { class: "answer", dir: "auto" }, element("span", { class: "off-screen", text: "Model: " }), answer || "(no answer)",
          element("small", { text: confidence === null ? "" : ` ${percent(confidence)} sure${confidence < settings.sure ? ": check this" : ""}` })),
      ]),
    );
    this.log.scrollTop = this.log.scrollHeight;
  }

  async ask(id, signal) {
    const question = this.field.value.trim();
    if (!question) throw new Error("Type a question first.");
    const { photos, service, record } = this.editor;
    const { file, name } = await this.editor.source();
    const model = this.models.able("ask", record.suggestion?.model);
    const { answer, confidence } = await service.ask(file, name, { model, frames: this.models.frames(record, model), question, signal });
    const conversation = [...photos.get(id).conversation, { question, answer, confidence: confidence ?? null }];
    photos.change(id, { conversation });
    if (id === this.editor.id) this.field.value = "";
  }
}

export class Labels extends Room {
  constructor(...given) {
    super(...given);
    this.field = find("textarea", this.root);
    this.list = find("ol", this.root);
    this.field.value = settings.labels || "people\nan animal\na building\nfood\na vehicle\na landscape";
  }

  show(record) {
    const ranked = record.labels?.labels ?? [];
    const shown = `${record.id} ${JSON.stringify(ranked)}`;
    if (this.list.dataset.of === shown) return;
    this.list.dataset.of = shown;
    this.list.replaceChildren(
      ...ranked.map(({ label, probability }) =>
        element("li", {}, element("span", { dir: "auto", class: "label", text: label }), bar(probability), element("span", { class: "number", text: percent(probability) }))),
    );
  }

  async ask(id, signal) {
    const labels = [...new Set(this.field.value.split("\n").map((line) => line.trim()).filter(Boolean))];
    if (labels.length < 2) throw new Error("Give at least two labels, one a line.");
    changeSettings({ labels: labels.join("\n") });
    const { photos, service, record } = this.editor;
    const { file, name } = await this.editor.source();
    const model = record.suggestion?.model;
    const frames = this.models.frames(record, model);
    const found = await service.classify(file, name, { model, frames, labels, signal });
    photos.change(id, { labels: { model: found.model, labels: found.labels } });
    announce(`Likeliest: ${found.label}, ${percent(found.probability)}.`);
  }
}

export class Comparison extends Room {
  constructor(...given) {
    super(...given);
    this.selects = [...this.root.querySelectorAll("select")];
    this.list = find("[data-results]", this.root);
  }

  show(record) {
    const names = this.models.names;
    setText(find("[data-note]", this.root), names.length > 1
      ? "The same photo, described by two models."
      : "This server has one model. Start it with a second one, --model NAME=CHECKPOINT, to compare them.");
    this.form.hidden = names.length < 2;
    this.selects.forEach((select, place) => {
      if (select.options.length === names.length) return;
      select.replaceChildren(...names.map((name) => element("option", { value: name, text: name })));
      select.value = names[Math.min(place, names.length - 1)] ?? "";
    });
    const results = record.comparison ?? [];
    const shown = `${record.id} ${JSON.stringify(results)}`;
    if (this.list.dataset.of === shown) return;
    this.list.dataset.of = shown;
    this.list.replaceChildren(
      ...results.map(({ model, text, confidence }) =>
        element("article", { class: "compared" },
          element("h4", { text: model, dir: "auto" }),
          element("p", { text, dir: "auto" }),
          element("p", { class: "sure" }, bar(confidence), element("span", { class: "number", text: `${percent(confidence)} sure` })),
          element("button", { type: "button", class: "plain", text: "Use this text", "aria-label": `Use the text of ${model}`, on: { click: () => this.editor.photos.use(record.id, text) } }))),
    );
  }

  async ask(id, signal) {
    const models = this.selects.map((select) => select.value);
    if (models[0] === models[1]) throw new Error("Choose two different models.");
    const { photos, service, record } = this.editor;
    const { file, name } = await this.editor.source();
    const answers = await Promise.all(
      models.map((model) =>
        service.caption(file, name, {
          model, frames: this.models.frames(record, model), signal, captions: 1,
        })),
    );
    photos.change(id, { comparison: answers.map(({ model, caption, confidence }) => ({ model, text: caption, confidence })) });
    announce(answers.map(({ model, caption }) => `${model}: ${caption}.`).join(" "));
  }
}
