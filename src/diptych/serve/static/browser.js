// Stored .dip files, decoded in the browser by the modules of `diptych page`, with codecs that the server gives.

import { open, useCodecs } from "./decoder/diptych.js";
import { file, json } from "./server.js";

let codecs = null; // a promise of those that the server has
let read = {}; // the .dip file that was read last

/** A view of a .dip file as PNG, and what is known of it; null where this fails: the server may know better. */
export async function decoded(dip, view) {
  try {
    await (codecs ??= fetched());
    if (read.dip !== dip) read = { dip, opened: await open(await dip.arrayBuffer()) };
    const { width, height, bytes, quality } = read.opened;
    const canvas = new OffscreenCanvas(width, height);
    canvas.getContext("2d").putImageData(await read.opened.decode(view), 0, 0);
    const facts = { width, height, bytes, quality, bpp: (8 * bytes) / (width * height) };
    return { blob: await canvas.convertToBlob({ type: "image/png" }), facts };
  } catch {
    return null;
  }
}

/** Fetch the codecs with the token, which the decoder does not know. */
async function fetched() {
  try {
    const known = await json("/codecs/codecs.json");
    const address = async (name) => name && URL.createObjectURL((await file(`/codecs/${name}`)).blob);
    for (const codec of Object.values(known)) {
      for (const part of ["weights", "human"]) codec[part] = await address(codec[part]);
    }
    useCodecs(known);
  } catch (error) {
    codecs = null;
    throw error;
  }
}
