/** Workers, and the tasks that wait for one. */

import { DipError } from "./errors.js";

const MOST = 4; // workers: each keeps the codec's weights in its own memory

export class Pool {
  constructor() {
    this.idle = [];
    this.started = 0;
    this.waiting = [];
  }

  /** Has a task done by the next worker that is free: see worker.js. */
  run(task) {
    return new Promise((resolve, reject) => {
      this.waiting.push({ task, resolve, reject });
      this.next();
    });
  }

  next() {
    if (!this.waiting.length) return;
    const worker = this.idle.pop() ?? this.start();
    if (!worker) return;
    const { task, resolve, reject } = this.waiting.shift();
    worker.onmessage = ({ data: { result, error } }) => {
      if (error) reject(new DipError(error));
      else resolve(result);
      this.idle.push(worker);
      this.next();
    };
    worker.onerror = (event) => {
      event.preventDefault();
      worker.terminate();
      this.started--;
      reject(new DipError("The decoder's files cannot be loaded."));
      this.next();
    };
    worker.postMessage(task);
  }

  /** A new worker, if there may be one. */
  start() {
    if (this.started >= Math.min(MOST, navigator.hardwareConcurrency || 2)) return null;
    this.started++;
    return new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  }
}
