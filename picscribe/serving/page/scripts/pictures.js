// What is shown of a photo: a thumbnail, and a picture that this browser can draw.
import { isVideo } from "./photos.js";

const THUMBNAIL = 160;
const AT_ONCE = 3;

export class Pictures {
  #urls = new Map();
  #waiting = [];
  #running = 0;
  #previews = new Map();

  constructor(photos, store, service) {
    Object.assign(this, { photos, store, service });
  }

  /** The URL of a photo's thumbnail once it is made; `shown(url)` is called then. */
  thumbnail(id, shown) {
    if (this.#urls.has(id)) {
      shown(this.#urls.get(id));
      return;
    }
    this.#waiting.push({ id, shown });
    this.#next();
  }

  forget(id) {
    URL.revokeObjectURL(this.#urls.get(id));
    this.#urls.delete(id);
    this.#previews.delete(id);
  }

  async #next() {
    if (this.#running >= AT_ONCE) return;
    const next = this.#waiting.shift();
    if (!next) return;
    this.#running += 1;
    try {
      if (!this.#urls.has(next.id) && this.photos.get(next.id)) {
        const made = (await this.store.get("thumbnails", next.id)) ?? (await this.#make(next.id));
        if (made) this.#urls.set(next.id, URL.createObjectURL(made));
      }
      if (this.#urls.has(next.id)) next.shown(this.#urls.get(next.id));
    } catch {
      // the row keeps its sign for a photo without a picture; its caption says what is wrong
    } finally {
      this.#running -= 1;
      this.#next();
    }
  }

  async #make(id) {
    const file = await this.store.get("files", id);
    if (!file) return null;
    let bitmap = null;
    if (!isVideo(this.photos.get(id))) bitmap = await drawn(file, THUMBNAIL);
    bitmap ??= await drawn(await this.preview(id), THUMBNAIL);
    if (!bitmap) return null;
    const canvas = document.createElement("canvas");
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
    const made = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.8));
    if (made) await this.store.put("thumbnails", id, made);
    return made;
  }

  /** A JPEG of a photo that only the server can open, HEIC say, or a frame of a video. */
  preview(id, signal) {
    if (!this.#previews.has(id)) {
      const made = this.#fetchPreview(id, signal);
      this.#previews.set(id, made);
      made.catch(() => this.#previews.delete(id));
    }
    return this.#previews.get(id);
  }

  async #fetchPreview(id, signal) {
    const kept = await this.store.get("previews", id);
    if (kept) return kept;
    const file = await this.store.get("files", id);
    if (!file) throw new Error("the photo is not here any more");
    const made = await this.service.preview(file, this.photos.get(id).name, { signal });
    await this.store.put("previews", id, made);
    return made;
  }

  /** A blob that an `img` can show. */
  async viewable(id) {
    const file = await this.store.get("files", id);
    if (!file) return null;
    if (!isVideo(this.photos.get(id)) && (await drawn(file, 16))) return file;
    return this.preview(id);
  }

  /** A smaller JPEG of a photo that is too large for the service; null where this browser cannot draw it. */
  async shrunk(file, side = 2048) {
    const bitmap = await drawn(file, side);
    if (!bitmap) return null;
    const canvas = document.createElement("canvas");
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
    return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
  }
}

async function drawn(blob, width) {
  try {
    return await createImageBitmap(blob, { resizeWidth: width, resizeQuality: "medium" });
  } catch {
    return null;
  }
}
