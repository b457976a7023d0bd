// The clean page: one photo at a time, worst first; keep, delete or relabel it. Every click is saved by the server.

// Everything that this script says; the page's other words are in templates/clean.html.
const TEXT = {
  about: {
    loss: "Worst first: photos that the network found hardest, judged by one that had not trained on them.",
    strangers: "The network has trained on these, so it cannot judge them: photos whose nearest look-alikes bear another label, most first.",
    none: "There is nothing to look at on this side.",
  },
  says: {
    wrong: (name, p, label) => `Labelled ${label}. The network says ${name}, ${p}.`,
    right: (p, label) => `Labelled ${label}. The network agrees, ${p}.`,
    strangers: (share, label) => `Labelled ${label}. Of its nearest look-alikes, ${share} bear another label.`,
  },
  percent: (p) => `${(100 * p).toFixed(1)}\u00a0%`,
  place: (index, all) => `${index + 1} of ${all}`,
  mark: { keep: () => "Keep", delete: () => "Delete", relabel: (to) => `Relabel as ${to}` },
  marked: { keep: () => "Kept.", delete: () => "To be deleted.", relabel: (to) => `To be relabelled as ${to}.` },
  undone: (file) => `Undone: ${file}.`,
  looked: (done, all) => `${done} of ${all} looked at`,
  last: "That was the last one here.",
  apply: (n) => (n ? `Apply ${n} change${n === 1 ? "" : "s"}` : "No changes yet"),
  change: ({ file, label, to }) => (to ? `${file}: ${label} → ${to}` : `${file} → quarantine`),
  moved: (deleted, relabelled) =>
    [deleted && `${deleted} moved to the quarantine`, relabelled && `${relabelled} moved to another class`]
      .filter(Boolean).join(", ") || "Nothing was moved",
  left: (files) => `Left alone, because they are gone or were changed: ${files.join(", ")}.`,
  missing: "This photo is no longer in its folder.",
  noClass: (name) => `There is no other class “${name}” in this run.`,
  lost: "The command behind this page has ended. Start it again, and open the address it prints; what you decided is kept.",
};
const MOST_BUTTONS = 9; // as there are digit keys
const FEW_BUTTONS = 6; // where there are more classes than that

const find = (selector, within = document) => within.querySelector(selector);
const state = { classes: [], sides: {}, side: "validation", at: { validation: 0, train: 0 }, busy: false };
const photos = () => state.sides[state.side];
const current = () => photos()?.[state.at[state.side]];
const everyPhoto = () => Object.values(state.sides).flat();
const looked = (photo) => photo.decision || !photo.there;

/** Ask the server; returns its JSON. Throws an Error with a sentence for a person. */
async function ask(path, body) {
  let response, value;
  const post = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  try {
    response = await fetch(path, body && post);
    value = await response.json();
  } catch {
    throw new Error(TEXT.lost);
  }
  if (!response.ok) throw new Error(value.error);
  return value;
}

/** Run an action unless one is under way: a hasty second key must not decide about a photo not yet shown. */
async function act(action) {
  if (state.busy) return;
  state.busy = true;
  try {
    await action();
  } catch (error) {
    tell(error.message);
  } finally {
    state.busy = false;
  }
}

async function load() {
  const list = await ask("/list");
  Object.assign(state, { classes: list.classes, sides: list.sides });
  find("#run").textContent = list.run;
  document.title = `Clean ${list.run} · tellapart`;
  find("#names").replaceChildren(...list.classes.map((name) => new Option(name, name)));
  for (const side of Object.keys(list.sides)) goToFirstOpen(side);
}

function goToFirstOpen(side) {
  state.at[side] = Math.max(0, state.sides[side].findIndex((photo) => !looked(photo)));
}

// Showing

function show() {
  const photo = current();
  for (const button of document.querySelectorAll("#sides button")) {
    button.setAttribute("aria-pressed", String(button.dataset.side === state.side));
    find("span", button).textContent = state.sides[button.dataset.side].length;
  }
  find("#work").hidden = !photo;
  find("#about").textContent = photo ? TEXT.about[photo.probabilities ? "loss" : "strangers"] : TEXT.about.none;
  if (photo) showPhoto(photo);
  showProgress();
}

