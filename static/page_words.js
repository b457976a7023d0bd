// What the scripts say: their part of templates/words.json, which the page holds. app/words.py fills it in the same way.

import { find } from "./page_dom.js";

export const WORDS = JSON.parse(find("#words").textContent);
const OUTSIDE = "none of these"; // as the service says it
export const UNSURE = "not sure";

const NAMES = ["name", "names", "source"]; // whose direction of writing must not turn the rest of a sentence around

/** A sentence with its {places} filled in; in that of `names` goes a list of them. */
export const say = (key, fillings) =>
  WORDS[key].replaceAll(/\{(\w+)\}/g, (_, place) => (NAMES.includes(place) ? isolated(fillings[place]) : fillings[place]));

function isolated(filling) {
  const names = [filling].flat().map((name) => `\u2068${name}\u2069`);
  return [names.slice(0, -1).join(WORDS.and), names.at(-1)].filter(Boolean).join(WORDS.or);
}

/** What goes wrong here and not at the service, in the shape of its errors. */
export const trouble = (key, fillings) => ({ message: say(key, fillings), hint: WORDS[`${key}Hint`] ?? "" });

export const percent = (p) => say("percent", { number: (100 * p).toFixed(1) });

/** The verdict in words. */
export function verdict({ verdict: said, predictions }) {
  if (said === UNSURE) return say("unsure", { names: predictions.slice(0, 2).map(([name]) => name) });
  return said === OUTSIDE ? WORDS.outside : said;
}

export const meaning = (said) => (said === OUTSIDE ? WORDS.meaning : "");

/** The verdict, with its probability where it is a class. */
export function inShort(answer) {
  const [name, p] = answer.predictions[0];
  return answer.verdict === name ? say("sure", { name, percent: percent(p) }) : verdict(answer);
}

export function facts({ image: { notes, ...image }, seconds }, original) {
  const said = notes.map(({ code, text }) => (WORDS.doubts.includes(code) ? `⚠ ${text}` : text));
  const scaled = original ? [say("scaled", original)] : [];
  return [say("size", image), ...scaled, say("seconds", { seconds: seconds.toFixed(2) }), ...said].join(" · ");
}
