// What screen readers are told politely, and the one line of news that everybody sees.
import { element, find } from "./dom.js";

let timer = 0;

/** Have a text read out once the person pauses. A later text replaces one that was not read yet. */
export function announce(text, delay = 300) {
  clearTimeout(timer);
  timer = setTimeout(() => {
    const region = find("#announcements");
    region.textContent = "";
    setTimeout(() => (region.textContent = text), 50);
  }, delay);
}

/** Show a line of news with, perhaps, something to do about it; it stays until it is dismissed or replaced. */
export function show(text, action = null, label = "") {
  const news = find("#news");
  const close = () => {
    news.hidden = true;
    news.replaceChildren();
  };
  const buttons = [];
  if (action) {
    buttons.push(
      element("button", { type: "button", class: "plain", text: label, on: { click: () => (close(), action()) } }),
    );
  }
  buttons.push(element("button", { type: "button", class: "plain", text: "Dismiss", on: { click: close } }));
  news.replaceChildren(element("span", { text, dir: "auto" }), ...buttons);
  news.hidden = false;
  announce(text, 50);
}
