/** Where things lie in the plane of latents: tiles for the entropy coder, windows for the transform. */

export const STRIDE = 16; // pixels of a latent, each way
const WINDOW = 64; // side, in latents, of what the transform computes at a time
const MARGIN = 6; // latents of context around a window: the receptive field of g_s

/** Areas are {top, left, height, width}. */
export function planeOf({ width, height }) {
  return { top: 0, left: 0, height: Math.ceil(height / STRIDE), width: Math.ceil(width / STRIDE) };
}

/** The latents of every tile, in reading order. */
export function tilesOf(header) {
  const plane = planeOf(header);
  return cut(plane, header.tile / STRIDE || Math.max(plane.height, plane.width));
}

/** Windows that cover a plane: {inner, outer}, each alone and with the margin that it needs. */
export function windowsOf(plane) {
  return cut(plane, WINDOW).map((inner) => {
    const [top, left] = [Math.max(inner.top - MARGIN, 0), Math.max(inner.left - MARGIN, 0)];
    const bottom = Math.min(inner.top + inner.height + MARGIN, plane.height);
    const right = Math.min(inner.left + inner.width + MARGIN, plane.width);
    return { inner, outer: { top, left, height: bottom - top, width: right - left } };
  });
}

function cut({ height, width }, side) {
  const areas = [];
  for (let top = 0; top < height; top += side) {
    for (let left = 0; left < width; left += side) {
      areas.push({ top, left, height: Math.min(side, height - top), width: Math.min(side, width - left) });
    }
  }
  return areas;
}

/** Copies an area of latents `(M, plane.height, plane.width)` into one of its own, or back. */
export function part(latents, plane, area) {
  const channels = latents.length / (plane.height * plane.width);
  const out = new Int32Array(channels * area.height * area.width);
  eachRow(channels, plane, area, (from, to) => out.set(latents.subarray(from, from + area.width), to));
  return out;
}

export function putPart(latents, plane, area, values) {
  const channels = latents.length / (plane.height * plane.width);
  eachRow(channels, plane, area, (to, from) => latents.set(values.subarray(from, from + area.width), to));
}

function eachRow(channels, plane, area, copy) {
  for (let channel = 0, place = 0; channel < channels; channel++) {
    for (let y = 0; y < area.height; y++, place += area.width) {
      copy((channel * plane.height + area.top + y) * plane.width + area.left, place);
    }
  }
}
