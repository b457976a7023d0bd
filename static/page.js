// The page with JavaScript: a photo is classified as soon as it is given, and its card filled in place.
// Without JavaScript the same forms post and the service renders the same cards.

import { ask } from "./page_ask.js";
import { newCard, showAnswer, showError, showSent, showWaiting } from "./page_card.js";
import { find } from "./page_dom.js";
import { asPhotos, listen } from "./page_give.js";
import { add, arrange, listenToBar } from "./page_many.js";
import { sharedPhotos, startWorker } from "./page_shared.js";
import { WORDS, say, trouble } from "./page_words.js";

const IN_FLIGHT = 3;
const AT_ONCE = 25; // new cards in one go: hundreds would freeze the page

const results = find("#results");
let queue = [];
const tally = { all: 0, done: 0, failed: 0, running: 0, batch: 0, round: 0, cleared: 0 };

/** Add a card for each photo, {source, file} or {source, url}, above older ones; classify them, a few at a time. */
async function give(photos) {
  const batch = tally.batch += 1;
  const { cleared } = tally;
  for (let at = 0; at < photos.length && cleared === tally.cleared; at += AT_ONCE) {
    giveSome(photos.slice(at, at + AT_ONCE), batch);
    if (!at) results.firstElementChild.scrollIntoView({ block: "nearest" });
    await new Promise((resume) => setTimeout(resume));
  }
  if (!photos.length) announce(WORDS.noPhotos);
}

function giveSome(photos, batch) {
  const jobs = photos.map((photo) => ({ photo, card: newCard(photo), batch, answer: null, abort: null }));
  for (const job of jobs) {
    find(".cancel", job.card).addEventListener("click", () => cancel(job));
    find(".retry", job.card).addEventListener("click", () => start([job]));
  }
  results.prepend(...jobs.map((job) => job.card));
  add(jobs);
  start(jobs);
}

function start(jobs) {
  if (tally.done === tally.all) Object.assign(tally, { all: 0, done: 0, failed: 0, round: tally.round + 1 });
  for (const job of jobs) {
    if (job.round === tally.round) for (const count of ["all", "done", "failed"]) tally[count] -= 1; // tried again
    Object.assign(job, { answer: null, abort: new AbortController(), round: tally.round });
    showWaiting(job.card, WORDS.waiting);
  }
  queue.push(...jobs);
  tally.all += jobs.length;
  announceProgress();
  while (queue.length && tally.running < IN_FLIGHT) work();
}

async function work() {
  tally.running += 1;
  for (let job = queue.shift(); job; job = queue.shift()) {
    await classify(job).catch(() => end(job, { error: trouble("unreadable"), again: true }));
  }
  tally.running -= 1;
}

async function classify(job) {
  const { photo, card, abort } = job;
  showWaiting(card, photo.file ? WORDS.sending : WORDS.working);
  const onBusy = (seconds) => showWaiting(card, say("busy", { seconds }));
  end(job, await ask(photo, { onBusy, onSent: (share) => showSent(card, share), signal: abort.signal }));
}

function end(job, answer) {
  const { photo, card } = job;
  if (!card.isConnected) return; // cleared meanwhile
  job.answer = answer;
  const words = answer.error ? showError(card, answer.error, answer.again) : showAnswer(card, photo, answer);
  tally.done += 1;
  tally.failed += answer.error ? 1 : 0;
  arrange();
  if (tally.done < tally.all || tally.all > 1) announceProgress();
  else {
    announce(say("answer", { source: photo.source, words }), true);
    card.scrollIntoView({ block: "nearest" });
  }
}

function cancel(job) {
  job.abort.abort(); // which ends its request, if there is one by now
  if (!queue.includes(job)) return;
  queue = queue.filter((each) => each !== job);
  end(job, { error: trouble("cancelled"), again: true });
}

/** Nothing is classified any more of what was given. */
function stop(jobs) {
  queue = [];
  for (const job of jobs) job.abort.abort();
  Object.assign(tally, { all: 0, done: 0, failed: 0, cleared: tally.cleared + 1 });
  announce("");
}

function announceProgress() {
  const { all, done, failed } = tally;
  announce(all === 1 ? WORDS.one : say(done < all ? "progress" : failed ? "doneBut" : "done", tally), all === 1);
}

/** Say where things stand, to screen readers too; `unseen`: to them alone, as a card shows it. */
function announce(words, unseen = false) {
  const status = find("#status");
  status.ariaLive = tally.done && tally.done < tally.all ? "off" : "polite"; // of many, beginning and end
  status.textContent = words;
  status.classList.toggle("unseen", unseen);
}

document.documentElement.classList.add("scripted");
listenToBar(stop, announce);
listen(give, announce);
addEventListener("load", startWorker); // later: it is in no hurry
sharedPhotos().then((files) => files.length && give(asPhotos(files)));
