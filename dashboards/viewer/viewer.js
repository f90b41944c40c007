// The viewer: five linked panels, a list of errors and comments, keys.

const LAYERS = ["image", "truth", "a", "b", "errors"];
const PATIENCE = 5000; // ms until a request that nobody answered is sent again
const MOST_ASKED = 128;
const REMEMBERED = "emsam-viewer";

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "text") made.textContent = value;
    else if (value !== undefined && value !== false) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

class Viewer {
  constructor(parent) {
    this.shown = new Set(LAYERS);
    this.opacity = 0.6;
    this.outlines = false;
    this.judged = "a";
    this.tab = "errors";
    this.filter = { model: "", kind: "" };
    this.mouse = null;
    this.number = 0;
    this.recall();
    this.build(parent);
    this.onKey = (event) => this.key(event);
    window.addEventListener("keydown", this.onKey);
    this.resized = new ResizeObserver(() => this.redraw());
    this.resized.observe(this.panels);
  }

  stop() {
    window.removeEventListener("keydown", this.onKey);
    this.resized.disconnect();
    clearTimeout(this.timer);
    clearTimeout(this.linkTimer);
    this.root.remove();
  }

  // -- messages ---------------------------------------------------------------------------------

  async receive(bytes) {
    const { header, tiles } = unpack(bytes);
    this.may = header.may;
    const isNew = header.scene && header.token !== this.token;
    if (isNew) this.open(header);
    else if (header.token !== this.token) return;
    this.comments = header.comments;
    for (const [z, errors] of Object.entries(header.errors)) this.errors.set(Number(z), errors);
    await Promise.all(tiles.map((tile) => this.store.add(tile)));
    this.problem.hidden = !header.problem;
    this.problem.textContent = header.problem ?? "";
    if (this.asked && (header.answers === this.number || !header.answers)) {
      if (header.answers) {
        for (const name of this.asked) if (!this.store.has(name)) this.failed.add(name);
      }
      this.asked = null;
      clearTimeout(this.timer);
    }
    if (!header.answers || isNew) this.renew();
    this.redraw();
    if (this.untold) this.tell(...this.untold);
    else this.pump();
  }

  /** Begin with another scene. */
  open({ token, scene, place }) {
    this.token = token;
    this.scene = scene;
    this.store = new TileStore(scene.shape, scene.tile);
    this.errors = new Map();
    this.matches = new Map();
    this.failed = new Set();
    this.asked = null;
    this.untold = null;
    this.current = null;
    clearTimeout(this.timer);
    if (!scene.names[this.judged]) this.judged = "a";
    const [, height, width] = scene.shape;
    const z = place.z ?? scene.slices[0];
    this.z = scene.slices.reduce((best, each) =>
      Math.abs(each - z) < Math.abs(best - z) ? each : best);
    this.y = clamp(place.y ?? height / 2, 0, height);
    this.x = clamp(place.x ?? width / 2, 0, width);
    this.zoom = place.zoom ?? null; // fits when the panels have a size
    this.heading = 1;
    this.began = performance.now();
  }

  /** Tell Python what a person begins; after the answer that is awaited, so that neither is lost. */
  tell(event, value) {
    this.untold = this.asked ? [event, value] : null;
    if (this.untold) return;
    this.await([]);
    this.trigger(event, value);
  }

  /** Nothing else is asked until the answer, or for as long as patience lasts. */
  await(names) {
    this.asked = names;
    this.timer = setTimeout(() => {
      this.asked = null;
      if (this.untold) this.tell(...this.untold);
      else this.pump();
    }, PATIENCE);
  }

  /** Ask Python for what is missing; one request at a time. */
  pump() {
    if (!this.scene || this.asked || !this.zoom) return;
    const after = this.neighbour(this.heading);
    const rounds = [this.z, after, this.neighbour(-this.heading)].filter((z) => z !== undefined);
    for (const z of rounds) {
      const missing = this.needed(z).slice(0, MOST_ASKED);
      const errors = this.errors.has(z) ? [] : [z];
      if (!missing.length && !errors.length) continue;
      this.number += 1;
      this.await(missing.map((each) => tileName(...each)));
      this.trigger("want", { token: this.token, number: this.number, tiles: missing, errors });
      return;
    }
  }

  /** Addresses of tiles of a slice that are in view and not here, those in the middle first. */
  needed(z) {
    const level = this.level();
    const layers = LAYERS.filter((each) => each !== "errors" && this.isUsed(each));
    return this.inView(level).flatMap(([row, column]) =>
      layers.map((layer) => [layer, z, level, row, column])
    ).filter((each) => !this.store.has(tileName(...each)) && !this.failed.has(tileName(...each)));
  }

  isUsed(layer) {
    if (this.shown.has(layer)) return layer.length > 1 || layer in this.scene.names;
    if (!this.shown.has("errors")) return false;
    return layer === "image" || layer === "truth" || layer === this.judged;
  }

