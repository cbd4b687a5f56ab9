/**
 * Payloads to latents, in exact integers: section 5 of the specification.
 *
 * All numbers are integers in float64. Sums stay below 2^53, so that they are exact in any order.
 */

import { Decoder, makeTables } from "./coder.js";
import { packedLength, packWeights, padded, PANEL, ROWS } from "./kernels.js";

const ONE = 256;
const SCALE = 2 ** -12; // of weights
const LIMIT = 2 ** 18; // of activations
const ROUNDS = 3;
const LEVELS = 64;
const POSITIONS = 512; // that a pointwise layer computes at a time
const PANEL_POSITIONS = PANEL / 8;

const clamp = (value) => Math.min(LIMIT, Math.max(-LIMIT, value));

export class EntropyModel {
  /**
   * @param arrays of a codec's weights file
   * @param {Kernels} kernels
   */
  constructor(arrays, kernels) {
    this.arrays = arrays;
    this.kernels = kernels;
    this.tables = makeTables(arrays["tables.half_width"].data, arrays["tables.frequencies"].data);
    this.passes = arrays.passes.data;
    this.latents = arrays.passes.shape[0];
    this.hyper = arrays["prior.index"].shape[1];
    const rounds = (network, count) =>
      Array.from({ length: count }, (_, number) => ({
        spatial: depthwiseLayer(arrays, `${network}.${3 * number}`),
        expand: this.pointwiseLayer(`${network}.${3 * number + 1}`, 0),
        project: this.pointwiseLayer(`${network}.${3 * number + 2}`, -LIMIT),
      }));
    this.h_s = rounds("h_s", ROUNDS);
    this.context = rounds("context", Math.max(...this.passes));
  }

  /**
   * Latents of a tile, `(M, height, width)` in 1/256.
   * @param {Uint8Array} payload
   * @param {number} height in latents
   * @param {number} width in latents
   * @param {number} quality in 1/100
   * @returns {Int32Array}
   * @throws DipError if the payload is not that of such a tile
   */
  decode(payload, height, width, quality) {
    const decoder = new Decoder(payload, this.tables);
    const z = this.hyperLatents(decoder, Math.ceil(height / 4), Math.ceil(width / 4), quality);
    const { features, prediction } = this.predict(z, height, width);
    const known = new Float64Array(this.latents * height * width);
    for (let pass = 0; pass <= this.context.length; pass++) {
      const now = pass ? this.corrected(pass, prediction, features, known, height, width) : prediction;
      const places = this.placesOf(pass, height, width);
      const indexes = new Uint8Array(places.length);
      for (let k = 0; k < places.length; k++) indexes[k] = tableOf(now[known.length + places[k]]);
      const symbols = decoder.read(indexes);
      for (let k = 0; k < places.length; k++) known[places[k]] = ONE * symbols[k] + now[places[k]];
    }
    decoder.close();
    return new Int32Array(known);
  }

  hyperLatents(decoder, height, width, quality) {
    const knot = Math.floor((quality + 500) / 1000);
    const size = height * width;
    const [index, mean] = ["prior.index", "prior.mean"].map((name) =>
      this.arrays[name].data.subarray(knot * this.hyper),
    );
    const indexes = Uint8Array.from({ length: this.hyper * size }, (_, place) => index[Math.floor(place / size)]);
    const data = Float64Array.from(decoder.read(indexes), (s, place) => ONE * s + mean[Math.floor(place / size)]);
    return { data, channels: this.hyper, height, width };
  }

  /** `h_s`: features, and means and indexes of all latents. */
  predict(z, height, width) {
    let x = z;
    for (const [number, { spatial, expand, project }] of this.h_s.entries()) {
      const last = number === ROUNDS - 1;
      x = depthwise(x, spatial);
      if (last) x = cropped(x, height, width);
      const features = this.pointwise(x.data, x.height * x.width, expand);
      const prediction = this.pointwise(features, x.height * x.width, project);
      if (last) return { features, prediction };
      x = shuffled({ ...x, data: prediction, channels: project.outputs });
    }
  }

  /** Means and indexes in a pass after the first, the latents so far being known. */
  corrected(pass, prediction, features, known, height, width) {
    const { spatial, expand, project } = this.context[pass - 1];
    const around = depthwise({ data: known.map(clamp), channels: this.latents, height, width }, spatial);
    const seen = new Float64Array(around.data.length + features.length);
    seen.set(around.data);
    seen.set(features, around.data.length);
    const size = height * width;
    const correction = this.pointwise(this.pointwise(seen, size, expand), size, project);
    for (let place = 0; place < correction.length; place++) correction[place] += prediction[place];
    return correction;
  }

