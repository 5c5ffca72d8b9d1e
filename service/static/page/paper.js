// The canvas to draw on: strokes by mouse, finger, pen or keyboard, or an image. Calls `changed` after every change, with
// true once the pen is lifted.

import { fileOf } from "./service.js";

const SIZE = 280;
const STEP = 8; // how far an arrow key moves the pen

export class Paper {
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.changed = changed;
    this.thickness = 20;
    this.strokes = [];
    this.picture = null; // {file, bitmap, isSample}
    this.drawing = null;
    this.pen = null; // the keyboard's pen: {x, y, down}
    canvas.addEventListener("pointerdown", (event) => this.#press(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
      canvas.addEventListener(name, (event) => this.#isOther(event) || this.#lift());
    }
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("blur", () => { this.#lift(); this.pen = null; this.#draw(); });
    this.#draw();
  }

  get empty() {
    return !this.picture && !this.strokes.length;
  }

  undo() {
    this.#lift();
    if (this.strokes.length) this.strokes.pop();
    else this.picture = null;
    this.#done();
  }

  clear() {
    this.#lift();
    this.strokes = [];
    this.picture = null;
    this.#done();
  }

  // A sample makes way for the first stroke; any other image can be drawn on.
  show(file, bitmap, isSample = false) {
    this.strokes = [];
    this.picture = { file, bitmap, isSample };
    this.#done();
  }

  // The image file as it was given, or the drawing as one.
  file() {
    return this.picture && !this.strokes.length ? this.picture.file : this.render(SIZE);
  }

  // What that file shows, upright.
  copy() {
    return this.picture && !this.strokes.length ? this.picture.bitmap : this.#sheet(SIZE);
  }

  // The canvas as an image file, `side` pixels wide and high.
  render(side, type) {
    return fileOf(this.#sheet(side), type);
  }

  #sheet(side) {
    const sheet = document.createElement("canvas");
    sheet.width = sheet.height = side;
    const context = sheet.getContext("2d");
    context.scale(side / SIZE, side / SIZE);
    this.#ink(context);
    return sheet;
  }

  #place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [((event.clientX - box.left) * SIZE) / box.width, ((event.clientY - box.top) * SIZE) / box.height];
  }

  // Whether this is not the pointer that is drawing, but for example a second finger.
  #isOther(event) {
    return (this.drawing?.pointer ?? event.pointerId) !== event.pointerId;
  }

  #press(event) {
    if (event.button !== 0 || this.#isOther(event)) return;
    event.preventDefault(); // no selection, no scrolling
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    this.#begin(this.#place(event), event.pointerId);
  }

  #move(event) {
    if (!this.drawing || this.pen || this.#isOther(event)) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const one of events.length ? events : [event]) this.drawing.points.push(this.#place(one));
    this.#draw();
    this.changed(false);
  }

  #begin(point, pointer) {
    this.pen = null;
    if (this.picture?.isSample) this.picture = null;
    this.drawing = { thickness: this.thickness, points: [point], pointer };
    this.strokes.push(this.drawing);
    this.#draw();
    this.changed(false);
  }

  #lift() {
    if (!this.drawing) return;
    this.drawing = null;
    if (this.pen) this.pen.down = false;
    this.#done();
  }

  #done() {
    this.#draw();
    this.changed(true);
  }

  #key(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key in steps) {
      this.pen ??= { x: SIZE / 2, y: SIZE / 2, down: false };
      const [right, down] = steps[event.key];
      this.pen.x = Math.min(Math.max(this.pen.x + right * STEP, 0), SIZE);
      this.pen.y = Math.min(Math.max(this.pen.y + down * STEP, 0), SIZE);
      if (this.drawing) {
        this.drawing.points.push([this.pen.x, this.pen.y]);
        this.changed(false);
      }
      this.#draw();
    } else if (event.key === " ") {
      const pen = this.pen ?? { x: SIZE / 2, y: SIZE / 2 };
      if (this.drawing) this.#lift();
      else this.#begin([pen.x, pen.y]);
      this.pen = { ...pen, down: Boolean(this.drawing) };
      this.#draw();
    } else if (event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey)) this.undo();
    else if (event.key === "Delete" || event.key === "Backspace") this.clear();
    else return;
    event.preventDefault();
  }

  #ink(context) {
    context.fillStyle = "#fff";
    context.fillRect(0, 0, SIZE, SIZE);
    if (this.picture) {
      const { width, height } = this.picture.bitmap;
      const scale = Math.min(SIZE / width, SIZE / height);
      context.drawImage(this.picture.bitmap, (SIZE - width * scale) / 2, (SIZE - height * scale) / 2, width * scale, height * scale);
    }
    context.lineCap = context.lineJoin = "round";
    context.strokeStyle = "#000";
    for (const { thickness, points } of this.strokes) {
      context.lineWidth = thickness;
      context.beginPath();
      context.moveTo(...points[0]);
      for (const point of points) context.lineTo(...point);
      context.stroke();
    }
  }

  #draw() {
    this.#ink(this.context);
    if (!this.pen) return;
    this.context.lineWidth = 2;
    this.context.strokeStyle = this.pen.down ? "#b3470b" : "#0b57b5";
    this.context.beginPath();
    this.context.arc(this.pen.x, this.pen.y, this.thickness / 2 + 2, 0, 2 * Math.PI);
    this.context.stroke();
  }
}