function showPhoto(photo) {
  const index = state.at[state.side];
  find("#place").textContent = TEXT.place(index, photos().length);
  find("#file").textContent = photo.file;
  find("#says").textContent = says(photo);
  showPicture(photo);
  showMark(photo);
  showClasses(photo);
  showNear(photo.row);
  find("#previous").disabled = index === 0;
  find("#next").disabled = index === photos().length - 1;
  const after = photos()[index + 1];
  if (after?.there) new Image().src = address("photo", after);
}

function says({ probabilities, strangers, label }) {
  if (!probabilities) return TEXT.says.strangers(`${Math.round(100 * strangers)}\u00a0%`, label);
  const most = Math.max(...probabilities);
  const name = state.classes[probabilities.indexOf(most)];
  return name === label ? TEXT.says.right(TEXT.percent(most), label) : TEXT.says.wrong(name, TEXT.percent(most), label);
}

const address = (kind, photo) => `/${kind}/${photo.row}?v=${photo.version}`;

function showPicture(photo) {
  const img = find("#photo");
  img.alt = photo.file;
  trouble(photo.there ? "" : TEXT.missing);
  if (!photo.there) img.removeAttribute("src");
  else if (img.getAttribute("src") !== address("photo", photo)) img.src = address("photo", photo);
}

/** Say why the photo is not to be seen; a photo that is gone or changed can be kept or passed over, not moved. */
function trouble(message) {
  find("#trouble").textContent = message;
  find("#trouble").hidden = !message;
  find("#photo").hidden = Boolean(message);
  find("#delete").disabled = Boolean(message);
}

async function explainPicture() {
  const photo = current();
  try {
    await ask(address("photo", photo));
  } catch (error) {
    if (photo === current()) trouble(error.message);
  }
}

function showMark({ decision, to }) {
  const mark = find("#mark");
  mark.textContent = decision ? TEXT.mark[decision](to) : "";
  mark.className = decision ?? "";
  for (const name of ["keep", "delete"]) find(`#${name}`).setAttribute("aria-pressed", String(decision === name));
}

/** The classes that have a button: all, in their fixed order, or of many the label and those most believed. */
function shownClasses({ probabilities, label }) {
  const { classes } = state;
  if (classes.length <= MOST_BUTTONS) return classes;
  const belief = (name) => (name === label ? Infinity : probabilities?.[classes.indexOf(name)] ?? 0);
  return [...classes].sort((a, b) => belief(b) - belief(a)).slice(0, FEW_BUTTONS);
}

function showClasses(photo) {
  const group = find("#classes");
  const names = shownClasses(photo);
  while (group.children.length < names.length) group.append(classButton());
  names.forEach((name, i) => {
    const button = group.children[i];
    const p = photo.probabilities?.[state.classes.indexOf(name)];
    button.dataset.name = name;
    find("kbd", button).textContent = i + 1;
    find(".name", button).textContent = name;
    find(".percent", button).textContent = p === undefined ? "" : TEXT.percent(p);
    find("progress", button).value = p ?? 0;
    find("progress", button).hidden = p === undefined;
    button.classList.toggle("label", name === photo.label);
    button.setAttribute("aria-pressed", String(name === (photo.to || photo.label)));
  });
}

/** A button that stays in its place while photos change: the keyboard's focus must not be lost. */
function classButton() {
  const button = element("button", "bar");
  button.type = "button";
  const progress = element("progress");
  progress.setAttribute("aria-hidden", "true");
  button.append(element("kbd"), element("bdi", "name"), element("span", "percent"), progress);
  button.addEventListener("click", () => label(button.dataset.name));
  return button;
}

async function showNear(row) {
  const list = find("#near ul");
  list.replaceChildren();
  const found = await ask(`/near/${row}`).catch(() => []);
  if (row !== current()?.row) return;
  find("#near").hidden = !found.length;
  list.replaceChildren(...found.map(nearPhoto));
}

