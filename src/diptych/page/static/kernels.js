/**
 * The inner loops of all networks, in WebAssembly: matrix products in single and double precision, depthwise 3 x 3.
 *
 * Planes hold a channel after the other, its positions side by side. A *panel* is 32 bytes of each channel of a
 * plane, one channel after the other, so 8 neighbouring positions in single precision or 4 in double: what a
 * matrix product reads from start to end. Addresses and strides are in bytes, counts at least 1.
 */

import { DipError } from "./errors.js";
import { add, differ, FLOOR_F64, int, LANES, load, loadSplat, module, multiply } from "./wasm.js";
import { repeat, simd, store, subtract, Variables, when } from "./wasm.js";

export const PANEL = 32;
export const ROWS = 4; // outputs of a matrix product that are computed together
const VECTOR = 16;

const i32s = (...names) => Object.fromEntries(names.map((name) => [name, "i32"]));
const v128s = (...names) => Object.fromEntries(names.map((name) => [name, "v128"]));
const step = (variables, name, by) => variables.set[name](add(variables.get[name], by));

/**
 * `out[row][position] = min(high, max(low, bias[row] + sum over depth of weight[row][depth] * x[depth][position]))`
 *
 * `weights` holds, for each group of 4 rows, 4 biases, then 4 weights for each depth. Row r of panel p is written
 * to `out + r * outRow + p * outPanel`. `residual`, if not 0, is how far from each output lies what is added to it.
 * Double precision rounds down to whole numbers before the limits.
 */
function product(kind, fused) {
  const lanes = LANES[kind];
  const rows = [...Array(ROWS).keys()];
  const sums = rows.flatMap((row) => [`sum${row}a`, `sum${row}b`]);
  const v = new Variables(
    {
      ...i32s("weights", "x", "out", "residual", "depth", "groups", "panels", "outRow", "outPanel"),
      low: kind,
      high: kind,
    },
    {
      ...i32s("at", "end", "left", "target", "w", "place"),
      ...v128s(...sums, "a", "b", "weight", "floor", "ceiling"),
    },
  );
  const { get, set } = v;
  const times = (sum, x) =>
    fused
      ? simd(lanes.fused, get.weight, get[x], get[sum])
      : simd(lanes.add, get[sum], simd(lanes.multiply, get.weight, get[x]));
  const begin = rows.map((row) =>
    ["a", "b"].map((half) => set[`sum${row}${half}`](loadSplat(lanes, get.w, row * lanes.bytes))),
  );
  const next = [step(v, "at", int(PANEL)), step(v, "w", int(ROWS * lanes.bytes))];
  const accumulate = repeat(
    [
      set.a(load(get.at)),
      set.b(load(get.at, VECTOR)),
      rows.map((row) => [
        set.weight(loadSplat(lanes, get.w, row * lanes.bytes)),
        ["a", "b"].map((half) => set[`sum${row}${half}`](times(`sum${row}${half}`, half))),
      ]),
      next,
    ],
    differ(get.at, get.end),
  );
  const outputs = (each) => [
    set.place(get.target),
    rows.map((row) => [
      ["a", "b"].map((half, k) => each(`sum${row}${half}`, k * VECTOR)),
      step(v, "place", get.outRow),
    ]),
  ];
  const addResidual = outputs((sum, offset) =>
    set[sum](simd(lanes.add, get[sum], load(add(get.place, get.residual), offset))),
  );
  const whole = (sum) => (kind === "f64" ? simd(FLOOR_F64, sum) : sum);
  const limited = (sum) => simd(lanes.least, simd(lanes.most, whole(sum), get.floor), get.ceiling);
  const panel = [
    set.w(get.weights),
    begin,
    step(v, "w", int(ROWS * lanes.bytes)),
    set.end(add(get.at, get.depth)),
    accumulate,
    when(get.residual, addResidual),
    outputs((sum, offset) => store(get.place, limited(get[sum]), offset)),
    step(v, "target", get.outPanel),
    step(v, "left", int(-1)),
  ];
  const group = [
    set.at(get.x),
    set.target(get.out),
    set.left(get.panels),
    repeat(panel, get.left),
    set.weights(get.w),
    step(v, "out", multiply(get.outRow, int(ROWS))),
    step(v, "groups", int(-1)),
  ];
  const limits = [set.floor(simd(lanes.splat, get.low)), set.ceiling(simd(lanes.splat, get.high))];
  return { variables: v, body: [limits, repeat(group, get.groups)] };
}

/**
 * Single precision depthwise 3 x 3: positions of a plane to panels. `weights` holds 9 taps and the bias of each
 * channel, `pitch` is from a row to the next, `stride` from a channel to the next, `depth` the size of a panel.
 */
