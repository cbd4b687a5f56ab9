// The page: what the user wishes (file, dials, boxes), made by the server, shown.

import * as browser from "./browser.js";
import * as folder from "./folder.js";
import { colour, draw } from "./marks.js";
import { Latest, Unauthorized, file, hasToken, json, useToken } from "./server.js";

const $ = (id) => document.getElementById(id);
const number = (value) => value.toLocaleString("en");
const made = new Map(); // by what it is: what it was made from, and the result

const seen = { left: null, right: null }; // detections that are drawn
let opened = null; // { name, photo } or { name, dip }
let health = null;

const latest = new Latest(refresh);

/** `result` of `make()`, made again only when `from` has changed. */
async function product(what, from, make) {
  const before = made.get(what);
  if (before?.from === from) return before.result;
  const result = await make();
  if (before?.result.url) URL.revokeObjectURL(before.result.url);
  made.set(what, { from, result });
  return result;
}

async function picture(what, from, path, body) {
  return product(what, from, async () => loaded(await file(path, body)));
}

/** The address of a picture that is ready to be shown, and what is known of it. */
async function loaded({ blob, facts }) {
  const url = URL.createObjectURL(blob);
  const image = new Image();
  image.src = url;
  await image.decode();
  return { url, facts };
}

async function refresh(stale) {
  if (!opened) return;
  const wish = { ...opened, quality: $("quality").value, view: $("view").value, left: $("reference").value };
  document.body.classList.add("busy");
  try {
    for (const step of steps(wish)) {
      await step();
      if (stale()) return;
    }
    if (wish.number === opened.number) say("");
    complain(null);
  } catch (error) {
    if (error instanceof Unauthorized) $("token-form").hidden = false;
    if (wish.number === opened.number) complain(error.message);
  } finally {
    document.body.classList.remove("busy");
  }
}

/** From the file to the screen; each step leaves the page as good as it can be so far. */
function* steps(wish) {
  let dip = { blob: wish.dip, id: `${wish.number}` };
  if (wish.photo) {
    yield async () => {
      say("Reading the photo");
      const { url, facts } = await picture("original", wish.number, "/original", wish.photo);
      fit(facts);
      if (wish.left === "original") put("left", url);
      $("photo-bytes").textContent = `${number(wish.photo.size)} bytes`;
    };
    yield async () => {
      say("Encoding");
      dip = await product("dip", `${wish.number} ${wish.quality}`, async () => ({
        ...(await file(`/encode?quality=${wish.quality}`, wish.photo)),
        id: `${wish.number} ${wish.quality}`,
      }));
      tell(dip.facts, dip.facts.notes);
    };
  }
  const decoded = (what, view) =>
    product(what, `${dip.id} ${view}`, async () => {
      const here = wish.dip && (await browser.decoded(dip.blob, view)); // the dial moves without a request
      return loaded(here || (await file(`/decode?view=${view}`, dip.blob)));
    });
  yield async () => {
    say("Decoding");
    const { url, facts } = await decoded("right", wish.view);
    fit(facts);
    tell(facts);
    put("right", url);
    $("right-name").textContent = `Right: ${viewName(wish.view)} view`;
    offer(wish, dip.blob, url);
  };
  if (wish.left !== "original") {
    yield async () => put("left", (await decoded(`left`, wish.left)).url);
  }
  yield () => detections(wish, dip);
  yield () => map(dip);
}

async function detections(wish, dip) {
  $("found").hidden = !$("detections").checked;
  if ($("found").hidden) return unmark();
  say("Detecting");
  const look = (side, from, path, body) => product(`seen ${side}`, from, () => json(path, body));
  const left =
    wish.left === "original"
      ? await look("left", `${wish.number} original`, "/detect", wish.photo)
      : await look("left", `${dip.id} ${wish.left}`, `/detect?view=${wish.left}`, dip.blob);
  const right = await look("right", `${dip.id} ${wish.view}`, `/detect?view=${wish.view}`, dip.blob);
  $("found-left-name").textContent = $("reference").selectedOptions[0].textContent;
  $("found-right-name").textContent = `${viewName(wish.view)} view`.replace(/^./, (first) => first.toUpperCase());
  list("left", left);
  list("right", right);
  const [before, now] = [left, right].map((found) => found.detections.length);
  $("found-words").textContent = `${before} object${before === 1 ? "" : "s"} on the left, ${now} on the right`;
}

function unmark() {
  seen.left = seen.right = null;
  ["left", "right"].forEach(mark);
}

function mark(side) {
  const right = side === "right";
  draw($(`${side}-marks`), seen[side], { right, masks: !(right && $("map").checked) });
}

function list(side, found) {
  seen[side] = found;
  mark(side);
  const items = found.detections.map((one) => {
    const item = document.createElement("li");
    item.textContent = `${one.label} ${Math.round(one.score * 100)} %`;
    item.style.borderColor = colour(one.hue);
    return item;
  });
  $(`found-${side}`).replaceChildren(...items);
}

async function map(dip) {
  const wanted = $("map").checked;
  if (wanted) {
    say("Comparing the views");
    const { url, facts } = await picture("heat", dip.id, "/map", dip.blob);
    put("heat", url);
    $("legend").title = facts.summary;
  }
  $("heat").hidden = $("legend").hidden = !wanted;
}

