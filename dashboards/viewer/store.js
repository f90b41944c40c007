// Tiles in the browser: addresses, messages from Python, and what is kept of them.

const KEPT_BYTES = 192 * 1024 * 1024;

const tileName = (layer, z, level, row, column) => `${layer}/${z}/${level}/${row}/${column}`;

async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

/** One message of Python: a header and the encoded tiles that it lists. */
function unpack(bytes) {
  const length = new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  let at = 4 + length;
  const tiles = header.tiles.map(([layer, z, level, row, column, size]) => {
    at += size;
    return { layer, z, level, row, column, bytes: bytes.slice(at - size, at) };
  });
  return { header, tiles };
}

/** Decoded tiles by name; those that were not used for longest are thrown away first. */
class TileStore {
  constructor(shape, side) {
    this.shape = shape;
    this.side = side;
    this.tiles = new Map();
    this.bytes = 0;
  }

  /** Height and width of a tile in pixels of its level; at the border it is smaller. */
  sizeOf(level, row, column) {
    const [height, width] = this.shape.slice(1).map((n) => Math.ceil(n / 2 ** level));
    return [
      Math.min(this.side, height - row * this.side),
      Math.min(this.side, width - column * this.side),
    ];
  }

  has(name) {
    return this.tiles.has(name);
  }

  get(name) {
    const found = this.tiles.get(name);
    if (found) {
      this.tiles.delete(name);
      this.tiles.set(name, found);
    }
    return found;
  }

  async add({ layer, z, level, row, column, bytes }) {
    const [height, width] = this.sizeOf(level, row, column);
    const tile = { layer, z, level, row, column, height, width, painted: new Map() };
    if (layer === "image") {
      tile.picture = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
    } else {
      const ids = await inflate(bytes);
      const narrow = ids.byteLength === 2 * height * width;
      tile.ids = narrow ? new Uint16Array(ids) : new Uint32Array(ids);
    }
    const name = tileName(layer, z, level, row, column);
    if (!this.tiles.has(name)) this.bytes += 8 * height * width;
    this.tiles.set(name, tile);
    for (const [old, each] of this.tiles) {
      if (this.bytes <= KEPT_BYTES) break;
      this.tiles.delete(old);
      this.bytes -= 8 * each.height * each.width;
    }
  }

  /** The id at a pixel of the volume, from the finest level that is here; undefined if none is. */
  idAt(layer, z, y, x, level, levels) {
    const order = [level, ...Array(levels).keys()];
    for (const each of order) {
      const [ly, lx] = [Math.floor(y / 2 ** each), Math.floor(x / 2 ** each)];
      const [row, column] = [Math.floor(ly / this.side), Math.floor(lx / this.side)];
      const tile = this.tiles.get(tileName(layer, z, each, row, column));
      if (tile) {
        const at = (ly - row * this.side) * tile.width + (lx - column * this.side);
        return tile.ids[at];
      }
    }
    return undefined;
  }
}