function depthwise(fused) {
  const lanes = LANES.f32;
  const taps = [...Array(9).keys()].map((tap) => `tap${tap}`);
  const v = new Variables(i32s("weights", "x", "out", "channels", "panels", "stride", "pitch", "depth"), {
    ...i32s("at", "left", "target", "row"),
    ...v128s(...taps, "bias", "a", "b", "weight"),
  });
  const { get, set } = v;
  const times = (tap, x, sum) =>
    fused ? simd(lanes.fused, tap, x, sum) : simd(lanes.add, sum, simd(lanes.multiply, tap, x));
  const neighbours = (half, k) =>
    taps.map((tap, place) => [
      place % 3 ? [] : set.row(place ? add(get.row, get.pitch) : subtract(get.at, get.pitch)),
      set[half](times(get[tap], load(add(get.row, int(4 * (place % 3) - 4)), k * VECTOR), get[half])),
    ]);
  const panel = [
    ["a", "b"].map((half, k) => [
      set[half](get.bias),
      neighbours(half, k),
      store(get.target, get[half], k * VECTOR),
    ]),
    step(v, "at", int(PANEL)),
    step(v, "target", get.depth),
    step(v, "left", int(-1)),
  ];
  const channel = [
    [...taps, "bias"].map((each, place) => set[each](loadSplat(lanes, get.weights, 4 * place))),
    set.at(get.x),
    set.target(get.out),
    set.left(get.panels),
    repeat(panel, get.left),
    step(v, "weights", int(40)),
    step(v, "x", get.stride),
    step(v, "out", int(PANEL)),
    step(v, "channels", int(-1)),
  ];
  return { variables: v, body: repeat(channel, get.channels) };
}

/** Positions of a plane to panels, in any precision. `stride` is from a channel to the next. */
function pack() {
  const v = new Variables(i32s("x", "out", "channels", "panels", "stride", "depth"), i32s("at", "left", "target"));
  const { get, set } = v;
  const panel = [
    store(get.target, load(get.at)),
    store(get.target, load(get.at, VECTOR), VECTOR),
    step(v, "at", int(PANEL)),
    step(v, "target", get.depth),
    step(v, "left", int(-1)),
  ];
  const channel = [
    set.at(get.x),
    set.target(get.out),
    set.left(get.panels),
    repeat(panel, get.left),
    step(v, "x", get.stride),
    step(v, "out", int(PANEL)),
    step(v, "channels", int(-1)),
  ];
  return { variables: v, body: repeat(channel, get.channels) };
}

function code() {
  for (const fused of [true, false]) {
    const bytes = module({
      product: product("f32", fused),
      exactProduct: product("f64", fused),
      depthwise: depthwise(fused),
      pack: pack(),
    });
    if (WebAssembly.validate(bytes)) return bytes;
  }
  throw new DipError("This browser is too old to decode .dip files: it needs WebAssembly with SIMD.");
}

/** A memory, and the kernels that work in it. */
export class Kernels {
  constructor() {
    this.memory = new WebAssembly.Memory({ initial: 1 });
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(code()), { env: { memory: this.memory } });
    Object.assign(this, exports);
    this.free = 16; // address 0 stands for nothing
  }

  /** The address of so many new bytes, aligned to 16; views of the memory made before may be detached. */
  take(bytes) {
    const address = this.free;
    this.free += Math.ceil(bytes / 16) * 16;
    const missing = this.free - this.memory.buffer.byteLength;
    if (missing > 0) this.memory.grow(Math.ceil(missing / 65536));
    return address;
  }

  floats(address, count) {
    return new Float32Array(this.memory.buffer, address, count);
  }

  doubles(address, count) {
    return new Float64Array(this.memory.buffer, address, count);
  }
}

/**
 * Weights and biases as `product` wants them.
 * @param {number} outputs
 * @param {number} depth
 * @param weight function of output and depth
 * @param bias function of output
 * @param {Float32Array|Float64Array} packed of `packedLength(outputs, depth)` numbers
 */
export function packWeights(outputs, depth, weight, bias, packed) {
  let place = 0;
  for (let first = 0; first < outputs; first += ROWS) {
    for (let d = -1; d < depth; d++) {
      for (let output = first; output < first + ROWS; output++) {
        packed[place++] = output >= outputs ? 0 : d < 0 ? bias(output) : weight(output, d);
      }
    }
  }
}

export const padded = (outputs) => Math.ceil(outputs / ROWS) * ROWS;
export const packedLength = (outputs, depth) => padded(outputs) * (depth + 1);
