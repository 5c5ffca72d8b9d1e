// The page: sends what is on the canvas to the service, and shows the response.

import { showAlert, showAnswer, showInk, showNothing } from "./answer.js";
import { showCode } from "./code.js";
import * as corrections from "./corrections.js";
import { showNetwork } from "./network.js";
import { Paper } from "./paper.js";
import { RequestError, ask } from "./service.js";

const RETRY = 2000; // milliseconds until a failed request is repeated
const element = (id) => document.getElementById(id);

let version = 0; // of the canvas, counted up on every change
let asked = 0; // the version last sent
let lifted = true;
let busy = false;
let answered = false; // whether the prediction shown is for the current version

const paper = new Paper(element("paper"), (done) => {
  version += 1;
  lifted = done;
  answered = false;
  showState();
  read();
});

// One request at a time; then the latest version is sent, so that predictions keep up with the pen.
async function read() {
  if (busy || asked === version) return;
  busy = true;
  asked = version;
  const wasLifted = lifted;
  let wait = 0;
  try {
    if (paper.empty) {
      showNothing();
      showAlert("");
    } else {
      const image = paper.copy();
      const file = await paper.file();
      const answer = await ask("predict?show=image", file);
      if (asked === version || !wasLifted) {
        showAnswer(answer, image);
        showAlert("");
        answered = asked === version;
        showState();
      }
      if (wasLifted && asked === version) await explain(file, image);
    }
  } catch (error) {
    if (error instanceof RequestError) {
      showNothing();
      showAlert(`This image could not be read: ${error.message}.`);
    } else {
      showAlert("The service does not answer. Retrying…");
      asked = -1;
      wait = RETRY;
    }
  }
  busy = false;
  if (wait) setTimeout(read, wait);
  else read();
}

async function explain(file, image) {
  await showCode(paper);
  try {
    const explained = await ask("explain", file);
    showInk(explained, image);
    showNetwork(explained);
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    element("inside-status").textContent = `The layers cannot be shown: ${error.message}.`;
  }
}

function showState() {
  element("undo").disabled = element("clear").disabled = paper.empty;
  for (const button of element("labels").children) button.disabled = !answered;
}

element("undo").addEventListener("click", () => paper.undo());
element("clear").addEventListener("click", () => paper.clear());
element("pen").addEventListener("input", (event) => (paper.thickness = Number(event.target.value)));

// An image, chosen, photographed, dropped or pasted.
async function take(file) {
  if (!file) return;
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    bitmap = new OffscreenCanvas(1, 1); // the service may decode what the browser cannot
    bitmap.getContext("2d");
  }
  paper.show(file, bitmap);
}

for (const id of ["file", "camera"]) {
  element(id).addEventListener("change", async (event) => {
    await take(event.target.files[0]);
    event.target.value = ""; // so that the same file can be chosen again
  });
}
if (!matchMedia("(pointer: coarse)").matches) element("camera-button").hidden = true; // desktop browsers would only open a file

addEventListener("dragover", (event) => {
  event.preventDefault();
  element("paper").classList.add("dropping");
});
addEventListener("dragleave", () => element("paper").classList.remove("dropping"));
addEventListener("drop", (event) => {
  event.preventDefault();
  element("paper").classList.remove("dropping");
  take(event.dataTransfer.files[0]);
});
addEventListener("paste", (event) => take(event.clipboardData.files[0]));

// Corrections.
for (let digit = 0; digit < 10; digit++) {
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: String(digit), disabled: true });
  button.setAttribute("aria-label", `Correct to ${digit}`);
  button.addEventListener("click", async () => {
    await corrections.keep(await paper.file(), digit);
    answered = false; // so that it is stored only once
    showState();
    await showKept(`Saved as ${digit}. `);
  });
  element("labels").append(button);
}

async function showKept(before = "") {
  const count = await corrections.count();
  const corrected = count === 1 ? "1 correction is" : `${count} corrections are`;
  element("kept").textContent = count
    ? `${before}${corrected} stored in this browser only.`
    : "No corrections yet. They are stored in this browser only.";
  element("download").disabled = element("forget").disabled = !count;
}

element("download").addEventListener("click", async () => {
  const link = Object.assign(document.createElement("a"), {
    href: URL.createObjectURL(await corrections.pack()),
    download: "corrections.zip",
  });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
});
element("forget").addEventListener("click", async () => {
  if (!confirm("Delete all corrections stored in this browser?")) return;
  await corrections.forget();
  await showKept();
});

showNothing();
showState();
showKept().catch(() => (element("kept").textContent = "This browser does not store data for this page, so corrections cannot be saved."));