  // -- geometry: screen pixels, pixels of the volume, tiles -----------------------------------------

  level() {
    const scale = this.zoom * window.devicePixelRatio;
    return clamp(Math.round(-Math.log2(scale)), 0, this.scene.levels - 1);
  }

  size() {
    const first = LAYERS.find((each) => !this.panel[each].hidden);
    const box = this.panel[first ?? "image"].getBoundingClientRect();
    return [box.height, box.width];
  }

  inView(level) {
    const [height, width] = this.size();
    const side = this.scene.tile * 2 ** level;
    const [, tall, wide] = this.scene.shape;
    const span = (centre, screen, whole) => {
      const half = screen / 2 / this.zoom;
      const first = Math.max(0, Math.floor((centre - half) / side));
      const last = Math.min(Math.ceil(whole / side), Math.ceil((centre + half) / side));
      return Array.from({ length: Math.max(0, last - first) }, (_, index) => first + index);
    };
    const rows = span(this.y, height, tall);
    const columns = span(this.x, width, wide);
    const distance = ([row, column]) =>
      Math.hypot((row + 0.5) * side - this.y, (column + 0.5) * side - this.x);
    return rows.flatMap((row) => columns.map((column) => [row, column]))
      .sort((one, other) => distance(one) - distance(other));
  }

  fit() {
    const [, tall, wide] = this.scene.shape;
    const [height, width] = this.size();
    this.zoom = Math.min(height / tall, width / wide) * 0.98;
    [this.y, this.x] = [tall / 2, wide / 2];
  }

  /** Zoom by a factor; the pixel under the mouse stays where it is. */
  zoomBy(factor, at = null) {
    const [height, width] = this.size();
    const [dy, dx] = at ? [at[0] - height / 2, at[1] - width / 2] : [0, 0];
    const [, tall, wide] = this.scene.shape;
    const least = 0.5 * Math.min(height / tall, width / wide);
    const zoom = clamp(this.zoom * factor, Math.min(least, 1), 32);
    this.moveTo(
      this.y + dy / this.zoom - dy / zoom, this.x + dx / this.zoom - dx / zoom, zoom
    );
  }

  moveTo(y, x, zoom = this.zoom) {
    const [, tall, wide] = this.scene.shape;
    [this.y, this.x, this.zoom] = [clamp(y, 0, tall), clamp(x, 0, wide), zoom];
    this.changed();
  }

  neighbour(step) {
    return this.scene.slices[this.scene.slices.indexOf(this.z) + step];
  }

  step(by) {
    const last = this.scene.slices.length - 1;
    const index = clamp(this.scene.slices.indexOf(this.z) + by, 0, last);
    this.heading = Math.sign(by) || 1;
    this.setSlice(this.scene.slices[index]);
  }

  setSlice(z) {
    if (z === this.z) return;
    this.z = z;
    this.current = null;
    this.changed();
  }

  changed() {
    this.began = performance.now();
    this.redraw();
    this.pump();
    clearTimeout(this.linkTimer);
    this.linkTimer = setTimeout(() => this.updateLink(), 250);
  }

  /** The address of the page leads to this place. */
  updateLink() {
    const url = new URL(window.location);
    const place = { z: this.z, y: Math.round(this.y), x: Math.round(this.x),
      zoom: Number(this.zoom.toPrecision(3)) };
    for (const [name, value] of Object.entries(place)) url.searchParams.set(name, value);
    window.history.replaceState(window.history.state, "", url);
  }

  /** Go to a place; near enough to see an object of `area` pixels. */
  jump(z, y, x, area = 0) {
    const zoom = area ? clamp(Math.min(...this.size()) / (5 * Math.sqrt(area)), 0.05, 4) : 0;
    this.z = z;
    this.current = { z, y, x, area };
    this.moveTo(y + 0.5, x + 0.5, Math.max(zoom, area ? 0 : this.zoom));
  }

  // -- drawing ----------------------------------------------------------------------------------

  redraw() {
    if (!this.frame) {
      this.frame = requestAnimationFrame(() => {
        this.frame = 0;
        if (this.scene && this.root.isConnected) this.draw();
      });
    }
  }

  draw() {
    this.arrange();
    const [height, width] = this.size();
    if (height < 2 || width < 2) return;
    if (!this.zoom) {
      this.fit();
      this.pump();
    }
    for (const layer of LAYERS) {
      if (!this.panel[layer].hidden) this.drawPanel(layer, height, width);
    }
    const missing = this.needed(this.z).length;
    if (!missing && this.began) {
      this.root.dataset.seconds = ((performance.now() - this.began) / 1000).toFixed(3);
      this.began = 0;
    }
    this.describe(missing);
  }

