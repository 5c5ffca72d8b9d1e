// Requests to copy: with the digit in them, or for the file of a page.

import { copy } from "./copy.js";
import { encodeBytes } from "./service.js";

// Small enough to copy, large enough to be recognized.
const DRAWING = [56, "image/png"];
const PICTURE = [140, "image/jpeg"];

const ONE = {
  curl: (url, image) => `curl --json '{"image": "${image}"}' ${url}predict`,
  Python: (url, image) =>
    `import json, urllib.request\n\nbody = json.dumps({"image": "${image}"}).encode()\n` +
    `request = urllib.request.Request("${url}predict", body, {"Content-Type": "application/json"})\n` +
    `print(json.load(urllib.request.urlopen(request)))`,
  JavaScript: (url, image) =>
    `const answer = await fetch("${url}predict", {\n  method: "POST",\n  headers: {"Content-Type": "application/json"},\n` +
    `  body: JSON.stringify({image: "${image}"}),\n});\nconsole.log(await answer.json());`,
};
const PAGE = {
  curl: (url) => `curl --data-binary @page.jpg ${url}read`,
  Python: (url) =>
    `import json, urllib.request\n\nwith open("page.jpg", "rb") as file:\n` +
    `    request = urllib.request.Request("${url}read", file.read())\n` +
    `print(*json.load(urllib.request.urlopen(request))["lines"], sep="\\n")`,
  JavaScript: (url) =>
    `// file: a File or a Blob\nconst answer = await fetch("${url}read", {method: "POST", body: file});\n` +
    `console.log((await answer.json()).lines);`,
};

const texts = {};
for (const name of Object.keys(ONE)) {
  const item = Object.assign(document.createElement("div"), { className: "snippet" });
  const head = document.createElement("header");
  const title = Object.assign(document.createElement("h3"), { textContent: name });
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Copy" });
  button.setAttribute("aria-label", `Copy the ${name} code`);
  const block = document.createElement("pre");
  block.tabIndex = 0;
  block.setAttribute("aria-label", `${name} code`);
  texts[name] = block.appendChild(document.createElement("code"));
  button.addEventListener("click", () => copy(texts[name], button));
  head.append(title, button);
  item.append(head, block);
  document.getElementById("snippets").append(item);
}

export async function showCode(paper) {
  const file = paper.render(...(paper.picture ? PICTURE : DRAWING));
  show(ONE, encodeBytes(new Uint8Array(await file.arrayBuffer())), "These requests contain the digit above.");
}

export function showPageCode() {
  show(PAGE, null, "These requests read all digits in an image file.");
}

function show(snippets, image, text) {
  document.getElementById("code-text").textContent = text;
  for (const [name, snippet] of Object.entries(snippets)) texts[name].textContent = snippet(new URL(".", location).href, image);
}
