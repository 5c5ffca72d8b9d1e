// Shows a page: the image with a box around each digit, the lines as text, and the selected digit.

import { percentage, showDigit } from "./answer.js";
import { copy } from "./copy.js";

const PIXELS = 1200; // of the image's width on the page, at most, with two for each of the screen's
const LARGEST = 4; // times its own size, at most
const LEAST = 26; // of the screen's pixels for a digit's height, if there is room
const NEAR = 24; // a box is pointed at from so many of the screen's pixels away
const element = (id) => document.getElementById(id);

let digits = []; // as in the response of /read
let rectangles = []; // of their boxes, in parts of the view: left, top, right, bottom
let selected = -1;
let changed = () => {};

// `image` is what was sent; `select` is called with each digit that is selected, or with null if there is none.
export function showReading(reading, image, select) {
  digits = reading.digits;
  changed = select;
  selected = -1;
  element("verdict").textContent = summary(reading);
  element("lines").textContent = reading.lines.join("\n");
  element("lines").parentElement.hidden = !reading.lines.length;
  element("legend-of-boxes").hidden = digits.every((one) => kindOf(one) === "digit");
  drawSheet(image, reading.lines.length);
  if (digits.length) choose(0);
  else {
    element("selected").textContent = "";
    select(null);
  }
}

const kindOf = ({ reason }) => ({ uncertain: "uncertain", "not a digit": "mark" })[reason] ?? "digit";
const plural = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

function summary({ lines, digits, turned }) {
  const count = (kind) => digits.filter((one) => kindOf(one) === kind).length;
  const read = count("digit") + count("uncertain");
  const parts = [read ? `${plural(read, "digit")} in ${plural(lines.length, "line")}` : "No digits found"];
  if (count("uncertain")) parts.push(`${count("uncertain")} uncertain`);
  if (count("mark")) parts.push(plural(count("mark"), "mark that is no digit", "marks that are no digits"));
  return `${parts.join(", ")}.${turned ? ` The page was turned by ${turned}° to be read.` : ""}`;
}

function describe(one) {
  if (one.reason === "not a digit") return "Not a digit.";
  const ranked = one.probabilities.map((share, digit) => [share, digit]).sort((first, second) => second[0] - first[0]);
  if (one.digit === null) return `Uncertain, perhaps ${ranked[0][1]} or ${ranked[1][1]}.`;
  return `${one.digit} with a confidence of ${percentage(one.confidence)}.`;
}

function drawSheet(image, lines) {
  const [left, top, width, height] = view(image);
  const canvas = element("sheet-image");
  const scale = Math.min(LARGEST, PIXELS / width);
  canvas.width = Math.max(1, width * scale);
  canvas.height = Math.max(1, height * scale);
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(image, -left * scale, -top * scale, image.width * scale, image.height * scale);
  const few = (Math.min(24, 8 + 3 * lines) * width) / height;
  element("sheet").style.width = `min(100%, max(${few}rem, ${(LEAST * width) / usualHeight()}px))`;
  rectangles = digits.map(({ box }) => [
    (box.left - left) / width, (box.top - top) / height, (box.left + box.width - left) / width, (box.top + box.height - top) / height,
  ]);
  element("boxes").style.setProperty("--tall", `${(100 * usualHeight()) / width}cqw`);
  element("boxes").replaceChildren(...digits.map(boxOf));
  element("boxes").hidden = !digits.length;
}

// Left, top, width and height of what is shown: the whole image or, if the digits take less, what is around them.
function view(image) {
  if (!digits.length) return [0, 0, image.width, image.height];
  const boxes = digits.map(({ box }) => box);
  const margin = 1.2 * usualHeight();
  const end = (place, length) => Math.max(...boxes.map((box) => box[place] + box[length]));
  // Some formats can be decoded by the service only: then the boxes are shown alone.
  const isKnown = end("left", "width") <= image.width && end("top", "height") <= image.height;
  const start = (place) => Math.max(isKnown ? 0 : -margin, Math.min(...boxes.map((box) => box[place])) - margin);
  const [left, top] = [start("left"), start("top")];
  const [right, bottom] = [end("left", "width") + margin, end("top", "height") + margin];
  return [left, top, (isKnown ? Math.min(image.width, right) : right) - left, (isKnown ? Math.min(image.height, bottom) : bottom) - top];
}

function usualHeight() {
  const heights = digits.map(({ box }) => box.height).sort((first, second) => first - second);
  return heights[heights.length >> 1] ?? 1;
}

function boxOf(one, index) {
  const option = document.createElement("div");
  const kind = kindOf(one);
  option.id = `box-${index}`;
  option.className = kind;
  option.setAttribute("role", "option");
  option.setAttribute("aria-selected", "false");
  option.setAttribute("aria-label", one.line === null ? describe(one) : `${describe(one)} Line ${one.line + 1}.`);
  const [left, top, right, bottom] = rectangles[index].map((part) => `${100 * part}%`);
  Object.assign(option.style, { left, top, width: `calc(${right} - ${left} + 6px)`, height: `calc(${bottom} - ${top} + 6px)` });
  option.append(Object.assign(document.createElement("span"), { textContent: { uncertain: "?", mark: "×" }[kind] ?? one.digit }));
  return option;
}

function choose(index) {
  if (index === selected) return;
  const boxes = element("boxes");
  boxes.children[selected]?.setAttribute("aria-selected", "false");
  selected = index;
  boxes.children[index].setAttribute("aria-selected", "true");
  boxes.setAttribute("aria-activedescendant", `box-${index}`);
  showDigit(digits[index]);
  element("selected").textContent = describe(digits[index]);
  changed(digits[index]);
}

// The nearest box, so that small ones can be pointed at, too.
function point(event) {
  const frame = element("boxes").getBoundingClientRect();
  const [x, y] = [event.clientX - frame.left, event.clientY - frame.top];
  let [nearest, least] = [-1, NEAR];
  rectangles.forEach(([left, top, right, bottom], index) => {
    const across = Math.max(left * frame.width - x, 0, x - right * frame.width);
    const down = Math.max(top * frame.height - y, 0, y - bottom * frame.height);
    if (Math.hypot(across, down) < least) [nearest, least] = [index, Math.hypot(across, down)];
  });
  if (nearest >= 0) choose(nearest);
}

// The digit in the line below or above whose middle is nearest.
function beside(lines) {
  const wanted = (digits[selected].line ?? Infinity) + lines;
  const middle = (index) => rectangles[index][0] + rectangles[index][2];
  return digits.reduce((best, { line }, index) => {
    if (line !== wanted) return best;
    return best >= 0 && Math.abs(middle(best) - middle(selected)) <= Math.abs(middle(index) - middle(selected)) ? best : index;
  }, -1);
}

function step(event) {
  const steps = {
    ArrowLeft: () => selected - 1, ArrowRight: () => selected + 1, ArrowUp: () => beside(-1), ArrowDown: () => beside(1),
    Home: () => 0, End: () => digits.length - 1,
  };
  if (!(event.key in steps)) return;
  event.preventDefault();
  const index = steps[event.key]();
  if (digits[index]) choose(index);
}

for (const name of ["pointermove", "pointerdown"]) element("boxes").addEventListener(name, point);
element("boxes").addEventListener("keydown", step);
element("copy-lines").addEventListener("click", (event) => copy(element("lines"), event.target));
