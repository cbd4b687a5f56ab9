// The server's OpenAPI description, for people.

const element = (kind, text = "") => Object.assign(document.createElement(kind), { textContent: text });

function table(title, rows) {
  if (!rows.length) return [];
  const body = element("table");
  for (const [name, meaning] of rows) {
    const row = body.insertRow();
    row.insertCell().textContent = name;
    row.insertCell().textContent = meaning;
  }
  return [element("h3", title), body];
}

function meaning({ schema, description = "", required }) {
  const range = schema.enum ? `One of ${schema.enum.join(", ")}` : "minimum" in schema ? `${schema.minimum} to ${schema.maximum}` : "";
  const usual = "default" in schema ? `Default ${schema.default}` : required ? "Required" : "";
  return [description, range && `${range}.`, usual && `${usual}.`].filter(Boolean).join(" ");
}

function example(method, path, route) {
  const [kind] = Object.keys(route.requestBody?.content ?? {});
  const [answer] = Object.keys(route.responses[200].content ?? {});
  const body = kind ? ` -H 'Content-Type: application/octet-stream' --data-binary @${kind === "image/*" ? "photo.jpg" : "photo.dip"}` : "";
  const output = { "application/x-dip": " -o photo.dip", "image/*": " -o picture.png", "image/png": " -o picture.png" }[answer] ?? "";
  return `curl${method === "get" || kind ? "" : ` -X ${method.toUpperCase()}`} '${location.origin}${path}'${body}${output}`;
}

function folded(title, rows) {
  const details = element("details");
  details.append(element("summary", title), ...table("", rows));
  return details;
}

const api = await (await fetch("/openapi.json")).json();
document.getElementById("about").textContent = api.info.description;
for (const [path, methods] of Object.entries(api.paths)) {
  for (const [method, route] of Object.entries(methods)) {
    const article = element("article");
    const answers = Object.entries(route.responses).map(([status, { description }]) => [status, description]);
    article.append(
      element("h2", `${method.toUpperCase()} ${path}`),
      element("p", route.description),
      ...table("Parameters", (route.parameters ?? []).map((one) => [one.name, meaning(one)])),
      ...table("Body", Object.keys(route.requestBody?.content ?? {}).map((kind) => [kind, "The file itself."])),
      element("pre", example(method, path, route)),
      folded("Answers", answers),
    );
    document.getElementById("routes").append(article);
  }
}
const raw = element("p");
raw.append("For programs: ", Object.assign(element("a", "openapi.json"), { href: "/openapi.json" }));
document.getElementById("routes").append(raw);
