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
        if (made) this.#urls.set(next.id, await dataUrl(made));
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
    const made = await asJpeg(bitmap, 0.8);
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

  /** Blobs that an `img` may be able to show, the best first: the file itself, then what the service makes of it. */
  async *viewable(id) {
    const file = await this.store.get("files", id);
    if (!file) return;
    if (!isVideo(this.photos.get(id))) yield file;
    yield this.preview(id);
  }

  /** A smaller JPEG of a photo that is too large for the service; null where this browser cannot draw it. */
  async shrunk(file, side = 2048) {
    const bitmap = await drawn(file, side);
    return bitmap && asJpeg(bitmap, 0.92);
  }
}

const canvas = document.createElement("canvas"); // one for all: what is drawn is copied before the next is
let context = null;

function asJpeg(bitmap, quality) {
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  context ??= canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", quality));
}

/** A blob as a `data:` URL, which unlike one of `createObjectURL` is made without a wait for the browser's process. */
function dataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

async function drawn(blob, width) {
  try {
    return await createImageBitmap(blob, { resizeWidth: width, resizeQuality: "medium" });
  } catch {
    return null;
  }
}