  /** Where the latents of a pass are, in the order in which they are coded. */
  placesOf(pass, height, width) {
    const places = new Uint32Array(this.latents * height * width);
    let count = 0;
    for (let channel = 0, place = 0; channel < this.latents; channel++) {
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++, place++) {
          if (this.passes[4 * channel + 2 * (y % 2) + (x % 2)] === pass) places[count++] = place;
        }
      }
    }
    return places.subarray(0, count);
  }

  /** Its outputs are limited to `low` and 2^18. */
  pointwiseLayer(name, low) {
    const { data: weight, shape } = this.arrays[`${name}.weight`];
    const [outputs, depth] = shape;
    const bias = this.arrays[`${name}.bias`].data;
    const length = packedLength(outputs, depth);
    const address = this.kernels.take(8 * length);
    const half = 2048; // so that rounding down rounds to the nearest
    packWeights(
      outputs,
      depth,
      (output, d) => weight[output * depth + d] * SCALE,
      (output) => (bias[output] + half) * SCALE,
      this.kernels.doubles(address, length),
    );
    return { address, outputs, depth, low };
  }

  /** A 1 x 1 layer on `size` positions. */
  pointwise(x, size, { address, outputs, depth, low }) {
    const { kernels } = this;
    const free = kernels.free;
    const row = 8 * POSITIONS;
    const [plane, panels, out] = [depth, depth, padded(outputs)].map((channels) => kernels.take(channels * row));
    const result = new Float64Array(outputs * size);
    for (let start = 0; start < size; start += POSITIONS) {
      const count = Math.min(POSITIONS, size - start);
      const blocks = Math.ceil(count / PANEL_POSITIONS);
      const input = kernels.doubles(plane, depth * POSITIONS);
      for (let d = 0; d < depth; d++)
        input.set(x.subarray(d * size + start, d * size + start + count), d * POSITIONS);
      kernels.pack(plane, panels, depth, blocks, row, depth * PANEL);
      kernels.exactProduct(
        address,
        panels,
        out,
        0,
        depth * PANEL,
        padded(outputs) / ROWS,
        blocks,
        row,
        PANEL,
        low,
        LIMIT,
      );
      const output = kernels.doubles(out, outputs * POSITIONS);
      for (let o = 0; o < outputs; o++) {
        result.set(output.subarray(o * POSITIONS, o * POSITIONS + count), o * size + start);
      }
    }
    kernels.free = free;
    return result;
  }
}

const tableOf = (index) => Math.min(LEVELS - 1, Math.max(0, Math.floor((8 * index + 24 * ONE + 128) / ONE)));

const depthwiseLayer = (arrays, name) => ({
  weight: arrays[`${name}.weight`].data,
  bias: arrays[`${name}.bias`].data,
});

/** A depthwise 3 x 3 layer with zeros beyond the borders. */
function depthwise({ data, channels, height, width }, { weight, bias }) {
  const out = new Float64Array(data.length);
  const pitch = width + 2;
  const bordered = new Float64Array((height + 2) * pitch);
  for (let channel = 0; channel < channels; channel++) {
    const start = channel * height * width;
    for (let y = 0; y < height; y++) {
      bordered.set(data.subarray(start + y * width, start + (y + 1) * width), (y + 1) * pitch + 1);
    }
    const [a, b, c, d, e, f, g, h, i] = weight.subarray(9 * channel, 9 * channel + 9);
    for (let y = 0, place = start; y < height; y++) {
      for (let at = y * pitch, end = at + width; at < end; at++, place++) {
        const below = at + pitch;
        const last = below + pitch;
        const sum =
          a * bordered[at] +
          b * bordered[at + 1] +
          c * bordered[at + 2] +
          d * bordered[below] +
          e * bordered[below + 1] +
          f * bordered[below + 2] +
          g * bordered[last] +
          h * bordered[last + 1] +
          i * bordered[last + 2];
        out[place] = clamp(Math.floor((sum + bias[channel] + 2048) * SCALE));
      }
    }
  }
  return { data: out, channels, height, width };
}

/** The upper left part. */
function cropped({ data, channels, height, width }, rows, columns) {
  const out = new Float64Array(channels * rows * columns);
  for (let line = 0; line < channels * rows; line++) {
    const start = (Math.floor(line / rows) * height + (line % rows)) * width;
    out.set(data.subarray(start, start + columns), line * columns);
  }
  return { data: out, channels, height: rows, width: columns };
}

/** Four channels of a quarter of the size become one. */
function shuffled({ data, channels, height, width }) {
  const out = new Float64Array(data.length);
  for (let channel = 0, place = 0; channel < channels; channel++) {
    const [i, j] = [(channel >> 1) & 1, channel & 1];
    for (let y = 0; y < height; y++) {
      const row = ((channel >> 2) * 2 * height + 2 * y + i) * 2 * width + j;
      for (let x = 0; x < width; x++) out[row + 2 * x] = data[place++];
    }
  }
  return { data: out, channels: channels / 4, height: 2 * height, width: 2 * width };
}
