// How photos come in: dropped, pasted, chosen, a folder, the camera, the example.
import { announce, show } from "./announcements.js";
import { find } from "./dom.js";

const MEDIA = /\.(jpe?g|jfif|png|gif|webp|avif|hei[cf]|tiff?|bmp|mp4|mov|m4v|webm|mkv|avi)$/i;
const CHUNK = 25; // photos taken at a time: between them the page answers the person

const isMedia = (file) => /^(image|video)\//.test(file.type) || MEDIA.test(file.name);
const count = (number, one, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;

export class Intake {
  constructor(photos, store, onAdded) {
    Object.assign(this, { photos, store, onAdded });
    this.#watchDrops();
    this.#watchPaste();
    this.#watchButtons();
  }

  /** Take files, `[{file, path}]`, and say what became of them. */
  async take(entries) {
    const media = entries.filter(({ file }) => isMedia(file));
    const others = entries.length - media.length;
    const { added, known } = await this.#add(media);
    const said = [];
    if (added.length) said.push(`${count(added.length, "photo")} added`);
    if (known) said.push(`${count(known, "was here already", "were here already")}`);
    if (others) said.push(`${count(others, "file is neither a photo nor a video", "files are neither photos nor videos")}`);
    if (!entries.length) said.push("There was no file in it");
    if (known || others || !added.length) show(`${said.join("; ")}.`);
    else announce(`${said.join("; ")}.`);
    for (const part of chunks(added)) {
      try {
        await this.store.add(part.map(({ record }) => record), part.map(({ file }) => file));
      } catch {
        show("This browser has no room to keep all photos: captions work, but those photos are gone after a reload.");
        return;
      }
    }
  }

  async #add(media) {
    const added = [];
    let known = 0;
    for (const part of chunks(media)) {
      const found = this.photos.add(part);
      if (found.added.length) this.onAdded(found.added.map(({ record }) => record.id));
      added.push(...found.added);
      known += found.known;
      await pause();
    }
    return { added, known };
  }

  #watchDrops() {
    const page = document.documentElement;
    let depth = 0;
    const holdsFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
    addEventListener("dragenter", (event) => {
      if (!holdsFiles(event)) return;
      depth += 1;
      page.classList.add("dropping");
    });
    addEventListener("dragleave", (event) => {
      if (holdsFiles(event) && --depth <= 0) page.classList.remove("dropping");
    });
    addEventListener("dragover", (event) => {
      if (!holdsFiles(event)) return;
      event.preventDefault();
      event.dataTransfer.dropEffect = "copy";
    });
    addEventListener("drop", async (event) => {
      depth = 0;
      page.classList.remove("dropping");
      if (!holdsFiles(event) || document.querySelector("dialog[open]")) return;
      event.preventDefault();
      this.take(await filesIn(event.dataTransfer));
    });
  }

  #watchPaste() {
    document.addEventListener("paste", (event) => {
      const files = [...(event.clipboardData?.files ?? [])];
      if (!files.length) return;
      event.preventDefault();
      this.take(files.map((file) => ({ file: named(file), path: "" })));
    });
  }

  #watchButtons() {
    for (const name of ["files", "folder", "snapshot"]) {
      const input = find(`#choose-${name}`);
      input.addEventListener("change", () => {
        const files = [...input.files];
        input.value = "";
        if (files.length) this.take(files.map((file) => ({ file, path: file.webkitRelativePath })));
      });
      for (const button of document.querySelectorAll(`[data-choose="${name}"]`)) {
        button.addEventListener("click", () => input.click());
      }
    }
    for (const button of document.querySelectorAll("[data-camera]")) {
      button.addEventListener("click", () => this.#openCamera());
    }
    for (const button of document.querySelectorAll("[data-example]")) {
      button.addEventListener("click", () => this.#takeExample());
    }
  }

  async #takeExample() {
    try {
      const response = await fetch("/assets/example.jpg");
      if (!response.ok) throw new Error();
      const file = new File([await response.blob()], "example.jpg", { type: "image/jpeg", lastModified: 0 });
      await this.take([{ file, path: "" }]);
    } catch {
      show("The example cannot be fetched: the service does not answer.");
    }
  }

  async #openCamera() {
    if (!navigator.mediaDevices?.getUserMedia) {
      find("#choose-snapshot").click(); // a phone's own camera; elsewhere a file
      return;
    }
    const dialog = find("#camera");
    const video = find("video", dialog);
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" }, audio: false });
    } catch (error) {
      const why = error.name === "NotAllowedError" ? "was not allowed" : "was not found";
      show(`A camera ${why}. Choose a photo instead.`);
      return;
    }
    const shoot = find("#shoot");
    const take = () => {
      const canvas = document.createElement("canvas");
      canvas.width = video.videoWidth;
      canvas.height = video.videoHeight;
      canvas.getContext("2d").drawImage(video, 0, 0);
      canvas.toBlob((blob) => {
        if (!blob) return;
        const name = `camera-${stamp()}.jpg`;
        this.take([{ file: new File([blob], name, { type: "image/jpeg" }), path: "" }]);
        dialog.close();
      }, "image/jpeg", 0.92);
    };
    const ready = () => {
      shoot.disabled = false;
      shoot.focus();
    };
    shoot.disabled = true; // until there is a picture to take
    shoot.addEventListener("click", take);
    video.addEventListener("loadeddata", ready);
    dialog.addEventListener("close", () => {
      shoot.removeEventListener("click", take);
      video.removeEventListener("loadeddata", ready);
      for (const track of stream.getTracks()) track.stop();
      video.srcObject = null;
    }, { once: true });
    video.srcObject = stream;
    dialog.showModal();
    await video.play().catch(() => {});
  }
}

const chunks = (all) => Array.from({ length: Math.ceil(all.length / CHUNK) }, (_, place) => all.slice(place * CHUNK, (place + 1) * CHUNK));

/** Let the browser draw, and handle what a person does meanwhile; nobody waits for a page that is hidden. */
const pause = () => (document.hidden ? null : new Promise((resolve) => setTimeout(resolve)));

const stamp = () => new Date().toISOString().slice(0, 19).replaceAll(":", "-");

/** What was pasted, under a name that tells it from the last. */
function named(file) {
  const ending = file.name.match(/\.[^.]+$/)?.[0] ?? ".png";
  return /^image\.\w+$/.test(file.name) ? new File([file], `pasted-${stamp()}${ending}`, { type: file.type }) : file;
}

/** The files of a drop, those in folders with their paths. */
async function filesIn(transfer) {
  const entries = [...transfer.items].filter((item) => item.kind === "file").map((item) => item.webkitGetAsEntry?.());
  if (!entries.some((entry) => entry?.isDirectory)) return [...transfer.files].map((file) => ({ file, path: "" }));
  const found = [];
  const walk = async (entry) => {
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) => entry.file(resolve, reject)).catch(() => null);
      if (file && !file.name.startsWith(".")) found.push({ file, path: entry.fullPath.replace(/^\//, "") });
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)).catch(() => []);
      if (!part.length) return;
      for (const one of part) await walk(one);
    }
  };
  for (const entry of entries) if (entry) await walk(entry);
  return found;
}
