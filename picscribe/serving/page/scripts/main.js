// The page: its parts, and what happens between them.
import { announce, show } from "./announcements.js";
import { element, find, setText } from "./dom.js";
import { Editor } from "./editor.js";
import { Intake } from "./intake.js";
import { isVideo, Photos } from "./photos.js";
import { Pictures } from "./pictures.js";
import { Queue } from "./queue.js";
import { Service } from "./service.js";
import { changeSettings, settings, showTheme } from "./settings.js";
import { openStore } from "./store.js";
import { FILTERS, Table } from "./table.js";
import { TakeAlong } from "./take_along.js";

/** The models that the server has, as the rest of the page asks for them. */
class Models {
  /** How many frames a model is to look at: of a video one where it is a model of photos; null for its own number. */
  frames(record, wanted) {
    const model = this.all.find(({ id }) => id === wanted) ?? this.all[0];
    return isVideo(record) && model && !model.frames ? 1 : null;
  }

  all = [];

  get names() {
    return this.all.map((model) => model.id);
  }

  /** A model that can do something: the wanted one, else any; null where there is none. */
  able(what, wanted) {
    const able = this.all.filter((model) => model.capabilities.includes(what));
    return (able.find((model) => model.id === wanted) ?? able[0])?.id ?? null;
  }

  async load(service) {
    this.all = (await service.models()).filter((model) => !model.alias_of);
    if (settings.model && !this.names.includes(settings.model)) changeSettings({ model: "" });
    const select = find("#model");
    select.replaceChildren(...this.names.map((name) => element("option", { value: name, text: name })));
    select.value = settings.model || this.names[0] || "";
    find("#model-choice").hidden = this.names.length < 2;
  }
}

class Page {
  async start() {
    showTheme();
    this.store = await openStore();
    this.store.onFailure = () => show("This browser has no room left: take your texts along before you close the tab.");
    if (!this.store.lasting) show("This browser keeps nothing for this page: take your texts along before you close the tab.");
    this.photos = new Photos(this.store);
    this.service = new Service();
    this.models = new Models();
    this.pictures = new Pictures(this.photos, this.store, this.service);
    this.queue = new Queue(this);
    this.table = new Table(find("#photos"), this.photos, this.pictures, {
      onSelect: (id, open) => this.select(id, open),
      onRetry: (id) => this.queue.retry(id),
      onCancel: (id) => this.queue.cancel(id),
      onRemove: (id) => this.remove([id]),
      onCounts: () => this.showCounts(),
    });
    this.editor = new Editor(find("#editor"), {
      ...this,
      onRetry: (id) => this.queue.retry(id),
      onCancel: (id) => this.queue.cancel(id),
    });
    this.takeAlong = new TakeAlong(this);
    this.intake = new Intake(this.photos, this.store, (ids) => this.added(ids));
    this.watch();
    await this.photos.load();
    this.showCounts();
    const first = this.photos.all.find((record) => !record.decision) ?? this.photos.all[0];
    if (first) this.select(first.id, false);
    document.documentElement.dataset.ready = "";
    await this.connect();
  }

  /** Learn what the server is, then work; false where it does not say. */
  async connect() {
    try {
      [this.limits] = await Promise.all([this.service.limits(), this.models.load(this.service)]);
      this.queue.limits = this.limits;
      find("#sign-out").hidden = !this.limits.needs_key;
      const { record } = this.editor;
      if (record) for (const room of Object.values(this.editor.rooms)) room.update(record);
      this.queue.resume();
      return true;
    } catch (error) {
      if (error.status && error.status !== 401) show(error.message);
      return false;
    }
  }

  select(id, open) {
    this.queue.selected = id;
    this.table.select(id);
    this.editor.open(id);
    document.body.classList.toggle("has-photo", id !== null);
    if (!open || id === null) return;
    document.body.classList.add("editing");
    find("#editor-text").focus({ preventScroll: matchMedia("(min-width: 56rem)").matches });
  }

  /** Back from one photo to all of them. */
  back() {
    document.body.classList.remove("editing");
    if (this.editor.id) this.table.focus(this.editor.id);
  }

