// A wrong answer told. Nothing is sent before the person has read what happens to the photo.

import { sendFeedback } from "./page_ask.js";
import { clone, find } from "./page_dom.js";
import { WORDS } from "./page_words.js";

/** The button's form; of a photo from a URL there are no bytes to send. */
export function addFeedback(card, file) {
  const button = find(".wrong", card);
  if (!button) return;
  if (!file) {
    button.remove();
    return;
  }
  button.addEventListener("click", () => {
    const open = find(".feedback", card);
    if (open) close(open, button);
    else card.querySelector(".tools").after(newForm(button, file));
    button.setAttribute("aria-expanded", String(!open));
    find(".feedback select", card)?.focus();
  });
}

function newForm(button, file) {
  const form = clone("#feedback");
  const [send, cancel] = form.querySelectorAll("button");
  const choices = find("select", form);
  let sending = false;
  find("p", form).textContent = find(".plain p").textContent;
  choices.append(new Option(WORDS.choose, ""), ...find(".plain select").cloneNode(true).children);
  choices.value = "";
  cancel.addEventListener("click", () => close(form, button));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (sending) return;
    sending = true;
    const { error } = await sendFeedback(file, choices.value);
    sending = false;
    if (error) find(".trouble", form).textContent = `${error.message} ${error.hint ?? ""}`;
    else thank(form, button);
  });
  return form;
}

function close(form, button) {
  form.remove();
  button.setAttribute("aria-expanded", "false");
  button.focus();
}

function thank(form, button) {
  const thanks = document.createElement("p");
  thanks.setAttribute("role", "status");
  thanks.tabIndex = -1; // the focus goes where the form was
  thanks.textContent = WORDS.sent;
  form.replaceWith(thanks);
  button.remove();
  thanks.focus();
}
