// The clean page: one photo at a time, worst first; keep, delete or relabel it. Every click is saved by the server.

import { ask, forgetAll } from "./clean_ask.js";
import { current, element, find, looked, photos, say, show, state, tell } from "./clean_show.js";
import { TEXT } from "./clean_words.js";

/** Run an action unless one is under way. */
async function act(action) {
  if (state.busy) return;
  state.busy = true;
  try {
    await action();
  } catch (error) {
    tell(error.message, true);
  } finally {
    state.busy = false;
  }
}

async function load() {
  const { run, classes, sides, worst } = await ask("/list");
  Object.assign(state, { classes, sides, side: state.side ?? worst });
  find("#run").textContent = run;
  document.title = `Clean ${run} · tellapart`;
  find("#names").replaceChildren(...classes.map((name) => new Option(name, name)));
  forgetAll();
  for (const [side, list] of Object.entries(sides)) {
    state.at[side] = Math.max(0, list.findIndex((photo) => !looked(photo)));
  }
}

// Deciding

function decide(decision, to = "") {
  return act(async () => {
    const photo = current();
    if (photo !== state.shown) return; // a hasty key must not decide about a photo that is not to be seen yet
    Object.assign(photo, await ask("/decide", { row: photo.row, decision, to }));
    find("#done").hidden = true;
    const isLast = state.at[state.side] === photos().length - 1;
    if (!isLast) state.at[state.side] += 1;
    show(`${TEXT.marked[decision](to)}${isLast ? ` ${TEXT.last}` : ""}`);
  });
}

const relabel = (name) => (name === current().label ? decide("keep") : decide("relabel", name));

function undo() {
  return act(async () => {
    const undone = await ask("/undo", {});
    for (const [side, list] of Object.entries(state.sides)) {
      const index = list.findIndex((photo) => photo.row === undone.row);
      if (index < 0) continue;
      Object.assign(list[index], undone);
      Object.assign(state, { side, at: { ...state.at, [side]: index } });
    }
    show(TEXT.undone(undone.file));
  });
}

function go(step) {
  return act(async () => {
    const index = state.at[state.side] + step;
    if (!photos()[index]) return;
    state.at[state.side] = index;
    show();
  });
}

function choose(side) {
  return act(async () => {
    if (!state.sides[side]) return;
    state.side = side;
    show();
  });
}

function typed(event) {
  event.preventDefault();
  const box = find("#other");
  const wanted = box.value.trim();
  const name = state.classes.find((known) => known === wanted)
    ?? state.classes.find((known) => known.toLowerCase() === wanted.toLowerCase());
  if (!name) return tell(TEXT.noClass(wanted), true);
  box.value = "";
  box.blur();
  return relabel(name);
}

// Applying

function confirm() {
  return act(async () => {
    const { changes, check } = await ask("/changes");
    if (!changes.length) { // another window has applied or undone them
      await load();
      return show();
    }
    const dialog = find("#confirm");
    find("h2", dialog).textContent = `${TEXT.apply(changes.length)}?`;
    const items = changes.map((change) => Object.assign(element("li"), { textContent: TEXT.change(change) }));
    find("ul", dialog).replaceChildren(...items);
    dialog.returnValue = "";
    dialog.dataset.check = check;
    dialog.showModal();
  });
}

function apply() {
  const dialog = find("#confirm");
  if (dialog.returnValue !== "apply") return;
  act(async () => {
    tell(TEXT.moving);
    try {
      showDone(await ask("/apply", { check: dialog.dataset.check }));
    } finally {
      await load(); // also after a failure: some photos may have moved before it
      show();
    }
  });
}

function showDone({ quarantined, relabelled, left, quarantine, undo: command, next }) {
  const done = find("#done");
  find("h2", done).textContent = `${TEXT.moved(quarantined, relabelled)}.`;
  find(".left", done).textContent = left.length ? TEXT.left(left) : "";
  find(".where", done).textContent = quarantine;
  find(".undo", done).textContent = command;
  find(".next", done).replaceChildren(...next.map((line) => Object.assign(element("pre"), { textContent: line })));
  done.hidden = false;
  done.focus();
}

// Keys

const KEYS = {
  k: () => decide("keep"),
  d: () => decide("delete"),
  u: undo,
  r: () => find("#other").focus(),
  t: () => choose(state.side === "train" ? "validation" : "train"),
  "?": () => find("#keys").showModal(),
  ArrowLeft: () => go(-1),
  ArrowRight: () => go(1),
};

function press(event) {
  const { key, target } = event;
  if (find("dialog[open]") || event.altKey || event.repeat && !key.startsWith("Arrow")) return;
  if (target.matches("input")) {
    if (key === "Escape") target.blur();
    return;
  }
  const isUndo = key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey) && !event.shiftKey;
  if (!isUndo && (event.ctrlKey || event.metaKey)) return;
  const digit = /^[1-9]$/.test(key) && find("#classes").children[key - 1];
  const action = isUndo ? undo : digit ? () => digit.click() : KEYS[key.length === 1 ? key.toLowerCase() : key];
  if (!action) return;
  event.preventDefault();
  action();
}

document.addEventListener("keydown", press);
for (const name of ["keep", "delete"]) find(`#${name}`).addEventListener("click", () => decide(name));
for (const button of document.querySelectorAll("#sides button")) {
  button.addEventListener("click", () => choose(button.dataset.side));
}
find("#classes").addEventListener("click", ({ target }) => {
  const button = target.closest("button");
  if (button) relabel(button.dataset.name);
});
find("#undo").addEventListener("click", undo);
find("#previous").addEventListener("click", () => go(-1));
find("#next").addEventListener("click", () => go(1));
find("#help").addEventListener("click", () => find("#keys").showModal());
find("#relabel").addEventListener("submit", typed);
find("#apply").addEventListener("click", confirm);
find("#confirm").addEventListener("close", apply);
load().then(show, (error) => say("#nothing", error.message, true));
