/** Payloads to symbols: the range coder of section 3 of the specification, and the chunks of section 4. */

import { DipError } from "./errors.js";

const PRECISION = 24n;
const TOTAL = 2 ** 24;
const WORD = 32n;
const SYMBOL_LIMIT = 2 ** 20;
const CLASSES = 20;

/** Sums of the frequencies before each position of a table, and of all of them. */
function startsOf(frequencies) {
  const starts = new Uint32Array(frequencies.length + 1);
  frequencies.forEach((frequency, position) => (starts[position + 1] = starts[position] + frequency));
  return starts;
}

const CLASS_STARTS = startsOf(Uint32Array.from({ length: CLASSES }, (_, k) => 2 ** Math.max(5, 23 - k)));

/**
 * The tables of an entropy model.
 * @param {Int32Array} halfWidth of each table
 * @param {Int32Array} frequencies a row for each table, filled up with zeros
 */
export function makeTables(halfWidth, frequencies) {
  const row = frequencies.length / halfWidth.length;
  const starts = Array.from(halfWidth, (half, table) =>
    startsOf(frequencies.subarray(table * row, table * row + 2 * half + 2)),
  );
  return { halfWidth, starts };
}

/** Reads the chunks of a payload, one after the other. */
export class Decoder {
  constructor(payload, tables) {
    this.coder = new RangeDecoder(payload);
    this.tables = tables;
  }

  /**
   * @param {Uint8Array} indexes the table of each symbol
   * @returns {Int32Array} symbols in the order of `indexes`
   */
  read(indexes) {
    const symbols = new Int32Array(indexes.length);
    const escaped = [];
    for (const place of sortedByTable(indexes, this.tables.starts.length)) {
      const half = this.tables.halfWidth[indexes[place]];
      const position = this.coder.get(this.tables.starts[indexes[place]]);
      symbols[place] = position - half;
      if (position > 2 * half) escaped.push({ place, half });
    }
    this.readEscaped(escaped, symbols);
    return symbols;
  }

  readEscaped(escaped, symbols) {
    for (const each of escaped) each.class = this.coder.get(CLASS_STARTS);
    escaped.sort((a, b) => a.class - b.class);
    for (const { place, half, class: k } of escaped) {
      const raw = this.coder.getUniform(k + 1);
      const magnitude = half + 2 ** k + (raw >> 1);
      if (magnitude >= SYMBOL_LIMIT) {
        throw new DipError("The compressed data are damaged: they hold a symbol that is too large.");
      }
      symbols[place] = raw & 1 ? -magnitude : magnitude;
    }
  }

  /** Checks that the payload is exactly what an encoder makes of the symbols that were read. */
  close() {
    if (!this.coder.isComplete()) {
      throw new DipError("The compressed data do not end where the picture does: they are damaged.");
    }
  }
}

/** Places in the order of their tables' numbers, places of one table in their own order. */
function sortedByTable(indexes, count) {
  const next = new Uint32Array(count + 1);
  for (const table of indexes) next[table + 1]++;
  for (let table = 0; table < count; table++) next[table + 1] += next[table];
  const order = new Uint32Array(indexes.length);
  for (let place = 0; place < indexes.length; place++) order[next[indexes[place]]++] = place;
  return order;
}

class RangeDecoder {
  constructor(data) {
    this.data = data;
    this.asked = 0; // bytes, also beyond the end
    this.size = 2n ** 64n - 1n;
    this.distance = (this.word() << WORD) + this.word();
  }

  /** The position whose frequencies begin at `starts[position]`. */
  get(starts) {
    const scale = this.size >> PRECISION;
    const quantile = this.quantile(scale);
    let [low, high] = [0, starts.length - 1];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (starts[middle] <= quantile) low = middle;
      else high = middle;
    }
    this.narrow(scale, starts[low], starts[low + 1] - starts[low]);
    return low;
  }

  /** A number of so many bits, all of which are equally likely. */
  getUniform(bits) {
    const scale = this.size >> PRECISION;
    const frequency = TOTAL / 2 ** bits;
    const position = Math.floor(this.quantile(scale) / frequency);
    this.narrow(scale, position * frequency, frequency);
    return position;
  }

  quantile(scale) {
    const quantile = Number(this.distance / scale);
    if (quantile >= TOTAL) throw new DipError("The compressed data are damaged.");
    return quantile;
  }

  narrow(scale, start, frequency) {
    this.distance = BigInt.asUintN(64, this.distance - scale * BigInt(start));
    this.size = BigInt.asUintN(64, scale * BigInt(frequency));
    if (this.size < 1n << WORD) {
      this.distance = BigInt.asUintN(64, (this.distance << WORD) + this.word());
      this.size = BigInt.asUintN(64, this.size << WORD);
    }
  }

  /** The next four bytes, most significant first; zeros behind the end. */
  word() {
    let word = 0;
    for (let k = 0; k < 4; k++) word = word * 256 + (this.data[this.asked++] ?? 0);
    return BigInt(word);
  }

  isComplete() {
    const { data, asked, distance, size } = this;
    if (!data.length) return true;
    const last = data[data.length - 1];
    if (!last || data.length > asked) return false;
    const step = BigInt(last & -last) << BigInt(8 * (asked - data.length));
    return distance < step && distance + step >= size;
  }
}
