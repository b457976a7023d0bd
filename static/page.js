// The page with JavaScript: a photo is classified as soon as it is given, and its card filled in place.
// Without JavaScript the same forms post and the service renders the same cards.

// Everything that this script says; the page's other words are in templates/.
const TEXT = {
  waiting: "Waiting for its turn…",
  working: "Looking at the photo…",
  busy: (seconds) => `The service is busy; trying again in ${seconds} s…`,
  alt: (source) => `Preview of ${source}`,
  percent: (p) => `${(100 * p).toFixed(1)}\u00a0%`,
  facts: ({ format, width, height, notes }) =>
    [`${format}, ${width} × ${height}`, ...notes.map((note) => note.text)].join(" · "),
  progress: (done, all) => (all === 1 ? "Classifying…" : `${done} of ${all} photos done…`),
  answer: (source, words) => `${source}: ${words}`,
  summary: (all, failed) => `${all} photos done${failed ? `, ${failed} of them without an answer` : ""}.`,
  tooLarge: (mb) => ({ message: `This photo is larger than ${mb} MB.`, hint: "Scale it down first." }),
  unreachable: { message: "The service could not be reached.", hint: "Check the connection, then give the photo again." },
  unreadable: { message: "This page cannot read the service's answer.", hint: "Reload the page, then give the photo again." },
};

const IN_FLIGHT = 3;
const TRIES = 4;
const LONGEST_WAIT_S = 30;

const find = (selector, within = document) => within.querySelector(selector);
const clone = (id) => find(id).content.firstElementChild.cloneNode(true);
const results = find("#results");
const queue = [];
const tally = { all: 0, done: 0, failed: 0, running: 0 };

/** Add a card for each photo, {source, file} or {source, url}, above older ones; classify them, a few at a time. */
function give(photos) {
  if (!photos.length) return;
  if (tally.done === tally.all) Object.assign(tally, { all: 0, done: 0, failed: 0 });
  const jobs = photos.map((photo) => ({ photo, card: newCard(photo) }));
  results.prepend(...jobs.map((job) => job.card));
  queue.push(...jobs);
  tally.all += jobs.length;
  announce(TEXT.progress(tally.done, tally.all));
  jobs[0].card.scrollIntoView({ block: "nearest" });
  while (queue.length && tally.running < IN_FLIGHT) work();
}

async function work() {
  tally.running += 1;
  for (let job = queue.shift(); job; job = queue.shift()) await classify(job);
  tally.running -= 1;
}

async function classify({ photo, card }) {
  tell(card, TEXT.working);
  const answer = await ask(photo, (seconds) => tell(card, TEXT.busy(seconds)));
  const words = answer.error ? showError(card, answer.error) : showAnswer(card, answer);
  card.removeAttribute("aria-busy");
  tally.done += 1;
  tally.failed += answer.error ? 1 : 0;
  const { done, all, failed } = tally;
  if (done < all) announce(TEXT.progress(done, all));
  else if (all > 1) announce(TEXT.summary(all, failed));
  else {
    announce(TEXT.answer(photo.source, words));
    card.scrollIntoView({ block: "nearest" });
  }
}

/** Say where things stand, also to screen readers; of a single photo the card says it already, to those who see. */
function announce(words) {
  const status = find("#status");
  status.textContent = words;
  status.classList.toggle("unseen", tally.all === 1);
}

/** The service's answer for a photo, or {error} of the same shape. A busy service is asked again when it says so. */
async function ask({ file, url }, onBusy) {
  const maxMb = Number(find(".zone").dataset.maxMb);
  if (file && file.size > maxMb * 1e6) return { error: TEXT.tooLarge(maxMb) };
  try {
    for (let attempt = 1; ; attempt += 1) {
      const response = await (file ? post(file) : get(url));
      const seconds = Math.min(Number(response.headers.get("Retry-After")), LONGEST_WAIT_S);
      if (response.status !== 503 || !seconds || attempt === TRIES) return readable(await response.json());
      onBusy(seconds);
      await new Promise((resume) => setTimeout(resume, 1000 * seconds));
    }
  } catch (error) {
    return { error: error instanceof SyntaxError ? TEXT.unreadable : TEXT.unreachable };
  }
}

/** The answer, unless something between here and the service spoke JSON of its own. */
function readable(answer) {
  return answer?.predictions || answer?.error?.message ? answer : { error: TEXT.unreadable };
}

function post(file) {
  const body = new FormData();
  body.append("file", file);
  return fetch("/upload", { method: "POST", body, headers: { Accept: "application/json" } });
}

function get(url) {
  const query = new URLSearchParams({ url, thumbnail: 1 });
  return fetch(`/classify-url?${query}`, { headers: { Accept: "application/json" } });
}

function newCard({ source, file }) {
  const card = clone("#card");
  card.setAttribute("aria-busy", "true");
  find(".source", card).textContent = source;
  const preview = find("img", card);
  preview.alt = TEXT.alt(source);
  preview.onload = () => URL.revokeObjectURL(preview.src); // or every photo would stay in memory
  preview.onerror = () => preview.remove(); // a format that this browser cannot show
  if (file) preview.src = URL.createObjectURL(file);
  tell(card, TEXT.waiting);
  return card;
}

/** Fill in the answer; returns it in words. */
function showAnswer(card, { verdict, predictions, image, thumbnail }) {
  const [first, p] = predictions[0];
  find(".verdict", card).textContent = verdict;
  find(".bars", card).replaceChildren(...predictions.map(newBar));
  tell(card, TEXT.facts(image));
  if (thumbnail) find("img", card).src = thumbnail;
  return verdict === first ? `${verdict}, ${TEXT.percent(p)}` : verdict;
}

function newBar([name, p]) {
  const bar = clone("#bar");
  find(".name", bar).textContent = name;
  find(".percent", bar).textContent = TEXT.percent(p);
  find("progress", bar).value = p;
  return bar;
}

function showError(card, { message, hint }) {
  tell(card, "");
  find("img:not([src])", card)?.remove(); // of a URL there is nothing to show
  find(".error strong", card).textContent = message;
  find(".error span", card).textContent = hint;
  return message;
}

function tell(card, words) {
  find(".facts", card).textContent = words;
}

const asPhotos = (files) => Array.from(files, (file) => ({ source: file.name, file }));

function listenToForms() {
  find("#file").addEventListener("change", ({ target }) => {
    give(asPhotos(target.files));
    target.value = ""; // so that the same photo can be chosen again
  });
  find(".url")?.addEventListener("submit", (event) => {
    event.preventDefault();
    const url = find("#url").value;
    give([{ source: url, url }]);
  });
}

/** The whole page takes dropped files; other things that are dragged are left to the browser. */
function listenToDrops() {
  const mark = (on) => document.body.classList.toggle("dragging", on);
  const withFiles = (handle) => (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    handle(event);
  };
  addEventListener("dragover", withFiles(() => mark(true)));
  addEventListener("dragleave", (event) => event.relatedTarget || mark(false));
  addEventListener("drop", withFiles((event) => {
    mark(false);
    give(asPhotos(event.dataTransfer.files));
  }));
}

document.documentElement.classList.add("scripted");
listenToForms();
listenToDrops();
