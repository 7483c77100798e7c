// The photos as a grid: one row a photo, one row in the order of Tab, arrow keys between rows.
//
// Rows outside the view cost no layout (content-visibility), so hundreds stay quick and all are there for search.
import { element, icon, percent, setText } from "./dom.js";
import { STATES, stateOf } from "./photos.js";

const ROWS_AT_ONCE = 15;

export const FILTERS = {
  all: { label: "All", holds: () => true },
  open: { label: "To do", holds: (record) => !record.decision && !["failed", "cancelled"].includes(record.status) },
  done: { label: "Done", holds: (record) => Boolean(record.decision) },
  failed: { label: "Failed", holds: (record) => !record.decision && ["failed", "cancelled"].includes(record.status) },
};

export class Table {
  #rows = new Map();
  #changed = new Set();
  #frame = 0;
  #building = 0;
  #stop = null; // the row that Tab reaches
  #stays = null; // the row that its filter no longer holds, and that does not vanish under the person's hands
  filter = "all";
  selected = null;

  constructor(root, photos, pictures, { onSelect, onRetry, onCancel, onRemove, onCounts }) {
    Object.assign(this, { root, photos, pictures, onSelect, onRetry, onCancel, onRemove, onCounts });
    photos.addEventListener("list", () => this.#rebuild());
    photos.addEventListener("change", ({ detail }) => this.#mark(detail.id));
    root.addEventListener("keydown", (event) => this.#move(event));
    root.addEventListener("click", (event) => {
      const row = event.target.closest("[data-id]");
      if (row && !event.target.closest("button")) this.onSelect(row.dataset.id, true);
    });
  }

  /** Ids of the rows that the filter leaves, in order. */
  get visible() {
    return this.photos.all.filter((record) => this.#shows(record)).map((record) => record.id);
  }

  #shows(record) {
    return FILTERS[this.filter].holds(record) || record.id === this.#stays;
  }

  setFilter(name) {
    this.filter = name;
    this.#stays = null;
    for (const id of this.#rows.keys()) this.#mark(id);
  }

  /** Show which photo is open. */
  select(id) {
    const before = this.selected;
    this.selected = this.#stays = id;
    for (const one of [before, id]) if (one) this.#update(one);
    this.#placeStop();
    requestAnimationFrame(() => this.#rows.get(this.selected)?.row.scrollIntoView({ block: "nearest" }));
  }

  focus(id) {
    const row = this.#rows.get(id);
    row?.open.focus();
  }

  /** The photo after or before another one among those that are shown; null at the end. */
  neighbour(id, step) {
    const ids = this.visible;
    return ids[ids.indexOf(id) + step] ?? null;
  }

  #mark(id) {
    this.#changed.add(id);
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      const changed = [...this.#changed];
      this.#changed.clear();
      for (const one of changed) this.#update(one);
      this.#placeStop();
      this.onCounts();
    });
  }

  #rebuild() {
    for (const [id, { row }] of this.#rows) {
      if (this.photos.get(id)) continue;
      row.remove();
      this.#rows.delete(id);
      this.pictures.forget(id);
    }
    this.root.setAttribute("aria-rowcount", String(this.photos.size));
    cancelAnimationFrame(this.#building);
    const missing = this.photos.all.filter((record) => !this.#rows.has(record.id));
    const append = () => {
      const some = missing.splice(0, ROWS_AT_ONCE);
      this.root.append(...some.map((record) => this.#build(record)));
      if (missing.length) this.#building = requestAnimationFrame(append);
      else this.#order();
      this.#placeStop();
      this.onCounts();
    };
    append();
  }

  /** Rows that were restored go back to their places. */
  #order() {
    this.photos.all.forEach((record, place) => {
      const row = this.#rows.get(record.id)?.row;
      if (row && this.root.children[place] !== row) this.root.insertBefore(row, this.root.children[place] ?? null);
      row?.setAttribute("aria-rowindex", String(place + 1));
    });
  }

  #build(record) {
    const { id } = record;
    const picture = element("span", { class: "thumbnail" }, icon("photo"));
    const name = element("span", { class: "row-name", dir: "auto", text: record.name });
    const text = element("span", { class: "row-text", dir: "auto" });
    const open = element(
      "button",
      { type: "button", class: "row-open", tabIndex: -1, on: { click: () => this.onSelect(id, true) } },
      picture,
      element("span", { class: "row-words" }, text, name),
    );
    const state = element("span", { class: "state" });
    const meter = element("progress", { class: "row-progress", hidden: true, "aria-label": `Progress of ${record.name}` });
    const action = (label, sign, run) =>
      element(
        "button",
        { type: "button", class: "plain row-action", tabIndex: -1, title: label, "aria-label": `${label}: ${record.name}`, on: { click: run } },
        icon(sign),
      );
    const retry = action("Try again", "again", () => this.onRetry(id));
    const cancel = action("Cancel", "stop", () => this.onCancel(id));
    const remove = action("Remove", "remove", () => this.onRemove(id));
    const row = element(
      "div",
      { class: "row", role: "row", data: { id } },
      element("div", { role: "gridcell", class: "cell-photo" }, open),
      element("div", { role: "gridcell", class: "cell-state" }, state, meter),
      element("div", { role: "gridcell", class: "cell-actions" }, retry, cancel, remove),
    );
    this.#rows.set(id, { row, open, text, state, meter, retry, cancel, remove, shown: "" });
    this.pictures.thumbnail(id, (url) => {
      picture.replaceChildren(element("img", { src: url, alt: "", decoding: "async" }));
    });
    this.#update(id);
    return row;
  }

  #update(id) {
    const parts = this.#rows.get(id);
    const record = this.photos.get(id);
    if (!parts || !record) return;
    const live = this.photos.live(id);
    const state = stateOf(record);
    const isSelected = id === this.selected;
    parts.row.hidden = !this.#shows(record);
    parts.row.dataset.state = state;
    parts.row.setAttribute("aria-selected", String(isSelected));
    if (isSelected) parts.open.setAttribute("aria-current", "true");
    else parts.open.removeAttribute("aria-current");
    const failed = state === "failed" && record.error ? record.error.message : "";
    const written = record.decision === "decorative" ? "(decorative: no text)" : record.text;
    setText(parts.text, failed || written || live.words || "…");
    const sure = record.suggestion && ["check", "review"].includes(state) ? ` · ${percent(record.suggestion.confidence)}` : "";
    setText(parts.state, (state === "working" && live.stage ? `${live.stage}…` : STATES[state]) + sure);
    parts.meter.hidden = state !== "working";
    if (typeof live.share === "number") parts.meter.value = live.share;
    else parts.meter.removeAttribute("value");
    parts.retry.hidden = !["failed", "cancelled"].includes(record.status);
    parts.cancel.hidden = !["waiting", "working"].includes(record.status);
  }

  /** Have Tab reach one row: the open photo's, or the first where that one is not shown. */
  #placeStop() {
    const open = this.#rows.get(this.selected);
    const stop = open && !open.row.hidden ? this.selected : (this.visible[0] ?? null);
    if (stop === this.#stop) return;
    for (const [id, reach] of [[this.#stop, -1], [stop, 0]]) {
      const { open, retry, cancel, remove } = this.#rows.get(id) ?? {};
      for (const button of open ? [open, retry, cancel, remove] : []) button.tabIndex = reach;
    }
    this.#stop = stop;
  }

  #move(event) {
    const row = event.target.closest("[data-id]");
    if (!row || event.ctrlKey || event.metaKey || event.altKey) return;
    const ids = this.visible;
    const at = ids.indexOf(row.dataset.id);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + 8, PageUp: at - 8, Home: 0, End: ids.length - 1 }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      const id = ids[Math.max(0, Math.min(ids.length - 1, to))];
      this.onSelect(id, false);
      this.focus(id);
      return;
    }
    const along = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (along) {
      const buttons = [...row.querySelectorAll("button:not([hidden])")];
      const step = getComputedStyle(row).direction === "rtl" ? -along : along;
      buttons[buttons.indexOf(event.target.closest("button")) + step]?.focus();
      event.preventDefault();
    } else if (event.key === "Delete") {
      event.preventDefault();
      this.onRemove(row.dataset.id);
    }
  }
}
