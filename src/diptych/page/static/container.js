/** The .dip file taken apart and checked, as section 1 of the specification (docs/bitstream.md) has it. */

import { DipError } from "./errors.js";

const MAGIC = [0x44, 0x49, 0x50];
const FIXED = 11; // bytes before the width
const SQUARE = 64; // tile sides are multiples of it, and costs are counted in such squares
const MAX_SIDE = 2 ** 24 - 1;
const MAX_PIXELS = 2 ** 32;
const MAX_SQUARES = 1024; // of a picture that is one tile

/**
 * @param {Uint8Array} data a whole file
 * @returns header and payloads: {width, height, quality (1/100), tile (pixels, 0 for one tile), hint (0..1 or
 *   null), model (8 hexadecimal digits), payloads: [Uint8Array]}
 * @throws DipError if the file is not exactly as specified
 */
export function unpack(data) {
  const file = new Reader(data);
  const header = readHeader(file);
  const tiles = header.tile ? Math.ceil(header.width / header.tile) * Math.ceil(header.height / header.tile) : 1;
  const left = data.length - file.offset;
  if (5 * tiles > left) {
    throw new DipError(`The file is truncated in the tile lengths: ${left} bytes cannot be ${tiles} tiles.`);
  }
  const lengths = Array.from({ length: tiles }, () => file.varint("tile lengths"));
  const start = crc32(data.subarray(0, file.offset));
  const payloads = lengths.map((length, number) => {
    const where = `tile ${number + 1} of ${tiles}`;
    const payload = file.take(length, where);
    const expected = crc32(payload, crc32(littleEndian(number, 4), start));
    if (file.number(4, where) !== expected) {
      throw new DipError(`The file is damaged in ${where}: its checksum does not match.`);
    }
    return payload;
  });
  if (file.offset < data.length) {
    throw new DipError(`The file has ${data.length - file.offset} bytes too many after its last tile.`);
  }
  return { ...header, payloads };
}

function readHeader(file) {
  const { data } = file;
  if (!data.length) throw new DipError("The file is empty.");
  if (MAGIC.some((byte, place) => place < data.length && data[place] !== byte)) {
    throw new DipError("This is not a .dip file.");
  }
  if (data.length > 3 && data[3] !== 1) {
    throw new DipError(
      `The file has version ${data[3]} of the .dip format where version 1 is known: ` +
        "it was written by a newer program, or is damaged.",
    );
  }
  const fixed = file.take(FIXED, "header");
  const [width, height] = [file.varint("header"), file.varint("header")];
  const expected = crc16(data.subarray(0, file.offset));
  if (file.number(2, "header") !== expected) {
    throw new DipError("The file is damaged in the header: its checksum does not match.");
  }
  const quality = fixed[4] + 256 * fixed[5];
  if (quality >= 2 ** 14) {
    throw new DipError("The file uses features that only a newer version of this program knows.");
  }
  const [tile, hint] = [SQUARE * (fixed[6] % 32), fixed[6] >> 5];
  checkRanges(width, height, quality, tile);
  const model = Array.from(fixed.subarray(7), (byte) => byte.toString(16).padStart(2, "0")).join("");
  return { width, height, quality, tile, hint: hint ? (hint - 1) / 6 : null, model };
}

function checkRanges(width, height, quality, tile) {
  const size = `A picture of ${width} x ${height} pixels`;
  if (width < 1 || height < 1 || width > MAX_SIDE || height > MAX_SIDE || width * height > MAX_PIXELS) {
    throw new DipError(`${size} is not possible: sides are 1 to ${MAX_SIDE} pixels, areas up to ${MAX_PIXELS}.`);
  }
  if (quality > 10000) throw new DipError(`The quality ${quality / 100} is outside its range of 0 to 100.`);
  if (tile > 1024) throw new DipError(`Tiles of ${tile} pixels are not possible: 1024 is the limit.`);
  if (!tile && Math.ceil(width / SQUARE) * Math.ceil(height / SQUARE) > MAX_SQUARES) {
    throw new DipError(`${size} cannot be one tile: the limit is four megapixels.`);
  }
}

/** Reads a file from its start; `part` names where it ends too early. */
class Reader {
  constructor(data) {
    this.data = data;
    this.offset = 0;
  }

  take(count, part) {
    if (count > this.data.length - this.offset) throw new DipError(`The file is truncated in ${named(part)}.`);
    this.offset += count;
    return this.data.subarray(this.offset - count, this.offset);
  }

  number(count, part) {
    return this.take(count, part).reduceRight((number, byte) => 256 * number + byte, 0);
  }

  varint(part) {
    let number = 0;
    for (let place = 0; place < 5; place++) {
      const byte = this.number(1, part);
      number += (byte % 128) * 128 ** place;
      if (byte < 128 && (byte || !place)) return number;
      if (byte < 128) break;
    }
    throw new DipError(`The file is damaged in ${named(part)}: a number there is not well formed.`);
  }
}

const named = (part) => (part.startsWith("tile ") && !part.endsWith("lengths") ? part : `the ${part}`);

const littleEndian = (number, count) => Uint8Array.from({ length: count }, (_, place) => number >>> (8 * place));

/** CRC-16/XMODEM. */
function crc16(data) {
  let crc = 0;
  for (const byte of data) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = (crc << 1) ^ (crc & 0x8000 ? 0x11021 : 0);
  }
  return crc;
}

const CRC32 = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  return crc;
});

/** That of zlib, going on from `before`. */
function crc32(data, before = 0) {
  let crc = ~before;
  for (const byte of data) crc = (crc >>> 8) ^ CRC32[(crc ^ byte) & 255];
  return ~crc >>> 0;
}