  /** Panels side by side in the grid that makes them largest. */
  arrange() {
    const shown = LAYERS.filter((each) => this.shown.has(each) &&
      (each.length > 1 || each in this.scene.names));
    for (const layer of LAYERS) this.panel[layer].hidden = !shown.includes(layer);
    const { clientHeight: tall, clientWidth: wide } = this.panels;
    const [, high, broad] = this.scene.shape;
    const scale = (columns) => Math.min(
      tall / Math.ceil(shown.length / columns) / high, wide / columns / broad);
    const columns = shown.map((_, index) => index + 1)
      .reduce((best, each) => (scale(each) > scale(best) ? each : best), 1);
    this.panels.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
    this.panels.style.gridTemplateRows =
      `repeat(${Math.max(1, Math.ceil(shown.length / columns))}, minmax(0, 1fr))`;
  }

  drawPanel(layer, height, width) {
    const canvas = this.canvas[layer];
    const ratio = window.devicePixelRatio;
    const [tall, wide] = [Math.round(height * ratio), Math.round(width * ratio)];
    if (canvas.height !== tall || canvas.width !== wide) {
      [canvas.height, canvas.width] = [tall, wide];
    }
    const context = canvas.getContext("2d");
    context.fillStyle = "#1b1b1b";
    context.fillRect(0, 0, wide, tall);
    this.drawTiles(context, "image", (tile) => tile.picture);
    if (layer === "errors") {
      context.fillStyle = "#0007";
      context.fillRect(0, 0, wide, tall);
    }
    if (layer !== "image") {
      context.globalAlpha = this.opacity;
      const source = layer === "errors" ? this.judged : layer;
      this.drawTiles(context, source, (tile) => this.painted(layer, tile));
      context.globalAlpha = 1;
    }
    this.drawMarks(context, layer, ratio);
  }

  /** Draw each tile in view; where it is not here yet, the part of a coarser one that is. */
  drawTiles(context, layer, pictureOf) {
    const level = this.level();
    const zoom = this.zoom * window.devicePixelRatio;
    context.imageSmoothingEnabled = layer === "image" && zoom * 2 ** level < 2;
    const { height, width } = context.canvas;
    const place = (value, centre, middle) => Math.round((value - centre) * zoom + middle);
    for (const [row, column] of this.inView(level)) {
      for (let up = 0; level + up < this.scene.levels; up++) {
        const found = this.store.get(
          tileName(layer, this.z, level + up, row >> up, column >> up));
        const picture = found && pictureOf(found);
        if (!picture) continue;
        const [rows, columns] = this.store.sizeOf(level, row, column);
        const [side, size] = [this.scene.tile, 2 ** level];
        const top = place(row * side * size, this.y, height / 2);
        const left = place(column * side * size, this.x, width / 2);
        const bottom = place((row * side + rows) * size, this.y, height / 2);
        const right = place((column * side + columns) * size, this.x, width / 2);
        const [y, x] = [row, column].map((n) => ((n * side) / 2 ** up) % side);
        context.drawImage(picture, x, y, Math.min(columns / 2 ** up, picture.width - x),
          Math.min(rows / 2 ** up, picture.height - y), left, top, right - left, bottom - top);
        break;
      }
    }
  }

  /** The coloured picture of a tile of ids; made once for each way to show it. */
  painted(layer, tile) {
    const truth = tile.layer === "truth" ? tile : this.store.get(
      tileName("truth", tile.z, tile.level, tile.row, tile.column));
    const errors = this.errors.get(tile.z)?.[this.judged];
    if (layer === "errors" && !(truth && errors)) return null;
    const way = layer === "errors" ? "errors" : `${this.outlines}/${Boolean(truth)}`;
    if (!tile.painted.has(way)) {
      tile.painted.clear();
      const picture = layer === "errors"
        ? paintErrors(truth, tile, errors, this.scene.colours)
        : paintObjects(tile, this.outlines, this.namer(tile, truth));
      tile.painted.set(way, picture);
    }
    return tile.painted.get(way);
  }

  /** A predicted object has the colour of the true object that it covers most. */
  namer(tile, truth) {
    if (tile.layer === "truth" || !truth) return (id) => id;
    const key = `${tile.layer}/${tile.z}`;
    if (!this.matches.has(key)) this.matches.set(key, new Matches());
    const matches = this.matches.get(key);
    for (const [row, column] of this.inView(tile.level)) {
      const [mine, theirs] = [tile.layer, "truth"].map((layer) =>
        this.store.get(tileName(layer, tile.z, tile.level, row, column)));
      if (mine && theirs) matches.learn(`${tile.level}/${row}/${column}`, theirs, mine);
    }
    matches.learn(`${tile.level}/${tile.row}/${tile.column}`, truth, tile);
    return (id) => matches.nameOf(id);
  }

