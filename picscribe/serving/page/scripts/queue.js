// Captions for what waits: a few photos at once, the one that a person looks at first.
import { isVideo } from "./photos.js";
import { settings } from "./settings.js";

const AT_ONCE = 4;
const TRIES = 4;
const OUTAGES = 8; // more for one photo: it is the request that does not get through, not the service that is away

export class Queue extends EventTarget {
  #running = new Map();
  #tries = new Map();
  #until = 0;
  #timer = 0;
  selected = null;
  limits = null;
  halted = false;

  constructor({ photos, store, service, pictures, models }) {
    super();
    Object.assign(this, { photos, store, service, pictures, models });
    service.addEventListener("online", () => this.wake());
    service.addEventListener("unauthorised", () => (this.halted = true));
  }

  /** Start what can be started. */
  wake() {
    clearTimeout(this.#timer);
    const pause = this.#until - Date.now();
    if (pause > 0) {
      this.#timer = setTimeout(() => this.wake(), pause);
      return;
    }
    while (!this.halted && this.service.online && this.#running.size < AT_ONCE) {
      const next = this.#next();
      if (!next) break;
      this.#run(next);
    }
  }

  resume() {
    this.halted = false;
    this.wake();
  }

  cancel(id) {
    this.#running.get(id)?.abort();
    const record = this.photos.get(id);
    if (record?.status === "waiting" || record?.status === "working") this.photos.change(id, { status: "cancelled" });
  }

  /** Caption a photo again, with the model that is now chosen. */
  retry(id) {
    this.#tries.delete(id);
    this.#running.get(id)?.abort();
    this.photos.change(id, { status: "waiting", error: null });
    this.wake();
  }

  #next() {
    const free = (record) => record?.status === "waiting" && !this.#running.has(record.id);
    const wanted = this.photos.get(this.selected);
    return free(wanted) ? wanted : this.photos.all.find(free);
  }

  async #run(record) {
    const { id } = record;
    const controller = new AbortController();
    this.#running.set(id, controller);
    this.photos.change(id, { status: "working", error: null });
    try {
      const answer = await this.#caption(record, controller.signal);
      this.photos.setLive(id, null);
      this.photos.suggest(id, answer);
      this.dispatchEvent(new CustomEvent("captioned", { detail: { id } }));
    } catch (error) {
      this.photos.setLive(id, null);
      this.#fail(id, error);
    } finally {
      if (this.#running.get(id) === controller) this.#running.delete(id);
      this.wake();
    }
  }

  async #caption(record, signal) {
    const { id, name } = record;
    const model = settings.model || undefined;
    this.photos.setLive(id, { stage: "Opening", share: null, words: "" });
    let file = await this.store.get("files", id);
    if (!file) throw new Error("This photo is no longer kept in this browser. Add it again.");
    this.limits ??= await this.service.limits();
    const whole = file;
    if (file.size > this.limits.image_bytes) {
      file = isVideo(record) ? null : await this.pictures.shrunk(file);
      if (!file) throw new Error(`The file is larger than the ${megabytes(this.limits.image_bytes)} that the service takes.`);
    }
    const metadata = record.existing || whole !== file ? null : this.service.metadata(file, name, { signal });
    metadata?.catch(() => {});
    if (this.selected === id && !isVideo(record) && !record.suggestion) {
      this.photos.setLive(id, { stage: "Writing" });
      for await (const piece of this.service.words(file, name, { model, signal })) {
        this.photos.setLive(id, { words: this.photos.live(id).words + piece });
      }
    }
    const onProgress = (share) => this.photos.setLive(id, { stage: share < 1 ? "Sending" : "Writing", share: share < 1 ? share : null });
    const answer = await this.service.caption(file, name, {
      model, frames: this.models.frames(record, model), signal, onProgress,
    });
    if (metadata) {
      const existing = await metadata.catch((error) => {
        if (error.retryAfter !== null || error.name === "AbortError") throw error;
        return {};
      });
      this.photos.change(id, { existing });
    }
    return answer;
  }

  #fail(id, error) {
    const record = this.photos.get(id);
    if (!record || error.name === "AbortError") {
      if (record?.status === "working") this.photos.change(id, { status: "cancelled" });
      return;
    }
    const tries = (this.#tries.get(id) ?? 0) + 1;
    const unasked = error.status === 401 || error.status === 429;
    const most = error.code === "offline" ? OUTAGES : TRIES;
    if (unasked || (error.retryAfter && tries < most)) {
      if (!unasked) this.#tries.set(id, tries);
      this.#until = Math.max(this.#until, Date.now() + 1000 * Math.min(60, error.retryAfter ?? 0));
      this.photos.change(id, { status: "waiting" });
      return;
    }
    this.photos.change(id, { status: "failed", error: { code: error.code ?? "failed", message: error.message } });
  }
}

const megabytes = (bytes) => `${Math.floor(bytes / 2 ** 20)} MB`;
