// What often makes an alternative text worse. Hints never change a text by themselves; a hint may offer a remedy.

export const COMFORTABLE = 125;
export const LONG = 250;

const PREFACE = /^\s*((?:an?|the|this is an?)\s+)?(image|photo|photograph|picture|pic|graphic|screenshot|snapshot)\s+(of|showing|that shows|depicting)\s+/i;
const SUFFIX = /\.(jpe?g|jfif|png|gif|webp|avif|hei[cf]|tiff?|bmp|svg|raw|dng|mp4|mov|webm|mkv)\W*$/i;
const CAMERA_NAME = /^(img|dsc[fn]?|dscn|pxl|mvimg|gopr|dji|p|image|photo|screenshot|whatsapp image)[\s_-]*\d[\d\s_.:-]*[a-z]{0,4}\W*$/i;
const END = /[.!?…。！？؟۔।][)\]}"'”’»]*\s*$/u;

/** Hints about a text, each `{code, text, remedy?: {label, apply(text)}}`. `name` is the file's. */
export function hintsFor(text, name = "") {
  const hints = [];
  const trimmed = text.trim();
  if (!trimmed) return hints;
  const preface = trimmed.match(PREFACE);
  if (preface) {
    hints.push({
      code: "preface",
      text: `Screen readers already say that it is an image: begin with what it shows, not with “${preface[0].trim()}”.`,
      remedy: { label: "Remove these words", apply: (old) => capitalised(old.replace(PREFACE, "")) },
    });
  }
  const stem = name.replace(/\.[^.]*$/, "").toLowerCase();
  if (SUFFIX.test(trimmed) || CAMERA_NAME.test(trimmed) || (stem && trimmed.toLowerCase() === stem)) {
    hints.push({ code: "file-name", text: "This looks like a file name: say what the photo shows." });
  }
  if (!END.test(trimmed)) {
    hints.push({
      code: "full-stop",
      text: "End with a full stop, so that screen readers pause there.",
      remedy: { label: "Add a full stop", apply: (old) => `${old.trimEnd()}.` },
    });
  }
  return hints;
}

/** What to say about a length; "" where there is nothing to say. */
export function lengthHint(length) {
  if (length > LONG) return `More than ${LONG} characters: most of this belongs in a caption or the text beside the photo.`;
  if (length > COMFORTABLE) return `More than ${COMFORTABLE} characters: some screen readers break it up. Shorten it if you can.`;
  return "";
}

const segmenter = "Segmenter" in Intl ? new Intl.Segmenter() : null;

/** Characters as people count them. */
export function lengthOf(text) {
  const trimmed = text.trim();
  return [...(segmenter ? segmenter.segment(trimmed) : trimmed)].length;
}

const capitalised = (text) => text.replace(/^\s*\p{Ll}/u, (first) => first.toUpperCase());

/** A model's words as a sentence: a capital letter at the front, a full stop at the end. */
export function asSentence(text) {
  const trimmed = capitalised(text.trim());
  return !trimmed || END.test(trimmed) ? trimmed : `${trimmed}.`;
}
