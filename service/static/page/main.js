// The page: sends what is on the canvas to the service, and shows the response.

import { seenFile, showAlert, showAnswer, showInk, showNothing } from "./answer.js";
import { showCode, showPageCode } from "./code.js";
import * as corrections from "./corrections.js";
import { showNetwork } from "./network.js";
import { Paper } from "./paper.js";
import { showReading } from "./reading.js";
import { offerSamples } from "./samples.js";
import { RequestError, ask } from "./service.js";

const RETRY = 2000; // milliseconds until a failed request is repeated
const SETTLED = 150; // milliseconds until the layers of a digit that is pointed at are fetched
const SMALL = 0.25; // of an image's longer side: a digit that is smaller may not be the only one
const element = (id) => document.getElementById(id);

let version = 0; // of the canvas, counted up on every change
let asked = 0; // the version last sent
let lifted = true;
let busy = false;
let subject = null; // the file of the digit that is shown, if that is of the current version
let stored = null; // the file that was stored last, which is stored only once
let mode = "one"; // what is shown: `one` digit, or a `page` of them
let chosen = null; // the mode that the visitor chose for this image
let picture = null; // the image on the canvas
let pointing = 0; // the timer until the layers are fetched

const paper = new Paper(element("paper"), (done) => {
  lifted = done;
  if (paper.empty || paper.picture !== picture) chosen = null;
  picture = paper.picture;
  change();
});

function change() {
  version += 1;
  subject = null;
  clearTimeout(pointing);
  element("answer").ariaBusy = "true";
  showState();
  read();
}

// One request at a time; then the latest version is sent, so that predictions keep up with the pen.
async function read() {
  if (busy || asked === version) return;
  busy = true;
  asked = version;
  const wasLifted = lifted;
  let wait = 0;
  try {
    if (paper.empty) {
      setMode("one");
      showNothing();
      showAlert("");
    } else if (wasLifted || mode === "one") {
      const image = paper.copy();
      const file = paper.file();
      const { answer, reading } = await recognize(file, image, wasLifted);
      if (asked === version || !wasLifted) {
        showAlert("");
        setMode(reading ? "page" : "one");
        if (reading) showPage(reading, image);
        else {
          showAnswer(answer, image);
          if (asked === version) subject = file;
        }
        showState();
      }
      if (answer && wasLifted && asked === version) {
        await showCode(paper);
        await explain(file, image);
      }
    }
  } catch (error) {
    if (error instanceof RequestError) {
      setMode("one");
      showNothing("");
      showAlert(`This image could not be read: ${error.message}.`);
    } else {
      showAlert("The service does not answer. Retrying…");
      asked = -1;
      wait = RETRY;
    }
  }
  busy = false;
  element("answer").ariaBusy = String(asked !== version);
  if (wait) setTimeout(read, wait);
  else read();
}

// The prediction for one digit, or the reading of a page.
async function recognize(file, image, wasLifted) {
  if (chosen === "page") return { reading: await ask("read?show=images", file) };
  const answer = await ask("predict?show=image", file);
  if (chosen || !wasLifted || !maybeSeveral(answer, image)) return { answer };
  const reading = await ask("read?show=images", file);
  return reading.digits.filter(({ line }) => line !== null).length > 1 ? { reading } : { answer };
}

// Whether there may be several digits. Those on a page can be too small to be found all at once, or at all.
function maybeSeveral({ reason, box }, { width, height }) {
  if (reason === "several digits") return true;
  if (!paper.picture) return false;
  return box ? Math.max(box.width, box.height) < SMALL * Math.max(width, height) : reason === "blank";
}

function setMode(next) {
  mode = next;
  element("answer").dataset.mode = mode;
  for (const button of element("modes").children) button.setAttribute("aria-pressed", String(button.value === mode));
}

function showPage(reading, image) {
  showPageCode();
  showReading(reading, image, (digit) => {
    clearTimeout(pointing);
    subject = digit && seenFile();
    showState();
    if (digit) pointing = setTimeout(() => explain(subject).catch(() => {}), SETTLED); // the next request says why
  });
}

// Shows the layers and, if the image is given, the ink that was found in it.
async function explain(file, image = null) {
  const about = subject;
  try {
    const explained = await ask("explain", file);
    if (subject !== about) return; // another digit is shown meanwhile
    if (image) showInk(explained, image);
    showNetwork(explained);
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    element("inside-status").textContent = `The layers cannot be shown: ${error.message}.`;
  }
}

function showState() {
  element("undo").disabled = element("clear").disabled = paper.empty;
  element("invitation").hidden = !paper.empty && !paper.picture?.isSample;
  for (const button of element("modes").children) button.disabled = paper.empty;
  for (const button of element("labels").children) button.disabled = !subject || subject === stored;
}

for (const button of element("modes").children) {
  button.addEventListener("click", () => {
    chosen = button.value;
    change();
  });
}
element("undo").addEventListener("click", () => paper.undo());
element("clear").addEventListener("click", () => paper.clear());
element("pen").addEventListener("input", (event) => (paper.thickness = Number(event.target.value)));

// An image, chosen, photographed, dropped or pasted.
async function take(file) {
  if (file) paper.show(file, await decode(file));
}

async function decode(file) {
  try {
    return await createImageBitmap(file);
  } catch {
    const bitmap = new OffscreenCanvas(1, 1); // the service may decode what the browser cannot
    bitmap.getContext("2d");
    return bitmap;
  }
}

offerSamples(async (file, isFirst) => {
  const bitmap = await decode(file);
  if (!isFirst || !version) paper.show(file, bitmap, true);
});

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
    stored = subject;
    showState();
    await corrections.keep(stored, digit);
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
