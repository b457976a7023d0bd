// What the clean page shows: the photo whose turn it is, and all about it.

import { ask, picture } from "./clean_ask.js";
import { TEXT } from "./clean_words.js";

export const find = (selector, within = document) => within.querySelector(selector);
export const state = { classes: [], sides: {}, side: null, at: {}, shown: null, busy: false };
export const photos = () => state.sides[state.side] ?? [];
export const current = () => photos()[state.at[state.side]];
const everyPhoto = () => Object.values(state.sides).flat();
export const looked = (photo) => photo.decision || !photo.there;

export function show(message = "") {
  const photo = current();
  for (const button of document.querySelectorAll("#sides button")) {
    button.setAttribute("aria-pressed", String(button.dataset.side === state.side));
    find("span", button).textContent = state.sides[button.dataset.side].length;
  }
  find("#work").hidden = !photo;
  find("#progress").hidden = false;
  say("#nothing", photo ? "" : TEXT.nothing);
  if (photo) showPhoto(photo);
  showProgress(message);
}

function showPhoto(photo) {
  const index = state.at[state.side];
  find("#place").textContent = TEXT.place(index, photos().length);
  find("#file").textContent = photo.file;
  find("#says").textContent = says(photo);
  find("#about").textContent = about(photo);
  showPicture(photo);
  showMark(photo);
  showClasses(photo);
  showNear(photo);
  find("#previous").disabled = index === 0;
  find("#next").disabled = index === photos().length - 1;
  const after = photos()[index + 1];
  if (after) picture(`/photo/${after.row}`).catch(() => {}); // its turn comes, and then it is told
}

function says({ predicted, beliefs, strangers, label }) {
  if (!predicted) return TEXT.says.strangers(`${Math.round(100 * strangers)}\u00a0%`, label);
  const p = TEXT.percent(new Map(beliefs).get(predicted));
  return predicted === label ? TEXT.says.right(p, label) : TEXT.says.wrong(predicted, p, label);
}

function about(photo) {
  if (!photo.predicted) return TEXT.about.strangers;
  const judged = photos().filter(({ predicted }) => predicted);
  return TEXT.about.loss(judged.filter(({ predicted, label }) => predicted !== label).length, judged.length);
}

/** Show the picture, or say why there is none; until then nothing can be decided about the photo. */
async function showPicture(photo) {
  const img = find("#photo");
  let message = "";
  state.shown = null;
  find("#stage").setAttribute("aria-busy", "true");
  try {
    const source = await picture(`/photo/${photo.row}`);
    if (photo !== current()) return;
    img.src = source;
    await img.decode();
  } catch (error) {
    message = error.message;
  }
  if (photo !== current()) return;
  img.alt = photo.file;
  img.hidden = Boolean(message);
  say("#trouble", message, true);
  find("#stage").removeAttribute("aria-busy");
  state.shown = photo;
}

function showMark({ decision, to }) {
  const mark = find("#mark");
  mark.textContent = decision ? TEXT.mark[decision](to) : "";
  mark.className = decision ?? "";
  for (const name of ["keep", "delete"]) find(`#${name}`).setAttribute("aria-pressed", String(decision === name));
}

function showClasses({ beliefs, label, to }) {
  const group = find("#classes");
  while (group.children.length < beliefs.length) group.append(classButton());
  beliefs.forEach(([name, p], i) => {
    const button = group.children[i];
    button.dataset.name = name;
    find("kbd", button).textContent = i + 1;
    find(".name", button).textContent = name;
    find(".percent", button).textContent = p === null ? "" : TEXT.percent(p);
    find("progress", button).value = p ?? 0;
    find("progress", button).hidden = p === null;
    button.classList.toggle("label", name === label);
    button.setAttribute("aria-pressed", String(name === (to || label)));
  });
  for (const id of ["#relabel", "#type-key"]) find(id).hidden = beliefs.length === state.classes.length;
}

/** A button that stays in its place while photos change: the keyboard's focus must not be lost. */
function classButton() {
  const button = element("button", "bar");
  button.type = "button";
  const progress = element("progress");
  progress.setAttribute("aria-hidden", "true");
  button.append(element("kbd"), element("bdi", "name"), element("span", "percent"), progress);
  return button;
}

async function showNear(photo) {
  const list = find("#near ul");
  const found = await ask(`/near/${photo.row}`).catch(() => []);
  if (photo !== current()) return;
  find("#near").hidden = !found.length;
  list.replaceChildren(...found.map((other) => nearPhoto(other, photo.label)));
}

function nearPhoto({ row, file, label }, wanted) {
  const item = element("li", label === wanted ? "" : "other");
  const img = Object.assign(element("img"), { alt: "", title: file });
  picture(`/thumb/${row}`).then((source) => { img.src = source; }, () => {}); // its label says enough
  const name = element("bdi");
  name.textContent = label;
  item.append(img, name);
  return item;
}

export function element(tag, className = "") {
  return Object.assign(document.createElement(tag), { className });
}

function showProgress(message) {
  const done = photos().filter(looked).length;
  find("#bar").max = Math.max(1, photos().length);
  find("#bar").value = done;
  tell(`${message} ${TEXT.looked(done, photos().length)}`.trim());
  const changes = everyPhoto().filter(({ decision, there }) => there && decision && decision !== "keep").length;
  find("#apply").disabled = !changes;
  find("#apply").textContent = TEXT.apply(changes);
}

export const tell = (message, isBad = false) => say("#status", message, isBad);

export function say(selector, message, isBad = false) {
  const place = find(selector);
  place.textContent = message;
  place.hidden = !message;
  place.classList.toggle("bad", isBad);
}
