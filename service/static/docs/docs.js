// The page of the API: commands to copy, and calls to try.

import { copy } from "/page/copy.js";

const SHOWN = 20_000; // characters of an answer

for (const code of document.querySelectorAll(".sample code")) {
  code.textContent = code.textContent.replace("http://localhost:8000", location.origin);
}
for (const button of document.querySelectorAll(".copy")) {
  button.addEventListener("click", () => copy(button.parentElement.querySelector("code"), button));
}

// What the address points at is opened.
function openTarget() {
  const target = document.getElementById(location.hash.slice(1));
  if (target?.matches("details")) target.open = true;
}
addEventListener("hashchange", openTarget);
openTarget();

for (const form of document.querySelectorAll(".try")) {
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const shown = form.querySelector(".result");
    shown.hidden = false;
    shown.textContent = "…";
    try {
      shown.textContent = await textOf(await ask(form));
    } catch {
      shown.textContent = "The service does not answer.";
    }
  });
}

function ask(form) {
  const headers = {};
  const query = new URLSearchParams();
  let path = form.dataset.path;
  for (const input of form.querySelectorAll("input[name]")) {
    if (input.dataset.place === "path") path = path.replace(`{${input.name}}`, encodeURIComponent(input.value));
    else if (input.value && input.dataset.place === "query") query.set(input.name, input.value);
    else if (input.value) headers[input.name] = input.value;
  }
  let body;
  const files = form.querySelector(".file")?.files ?? [];
  if (form.querySelector(".file[multiple]")) {
    body = new FormData();
    for (const file of files) body.append("image", file);
  } else if (files.length) {
    body = files[0];
  } else if (form.querySelector("textarea")?.value) {
    body = form.querySelector("textarea").value;
    headers["Content-Type"] = "application/json";
  }
  return fetch(path + (query.size ? `?${query}` : ""), { method: form.dataset.method, headers, body });
}

async function textOf(response) {
  const type = response.headers.get("Content-Type") ?? "no body";
  const bytes = await response.arrayBuffer();
  const head = `${response.status} ${response.statusText}, ${type}, ${bytes.byteLength} bytes\n\n`;
  if (type.includes("octet-stream")) return head;
  const text = new TextDecoder().decode(bytes);
  const body = type.includes("json") ? JSON.stringify(JSON.parse(text), null, 1) : text;
  return head + (body.length > SHOWN ? `${body.slice(0, SHOWN)}…` : body);
}
