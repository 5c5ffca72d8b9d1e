// Shows a prediction: the digit, its confidence, ten bars, and the network's input image.

import { decodeBytes } from "./service.js";

const REASONS = {
  blank: "The image is blank.",
  "several digits": "These look like several digits. Draw one at a time.",
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

function percentage(share) {
  return `${(100 * share).toFixed(1)} %`;
}

export function showAnswer(answer) {
  const { digit, confidence, probabilities, reason, image } = answer;
  element("digit").textContent = digit ?? "–";
  element("verdict").textContent = reason ? REASONS[reason] ?? reason : `Recognized with a confidence of ${percentage(confidence)}.`;
  probabilities.forEach((share, index) => {
    const { row, bar, percent } = bars[index];
    bar.setAttribute("width", String(100 * share));
    percent.textContent = percentage(share);
    row.classList.toggle("best", index === digit);
  });
  drawSeen(decodeBytes(image));
  element("seen").setAttribute("aria-label", `Network input${digit === null ? "" : `, recognized as ${digit}`}`);
}

export function showNothing() {
  element("digit").textContent = "?";
  element("verdict").textContent = "Draw a digit.";
  for (const { row, bar, percent } of bars) {
    bar.setAttribute("width", "0");
    percent.textContent = "";
    row.classList.remove("best");
  }
  drawSeen(new Uint8Array(28 * 28));
  element("seen").setAttribute("aria-label", "Network input: empty");
}

export function showAlert(text) {
  element("alert").hidden = !text;
  element("alert").textContent = text;
}

function drawSeen(pixels) {
  drawGrey(element("seen").getContext("2d"), pixels, 28, 28);
}

// Draws grey bytes, one per pixel, at a place on a canvas.
export function drawGrey(context, bytes, width, height, left = 0, top = 0) {
  const image = context.createImageData(width, height);
  bytes.forEach((value, index) => image.data.set([value, value, value, 255], 4 * index));
  context.putImageData(image, left, top);
}
