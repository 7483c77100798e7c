// Photos, texts and decisions in this browser, so that neither a reload nor a restart loses any.
//
// Records and files are in IndexedDB. A change is first noted in local storage, which is written before the next line
// runs, and crossed out once IndexedDB has it: a tab that is closed in between finds the note when it opens again.

const NOTE = "picscribe.note.";
const DATABASE = "picscribe";

const settled = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

const completed = (transaction) =>
  new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error ?? new Error("the browser gave up writing"));
    transaction.onerror = () => reject(transaction.error);
  });

/** Opens the store; where the browser keeps nothing, one that forgets, whose `lasting` is false. */
export async function openStore() {
  try {
    const opening = indexedDB.open(DATABASE, 1);
    opening.onupgradeneeded = () => {
      opening.result.createObjectStore("records", { keyPath: "id" });
      for (const name of ["files", "previews", "thumbnails"]) opening.result.createObjectStore(name);
    };
    return new Store(await settled(opening));
  } catch {
    return new Store(null);
  }
}

class Store {
  #memory = { files: new Map(), previews: new Map(), thumbnails: new Map() };
  #versions = new Map();

  constructor(database) {
    this.database = database;
    this.lasting = database !== null;
    this.writing = 0;
    this.onFailure = () => {};
  }

  /** All records, in order, with what was noted and not written. */
  async load() {
    if (!this.database) return [];
    const records = new Map();
    for (const record of await settled(this.database.transaction("records").objectStore("records").getAll())) {
      records.set(record.id, record);
    }
    const noted = [];
    for (let i = 0; i < localStorage.length; i++) {
      const key = localStorage.key(i);
      if (!key.startsWith(NOTE)) continue;
      try {
        const record = JSON.parse(localStorage.getItem(key));
        if (records.has(record.id)) {
          records.set(record.id, record);
          noted.push(record);
        }
      } catch {
        // half a note: what IndexedDB has stands
      }
    }
    for (const record of noted) this.save(record);
    return [...records.values()].sort((a, b) => a.order - b.order);
  }

  /** Keep a record as it now is. */
  save(record) {
    if (!this.database) return;
    const version = (this.#versions.get(record.id) ?? 0) + 1;
    this.#versions.set(record.id, version);
    try {
      localStorage.setItem(NOTE + record.id, JSON.stringify(record));
    } catch {
      // local storage is full: IndexedDB is written in a moment
    }
    this.#write(["records"], (transaction) => transaction.objectStore("records").put(record)).then(() => {
      if (this.#versions.get(record.id) === version) localStorage.removeItem(NOTE + record.id);
    }, this.onFailure);
  }

  /** Have a new photo's file at hand until it is kept. */
  hold(id, file) {
    this.#memory.files.set(id, file);
  }

  /** Keep new records with their files. Resolves once they would survive a reload; raises where they would not. */
  async add(records, files) {
    if (!this.database) return;
    await this.#write(["records", "files"], (transaction) => {
      records.forEach((record, i) => {
        transaction.objectStore("records").put(record);
        transaction.objectStore("files").put(files[i], record.id);
      });
    });
  }

  async put(kind, id, blob) {
    if (kind !== "thumbnails") this.#memory[kind].set(id, blob);
    if (!this.database) return this.#memory[kind].set(id, blob);
    await this.#write([kind], (transaction) => transaction.objectStore(kind).put(blob, id)).catch(this.onFailure);
  }

  /** A photo's file, preview or thumbnail; undefined where there is none. */
  async get(kind, id) {
    const known = this.#memory[kind].get(id);
    if (known || !this.database) return known;
    return settled(this.database.transaction(kind).objectStore(kind).get(id));
  }

  async remove(ids) {
    for (const id of ids) {
      localStorage.removeItem(NOTE + id);
      for (const kind of Object.values(this.#memory)) kind.delete(id);
    }
    if (!this.database) return;
    const names = ["records", "files", "previews", "thumbnails"];
    await this.#write(names, (transaction) => {
      for (const name of names) for (const id of ids) transaction.objectStore(name).delete(id);
    }).catch(this.onFailure);
  }

  async #write(names, work) {
    this.writing += 1;
    try {
      const transaction = this.database.transaction(names, "readwrite");
      const done = completed(transaction);
      work(transaction);
      transaction.commit?.();
      await done;
    } finally {
      this.writing -= 1;
    }
  }
}