function nearPhoto(photo) {
  const item = element("li", photo.label === current().label ? "" : "other");
  const img = element("img");
  Object.assign(img, { src: address("thumb", photo), alt: "", title: photo.file });
  img.addEventListener("error", () => img.removeAttribute("src"));
  const name = element("bdi");
  name.textContent = photo.label;
  item.append(img, name);
  return item;
}

function element(tag, className = "") {
  const made = document.createElement(tag);
  made.className = className;
  return made;
}

function showProgress(message = "") {
  const done = photos().filter(looked).length;
  find("#bar").max = Math.max(1, photos().length);
  find("#bar").value = done;
  tell(`${message} ${TEXT.looked(done, photos().length)}`.trim());
  const changes = everyPhoto().filter(({ decision, there }) => there && decision && decision !== "keep").length;
  find("#apply").disabled = !changes;
  find("#apply").textContent = TEXT.apply(changes);
  find("#undo").disabled = !everyPhoto().some((photo) => photo.decision);
}

function tell(message) {
  find("#status").textContent = message;
}

// Deciding

function decide(decision, to = "") {
  return act(async () => {
    const photo = current();
    if (!photo) return;
    Object.assign(photo, await ask("/decide", { row: photo.row, decision, to }));
    find("#done").hidden = true;
    const isLast = state.at[state.side] === photos().length - 1;
    if (!isLast) state.at[state.side] += 1;
    show();
    showProgress(`${TEXT.marked[decision](to)}${isLast ? ` ${TEXT.last}` : ""}`);
  });
}

const label = (name) => (name === current()?.label ? decide("keep") : decide("relabel", name));

function undo() {
  return act(async () => {
    const undone = await ask("/undo", {});
    for (const [side, list] of Object.entries(state.sides)) {
      const index = list.findIndex((photo) => photo.row === undone.row);
      if (index < 0) continue;
      Object.assign(list[index], undone);
      Object.assign(state, { side, at: { ...state.at, [side]: index } });
      show();
      showProgress(TEXT.undone(list[index].file));
    }
  });
}

function go(step) {
  const index = state.at[state.side] + step;
  if (!photos()?.[index]) return;
  state.at[state.side] = index;
  show();
}

function choose(side) {
  if (!state.sides[side]) return;
  state.side = side;
  show();
}

function typed(event) {
  event.preventDefault();
  const box = find("#other");
  const wanted = box.value.trim();
  const name = state.classes.find((known) => known === wanted)
    ?? state.classes.find((known) => known.toLowerCase() === wanted.toLowerCase());
  if (!name) return tell(TEXT.noClass(wanted));
  box.value = "";
  box.blur();
  return label(name);
}

// Applying

function confirm() {
  return act(async () => {
    const { changes, check } = await ask("/changes");
    const dialog = find("#confirm");
    find("h2", dialog).textContent = `${TEXT.apply(changes.length)}?`;
    find("ul", dialog).replaceChildren(...changes.map((change) => {
      const item = element("li");
      item.textContent = TEXT.change(change);
      return item;
    }));
    dialog.returnValue = "";
    dialog.dataset.check = check;
    dialog.showModal();
  });
}

function apply() {
  const dialog = find("#confirm");
  if (dialog.returnValue !== "apply") return;
  act(async () => {
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
  find(".next", done).textContent = next.join("\n");
  done.hidden = false;
  done.focus();
}

// Keys

const KEYS = {
  k: () => decide("keep"),
  d: () => find("#delete").disabled || decide("delete"),
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
find("#undo").addEventListener("click", undo);
find("#previous").addEventListener("click", () => go(-1));
find("#next").addEventListener("click", () => go(1));
find("#help").addEventListener("click", () => find("#keys").showModal());
find("#relabel").addEventListener("submit", typed);
find("#apply").addEventListener("click", confirm);
find("#confirm").addEventListener("close", apply);
find("#photo").addEventListener("error", explainPicture);
act(async () => {
  await load();
  if (!state.sides.validation.length) state.side = "train";
  show();
});
