// Shows every layer's volume and feature maps, and the selected neuron's receptive field and filter.

import { drawGrey } from "./answer.js";
import { decodeBytes, fetchJson } from "./service.js";

const GAP = 1; // between feature maps, in their pixels
const element = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");
const weights = new Map(); // of the served model, by layer
let model = "";
let layers = []; // as in the response of /explain, with their elements on the page
let pointed = null; // {layer, map, column, row}

export function showNetwork(explained) {
  const served = JSON.stringify(explained.model);
  if (served !== model) {
    model = served;
    weights.clear();
    build(explained.layers);
  }
  explained.layers.forEach((layer, index) => Object.assign(layers[index], layer, { bytes: decodeBytes(layer.maps) }));
  for (const layer of layers) drawMaps(layer);
  element("inside-status").textContent = "";
  if (pointed) showNeuron(pointed);
}

function build(described) {
  pointed = null;
  layers = described.map((layer) => ({ ...layer, grid: arrange(layer) }));
  element("layers").replaceChildren(...layers.map(layerItem));
}

// The layout of a layer's maps: their size, number, columns and rows, and the size of a pixel on screen.
function arrange({ output: [width, height, depth] }) {
  const shown = width === 1 ? 28 : Math.max(1, Math.min(8, Math.round(56 / width)));
  let columns = Math.max(1, Math.min(depth, Math.floor(660 / ((width + GAP) * shown))));
  while (depth % columns && columns > 4) columns -= 1; // full rows, but not too few columns
  return { width, height, depth, columns, rows: Math.ceil(depth / columns), shown };
}

function layerItem(layer) {
  const item = document.createElement("li");
  const title = document.createElement("h3");
  const volume = document.createElement("span");
  title.append(layer.text, " ", volume);
  volume.textContent = `→ ${layer.output.join("×")}`;
  const text = document.createElement("p");
  text.textContent = describe(layer);
  const canvas = document.createElement("canvas");
  const { width, height, columns, rows, shown } = layer.grid;
  canvas.width = columns * (width + GAP) - GAP;
  canvas.height = rows * (height + GAP) - GAP;
  canvas.style.width = `${canvas.width * shown}px`;
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", `${layer.text}: ${layer.output[2]} feature maps. Arrow keys move over their neurons.`);
  canvas.setAttribute("aria-describedby", "neuron-text");
  canvas.addEventListener("pointermove", (event) => point(layer, canvas, event));
  canvas.addEventListener("pointerdown", (event) => point(layer, canvas, event));
  canvas.addEventListener("keydown", (event) => step(layer, event));
  canvas.addEventListener("focus", () => pointed?.layer === layer || showNeuron({ layer, map: 0, column: 0, row: 0 }));
  layer.canvas = canvas;
  item.append(title, text, canvas);
  return item;
}

function describe({ kind, size, stride, padding, input, output, weights_per_filter, parameters, multiply_adds }) {
  const costs = `${number.format(parameters)} parameters, ${number.format(multiply_adds)} multiply-adds`;
  switch (kind) {
    case "INPUT":
      return "The preprocessed image.";
    case "CONV":
      return `${output[2]} filters slide over the input, each with ${size}×${size}×${input[2]} = ${weights_per_filter} weights and a bias: ` +
        `(${input[0]} − ${size} + 2·${padding}) / ${stride} + 1 = ${output[0]}. ${costs}.`;
    case "RELU":
      return "Sets negative values to 0.";
    case "POOL":
      return `Keeps the largest of every ${size}×${size} values: width and height shrink, the depth stays.`;
    default:
      return `Each of the ${output[2]} neurons is connected to all ${number.format(weights_per_filter)} inputs. ${costs}.` +
        (output[2] === 10 ? " One for each digit, 0 to 9: the brightest wins." : "");
  }
}

function drawMaps({ canvas, bytes, grid: { width, height, depth, columns } }) {
  const context = canvas.getContext("2d");
  for (let map = 0; map < depth; map++) {
    const left = (map % columns) * (width + GAP);
    const top = Math.floor(map / columns) * (height + GAP);
    drawGrey(context, bytes.subarray(map * width * height, (map + 1) * width * height), width, height, left, top);
  }
}

function point(layer, canvas, event) {
  const { width, height, depth, columns } = layer.grid;
  const box = canvas.getBoundingClientRect();
  const x = Math.floor(((event.clientX - box.left) * canvas.width) / box.width);
  const y = Math.floor(((event.clientY - box.top) * canvas.height) / box.height);
  const [column, row] = [x % (width + GAP), y % (height + GAP)];
  const map = Math.floor(y / (height + GAP)) * columns + Math.floor(x / (width + GAP));
  if (column < width && row < height && row >= 0 && column >= 0 && map < depth) showNeuron({ layer, map, column, row });
}

