/**
 * `<dip-image src="photo.dip" view="human" alt="A street">`: as `<img>`, for .dip files.
 *
 * `view` is machine, human or a number from 0 to 1; without it the human view is shown, or the machine's if it has
 * no other. Events are `load` and `error`; an error is also shown in place of the picture. In scripts, `file` is
 * what `open` of diptych.js returns, and may be set instead of `src`; `canvas` holds the picture,
 * and `painted` says of which file and view it is.
 */

import { DipError, open } from "./diptych.js";

const STYLE = new CSSStyleSheet();
STYLE.replaceSync(`
  :host { display: inline-block; max-width: 100%; }
  :host([hidden]) { display: none; }
  canvas { display: block; width: 100%; height: auto; }
  [hidden] { display: none; }`);

export class DipImage extends HTMLElement {
  static observedAttributes = ["src", "view", "alt"];
  #file = null;
  #wanted = 0; // counts what was asked for: only the last is shown
  #running = false;

  constructor() {
    super();
    this.attachShadow({ mode: "open" }).innerHTML =
      '<canvas role="img" hidden></canvas><span role="alert" hidden></span>';
    this.shadowRoot.adoptedStyleSheets = [STYLE];
    this.canvas = this.shadowRoot.querySelector("canvas");
    this.alert = this.shadowRoot.querySelector("span");
  }

  get file() {
    return this.#file;
  }

  set file(file) {
    this.#show(() => file);
  }

  get src() {
    return this.getAttribute("src") ?? "";
  }

  set src(src) {
    this.setAttribute("src", src);
  }

  get view() {
    return this.getAttribute("view") ?? (this.#file?.hasHumanView === false ? "machine" : "human");
  }

  set view(view) {
    this.setAttribute("view", view);
  }

  attributeChangedCallback(name, before, now) {
    if (name === "alt") this.canvas.setAttribute("aria-label", now ?? "");
    else if (name === "src" && now) this.#show(() => fetched(now));
    else if (this.find && before !== now) this.#show(this.find);
  }

  /** Shows what becomes of a file; of several calls at once, the first and the last. */
  async #show(find) {
    this.find = find;
    this.#wanted++;
    if (this.#running) return;
    this.#running = true;
    for (let begun = 0; begun !== this.#wanted;) {
      begun = this.#wanted;
      await this.#decode(this.find, () => begun === this.#wanted);
    }
    this.#running = false;
  }

  async #decode(find, current) {
    try {
      const file = await find();
      if (!current()) return;
      this.#file = file;
      this.find = () => file;
      const { view } = this;
      const picture = await file.decode(view);
      Object.assign(this.canvas, { width: picture.width, height: picture.height });
      this.canvas.getContext("2d").putImageData(picture, 0, 0);
      this.painted = { file, view };
      this.#told("");
      this.dispatchEvent(new Event("load"));
    } catch (error) {
      if (!current()) return;
      this.#file = null;
      this.#told(error instanceof DipError ? error.message : `The picture cannot be shown: ${error.message}`);
      this.dispatchEvent(new ErrorEvent("error", { message: this.alert.textContent }));
    }
  }

  #told(problem) {
    this.canvas.hidden = Boolean(problem);
    this.alert.hidden = !problem;
    this.alert.textContent = problem;
  }
}

async function fetched(src) {
  const answer = await fetch(src).catch(() => null);
  if (!answer?.ok) throw new DipError(`${src} cannot be loaded.`);
  return open(await answer.arrayBuffer());
}

customElements.define("dip-image", DipImage);
