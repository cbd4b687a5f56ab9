// The pictures of the folder that the server was started with, as buttons.

import { file, json } from "./server.js";

const $ = (id) => document.getElementById(id);
const path = (name) => name.split("/").map(encodeURIComponent).join("/");

let queue = Promise.resolve(); // one thumbnail after the other, so that they do not crowd out the work on a picture

export async function list(open) {
  const listing = await json("/folder");
  $("folder").hidden = false;
  $("folder-name").textContent = listing.files.length ? listing.name : `No pictures in ${listing.name}`;
  $("left-out").textContent = listing.left_out ? `and ${listing.left_out.toLocaleString("en")} more, not shown` : "";
  $("left-out").title = listing.why.join("\n");
  const seen = new IntersectionObserver((entries) => entries.filter((entry) => entry.isIntersecting).forEach(load));
  $("thumbnails").replaceChildren(...listing.files.map(({ name }) => button(name, open, seen)));

  function load({ target }) {
    seen.unobserve(target);
    queue = queue.then(() => picture(target)).catch(() => {});
  }
}

function button(name, open, seen) {
  const made = document.createElement("button");
  const [frame, caption] = [document.createElement("i"), document.createElement("span")];
  const kind = name.slice(name.lastIndexOf(".") + 1).toLowerCase();
  frame.textContent = `.${kind}`;
  caption.textContent = made.title = name;
  made.type = "button";
  made.dataset.name = name;
  made.append(frame, caption);
  made.addEventListener("click", async () => {
    press(made);
    await open(async () => new File([(await file(`/folder/${path(name)}`)).blob], name.split("/").at(-1)));
  });
  if (kind !== "dip") seen.observe(made);
  return made;
}

async function picture(made) {
  const { blob } = await file(`/thumbnail/${path(made.dataset.name)}`);
  const image = new Image();
  image.alt = "";
  image.src = URL.createObjectURL(blob);
  made.firstChild.replaceChildren(image);
}

/** Show which of the buttons stands for the picture on the page; none for a file that was dropped. */
export function press(one) {
  for (const made of $("thumbnails").children) made.setAttribute("aria-pressed", String(made === one));
}