function step(layer, event) {
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  if (!(event.key in steps)) return;
  event.preventDefault();
  const { width, height, depth, columns } = layer.grid;
  const at = pointed?.layer === layer ? pointed : { map: 0, column: 0, row: 0 };
  let [column, row, map] = [at.column + steps[event.key][0], at.row + steps[event.key][1], at.map];
  // Moving over the edge of a map leads to the next one.
  if (column < 0) [column, map] = [width - 1, map - 1];
  if (column >= width) [column, map] = [0, map + 1];
  if (row < 0) [row, map] = [height - 1, map - columns];
  if (row >= height) [row, map] = [0, map + columns];
  if (map >= 0 && map < depth) showNeuron({ layer, map, column, row });
}

function showNeuron(neuron) {
  pointed = neuron;
  const { layer, map, column, row } = neuron;
  const { width, height } = layer.grid;
  const byte = layer.bytes[(map * height + row) * width + column];
  const value = layer.minimum + (byte / 255) * (layer.maximum - layer.minimum);
  const place = width * height > 1 ? `, column ${column}, row ${row}` : "";
  element("neuron-title").textContent = `${layer.text}, ${layer.kind === "FC" ? "neuron" : "feature map"} ${map}${place}`;
  const [seenWidth, seenHeight] = layer.receptive_field;
  element("neuron-text").textContent = `Its value is ${value.toFixed(2)}. Its receptive field is ${seenWidth}×${seenHeight} pixels of the input.`;
  for (const one of layers) drawMaps(one);
  mark(layer, map, column, row);
  drawField(layer, column, row);
  showFilter(neuron);
}

function accent() {
  return getComputedStyle(document.documentElement).getPropertyValue("--negative");
}

function mark({ canvas, grid: { width, height, columns } }, map, column, row) {
  const context = canvas.getContext("2d");
  context.fillStyle = accent();
  context.fillRect((map % columns) * (width + GAP) + column, Math.floor(map / columns) * (height + GAP) + row, 1, 1);
}

function drawField({ jump, start, receptive_field: [fieldWidth, fieldHeight] }, column, row) {
  const { bytes, output: [width, height] } = layers[0];
  const scale = 10; // so that the frame is thin
  const canvas = element("field");
  canvas.hidden = false;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const small = new OffscreenCanvas(width, height);
  drawGrey(small.getContext("2d"), bytes, width, height);
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
  context.strokeStyle = accent();
  context.lineWidth = 3;
  context.strokeRect((column * jump + start) * scale, (row * jump + start) * scale, fieldWidth * scale, fieldHeight * scale);
  canvas.setAttribute("aria-label", `The input, with the neuron's receptive field of ${fieldWidth}×${fieldHeight} pixels`);
}

async function showFilter(neuron) {
  const { layer, map } = neuron;
  const canvas = element("filter");
  const shown = layer.kind === "CONV" || layer.kind === "FC";
  canvas.hidden = element("legend").hidden = !shown;
  if (!shown) return;
  if (!weights.has(layer.name)) weights.set(layer.name, fetchJson(`explain/${layer.name}`));
  let fetched;
  try {
    fetched = await weights.get(layer.name);
  } catch {
    weights.delete(layer.name);
    canvas.hidden = element("legend").hidden = true;
    return;
  }
  if (pointed !== neuron) return; // another neuron has been selected meanwhile
  const values = new Float32Array(decodeBytes(fetched.weights).buffer);
  const each = values.length / layer.output[2];
  // A CONV filter is F×F×D; an FC neuron has one weight for every value of its input.
  const [width, height, depth] = layer.kind === "CONV" ? [layer.size, layer.size, layer.input[2]] : layer.input;
  drawFilter(canvas, values.subarray(map * each, (map + 1) * each), width, height, depth);
  canvas.setAttribute("aria-label", `The filter's weights, ${width}×${height}×${depth}`);
}

function drawFilter(canvas, values, width, height, depth) {
  const columns = Math.ceil(Math.sqrt(depth * (height / width)));
  canvas.width = columns * (width + GAP) - GAP;
  canvas.height = Math.ceil(depth / columns) * (height + GAP) - GAP;
  canvas.style.width = `${Math.min(240, canvas.width * 20)}px`;
  const context = canvas.getContext("2d");
  const style = getComputedStyle(document.documentElement);
  const [positive, negative] = ["--positive", "--negative"].map((name) => style.getPropertyValue(name));
  const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1;
  values.forEach((value, index) => {
    const slice = Math.floor(index / (width * height));
    const column = (index % width) + (slice % columns) * (width + GAP);
    const row = (Math.floor(index / width) % height) + Math.floor(slice / columns) * (height + GAP);
    context.globalAlpha = Math.abs(value) / largest;
    context.fillStyle = value > 0 ? positive : negative;
    context.fillRect(column, row, 1, 1);
  });
}
