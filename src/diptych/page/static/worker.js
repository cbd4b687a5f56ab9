/** Does, beside the page, what takes time: tiles to latents, windows of latents to pixels. */

import { EntropyModel } from "./entropy.js";
import { DipError } from "./errors.js";
import { Kernels } from "./kernels.js";
import { load } from "./safetensors.js";
import { Synthesis } from "./synthesis.js";

const opened = new Map();

/** The codec whose files are at these addresses, kept for the next task. */
async function codecAt({ weights, human }) {
  if (!opened.has(weights)) opened.set(weights, await open(weights, human));
  return opened.get(weights);
}

async function open(weights, human) {
  const [arrays, layers] = await Promise.all([load(weights), human ? load(human) : {}]);
  const kernels = new Kernels();
  return { entropy: new EntropyModel(arrays, kernels), synthesis: new Synthesis(arrays, layers, kernels) };
}

const tasks = {
  latents: ({ entropy }, { payload, height, width, quality }) => entropy.decode(payload, height, width, quality),
  pixels: ({ synthesis }, { values, height, width, quality, position }) =>
    synthesis.run(values, height, width, quality, position),
};

onmessage = async ({ data: { task, codec, ...details } }) => {
  try {
    const result = tasks[task](await codecAt(codec), details);
    postMessage({ result }, [result.buffer]);
  } catch (error) {
    if (!(error instanceof DipError)) opened.delete(codec.weights); // its memory may be in any state
    postMessage({ error: sentence(error) });
  }
};

function sentence(error) {
  if (error instanceof DipError) return error.message;
  if (error instanceof RangeError) return "The picture takes more memory than the browser has.";
  if (error instanceof TypeError && /fetch/i.test(error.message)) return "The codec's weights cannot be loaded.";
  return `The decoder failed: ${error.message}`;
}
