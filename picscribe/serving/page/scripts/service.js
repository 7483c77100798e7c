// The service's routes, and what can go wrong with them.

/** A request that failed; `code` is the service's, or "offline". `retryAfter`: seconds, where trying again may help. */
export class ServiceError extends Error {
  constructor(message, { code = "failed", status = 0, retryAfter = null } = {}) {
    super(message);
    Object.assign(this, { code, status, retryAfter });
  }
}

const OFFLINE = "The service does not answer. Your photos and texts are safe here; work goes on when it is back.";
const LATER = [429, 502, 503, 504]; // a proxy's answers too, which need not say when to come again

export class Service extends EventTarget {
  online = true;

  /** GET (without a body) or POST. Raises ServiceError, and AbortError where `signal` was aborted. */
  async request(path, { body = null, signal = null } = {}) {
    const headers = {};
    if (body && !(body instanceof FormData || body instanceof URLSearchParams)) {
      headers["content-type"] = "application/json";
      body = JSON.stringify(body);
    }
    let response;
    try {
      response = await fetch(path, { method: body ? "POST" : "GET", body, headers, signal });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw this.#offline();
    }
    this.#noteOnline(true);
    if (!response.ok) {
      const text = await response.text().catch(() => "");
      throw this.#refused(response.status, response.headers.get("retry-after"), text);
    }
    return response;
  }

  async json(path, options) {
    const response = await this.request(path, options);
    try {
      return await response.json();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw this.#offline();
    }
  }

  /** POST a form whose upload's share is told to `onProgress`. */
  upload(path, body, { signal, onProgress = () => {} }) {
    return new Promise((resolve, reject) => {
      const sending = new XMLHttpRequest();
      const abort = () => sending.abort();
      sending.open("POST", path);
      sending.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
      sending.onerror = () => reject(this.#offline());
      sending.onabort = () => reject(new DOMException("cancelled", "AbortError"));
      sending.onload = () => {
        this.#noteOnline(true);
        if (sending.status >= 400) {
          reject(this.#refused(sending.status, sending.getResponseHeader("retry-after"), sending.responseText));
          return;
        }
        try {
          resolve(JSON.parse(sending.responseText));
        } catch {
          reject(new ServiceError("The service's answer cannot be read."));
        }
      };
      sending.onloadend = () => signal.removeEventListener("abort", abort);
      signal.addEventListener("abort", abort);
      if (signal.aborted) reject(new DOMException("cancelled", "AbortError"));
      else sending.send(body);
    });
  }

  models = async () => (await this.json("/v1/models")).data;
  limits = () => this.json("/v1/limits");

  caption(file, name, { model, frames, signal, onProgress, captions = 3 }) {
    const form = formOf(file, name, { model, frames, num_captions: captions });
    return this.upload("/v1/caption", form, { signal, onProgress });
  }

  /** A caption word by word: an iterator of its pieces. */
  async *words(file, name, { model, signal }) {
    const response = await this.request("/v1/caption", { body: formOf(file, name, { model, stream: "true" }), signal });
    let rest = "";
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        const lines = (rest + value).split("\n");
        rest = lines.pop();
        for (const line of lines) {
          if (!line.startsWith("data: ")) continue;
          const event = JSON.parse(line.slice(6));
          if (event.error) throw new ServiceError(event.error.message);
          if (event.chunk) yield event.chunk;
        }
      }
    } catch (error) {
      if (error.name === "AbortError" || error instanceof ServiceError) throw error;
      throw this.#offline();
    } finally {
      reader.cancel().catch(() => {});
    }
  }

  explain = (file, name, { model, frames, signal }) =>
    this.json("/v1/explain", { body: formOf(file, name, { model, frames }), signal });
  ask = (file, name, { model, frames, question, signal }) =>
    this.json("/v1/ask", { body: formOf(file, name, { model, frames, question }), signal });
  classify = (file, name, { model, frames, labels, signal }) =>
    this.json("/v1/classify", {
      body: formOf(file, name, { model, frames, labels: labels.join("\n"), top_k: Math.min(10, labels.length) }),
      signal,
    });
  metadata = (file, name, { signal }) => this.upload("/v1/metadata", formOf(file, name), { signal });

  async preview(file, name, { side = 1600, signal } = {}) {
    return (await this.request("/v1/preview", { body: formOf(file, name, { side }), signal })).blob();
  }
  async sidecar(texts, { signal } = {}) {
    return (await this.request("/v1/metadata/sidecar", { body: texts, signal })).blob();
  }
  async write(file, name, texts, { signal } = {}) {
    return (await this.request("/v1/metadata/write", { body: formOf(file, name, texts), signal })).blob();
  }

  /** Give the key for a cookie, which no script can read. */
  signIn = (key) => this.request("/sign-in", { body: new URLSearchParams({ key }) });
  signOut = () => this.request("/sign-out", { body: new URLSearchParams() });

  /** Wait until the service answers again. */
  async untilOnline() {
    while (!this.online) {
      await new Promise((resolve) => setTimeout(resolve, 2000));
      try {
        const response = await fetch("/readyz", { cache: "no-store" });
        if (response.ok) this.#noteOnline(true);
      } catch {
        // still away
      }
    }
  }

  #offline() {
    this.#noteOnline(false);
    return new ServiceError(OFFLINE, { code: "offline", retryAfter: 2 });
  }

  #noteOnline(online) {
    if (this.online === online) return;
    this.online = online;
    this.dispatchEvent(new Event("online"));
    if (!online) this.untilOnline();
  }

  #refused(status, retryAfter, text) {
    let said = {};
    try {
      said = JSON.parse(text).error ?? {};
    } catch {
      // a proxy's page, say
    }
    if (status === 401) this.dispatchEvent(new Event("unauthorised"));
    const wait = Number(retryAfter);
    return new ServiceError(sentence(said.message ?? `the service answered with the error ${status}`), {
      code: said.code ?? "failed",
      status,
      retryAfter: wait > 0 ? wait : LATER.includes(status) ? 3 : null,
    });
  }
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

function formOf(file, name, fields = {}) {
  const form = new FormData();
  form.append("image", file, name);
  for (const [field, value] of Object.entries(fields)) if (value !== undefined && value !== null) form.append(field, value);
  return form;
}
