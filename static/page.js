// The page with JavaScript: a photo is classified as soon as it is given, and its card filled in place.
// Without JavaScript the same forms post and the service renders the same cards.

import { ask } from "./page_ask.js";
import { newCard, showAnswer, showError, tell } from "./page_card.js";
import { find } from "./page_dom.js";
import { sharedPhotos, startWorker } from "./page_shared.js";
import { TEXT } from "./page_words.js";

const IN_FLIGHT = 3;

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
  const words = answer.error ? showError(card, answer.error) : showAnswer(card, photo, answer);
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
addEventListener("load", startWorker); // later, so as not to hold up the page
sharedPhotos().then((files) => give(asPhotos(files)));
