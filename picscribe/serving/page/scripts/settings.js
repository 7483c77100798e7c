// What a person chose for this browser.

const KEY = "picscribe.settings";
const DEFAULTS = { model: "", second: "", sure: 0.6, sentences: true, theme: "system", labels: "", format: "csv", all: false };

function kept() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return {};
  }
}

export const settings = { ...DEFAULTS, ...kept() };

export function changeSettings(changes) {
  Object.assign(settings, changes);
  try {
    localStorage.setItem(KEY, JSON.stringify(settings));
  } catch {
    // they hold until the tab is closed
  }
  showTheme();
}

export function showTheme() {
  if (settings.theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = settings.theme;
}
