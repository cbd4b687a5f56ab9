/**
 * Channels of one size in the kernels' memory. Rows have a zero behind them, rows of zeros lie above and below, so
 * that a neighbour of any position is a fixed number of places away, and zero beyond the borders.
 */

import { padded } from "./kernels.js";

const POSITIONS = 8; // of a panel

export class Plane {
  constructor(kernels, channels, height, width) {
    Object.assign(this, { kernels, channels, height, width });
    this.pitch = width + 1;
    this.panels = Math.ceil(((height + 1) * this.pitch) / POSITIONS);
    this.border = this.pitch + 1; // numbers before the first
    this.length = this.panels * POSITIONS + 2 * this.border + POSITIONS;
    this.stride = 4 * this.length;
    this.base = kernels.take(padded(channels) * this.stride);
    this.start = this.base + 4 * this.border;
    this.numbers().fill(0);
  }

  /** All of it; made anew after memory was taken. */
  numbers() {
    return this.kernels.floats(this.base, padded(this.channels) * this.length);
  }

  /** Where in `numbers()` a row of a channel begins. */
  row(channel, y) {
    return channel * this.length + this.border + y * this.pitch;
  }

  /** Makes zeros of what the kernels wrote behind rows and below the last one. */
  clearBorder() {
    const numbers = this.numbers();
    for (let channel = 0; channel < this.channels; channel++) {
      for (let y = 0; y < this.height; y++) numbers[this.row(channel, y) + this.width] = 0;
      numbers.fill(0, this.row(channel, this.height), (channel + 1) * this.length);
    }
    return this;
  }
}