  added(ids) {
    if (!this.editor.id) this.select(ids[0], false);
    this.queue.wake();
  }

  step(step) {
    const id = this.table.neighbour(this.editor.id, step);
    if (!id) {
      announce(step > 0 ? "This is the last photo." : "This is the first photo.");
      return;
    }
    this.select(id, true);
    announce(`${this.photos.get(id).name}.`);
  }

  /** Accept the text, and go to the next photo that waits for a decision. */
  acceptAndNext() {
    if (!this.editor.accept()) {
      announce("There is no text to accept yet.");
      return;
    }
    const { all } = this.photos;
    const at = all.findIndex((record) => record.id === this.editor.id);
    const next = [...all.slice(at + 1), ...all.slice(0, at)].find((record) => !record.decision && record.status !== "failed");
    if (!next) {
      announce("Accepted. That was the last one: all photos are decided.");
      show("All photos are decided.", () => this.takeAlong.open(this.limits ?? null), "Take along");
      return;
    }
    this.select(next.id, true);
    announce(`Accepted. Next: ${next.name}.`);
  }

  remove(ids) {
    const next = this.table.neighbour(ids[0], 1) ?? this.table.neighbour(ids[0], -1);
    for (const id of ids) this.queue.cancel(id);
    const gone = this.photos.remove(ids);
    const stays = next && this.photos.get(next) ? next : null;
    if (!this.photos.get(this.editor.id)) this.select(stays ?? this.photos.all[0]?.id ?? null, false);
    if (this.editor.id) this.table.focus(this.editor.id);
    const what = gone.length === 1 ? gone[0].name : `${gone.length} photos`;
    show(`Removed ${what}.`, () => {
      this.photos.restore(gone);
      this.select(gone[0].id, false);
      this.queue.wake();
    }, "Undo");
  }

  showCounts() {
    const { all } = this.photos;
    document.body.classList.toggle("empty", !all.length);
    for (const [name, { holds }] of Object.entries(FILTERS)) {
      const button = find(`[data-filter="${name}"]`);
      setText(find(".number", button), String(all.filter(holds).length));
      button.setAttribute("aria-pressed", String(this.table.filter === name));
    }
    const captioned = all.filter((record) => !["waiting", "working"].includes(record.status)).length;
    const decided = all.filter((record) => record.decision).length;
    const busy = captioned < all.length;
    const meter = find("#progress");
    meter.hidden = !busy;
    meter.max = all.length || 1;
    meter.value = captioned;
    setText(find("#summary"), busy ? `${captioned} of ${all.length} captioned` : `${decided} of ${all.length} decided`);
    if (this.wasBusy && !busy && all.length) announce(`All ${all.length} photos have been looked at.`, 1000);
    this.wasBusy = busy;
    find("#open-take-along").disabled = !all.length;
    find("#none").hidden = !all.length || this.table.visible.length > 0;
  }

  watch() {
    for (const name of Object.keys(FILTERS)) {
      find(`[data-filter="${name}"]`).addEventListener("click", () => {
        this.table.setFilter(name);
        this.showCounts();
      });
    }
    find("#model").addEventListener("change", (event) => changeSettings({ model: event.target.value }));
    find("#open-take-along").addEventListener("click", () => this.takeAlong.open(this.limits ?? null));
    find("#open-settings").addEventListener("click", () => this.openSettings());
    find("#open-shortcuts").addEventListener("click", () => find("#shortcuts").showModal());
    find("#back").addEventListener("click", () => this.back());
    find("#previous").addEventListener("click", () => this.step(-1));
    find("#next").addEventListener("click", () => this.step(1));
    for (const button of document.querySelectorAll("[data-close]")) {
      button.addEventListener("click", () => button.closest("dialog").close());
    }
    this.service.addEventListener("online", () => {
      find("#offline").hidden = this.service.online;
      announce(this.service.online ? "The service is back." : "The service does not answer.");
      if (this.service.online && !this.models.all.length) this.connect();
    });
    this.service.addEventListener("unauthorised", () => this.askForKey());
    find("#key-form").addEventListener("submit", (event) => this.takeKey(event));
    this.watchSettings();
    addEventListener("keydown", (event) => this.onKey(event));
    addEventListener("beforeunload", (event) => {
      if (this.store.writing) event.preventDefault();
    });
  }

