// One photo's answer: waiting, answered or refused.

import { addCode } from "./page_code.js";
import { clone, find } from "./page_dom.js";
import { addFeedback } from "./page_feedback.js";
import { addHeat } from "./page_heat.js";
import { WORDS, facts, inShort, meaning, percent, say, verdict } from "./page_words.js";

const TOP = 5; // classes that are shown at first

export function newCard({ source, file }) {
  const card = clone("#card");
  card.ariaLabel = find(".source", card).textContent = source;
  const preview = find("img", card);
  preview.alt = say("alt", { source });
  preview.onload = () => URL.revokeObjectURL(preview.src); // or every photo would stay in memory
  preview.onerror = () => preview.remove(); // a format that this browser cannot show
  if (file) preview.src = URL.createObjectURL(file);
  find(".answer", card).append(clone("#waiting"));
  return card;
}

/** What is being done, with a button that cancels it. */
export function showWaiting(card, words) {
  const focused = card.contains(document.activeElement);
  card.setAttribute("aria-busy", "true");
  find(".error strong", card).textContent = find(".error span", card).textContent = "";
  find(".waiting", card).hidden = false;
  find(".retry", card).hidden = true;
  find(".doing", card).textContent = words;
  showSent(card, 0);
  if (focused) find(".cancel", card).focus(); // what had it is gone
}

/** The share of the upload that is done, while it is worth showing. */
export function showSent(card, share) {
  const bar = find(".waiting progress", card);
  bar.hidden = share <= 0 || share >= 1;
  bar.value = share;
  if (share >= 1) find(".doing", card).textContent = WORDS.working;
}

/** Fill in the answer; returns it in words. */
export function showAnswer(card, photo, answer) {
  find(".verdict", card).textContent = verdict(answer);
  find(".meaning", card).textContent = meaning(answer.verdict);
  showBars(card, answer.predictions);
  find(".facts", card).textContent = facts(answer, photo.original);
  find(".facts", card).after(clone("#tools"), clone("#code"));
  // a copy that was scaled down takes less memory than the original
  const better = answer.thumbnail ?? (photo.original && URL.createObjectURL(photo.original.blob));
  if (better && find("img", card)) find("img", card).src = better;
  addHeat(card, photo, answer);
  addFeedback(card, photo.file);
  addCode(card, photo, answer);
  settle(card, ".verdict");
  return inShort(answer);
}

/** Why there is no answer; with a button that asks anew where that may help. */
export function showError(card, { message, hint }, again) {
  find(".error strong", card).textContent = message;
  find(".error span", card).textContent = hint;
  find(".retry", card).hidden = !again;
  settle(card, again ? ".retry" : ".error");
  return message;
}

/** Nothing is being done any more; what had the focus may be gone, so `next` gets it. */
function settle(card, next) {
  const focused = find(".waiting", card).contains(document.activeElement);
  card.removeAttribute("aria-busy");
  find(".waiting", card).hidden = true;
  if (focused) find(next, card).focus();
}

function showBars(card, predictions) {
  const bars = predictions.map(newBar);
  find(".bars", card).replaceChildren(...bars);
  const rest = bars.slice(TOP);
  if (!rest.length) return;
  const more = clone("#more");
  more.textContent = say("more", { count: bars.length });
  for (const bar of rest) bar.hidden = true;
  more.addEventListener("click", () => {
    for (const bar of rest) bar.hidden = false;
    find("button", rest[0]).focus();
    more.remove();
  });
  find(".bars", card).after(more);
}

function newBar([name, p]) {
  const bar = clone("#bar");
  find(".name", bar).textContent = name;
  find(".percent", bar).textContent = percent(p);
  find("progress", bar).value = p;
  return bar;
}
