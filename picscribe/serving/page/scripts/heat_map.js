// Where the model looked for each word, over the photo.
import { element } from "./dom.js";

/** Colours from "not looked at", which is transparent, to "looked at most". */
const COLOURS = [[49, 54, 149], [69, 117, 180], [116, 173, 209], [254, 224, 144], [253, 141, 60], [215, 25, 28]];

/**
 * Where the part of the photo that the model saw lies, in shares of the photo: {left, top, width, height}.
 * `view` is how it was cut: "center_crop" keeps the middle square, the others all of it.
 */
export function seenPart(view, width, height) {
  if (view !== "center_crop" || !width || !height) return { left: 0, top: 0, width: 1, height: 1 };
  const side = Math.min(width, height);
  return { left: (1 - side / width) / 2, top: (1 - side / height) / 2, width: side / width, height: side / height };
}

/** Draw a map of rows of numbers into a canvas, smooth, the highest number in the strongest colour. */
export function draw(canvas, map) {
  const rows = map.length;
  const columns = map[0].length;
  const highest = Math.max(...map.flat(), Number.EPSILON);
  const small = element("canvas", { width: columns, height: rows });
  const image = new ImageData(columns, rows);
  map.flat().forEach((value, cell) => {
    const share = value / highest;
    image.data.set([...colourOf(share), 255 * 0.8 * Math.min(1, 1.4 * share)], 4 * cell);
  });
  small.getContext("2d").putImageData(image, 0, 0);
  canvas.width = 32 * columns;
  canvas.height = 32 * rows;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
}

function colourOf(share) {
  const at = Math.min(COLOURS.length - 1.001, share * (COLOURS.length - 1));
  const low = Math.floor(at);
  return COLOURS[low].map((value, i) => value + (at - low) * (COLOURS[low + 1][i] - value));
}

const ROWS = ["top", "middle", "bottom"];
const COLUMNS = ["left", "centre", "right"];

/** Where a map's strongest cell is, in words, for those who do not see it. */
export function spokenPlace(map) {
  let best = [0, 0];
  map.forEach((row, y) => row.forEach((value, x) => value > map[best[0]][best[1]] && (best = [y, x])));
  const row = ROWS[Math.floor((3 * best[0]) / map.length)];
  const column = COLUMNS[Math.floor((3 * best[1]) / map[0].length)];
  return row === "middle" && column === "centre" ? "in the middle" : `${row} ${column}`;
}
