// One photo's answer: waiting, answered or refused.

import { clone, find } from "./page_dom.js";
import { addFeedback } from "./page_feedback.js";
import { addHeat } from "./page_heat.js";
import { TEXT } from "./page_words.js";

export function newCard({ source, file }) {
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
export function showAnswer(card, photo, answer) {
  find(".verdict", card).textContent = TEXT.verdict(answer);
  find(".meaning", card).textContent = TEXT.meaning(answer.verdict);
  find(".bars", card).replaceChildren(...answer.predictions.map(newBar));
  find(".bars", card).after(clone("#tools"));
  tell(card, TEXT.facts(answer.image, photo.original));
  if (answer.thumbnail) find("img", card).src = answer.thumbnail;
  addHeat(card, photo, answer);
  addFeedback(card, photo.file, answer);
  return TEXT.inShort(answer);
}

export function showError(card, { message, hint }) {
  tell(card, "");
  find("img:not([src])", card)?.remove(); // of a URL there is nothing to show
  find(".error strong", card).textContent = message;
  find(".error span", card).textContent = hint;
  return message;
}

export function tell(card, words) {
  find(".facts", card).textContent = words;
}

function newBar([name, p]) {
  const bar = clone("#bar");
  find(".name", bar).textContent = name;
  find(".percent", bar).textContent = TEXT.percent(p);
  find("progress", bar).value = p;
  return bar;
}
