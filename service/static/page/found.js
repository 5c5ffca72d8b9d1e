// Shows what was found: the image in grey, the digit's ink tinted over it, and its box.

const PIXELS = 360; // of the square canvas, on each side
const AROUND = 4; // a digit smaller than the image is shown with at most this many times its size
const MARGIN = 1.08; // so that a box around the whole image can be seen
const INK = [224, 72, 0];
const BOX = "#0b57b5";

// `image` is what was sent, or null; `ink` is null until it is known.
export function drawFound(canvas, image, box, ink) {
  const context = canvas.getContext("2d");
  canvas.width = canvas.height = PIXELS; // also clears it
  canvas.setAttribute("aria-label", `What it found: ${describe(image, box)}`);
  if (!image) return;
  // Some formats can be decoded by the service only: then the ink is shown alone.
  const isKnown = !box || box.left + box.width <= image.width;
  const { width, height } = isKnown ? image : { width: box.left + box.width, height: box.top + box.height };
  const [left, top, side] = view(width, height, box);
  const scale = PIXELS / side;
  context.setTransform(scale, 0, 0, scale, -left * scale, -top * scale);
  context.imageSmoothingEnabled = scale < 3; // a few large pixels are shown as such
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  if (isKnown) context.drawImage(image, 0, 0);
  context.globalCompositeOperation = "saturation"; // to that of white: none
  context.fillRect(0, 0, width, height);
  context.globalCompositeOperation = "source-over";
  if (!box) return;
  context.imageSmoothingEnabled = true;
  if (ink) context.drawImage(tinted(ink), box.left, box.top, box.width, box.height);
  context.resetTransform();
  const outline = [(box.left - left) * scale, (box.top - top) * scale, box.width * scale, box.height * scale];
  for (const [thickness, colour] of [[7, "#fff"], [3, BOX]]) { // visible on light and on dark
    context.lineWidth = thickness;
    context.strokeStyle = colour;
    context.strokeRect(...outline);
  }
}

function describe(image, box) {
  if (!image) return "nothing yet";
  return box
    ? `a digit of ${box.width}×${box.height} pixels, ${box.left} from the left and ${box.top} from the top of the image`
    : "no digit";
}

// Left, top and side of the square that is shown: the whole image, or, if the digit is small in it, what is around it.
function view(width, height, box) {
  const whole = MARGIN * Math.max(width, height);
  const side = box ? Math.min(whole, AROUND * Math.max(box.width, box.height)) : whole;
  const start = (length, centre) => (side < length ? Math.min(Math.max(centre - side / 2, 0), length - side) : (length - side) / 2);
  return [start(width, box ? box.left + box.width / 2 : 0), start(height, box ? box.top + box.height / 2 : 0), side];
}

function tinted({ shape: [height, width], bytes }) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  bytes.forEach((value, index) => image.data.set([...INK, 0.85 * value], 4 * index));
  context.putImageData(image, 0, 0);
  return canvas;
}
