// Shows a prediction: what was found, the network's input image, the digit, its confidence, and ten bars.

import { drawFound } from "./found.js";
import { decodeBytes, fileOf } from "./service.js";

const REASONS = {
  blank: "The image is blank.",
  "several digits": "These look like several digits. The largest is marked.",
  "not a digit": "This does not look like a digit.",
  uncertain: "This looks like a digit, but it is unclear which one.",
};
const SVG = "http://www.w3.org/2000/svg";
const element = (id) => document.getElementById(id);

const bars = Array.from({ length: 10 }, (_, digit) => {
  const row = document.createElement("li");
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 100 1");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const bar = document.createElementNS(SVG, "rect");
  bar.setAttribute("height", "1");
  svg.append(bar);
  const track = Object.assign(document.createElement("span"), { className: "track" });
  track.append(svg);
  const percent = Object.assign(document.createElement("span"), { className: "percent" });
  row.append(String(digit), track, percent);
  element("bars").append(row);
  return { row, bar, percent };
});

export function percentage(share) {
  return `${(100 * share).toFixed(1)} %`;
}

// `image` is what was sent.
export function showAnswer(answer, image) {
  const { confidence, reason } = answer;
  element("verdict").textContent = reason ? REASONS[reason] ?? reason : `Recognized with a confidence of ${percentage(confidence)}.`;
  showDigit(answer);
  drawFound(element("found"), image, answer.box, null);
}

// One digit's input image and probabilities, from the response of /predict or of /read.
export function showDigit({ digit, probabilities, image }) {
  element("digit").textContent = digit ?? "–";
  probabilities.forEach((share, index) => {
    const { row, bar, percent } = bars[index];
    bar.setAttribute("width", String(100 * share));
    percent.textContent = percentage(share);
    row.classList.toggle("best", index === digit);
  });
  drawSeen(decodeBytes(image));
  element("seen").setAttribute("aria-label", `What the network saw${digit === null ? "" : `, recognized as ${digit}`}`);
}

// Adds the ink to what was found, from the response of /explain.
export function showInk({ box, ink }, image) {
  if (ink) drawFound(element("found"), image, box, { ...ink, bytes: decodeBytes(ink.values) });
}

export function showNothing(verdict = "Draw a digit.") {
  element("digit").textContent = "?";
  element("verdict").textContent = verdict;
  for (const { row, bar, percent } of bars) {
    bar.setAttribute("width", "0");
    percent.textContent = "";
    row.classList.remove("best");
  }
  drawFound(element("found"), null);
  drawSeen(new Uint8Array(28 * 28));
  element("seen").setAttribute("aria-label", "What the network saw: nothing yet");
}

export function showAlert(text) {
  element("alert").hidden = !text;
  element("alert").textContent = text;
}

// The network's input image that is shown, as a file.
export const seenFile = () => fileOf(element("seen"));

function drawSeen(pixels) {
  drawGrey(element("seen").getContext("2d"), pixels, 28, 28);
}

// Draws grey bytes, one per pixel, at a place on a canvas.
export function drawGrey(context, bytes, width, height, left = 0, top = 0) {
  const image = context.createImageData(width, height);
  bytes.forEach((value, index) => image.data.set([value, value, value, 255], 4 * index));
  context.putImageData(image, left, top);
}
