// Colours: ids as fills or outlines, and errors as hatched areas.

// Okabe & Ito's and Tol's palettes: told apart by colour-blind people too, on grey.
const PALETTE = [
  [230, 159, 0], [86, 180, 233], [0, 158, 115], [240, 228, 66], [0, 114, 178], [213, 94, 0],
  [204, 121, 167], [136, 204, 238], [153, 153, 51], [170, 68, 153], [68, 187, 153],
  [238, 221, 136], [119, 170, 221], [255, 170, 187],
];
const EDGE = 255;
const INSIDE = 150;

function colourOf(id) {
  const mixed = Math.imul(id, 2654435761) >>> 0;
  const [r, g, b] = PALETTE[mixed % PALETTE.length];
  const light = 0.78 + 0.11 * ((mixed >>> 16) % 3);
  return [r * light, g * light, b * light];
}

function blankCanvas(tile) {
  const canvas = document.createElement("canvas");
  canvas.width = tile.width;
  canvas.height = tile.height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(tile.width, tile.height);
  return { canvas, context, image, pixels: new Uint32Array(image.data.buffer) };
}

// One number a pixel is several times as fast as four; all browsers' machines are little-endian.
const packed = ([r, g, b], alpha, shade = 1) =>
  ((alpha << 24) | ((b * shade) << 16) | ((g * shade) << 8) | (r * shade)) >>> 0;

/** Calls visit(place, id, isEdge) for each pixel of an object; an edge has another id beside it. */
function eachObjectPixel(tile, visit) {
  const { ids, width, height } = tile;
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      const id = ids[at];
      if (id === 0) continue;
      const edge =
        (x > 0 && ids[at - 1] !== id) || (x + 1 < width && ids[at + 1] !== id) ||
        (y > 0 && ids[at - width] !== id) || (y + 1 < height && ids[at + width] !== id);
      visit(at, id, edge);
    }
  }
}

/** Objects of a tile in colours; `nameOf` gives the id whose colour an object has. */
function paintObjects(tile, outlines, nameOf) {
  const { canvas, context, image, pixels } = blankCanvas(tile);
  let last = 0;
  let [edges, inside] = [0, 0];
  eachObjectPixel(tile, (at, id, edge) => {
    if (id !== last) {
      last = id;
      const colour = colourOf(nameOf(id)).map(Math.floor);
      edges = packed(colour, EDGE, outlines ? 1 : 0.55);
      inside = outlines ? 0 : packed(colour, INSIDE);
    }
    pixels[at] = edge ? edges : inside;
  });
  context.putImageData(image, 0, 0);
  return canvas;
}

/** Errors of a slice as tables that answer for a pixel; see docs/review.md for what they mean. */
function errorTables(errors) {
  const tables = { split: new Map(), merge: new Map(), missed: new Set(), extra: new Set() };
  for (const { kind, truth, pred } of errors) {
    if (kind === "split") tables.split.set(truth[0], new Set(pred.slice(1)));
    else if (kind === "merge") tables.merge.set(pred[0], new Set(truth.slice(1)));
    else if (kind === "missed") tables.missed.add(truth[0]);
    else tables.extra.add(pred[0]);
  }
  return tables;
}

function errorAt(tables, truth, pred) {
  if (truth !== 0 && pred === 0) return tables.missed.has(truth) ? "missed" : "";
  if (pred !== 0 && truth === 0) return tables.extra.has(pred) ? "extra" : "";
  if (tables.merge.get(pred)?.has(truth)) return "merge";
  return tables.split.get(truth)?.has(pred) ? "split" : "";
}

// Stripes tell the kinds apart without their colours: / split, \ merge, = missed, | extra.
const STRIPES = {
  split: (x, y) => (x + y) % 8 < 5,
  merge: (x, y) => (x - y + 4096) % 8 < 5,
  missed: (x, y) => y % 6 < 3,
  extra: (x, y) => x % 6 < 3,
};

/** Errors of a tile, over faint outlines of the truth. */
function paintErrors(truth, pred, errors, colours) {
  const { canvas, context, image, pixels } = blankCanvas(truth);
  const tables = errorTables(errors);
  eachObjectPixel(truth, (at, id, edge) => {
    if (edge) pixels[at] = packed([255, 255, 255], 70);
  });
  let [lastTruth, lastPred, kind] = [-1, -1, ""];
  for (let at = 0; at < truth.ids.length; at++) {
    const [t, p] = [truth.ids[at], pred.ids[at]];
    if (t !== lastTruth || p !== lastPred) {
      [lastTruth, lastPred, kind] = [t, p, errorAt(tables, t, p)];
    }
    if (!kind) continue;
    const strong = STRIPES[kind](at % truth.width, Math.floor(at / truth.width));
    pixels[at] = packed(colours[kind], strong ? 235 : 120);
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

/** Which true object each predicted object covers most, as far as tiles have been seen. */
class Matches {
  constructor() {
    this.counts = new Map();
    this.chosen = new Map();
    this.seen = new Set();
  }

  learn(name, truth, pred) {
    if (this.seen.has(name)) return;
    this.seen.add(name);
    for (let at = 0, from = 0; at < pred.ids.length; at++) {
      const [p, t] = [pred.ids[at], truth.ids[at]];
      if (at + 1 < pred.ids.length && pred.ids[at + 1] === p && truth.ids[at + 1] === t) continue;
      if (p !== 0 && t !== 0) {
        if (!this.counts.has(p)) this.counts.set(p, new Map());
        const mine = this.counts.get(p);
        mine.set(t, (mine.get(t) ?? 0) + at + 1 - from);
      }
      from = at + 1;
    }
  }

  /** The id whose colour a predicted object has; what it was at first, it stays. */
  nameOf(pred) {
    if (!this.chosen.has(pred)) {
      let [best, most] = [pred, 0];
      for (const [truth, count] of this.counts.get(pred) ?? []) {
        if (count > most) [best, most] = [truth, count];
      }
      this.chosen.set(pred, best);
    }
    return this.chosen.get(pred);
  }
}
