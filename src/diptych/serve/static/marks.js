// Detections drawn over a picture: masks, boxes, labels.

const LARGEST = 2048; // longest side of a canvas, in pixels

export const colour = (hue, opacity = 1) => `hsl(${Math.round(hue * 360)} 90% 55% / ${opacity})`;

/**
 * @param canvas over the picture
 * @param found what the server detected, or null for nothing
 * @param right whether labels belong at the right end of their boxes: the left one may be hidden
 * @param masks whether to show more than boxes
 */
export function draw(canvas, found, { right = false, masks = true } = {}) {
  const sharp = Math.min(devicePixelRatio, LARGEST / Math.max(canvas.clientWidth, canvas.clientHeight, 1));
  canvas.width = found ? Math.max(1, Math.round(canvas.clientWidth * sharp)) : 0;
  canvas.height = found ? Math.max(1, Math.round(canvas.clientHeight * sharp)) : 0;
  if (!found) return;
  const context = canvas.getContext("2d");
  const scale = canvas.width / found.width;
  const unit = canvas.width / canvas.clientWidth; // of the screen
  for (const one of masks ? found.detections : []) {
    context.drawImage(masked(one.mask, one.hue), 0, 0, canvas.width, canvas.height);
  }
  context.font = `600 ${11 * unit}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  context.lineWidth = 2 * unit;
  for (const one of [...found.detections].reverse()) {
    const [x, y, width, height] = one.box.map((side) => side * scale);
    context.strokeStyle = colour(one.hue);
    context.strokeRect(x, y, width, height);
    label(context, `${one.label} ${Math.round(one.score * 100)} %`, right ? x + width : x, y, one.hue, { unit, right });
  }
}

function label(context, text, x, y, hue, { unit, right }) {
  const width = context.measureText(text).width + 8 * unit;
  const height = 16 * unit;
  const left = Math.max(0, Math.min(right ? x - width : x, context.canvas.width - width));
  const top = y >= height ? y - height : Math.max(0, y);
  context.fillStyle = colour(hue);
  context.fillRect(left, top, width, height);
  context.fillStyle = "#111";
  context.fillText(text, left + 4 * unit, top + height / 2);
}

/** A mask of run lengths, column by column, as a canvas of its own. */
function masked({ size: [height, width], counts }, hue) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  context.fillStyle = colour(hue, 0.25);
  let at = 0;
  counts.forEach((count, number) => {
    const end = at + count;
    while (number % 2 && at < end) {
      const row = at % height;
      const run = Math.min(end - at, height - row);
      context.fillRect(Math.floor(at / height), row, 1, run);
      at += run;
    }
    at = end;
  });
  return canvas;
}
