/** Weights files: names, shapes and numbers of their tensors. */

import { DipError } from "./errors.js";

const KINDS = { F32: Float32Array, I32: Int32Array, I16: Int16Array, U8: Uint8Array, F16: Uint16Array };

/**
 * @param {string} url
 * @returns {Promise<Object>} tensors by name, {shape, data}; half precision is widened to Float32Array
 */
export async function load(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new DipError(`The codec's file ${url} cannot be loaded: the server says ${answer.status}.`);
  const buffer = await answer.arrayBuffer();
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  delete header.__metadata__;
  return Object.fromEntries(
    Object.entries(header).map(
      ([
        name,
        {
          dtype,
          shape,
          data_offsets: [start, stop],
        },
      ]) => {
        const data = new KINDS[dtype](buffer.slice(8 + length + start, 8 + length + stop));
        return [name, { shape, data: dtype === "F16" ? widened(data) : data }];
      },
    ),
  );
}

/** The numbers that 16 bits each stand for. */
function widened(halves) {
  const numbers = new Float32Array(halves.length);
  for (let k = 0; k < halves.length; k++) {
    const bits = halves[k];
    const exponent = (bits >> 10) & 31;
    const magnitude = (exponent ? 1024 + (bits & 1023) : bits & 1023) * STEPS[exponent];
    numbers[k] = bits & 0x8000 ? -magnitude : magnitude;
  }
  return numbers;
}

const STEPS = Float64Array.from({ length: 32 }, (_, exponent) => 2 ** (Math.max(exponent, 1) - 25));
