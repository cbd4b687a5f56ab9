// The HTTP API as functions: a refusal becomes an Error with the server's own sentence.

const PATIENCE = 5; // times that "busy" is met with waiting

let token = new URLSearchParams(location.hash.slice(1)).get("token") ?? sessionStorage.getItem("token");
if (location.hash) {
  if (token) sessionStorage.setItem("token", token);
  history.replaceState(null, "", location.pathname); // out of sight, and out of the history
}

export class Unauthorized extends Error {}

export const hasToken = () => Boolean(token);

export function useToken(text) {
  token = text;
  sessionStorage.setItem("token", text);
}

async function ask(path, body) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  if (body) headers["Content-Type"] = "application/octet-stream";
  for (let attempt = 0; ; attempt++) {
    let answer;
    try {
      answer = await fetch(path, { method: body ? "POST" : "GET", headers, body });
    } catch {
      throw new Error("the server does not answer; has it been stopped?");
    }
    if (answer.ok) return answer;
    const wait = Number(answer.headers.get("Retry-After"));
    if (answer.status === 429 && attempt < PATIENCE) {
      await new Promise((resolve) => setTimeout(resolve, 1000 * Math.min(wait || 1, 5)));
      continue;
    }
    const sentence = await answer.json().then((problem) => problem.error, () => `the server answered ${answer.status}`);
    throw answer.status === 401 ? new Unauthorized(sentence) : new Error(sentence);
  }
}

export const json = async (path, body) => (await ask(path, body)).json();

/** A file that the server makes of `body`, and what it says about it. */
export async function file(path, body) {
  const answer = await ask(path, body);
  const facts = JSON.parse(answer.headers.get("Diptych-Facts") ?? "{}");
  return { blob: await answer.blob(), facts };
}

/** Does work again and again, as long as something was asked for meanwhile: always with the newest wishes. */
export class Latest {
  constructor(work) {
    this.work = work;
    this.asked = false;
    this.running = false;
  }

  async ask() {
    this.asked = true;
    if (this.running) return;
    this.running = true;
    while (this.asked) {
      this.asked = false;
      await this.work(() => this.asked);
    }
    this.running = false;
  }
}