  /** Shortcuts all have a modifier, so that they are no keys of a screen reader or of a text box. */
  onKey(event) {
    if (document.querySelector("dialog[open]") || !this.editor.id) return;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      this.acceptAndNext();
    } else if (event.altKey && !event.ctrlKey && !event.metaKey && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      event.preventDefault();
      this.step(event.key === "ArrowDown" ? 1 : -1);
    } else if (event.altKey && !event.ctrlKey && event.code === "Backspace" && !event.metaKey && !isWordDelete(event)) {
      event.preventDefault();
      this.editor.undo();
    } else if (event.key === "Escape" && find("#editor").contains(event.target)) {
      event.preventDefault();
      this.back();
    }
  }

  askForKey() {
    const dialog = find("#key");
    if (dialog.open) return;
    setText(find("#key-said"), "");
    document.querySelector("dialog[open]")?.close();
    dialog.showModal();
  }

  async takeKey(event) {
    event.preventDefault();
    const field = event.target.elements.key;
    const button = find("button[type=submit]", event.target);
    const said = find("#key-said");
    button.disabled = true;
    setText(said, "");
    try {
      await this.service.signIn(field.value.trim());
      field.value = "";
      find("#key").close();
      announce("The key is accepted.");
      await this.connect();
    } catch (error) {
      setText(said, error.status === 401 ? "The service does not know this key." : error.message);
      field.focus();
    } finally {
      button.disabled = false;
    }
  }

  async signOut() {
    try {
      await this.service.signOut();
      location.reload();
    } catch (error) {
      show(error.message);
    }
  }

  openSettings() {
    const { elements } = find("#settings-form");
    elements.theme.value = settings.theme;
    elements.sentences.checked = settings.sentences;
    elements.sure.value = String(Math.round(100 * settings.sure));
    find("#settings").showModal();
  }

  watchSettings() {
    const form = find("#settings-form");
    form.addEventListener("change", () => {
      const { theme, sentences, sure } = form.elements;
      const share = Math.min(100, Math.max(0, Number(sure.value) || 0)) / 100;
      changeSettings({ theme: theme.value, sentences: sentences.checked, sure: share });
      for (const { id } of this.photos.all) this.photos.dispatchEvent(new CustomEvent("change", { detail: { id, what: "live" } }));
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    find("#sign-out").addEventListener("click", () => this.signOut());
    find("#clear").addEventListener("click", () => {
      find("#settings").close();
      find("#confirm-clear").showModal();
    });
    find("#clear-now").addEventListener("click", () => {
      find("#confirm-clear").close();
      if (this.photos.size) this.remove(this.photos.all.map((record) => record.id));
    });
  }
}

/** On a Mac, Option and Delete in a text box delete a word. */
const isWordDelete = (event) => /^(Mac|iP)/.test(navigator.platform) && event.target.matches("textarea, input");

/** Only one tab works on the photos: two would overwrite each other's texts. */
async function whenAlone(start) {
  if (!navigator.locks) {
    start();
    return;
  }
  const elsewhere = find("#elsewhere");
  /** Start once the lock is held; false where it is not to be had. */
  const hold = (options) =>
    new Promise((resolve) => {
      const run = async (lock) => {
        resolve(lock !== null);
        if (!lock) return;
        start();
        await new Promise(() => {});
      };
      navigator.locks.request("picscribe", options, run).catch((error) => {
        if (error.name === "AbortError") location.reload(); // another tab took over: this one shows so
      });
    });
  elsewhere.addEventListener("cancel", (event) => event.preventDefault());
  find("#take-over").addEventListener("click", () => {
    elsewhere.close();
    hold({ steal: true });
  });
  for (let tries = 0; tries < 5; tries++) {
    if (await hold({ ifAvailable: true })) return;
    await new Promise((resolve) => setTimeout(resolve, 200)); // after a reload the last page may hold it for a moment
  }
  elsewhere.showModal();
}

whenAlone(() => new Page().start());
