/**
 * .dip files in a browser.
 *
 *     import { open } from "./viewer/diptych.js";
 *     const file = await open(await (await fetch("photo.dip")).arrayBuffer());
 *     const picture = await file.decode("human");  // ImageData; "machine", "human" or 0 ... 1
 */

import { unpack } from "./container.js";
import { DipError } from "./errors.js";
import { part, planeOf, putPart, STRIDE, tilesOf, windowsOf } from "./geometry.js";
import { Pool } from "./pool.js";

export { DipError };

const MOST_PIXELS = 2 ** 25;
const MOST_SIDE = 2 ** 14; // of a canvas, in any browser
const CODECS = new URL("codecs/", import.meta.url);
const VIEWS = { machine: 0, human: 1 };

const pool = new Pool();
let codecs; // what codecs.json says, once it was asked for

/** Has other codecs used than those beside this module: as codecs.json tells them, with addresses of any kind. */
export function useCodecs(known) {
  codecs = Promise.resolve(known);
}

/**
 * Reads a file: all of it is checked, and its latents are decoded.
 * @param {ArrayBuffer|Uint8Array} data
 * @returns {Promise<DipFile>}
 * @throws {DipError} if it is damaged, or cannot be decoded here; the message is one sentence
 */
export async function open(data) {
  const start = performance.now();
  const { payloads, ...header } = unpack(new Uint8Array(data));
  if (header.width * header.height > MOST_PIXELS || Math.max(header.width, header.height) > MOST_SIDE) {
    throw new DipError(
      `A picture of ${header.width} x ${header.height} pixels is too large for a browser: ` +
        "'diptych decode' decodes it, or a region of it.",
    );
  }
  const codec = await codecOf(header.model);
  const plane = planeOf(header);
  const latents = new Int32Array(codec.latents * plane.height * plane.width);
  await Promise.all(
    tilesOf(header).map(async (area, tile) => {
      const { height, width } = area;
      const task = {
        task: "latents",
        codec,
        payload: payloads[tile].slice(),
        height,
        width,
        quality: header.quality,
      };
      putPart(latents, plane, area, await pool.run(task));
    }),
  );
  return new DipFile(header, codec, latents, data.byteLength, performance.now() - start);
}

async function codecOf(model) {
  codecs ??= known();
  const { weights, human, latents } = (await codecs)[model] ?? {};
  if (!weights) {
    const here = Object.keys(await codecs).join(", ");
    throw new DipError(
      `The file was written with codec ${model}, which is not in this page (it has ${here}): ` +
        "'diptych page --model FILE' writes one with it.",
    );
  }
  return { weights: new URL(weights, CODECS).href, human: human && new URL(human, CODECS).href, latents };
}

async function known() {
  try {
    return await (await fetch(new URL("codecs.json", CODECS))).json();
  } catch {
    codecs = undefined;
    throw new DipError("The list of codecs beside this page cannot be loaded.");
  }
}

/** A file whose latents are decoded. */
class DipFile {
  #codec;

  constructor({ width, height, quality, hint, model }, codec, latents, bytes, milliseconds) {
    Object.assign(this, { width, height, quality: quality / 100, hint, model, bytes, milliseconds, latents });
    this.hasHumanView = Boolean(codec.human);
    this.#codec = codec;
  }

  /**
   * One view of the picture, complete.
   * @param {string|number} view "machine", "human" or a number from 0 to 1 between them
   * @returns {Promise<ImageData>}
   */
  async decode(view = "human") {
    const position = VIEWS[view] ?? Number(view);
    if (!(position >= 0 && position <= 1)) {
      throw new DipError(`There is no view '${view}': use machine, human or a number from 0 to 1.`);
    }
    if (position && !this.hasHumanView)
      throw new DipError("This codec has no human view: show the machine's view.");
    const plane = planeOf(this);
    const picture = new ImageData(this.width, this.height);
    await Promise.all(
      windowsOf(plane).map(async ({ inner, outer }) => {
        const { height, width } = outer;
        const values = part(this.latents, plane, outer);
        const quality = Math.round(100 * this.quality);
        const pixels = await pool.run({
          task: "pixels",
          codec: this.#codec,
          values,
          height,
          width,
          quality,
          position,
        });
        paste(picture, pixels, inner, outer);
      }),
    );
    return picture;
  }
}

/** Puts the pixels of a window's inner part into the picture, as far as they are inside it. */
function paste(picture, pixels, inner, outer) {
  const [top, left] = [STRIDE * inner.top, STRIDE * inner.left];
  const width = Math.min(STRIDE * inner.width, picture.width - left);
  const height = Math.min(STRIDE * inner.height, picture.height - top);
  for (let y = 0; y < height; y++) {
    const row = (STRIDE * (inner.top - outer.top) + y) * STRIDE * outer.width;
    const start = 4 * (row + STRIDE * (inner.left - outer.left));
    picture.data.set(pixels.subarray(start, start + 4 * width), 4 * ((top + y) * picture.width + left));
  }
}
