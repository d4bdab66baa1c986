import { crc32, deflateSync, inflateSync } from 'node:zlib';

const SIGNATURE_BYTES = 8;
/** Its length, its type and its checksum, of four bytes each. */
const CHUNK_BYTES = 12;
const MOST_COLOURS = 256;
/** Three bytes for each pixel, as Chromium writes pictures without transparency. */
const PIXEL_BYTES = 3;

/**
 * The same picture with a palette, as pictures of text need no more; rare colours become the nearest of it.
 *
 * @param png as Chromium makes it: eight bits for each of red, green and blue
 */
export function smallerPng(png: Buffer): Buffer {
  const chunks = chunksOf(png);
  const header = Buffer.from(chunks.find(({ type }) => type === 'IHDR')!.data);
  const width = header.readUInt32BE(0);
  const height = header.readUInt32BE(4);
  const lines = unfiltered(
    inflateSync(
      Buffer.concat(chunks.filter(({ type }) => type === 'IDAT').map(({ data }) => data)),
    ),
    width * PIXEL_BYTES,
    height,
  );
  const { palette, indexOf } = paletteOf(lines);
  const rows = lines.map((line) => {
    const row = Buffer.alloc(width + 1);
    for (let x = 0; x < width; x++) {
      row[x + 1] = indexOf(line.readUIntBE(x * PIXEL_BYTES, PIXEL_BYTES));
    }
    return row;
  });
  // The colour type that stands for a palette: https://www.w3.org/TR/png-3/#11IHDR
  header[9] = 3;
  return Buffer.concat([
    png.subarray(0, SIGNATURE_BYTES),
    chunk('IHDR', header),
    chunk('PLTE', palette),
    chunk('IDAT', deflateSync(Buffer.concat(rows), { level: 9, memLevel: 9 })),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

interface Chunk {
  readonly type: string;
  readonly data: Buffer;
}

function chunksOf(png: Buffer): readonly Chunk[] {
  const chunks: Chunk[] = [];
  for (let at = SIGNATURE_BYTES; at < png.length;) {
    const length = png.readUInt32BE(at);
    const type = png.toString('latin1', at + 4, at + 8);
    chunks.push({ type, data: png.subarray(at + 8, at + 8 + length) });
    at += CHUNK_BYTES + length;
  }
  return chunks;
}

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(data.length);
  const checksum = Buffer.alloc(4);
  checksum.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, checksum]);
}

/** The lines of pixels that the filters of a picture stand for: https://www.w3.org/TR/png-3/#9Filters */
function unfiltered(data: Buffer, lineBytes: number, height: number): readonly Buffer[] {
  const lines: Buffer[] = [];
  let above: Buffer = Buffer.alloc(lineBytes);
  for (let y = 0; y < height; y++) {
    const start = y * (lineBytes + 1);
    const filter = data[start]!;
    const line = Buffer.from(data.subarray(start + 1, start + 1 + lineBytes));
    for (let x = 0; x < lineBytes; x++) {
      const left = line[x - PIXEL_BYTES] ?? 0;
      const corner = above[x - PIXEL_BYTES] ?? 0;
      line[x] = line[x]! + predicted(filter, left, above[x]!, corner);
    }
    lines.push(line);
    above = line;
  }
  return lines;
}

function predicted(filter: number, left: number, up: number, corner: number): number {
  switch (filter) {
    case 1:
      return left;
    case 2:
      return up;
    case 3:
      return (left + up) >> 1;
    case 4: {
      const [fromLeft, fromUp, fromCorner] = [
        up - corner,
        left - corner,
        left + up - 2 * corner,
      ].map(Math.abs) as [number, number, number];
      if (fromLeft <= fromUp && fromLeft <= fromCorner) {
        return left;
      }
      return fromUp <= fromCorner ? up : corner;
    }
    default:
      return 0;
  }
}

/** The colours that are needed most, and which of them stands for a colour. */
function paletteOf(lines: readonly Buffer[]): {
  readonly palette: Buffer;
  readonly indexOf: (colour: number) => number;
} {
  const counts = new Map<number, number>();
  for (const line of lines) {
    for (let at = 0; at < line.length; at += PIXEL_BYTES) {
      const colour = line.readUIntBE(at, PIXEL_BYTES);
      counts.set(colour, (counts.get(colour) ?? 0) + 1);
    }
  }
  const colours = [...counts]
    .toSorted((one, other) => weightOf(other) - weightOf(one))
    .slice(0, MOST_COLOURS)
    .map(([colour]) => colour);
  const palette = Buffer.alloc(colours.length * PIXEL_BYTES);
  colours.forEach((colour, index) => palette.writeUIntBE(colour, index * PIXEL_BYTES, PIXEL_BYTES));
  const indices = new Map(colours.map((colour, index) => [colour, index]));
  return {
    palette,
    indexOf: (colour) => {
      const known = indices.get(colour) ?? nearest(colours, colour);
      indices.set(colour, known);
      return known;
    },
  };
}

/** How much a colour is needed: a small bar counts for more than the many greys at the edges of letters. */
function weightOf([colour, count]: readonly [number, number]): number {
  const parts = [16, 8, 0].map((shift) => (colour >> shift) & 255);
  return count * (1 + (Math.max(...parts) - Math.min(...parts)) / 16);
}

function nearest(colours: readonly number[], wanted: number): number {
  const distances = colours.map((colour) =>
    [16, 8, 0].reduce(
      (sum, shift) => sum + (((colour >> shift) & 255) - ((wanted >> shift) & 255)) ** 2,
      0,
    ),
  );
  return distances.indexOf(Math.min(...distances));
}
