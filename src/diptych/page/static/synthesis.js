/**
 * `g_s`: latents to pixels, in single precision.
 *
 *     y_hat ──1x1──[block]x2──T s2──[block]x4──T s2──[block]──2x2── cells of 4 x 4 pixels
 *
 * A block is depthwise 3x3, pointwise to twice the channels, ReLU, pointwise back, and the sum with its input.
 * `T s2` are transposed convolutions of kernel 4: four products of 2 x 2 inputs, one for each phase of the output.
 */

import { padded, PANEL, ROWS } from "./kernels.js";
import { CORNERS, Layers, PHASES } from "./layers.js";
import { Plane } from "./plane.js";

const ONE = 256;
const KNOTS = 11;
const CELL = 4;
const CHUNK = 8; // panels that a layer computes at a time: few enough for the caches
const POSITIONS = 8; // of a panel

export class Synthesis {
  /** As `Layers`. */
  constructor(arrays, human, kernels) {
    this.arrays = arrays;
    this.kernels = kernels;
    this.layers = new Layers(arrays, human, kernels);
    this.makeLayers();
  }

  /** Takes the memory of all weights before any of planes, which is given back. */
  makeLayers() {
    const block = (name) => ({
      spatial: this.layers.depthwise(`${name}.spatial`),
      expand: this.layers.pointwise(`${name}.expand`),
      project: this.layers.pointwise(`${name}.project`, true),
    });
    const phases = (name) => [0, 1].map((row) => [0, 1].map((column) => this.layers.phase(name, row, column)));
    this.first = this.layers.pointwise("stages.latent.0");
    this.latent = [1, 2].map((number) => block(`stages.latent.${number}`));
    this.toEighth = phases("stages.eighth.0");
    this.eighth = [1, 2, 3, 4].map((number) => block(`stages.eighth.${number}`));
    this.toQuarter = phases("stages.quarter.0");
    this.quarter = [block("stages.quarter.1")];
    this.pixel = this.layers.pixel("stages.pixel");
  }

  /**
   * One view of latents.
   * @param {Int32Array} values `(M, height, width)` in 1/256
   * @param {number} quality in 1/100
   * @param {number} position from 0, the machine's view, to 1, the human one
   * @returns {Uint8ClampedArray} RGBA of 16 height x 16 width pixels
   */
  run(values, height, width, quality, position) {
    this.layers.set(position);
    const free = this.kernels.free;
    let x = this.first1x1(this.input(values, height, width, quality));
    for (const block of this.latent) x = this.block(x, block);
    x = this.upsampled(x, this.toEighth);
    for (const block of this.eighth) x = this.block(x, block);
    x = this.upsampled(x, this.toQuarter);
    for (const block of this.quarter) x = this.block(x, block);
    const pixels = this.pixels(x);
    this.kernels.free = free;
    return pixels;
  }

  /** `y_hat` and the offset of a quality. */
  input(values, height, width, quality) {
    const plane = new Plane(this.kernels, values.length / (height * width), height, width);
    const [logarithms, offsets] = ["gains.log_inverse", "g_s.quality.knots"].map((name) =>
      this.atQuality(name, quality),
    );
    const numbers = plane.numbers();
    for (let channel = 0, place = 0; channel < plane.channels; channel++) {
      const gain = Math.exp(logarithms[channel]) / ONE;
      for (let y = 0; y < height; y++) {
        for (let at = plane.row(channel, y), end = at + width; at < end; at++) {
          numbers[at] = values[place++] * gain + offsets[channel];
        }
      }
    }
    return plane;
  }

  /** What is stored for qualities 0, 10 ... 100, interpolated. */
  atQuality(name, quality) {
    const { data, shape } = this.arrays[name];
    const knot = Math.min(Math.floor(quality / 1000), KNOTS - 2);
    const [below, above] = [knot, knot + 1].map((each) => data.subarray(each * shape[1], (each + 1) * shape[1]));
    const share = quality / 1000 - knot;
    return below.map((value, channel) => (1 - share) * value + share * above[channel]);
  }

  first1x1(x) {
    const { kernels, first } = this;
    const out = new Plane(kernels, first.outputs, x.height, x.width);
    const panels = kernels.take(first.depth * PANEL * CHUNK);
    for (const { count, offset } of chunks(x.panels)) {
      kernels.pack(x.start + offset, panels, x.channels, count, x.stride, first.depth * PANEL);
      this.product(first, panels, out.start + offset, count, out.stride);
    }
    return out.clearBorder();
  }