  drawMarks(context, layer, ratio) {
    const [middleY, middleX] = [context.canvas.height / 2, context.canvas.width / 2];
    const zoom = this.zoom * ratio;
    const screen = (y, x) => [
      (y + 0.5 - this.y) * zoom + middleY, (x + 0.5 - this.x) * zoom + middleX];
    for (const comment of this.comments.filter((each) => each.z === this.z)) {
      const [y, x] = screen(comment.y, comment.x);
      context.beginPath();
      context.arc(x, y - 9 * ratio, 6 * ratio, 0.8 * Math.PI, 0.2 * Math.PI);
      context.lineTo(x, y);
      context.closePath();
      context.fillStyle = "#fff";
      context.strokeStyle = "#0072b2";
      context.lineWidth = 3 * ratio;
      context.stroke();
      context.fill();
    }
    if (this.current && this.current.z === this.z) {
      const [y, x] = screen(this.current.y, this.current.x);
      const radius = Math.max(14 * ratio, Math.sqrt(this.current.area) * 0.8 * zoom);
      for (const [colour, line] of [["#000", 5], ["#fff", 2]]) {
        context.beginPath();
        context.arc(x, y, radius, 0, 2 * Math.PI);
        [context.strokeStyle, context.lineWidth] = [colour, line * ratio];
        context.stroke();
      }
    }
    if (this.mouse && this.mouse.layer !== layer) this.drawCross(context, ratio, screen);
    if (layer === LAYERS.find((each) => !this.panel[each].hidden)) {
      this.drawScale(context, ratio, zoom);
    }
  }

  drawCross(context, ratio, screen) {
    const [y, x] = screen(this.mouse.y, this.mouse.x);
    for (const [colour, line] of [["#000a", 3], ["#fff", 1]]) {
      [context.strokeStyle, context.lineWidth] = [colour, line * ratio];
      context.beginPath();
      context.moveTo(x - 9 * ratio, y);
      context.lineTo(x + 9 * ratio, y);
      context.moveTo(x, y - 9 * ratio);
      context.lineTo(x, y + 9 * ratio);
      context.stroke();
    }
  }

  drawScale(context, ratio, zoom) {
    const nm = this.scene.voxel[2] / zoom; // of a device pixel
    const rough = 90 * ratio * nm;
    const power = 10 ** Math.floor(Math.log10(rough));
    const length = [5, 2, 1].find((each) => each * power <= rough) * power;
    const text = length >= 1000 ? `${length / 1000} µm` : `${length} nm`;
    const [y, x] = [context.canvas.height - 12 * ratio, 12 * ratio];
    context.font = `${12 * ratio}px sans-serif`;
    for (const [colour, line] of [["#000", 5], ["#fff", 2]]) {
      [context.strokeStyle, context.lineWidth] = [colour, line * ratio];
      context.beginPath();
      context.moveTo(x, y);
      context.lineTo(x + length / nm, y);
      context.stroke();
      context.lineWidth = 3 * ratio;
      if (colour === "#000") context.strokeText(text, x, y - 7 * ratio);
    }
    context.fillStyle = "#fff";
    context.fillText(text, x, y - 7 * ratio);
  }

  /** What a reader of the page, or a test, can know of the state. */
  describe(missing) {
    const { slices } = this.scene;
    const at = slices.indexOf(this.z);
    this.slider.value = at;
    this.sliceText.textContent = `z ${this.z} (${at + 1} of ${slices.length})`;
    Object.assign(this.root.dataset, {
      z: this.z, y: Math.round(this.y), x: Math.round(this.x), level: this.level(),
      zoom: this.zoom.toPrecision(4), state: missing ? "loading" : "ready",
    });
    const busy = missing ? `loading ${missing} tiles` : "";
    this.status.textContent = this.mouse ? this.underMouse().join("   ") : busy || this.hint;
  }

  underMouse() {
    const { y, x } = this.mouse;
    const nm = [this.z, y, x].map((n, axis) => Math.round(n * this.scene.voxel[axis]));
    const ids = ["truth", "a", "b"].filter((each) => this.isUsed(each)).map((layer) => {
      const id = this.store.idAt(layer, this.z, y, x, this.level(), this.scene.levels);
      return `${layer === "truth" ? layer : layer.toUpperCase()} ${id ?? "…"}`;
    });
    return [`z ${this.z}, y ${y}, x ${x}`, ...ids, `${nm.join(", ")} nm`];
  }
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  if (!data) return undefined;
  let viewer = VIEWERS.get(parentElement);
  if (!viewer) VIEWERS.set(parentElement, (viewer = new Viewer(parentElement)));
  viewer.trigger = setTriggerValue;
  viewer.receive(data);
  return () => {
    VIEWERS.delete(parentElement);
    viewer.stop();
  };
}

const VIEWERS = new WeakMap();
