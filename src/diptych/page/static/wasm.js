/**
 * A WebAssembly assembler for small loops: expressions are nested arrays of bytes, a module is made of functions.
 *
 * Only what the kernels need. Numbers of instructions are those of the WebAssembly specification.
 */

const TYPES = { i32: 0x7f, f32: 0x7d, f64: 0x7c, v128: 0x7b };
const SIMD = 0xfd;

/** Unsigned LEB128. */
const number = (value) => (value < 128 ? [value] : [(value & 127) | 128, number(value >>> 7)]);
/** Signed LEB128 of a small or large integer. */
const signed = (value) => (value >= -64 && value < 64 ? [value & 127] : [(value & 127) | 128, signed(value >> 7)]);
const vector = (items) => [number(items.length), items];
const name = (text) => vector([...new TextEncoder().encode(text)]);
const bytes = (tree) => tree.flat(Infinity);
const sized = (tree) => vector(bytes(tree));
const section = (id, tree) => [id, sized(tree)];

/** A function's variables by name; `get.x` and `set.x(value)` are expressions on the variable x. */
export class Variables {
  constructor(parameters, locals) {
    this.parameters = Object.values(parameters);
    this.locals = Object.values(locals);
    const names = [...Object.keys(parameters), ...Object.keys(locals)];
    this.get = Object.fromEntries(names.map((each, place) => [each, [0x20, number(place)]]));
    this.set = Object.fromEntries(names.map((each, place) => [each, (value) => [value, 0x21, number(place)]]));
  }
}

export const int = (value) => [0x41, signed(value)];
export const add = (a, b) => [a, b, 0x6a];
export const subtract = (a, b) => [a, b, 0x6b];
export const multiply = (a, b) => [a, b, 0x6c];
export const differ = (a, b) => [a, b, 0x47];
/** Runs `body` once, and again as long as `condition` is not zero. */
export const repeat = (body, condition) => [0x03, 0x40, body, condition, 0x0d, 0x00, 0x0b];
export const when = (condition, body) => [condition, 0x04, 0x40, body, 0x0b];
export const simd = (instruction, ...operands) => [operands, SIMD, number(instruction)];
const memory = (instruction, offset) => [SIMD, number(instruction), 0, number(offset)];
export const load = (address, offset = 0) => [address, memory(0x00, offset)];
export const store = (address, value, offset = 0) => [address, value, memory(0x0b, offset)];

/** Four floats, or two doubles, at a time. */
export const LANES = {
  f32: { bytes: 4, load: 0x09, splat: 0x13, add: 0xe4, multiply: 0xe6, least: 0xea, most: 0xeb, fused: 0x105 },
  f64: { bytes: 8, load: 0x0a, splat: 0x14, add: 0xf0, multiply: 0xf2, least: 0xf6, most: 0xf7, fused: 0x107 },
};
export const FLOOR_F64 = 0x75;
/** A number of memory in all lanes. */
export const loadSplat = (lanes, address, offset) => [address, memory(lanes.load, offset)];

/**
 * A module that imports its memory as `env.memory`.
 * @param {Object} functions by the name they are exported under: {variables: Variables, body: expression}
 * @returns {Uint8Array}
 */
export function module(functions) {
  const all = Object.entries(functions);
  const types = all.map(([, { variables }]) => [0x60, vector(variables.parameters.map((type) => TYPES[type])), 0]);
  const codes = all.map(([, { variables, body }]) =>
    sized([number(variables.locals.length), variables.locals.map((type) => [1, TYPES[type]]), body, 0x0b]),
  );
  return Uint8Array.from(
    bytes([
      [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
      section(1, vector(types)),
      section(2, vector([[name("env"), name("memory"), 0x02, 0x00, 0]])),
      section(3, vector(all.map((_, place) => number(place)))),
      section(7, vector(all.map(([each], place) => [name(each), 0x00, number(place)]))),
      section(10, vector(codes)),
    ]),
  );
}