  block(x, { spatial, expand, project }) {
    const { kernels } = this;
    const out = new Plane(kernels, x.channels, x.height, x.width);
    const [seen, hidden] = [expand, project].map(({ depth }) => kernels.take(depth * PANEL * CHUNK));
    const { depth } = expand;
    for (const { count, offset } of chunks(x.panels)) {
      kernels.depthwise(
        spatial.address,
        x.start + offset,
        seen,
        depth,
        count,
        x.stride,
        4 * x.pitch,
        depth * PANEL,
      );
      this.product(expand, seen, hidden, count, PANEL, { outPanel: project.depth * PANEL, low: 0 });
      this.product(project, hidden, out.start + offset, count, out.stride, { residual: x.start - out.start });
    }
    return out.clearBorder();
  }

  upsampled(x, phases) {
    const { kernels } = this;
    const { outputs, depth } = phases[0][0];
    const out = new Plane(kernels, outputs, 2 * x.height, 2 * x.width);
    const phase = new Plane(kernels, outputs, x.height, x.width);
    const panels = kernels.take(depth * PANEL * CHUNK);
    for (const [i, j] of [
      [0, 0],
      [0, 1],
      [1, 0],
      [1, 1],
    ]) {
      const shifts = PHASES[i].flatMap((y) => PHASES[j].map((x) => [y.shift, x.shift]));
      for (const { count, offset } of chunks(x.panels)) {
        this.neighbours(x, shifts, offset, panels, count);
        this.product(phases[i][j], panels, phase.start + offset, count, phase.stride);
      }
      interleave(phase, out, i, j);
    }
    return out;
  }

  /** Panels of all channels at some shifts, rows and columns, of a plane. */
  neighbours(x, shifts, offset, panels, count) {
    const depth = shifts.length * x.channels * PANEL;
    for (const [place, [row, column]] of shifts.entries()) {
      const from = x.start + offset + 4 * (row * x.pitch + column);
      this.kernels.pack(from, panels + place * x.channels * PANEL, x.channels, count, x.stride, depth);
    }
  }

  /** RGBA from what is found in the squares between the last inputs, whose outer halves are beyond the picture. */
  pixels(x) {
    const { kernels, pixel } = this;
    const [height, width] = [CELL * x.height, CELL * x.width];
    const picture = new Uint8ClampedArray(4 * height * width).fill(255);
    const row = CHUNK * PANEL;
    const panels = kernels.take(pixel.depth * PANEL * CHUNK);
    const out = kernels.take(padded(pixel.outputs) * row);
    const shifts = CORNERS.flatMap((y) => CORNERS.map((x) => [y, x]));
    const levels = kernels.floats(out, (pixel.outputs * row) / 4);
    for (const { count, offset } of chunks(x.panels)) {
      this.neighbours(x, shifts, offset, panels, count);
      this.product(pixel, panels, out, count, row);
      for (let k = 0; k < count * POSITIONS; k++) {
        const position = offset / 4 + k;
        const top = CELL * Math.floor(position / x.pitch) - CELL / 2;
        paint(picture, height, width, top, CELL * (position % x.pitch) - CELL / 2, levels.subarray(k), row / 4);
      }
    }
    return picture;
  }

  product(layer, panels, out, count, outRow, { outPanel = PANEL, low = -Infinity, residual = 0 } = {}) {
    const { address, depth, outputs } = layer;
    const groups = padded(outputs) / ROWS;
    this.kernels.product(
      address,
      panels,
      out,
      residual,
      depth * PANEL,
      groups,
      count,
      outRow,
      outPanel,
      low,
      Infinity,
    );
  }
}

/** Runs of at most CHUNK panels: how many, and the bytes before them. */
function* chunks(panels) {
  for (let start = 0; start < panels; start += CHUNK) {
    yield { count: Math.min(CHUNK, panels - start), offset: start * PANEL };
  }
}

/** Puts one phase into a plane of twice the size. */
function interleave(phase, out, i, j) {
  const [from, to] = [phase.numbers(), out.numbers()];
  for (let channel = 0; channel < out.channels; channel++) {
    for (let y = 0; y < phase.height; y++) {
      let at = phase.row(channel, y);
      for (let target = out.row(channel, 2 * y + i) + j, end = target + out.width; target < end; target += 2) {
        to[target] = from[at++];
      }
    }
  }
}

/** A cell's pixels, as far as they are inside; a number of -0.5 to 0.5 is rounded to a level. */
function paint(picture, height, width, top, left, levels, stride) {
  for (let place = 0; place < CELL ** 2; place++) {
    const [y, x] = [top + (place >> 2), left + (place & 3)];
    if (y < 0 || x < 0 || y >= height || x >= width) continue;
    const at = 4 * (y * width + x);
    for (let colour = 0; colour < 3; colour++)
      picture[at + colour] = 255 * levels[(3 * place + colour) * stride] + 127.5;
  }
}
