/** The weights of `g_s` at a place on the dial, in the order in which the kernels read them. */

import { packedLength, packWeights, padded } from "./kernels.js";

const CELL = 4; // side of the squares that the last layer finds at once, in pixels
const COLOURS = 3;

/** Rows, or columns, of the two inputs of each phase of a transposed convolution, and those of the kernel. */
export const PHASES = [
  [
    { shift: 0, tap: 1 },
    { shift: -1, tap: 3 },
  ],
  [
    { shift: 0, tap: 2 },
    { shift: 1, tap: 0 },
  ],
];
export const CORNERS = [-1, 0]; // rows, or columns, of the inputs of the last layer

export class Layers {
  /**
   * @param arrays of a codec's weights file
   * @param human those of a view's file by their names inside `g_s`; none without a human view
   * @param {Kernels} kernels
   */
  constructor(arrays, human, kernels) {
    Object.assign(this, { arrays, human, kernels, position: null, made: {} });
  }

  /** Chooses from 0, the machine's view, to 1, the human one. */
  set(position) {
    if (position === this.position) return;
    this.position = position;
    for (const layer of Object.values(this.made)) layer.pack();
  }

  /** A 1 x 1 convolution; `behind` another product, whose rows were filled up with zeros, or not. */
  pointwise(name, behind = false) {
    const size = ([outputs, inputs]) => ({ inputs, outputs, depth: behind ? padded(inputs) : inputs });
    return this.product(name, size, (weight, { inputs }) => ({
      weight: (output, d) => (d < inputs ? weight[output * inputs + d] : 0),
      bias: (output) => output,
    }));
  }

  /** One of the four phases of a transposed convolution of kernel 4 and stride 2. */
  phase(name, row, column) {
    const size = ([inputs, outputs]) => ({ inputs, outputs, depth: 4 * inputs });
    return this.product(
      name,
      size,
      (weight, { inputs, outputs }) => ({
        weight: (output, d) => {
          const [corner, input] = [Math.floor(d / inputs), d % inputs];
          const [y, x] = [PHASES[row][corner >> 1].tap, PHASES[column][corner & 1].tap];
          return weight[((input * outputs + output) * 4 + y) * 4 + x];
        },
        bias: (output) => output,
      }),
      `${name} ${row} ${column}`,
    );
  }

  /** The transposed convolution of kernel 8 and stride 4: of 2 x 2 inputs to 4 x 4 pixels of three colours. */
  pixel(name) {
    const size = ([inputs]) => ({ inputs, outputs: COLOURS * CELL ** 2, depth: 4 * inputs });
    return this.product(name, size, (weight, { inputs }) => ({
      weight: (output, d) => {
        const [corner, input] = [Math.floor(d / inputs), d % inputs];
        const [pixel, colour] = [Math.floor(output / COLOURS), output % COLOURS];
        const y = CELL * (1 - (corner >> 1)) + Math.floor(pixel / CELL);
        const x = CELL * (1 - (corner & 1)) + (pixel % CELL);
        return weight[((input * COLOURS + colour) * 2 * CELL + y) * 2 * CELL + x];
      },
      bias: (output) => output % COLOURS,
    }));
  }

  /** Nine taps and the bias of each channel. */
  depthwise(name) {
    return this.kept(name, () => {
      const channels = this.arrays[`g_s.${name}.bias`].data.length;
      const address = this.kernels.take(4 * 10 * channels);
      const pack = () => {
        const [weight, bias] = [this.tensor(`${name}.weight`), this.tensor(`${name}.bias`)];
        const packed = this.kernels.floats(address, 10 * channels);
        for (let channel = 0; channel < channels; channel++) {
          packed.set(weight.subarray(9 * channel, 9 * channel + 9), 10 * channel);
          packed[10 * channel + 9] = bias[channel];
        }
      };
      return { address, pack };
    });
  }

  /**
   * A layer that is a matrix product.
   * @param sizeOf from the shape of its weights to its outputs and depth
   * @param orderOf from its weights and that size to functions: the weight of an output and a depth, and which bias
   */
  product(name, sizeOf, orderOf, key = name) {
    return this.kept(key, () => {
      const size = sizeOf(this.arrays[`g_s.${name}.weight`].shape);
      const length = packedLength(size.outputs, size.depth);
      const address = this.kernels.take(4 * length);
      const pack = () => {
        const { weight, bias } = orderOf(this.tensor(`${name}.weight`), size);
        const biases = this.tensor(`${name}.bias`);
        const packed = this.kernels.floats(address, length);
        packWeights(size.outputs, size.depth, weight, (output) => biases[bias(output)], packed);
      };
      return { ...size, address, pack };
    });
  }

  /** A layer, made when it is first asked for. */
  kept(key, make) {
    if (!this.made[key]) {
      this.made[key] = make();
      this.made[key].pack();
    }
    return this.made[key];
  }

  /** Numbers of `g_s` between those of the machine's view and of the human one. */
  tensor(name) {
    const machine = this.arrays[`g_s.${name}`].data;
    const human = this.human[name]?.data;
    if (!human || !this.position) return machine;
    return machine.map((weight, place) => weight + this.position * (human[place] - weight));
  }
}