function fit({ width, height }) {
  const pair = $("pair");
  const zoom = Number($("zoom").value);
  const box = $("scroll");
  $("show").hidden = false;
  const room = parseFloat(getComputedStyle(box).maxHeight);
  const fitted = Math.min(box.clientWidth / width, room / height, 4);
  const scale = zoom ? zoom / devicePixelRatio : fitted;
  pair.style.width = `${width * scale}px`;
  pair.style.height = `${height * scale}px`;
  pair.classList.toggle("magnified", scale * devicePixelRatio >= 2);
  pair.dataset.size = JSON.stringify({ width, height });
}

function refit() {
  if (!$("pair").dataset.size) return;
  fit(JSON.parse($("pair").dataset.size));
  ["left", "right"].forEach(mark);
}

function put(id, url) {
  if ($(id).src !== url) $(id).src = url;
}

function tell(facts, notes = null) {
  $("facts").hidden = false;
  $("bytes").textContent = `${number(facts.bytes)} bytes`;
  $("bpp").textContent = facts.bpp.toFixed(3);
  $("size").textContent = `${number(facts.width)} × ${number(facts.height)}`;
  $("photo-fact").hidden = !opened.photo;
  if (!opened.photo) {
    $("quality").value = facts.quality;
    $("quality-value").textContent = facts.quality;
  }
  if (!notes) return;
  $("notes").replaceChildren(
    ...notes.map((note) => Object.assign(document.createElement("li"), { textContent: `Note: ${note}.` })),
  );
}

function offer(wish, dip, url) {
  const stem = wish.name.replace(/\.[^.]*$/, "") || "picture";
  if ($("save-dip").dip !== dip) {
    URL.revokeObjectURL($("save-dip").href);
    Object.assign($("save-dip"), { dip, href: URL.createObjectURL(dip), download: `${stem}.dip` });
  }
  Object.assign($("save-picture"), { href: url, download: `${stem}-${viewName(wish.view)}.png` });
  $("downloads").hidden = false;
}

function viewName(view) {
  return { 0: "machine", 1: "human" }[Number(view)] ?? Number(view).toFixed(2);
}

function say(text) {
  $("status").textContent = text && `${text} …`;
}

function complain(sentence) {
  $("error").hidden = !sentence;
  $("error").textContent = sentence ? sentence[0].toUpperCase() + sentence.slice(1) : "";
  if (sentence) say("");
}

/** Show a file: a File, or a function that fetches it. */
async function open(source) {
  try {
    const chosen = typeof source === "function" ? await source() : source;
    if (health && chosen.size > health.max_upload_bytes) {
      throw new Error(`this file is larger than the ${number(health.max_upload_bytes)} bytes that the server takes`);
    }
    const start = new Uint8Array(await chosen.slice(0, 3).arrayBuffer());
    const isDip = String.fromCharCode(...start) === "DIP";
    opened = { name: chosen.name, number: (opened?.number ?? 0) + 1, [isDip ? "dip" : "photo"]: chosen };
    clear(isDip);
    latest.ask();
  } catch (error) {
    complain(error.message);
  }
}

function openOwn(chosen) {
  folder.press(null);
  open(chosen);
}

function clear(isDip) {
  complain(null);
  for (const id of ["left", "right", "heat"]) $(id).removeAttribute("src");
  unmark();
  for (const id of ["facts", "downloads", "found"]) $(id).hidden = true;
  $("notes").replaceChildren();
  $("drop").classList.add("small");
  $("dials").disabled = false;
  $("quality").disabled = isDip;
  $("detections").disabled = health?.task === false;
  $("map").disabled = $("view").disabled = health?.human_view === false;
  const original = $("reference").options[0];
  original.disabled = isDip;
  if (isDip && $("reference").value === "original") $("reference").value = "machine";
  if (!isDip) $("reference").value = "original";
}

function listen() {
  $("file").addEventListener("change", ({ target }) => {
    if (target.files[0]) openOwn(target.files[0]);
    target.value = "";
  });
  addEventListener("dragover", (event) => {
    event.preventDefault();
    $("drop").classList.add("over");
  });
  addEventListener("dragleave", () => $("drop").classList.remove("over"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    $("drop").classList.remove("over");
    if (event.dataTransfer.files[0]) openOwn(event.dataTransfer.files[0]);
  });
  $("drop").addEventListener("keydown", (event) => ["Enter", " "].includes(event.key) && $("file").click());
  $("at").addEventListener("input", ({ target }) => $("pair").style.setProperty("--at", `${target.value}%`));
  $("quality").addEventListener("input", ({ target }) => ($("quality-value").textContent = target.value));
  $("view").addEventListener("input", ({ target }) => ($("view-value").textContent = viewName(target.value)));
  for (const id of ["quality", "view", "reference", "detections", "map"]) {
    $(id).addEventListener("input", () => latest.ask());
  }
  $("zoom").addEventListener("input", () => {
    refit();
    const [box, pair] = [$("scroll"), $("pair")];
    box.scrollLeft = ($("at").value / 100) * pair.offsetWidth - box.clientWidth / 2;
    box.scrollTop = (pair.offsetHeight - box.clientHeight) / 2;
  });
  addEventListener("resize", refit);
  $("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    useToken($("token").value);
    start();
  });
}

async function start() {
  try {
    health = await json("/health");
    if (!health.human_view) {
      $("view").value = 0;
      $("view-value").textContent = "machine";
    }
    $("token-form").hidden = !health.needs_token || hasToken();
    if (!$("token-form").hidden) return;
    if (health.folder) await folder.list(open);
    latest.ask();
  } catch (error) {
    $("token-form").hidden = !(error instanceof Unauthorized);
    complain(error.message);
  }
}

listen();
start();
