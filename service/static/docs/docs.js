// The page of the API: commands to copy, and endpoints to try.

import { copy } from "../page/copy.js";

const SHOWN = 20_000; // characters of a response
const ROOT = new URL(".", location).href; // the service's, which a proxy may serve below its own

for (const sample of document.querySelectorAll(".sample")) {
  const [code, button] = sample.querySelectorAll("code, button");
  code.textContent = code.textContent.replace("http://localhost:8000/", ROOT);
  button.addEventListener("click", () => copy(code, button));
}

// Browsers scroll to a closed <details> and leave it closed.
function openTarget() {
  document.querySelector("details:target")?.setAttribute("open", "");
}
addEventListener("hashchange", openTarget);
openTarget();

for (const form of document.querySelectorAll(".try")) {
  const shown = form.querySelector(".result");
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    shown.hidden = false;
    shown.textContent = "…";
    shown.textContent = await send(form).then(textOf).catch(() => "The service does not answer.");
  });
}

function send(form) {
  const [headers, query] = [{}, new URLSearchParams()];
  let path = ROOT + form.dataset.path.slice(1);
  for (const { name, value, dataset } of form.querySelectorAll("input[name]")) {
    if (dataset.place === "path") path = path.replace(`{${name}}`, encodeURIComponent(value));
    else if (value && dataset.place === "query") query.set(name, value);
    else if (value) headers[name] = value;
  }
  const input = form.querySelector("[type=file]");
  let body = input?.files[0] ?? form.querySelector("textarea")?.value;
  if (input?.multiple) {
    body = new FormData();
    for (const file of input.files) body.append("image", file);
  } else if (body && !input?.files.length) headers["Content-Type"] = "application/json";
  return fetch(query.size ? `${path}?${query}` : path, { method: form.dataset.method, headers, body: body || undefined });
}

async function textOf(response) {
  const type = response.headers.get("Content-Type") ?? "no body";
  const text = type.includes("octet-stream") ? "" : await response.text();
  const body = type.includes("json") ? JSON.stringify(JSON.parse(text), null, 1) : text;
  const shown = body.length > SHOWN ? `${body.slice(0, SHOWN)}…` : body;
  return `${response.status} ${response.statusText}, ${type}\n\n${shown}`;
}
