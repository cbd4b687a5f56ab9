/** The page: a file is dropped, the dial is moved, both views are shown, one is downloaded. */

import { DipError, open } from "./diptych.js";
import "./dip-image.js";

const ids = [
  "drop",
  "file",
  "show",
  "pair",
  "at",
  "machine",
  "chosen",
  "view",
  "view-value",
  "dials",
  "save",
  "error",
  "status",
];
const [drop, file, show, pair, at, machine, chosen, view, viewValue, dials, save, error, status] = ids.map(byId);
let name = "";
let current = null;
let asked = 0; // files, of which only the last is shown

function byId(id) {
  return document.getElementById(id);
}

async function take(given) {
  if (!given) return;
  const mine = ++asked;
  busy(`Reading ${given.name}`);
  try {
    const opened = await open(await given.arrayBuffer());
    if (mine === asked) shown(given.name, opened);
  } catch (problem) {
    if (mine === asked)
      failed(problem instanceof DipError ? problem.message : `The file cannot be read: ${problem.message}`);
  }
}

function shown(called, opened) {
  name = called.replace(/\.dip$/i, "");
  current = opened;
  show.hidden = byId("downloads").hidden = error.hidden = true;
  byId("facts").hidden = false;
  drop.classList.add("small");
  dials.disabled = !opened.hasHumanView;
  view.value = opened.hasHumanView ? (opened.hint ?? 1) : 0;
  byId("no-human").hidden = opened.hasHumanView;
  pair.style.setProperty("--ratio", opened.width / opened.height);
  pair.style.setProperty("--width", `${opened.width}px`);
  tell(opened);
  machine.file = opened;
  turn();
  chosen.file = opened;
}

function tell(opened) {
  const facts = {
    bytes: `${opened.bytes.toLocaleString("en")} bytes`,
    bpp: ((8 * opened.bytes) / (opened.width * opened.height)).toFixed(3),
    size: `${opened.width} × ${opened.height}`,
    quality: opened.quality,
    codec: opened.model,
    hint: opened.hint === null ? "none" : opened.hint.toFixed(2),
  };
  for (const [id, fact] of Object.entries(facts)) byId(id).textContent = fact;
}

/** The place of the dial as a word, or a number. */
const place = () => ({ 0: "machine", 1: "human" })[view.value] ?? view.value;

function turn() {
  viewValue.textContent = place();
  byId("right-name").textContent = `Right: ${place()} view`;
  chosen.view = view.value;
  busy("Painting");
}

/** Whether a picture shows the current file, and the view that was asked for last. */
const isRight = ({ painted, view }) => painted?.file === current && painted.view === view;

function failed(sentence) {
  error.textContent = sentence;
  error.hidden = false;
  show.hidden = byId("facts").hidden = byId("downloads").hidden = true;
  drop.classList.remove("small");
  dials.disabled = true;
  idle();
}

function busy(what) {
  document.body.classList.add("busy");
  save.disabled = true;
  status.textContent = what;
}

function idle() {
  document.body.classList.remove("busy");
  save.disabled = false;
  status.textContent = "";
}

function download() {
  chosen.canvas.toBlob((png) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(png);
    link.download = `${name}-${place()}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }, "image/png");
}

view.addEventListener("input", () => {
  if (chosen.view !== view.value) turn();
});
for (const picture of [machine, chosen]) {
  picture.addEventListener("load", () => {
    if (![machine, chosen].every(isRight)) return;
    show.hidden = byId("downloads").hidden = false;
    idle();
  });
  picture.addEventListener("error", ({ message }) => failed(message));
}
at.addEventListener("input", () => pair.style.setProperty("--at", `${at.value}%`));
file.addEventListener("change", () => {
  take(file.files[0]);
  file.value = "";
});
save.addEventListener("click", download);
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  drop.classList.add("over");
});
document.addEventListener("dragleave", ({ relatedTarget }) => relatedTarget || drop.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  take(event.dataTransfer.files[0]);
});
document.body.classList.add("ready");
