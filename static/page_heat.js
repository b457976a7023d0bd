// Where a class was seen, laid over the photo.

import { ask } from "./page_ask.js";
import { clone, find } from "./page_dom.js";
import { WORDS, say } from "./page_words.js";

// From matplotlib's inferno: even in lightness, so that it reads without colour too. Weak places stay transparent.
const RAMP = [[87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];
const STRONGEST = 0.75; // opacity
const MOST = 3 / 4; // so that a quarter named by both halves holds at least half of all

/** The switch, and a button on each class; maps are asked for when they are first wanted. */
export function addHeat(card, photo, { predictions, image }) {
  const toggle = find(".where", card);
  const picks = new Map(predictions.map(([name], index) => [name, pick(card.querySelectorAll(".bar .name")[index])]));
  const maps = new Map();
  let chosen = null;
  let turn = 0;

  async function show(name) {
    const mine = ++turn;
    chosen = name;
    toggle.setAttribute("aria-pressed", String(name !== null));
    picks.forEach((button, each) => button.setAttribute("aria-pressed", String(each === name)));
    find(".frame", card)?.remove();
    find(".place", card).textContent = name === null ? "" : say("looking", { name });
    if (name === null) return;
    if (!maps.has(name)) maps.set(name, ask(photo, { explain: name }));
    const { heatmap, error } = await maps.get(name);
    if (!heatmap) maps.delete(name); // it may succeed another time
    if (turn !== mine) return; // something else was chosen meanwhile
    find(".place", card).textContent = heatmap ? place(heatmap) : (error?.message ?? WORDS.unreadable);
    if (heatmap && find(".photo img", card)) find(".photo", card).append(overlay(heatmap, image));
  }

  toggle.addEventListener("click", () => show(chosen === null ? predictions[0][0] : null));
  picks.forEach((button, name) => button.addEventListener("click", () => show(chosen === name ? null : name)));
}

/** The name within a button. */
function pick(name) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "pick";
  button.setAttribute("aria-pressed", "false");
  name.replaceWith(button);
  button.append(name);
  return button;
}

/** Where a class was seen, for those who cannot see the map: the halves of the photo that hold three quarters of it. */
function place({ class: name, grid }) {
  const middle = (grid.length - 1) / 2;
  let [all, across, down] = [0, 0, 0]; // `across`: what is right of the middle less what is left of it
  grid.forEach((row, y) => row.forEach((value, x) => {
    all += value;
    across += value * Math.sign(x - middle);
    down += value * Math.sign(y - middle);
  }));
  if (!all) return say("nowhere", { name });
  const side = (lean, before, after) => (Math.abs(lean) / all < 2 * MOST - 1 ? "" : lean < 0 ? before : after);
  const where = [side(down, "upper", "lower"), side(across, "left", "right")].filter(Boolean).join(" ");
  return where ? say("place", { name, where: WORDS[where] }) : say("all over", { name });
}

/** A frame of the photo's own shape, and the map in it where the network looked. */
function overlay({ grid, box }, { width, height }) {
  const frame = clone("#heat");
  const canvas = find("canvas", frame);
  frame.style.setProperty("--ratio", String(width / height));
  ["left", "top", "width", "height"].forEach((edge, index) => { canvas.style[edge] = `${100 * box[index]}%`; });
  draw(canvas, grid);
  return frame;
}

/** A pixel for each cell; the browser makes it larger, and smooth. */
function draw(canvas, grid) {
  canvas.width = canvas.height = grid.length;
  const pixels = new ImageData(Uint8ClampedArray.from(grid.flat().flatMap(colour)), grid.length);
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

/** Red, green, blue, opacity of 0 to 255 for a value of 0 to 1. */
function colour(value) {
  const step = Math.min(Math.floor(value * (RAMP.length - 1)), RAMP.length - 2);
  const part = value * (RAMP.length - 1) - step;
  const mixed = RAMP[step].map((from, channel) => from + (RAMP[step + 1][channel] - from) * part);
  return [...mixed, 255 * STRONGEST * Math.sqrt(value)];
}
