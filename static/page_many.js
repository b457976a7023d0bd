// Many photos: sort and filter their cards, take the answers away as CSV or the photos as a ZIP, clear all.

import { find } from "./page_dom.js";
import { UNSURE, WORDS, say, verdict } from "./page_words.js";
import { zip } from "./page_zip.js";

const results = find("#results");
const bar = find("#many");
const [order, filter] = ["#order", "#filter"].map((name) => find(name));
const [MOST_FILES, MOST_BYTES] = [65_535, 4e9]; // of a ZIP; the format's own limits are 2¹⁶ and 2³²
let jobs = []; // {card, photo, batch, answer}, in the order given
let planned = false;

/** Photos were given; each job gets its answer later. */
export function add(more) {
  jobs.push(...more);
  arrange();
}

/** Bring the cards in order, at most once a frame however many answers come. */
export function arrange() {
  if (planned) return;
  planned = true;
  requestAnimationFrame(() => {
    planned = false;
    arrangeNow();
  });
}

function arrangeNow() {
  bar.hidden = jobs.length < 2;
  const sizes = jobs.map(({ photo }) => photo.file?.size ?? 0);
  find("#zip").disabled = !sizes.some(Boolean) || sizes.length > MOST_FILES || sizes.reduce((sum, size) => sum + size) > MOST_BYTES;
  const kinds = [...new Set(jobs.map(kind))].sort();
  const wanted = kinds.includes(filter.value) ? filter.value : "";
  if (filter.options.length !== kinds.length + 1 || kinds.some((name, index) => filter.options[index + 1].value !== name)) {
    filter.replaceChildren(new Option(WORDS.any, ""), ...kinds.map((name) => new Option(name, name)));
    filter.value = wanted;
  }
  const sorted = [...jobs].sort(ORDERS[order.value]);
  sorted.forEach(({ card }, index) => {
    if (results.children[index] !== card) results.insertBefore(card, results.children[index] ?? null);
  });
  for (const job of jobs) job.card.hidden = wanted !== "" && kind(job) !== wanted;
}

/** What a card is filtered by, in words: its verdict, or that there is none. */
function kind({ answer }) {
  if (!answer) return WORDS.still;
  if (answer.error) return WORDS.error;
  return answer.verdict === UNSURE ? WORDS.notSure : verdict(answer);
}

const confidence = ({ answer }) => answer?.predictions?.[0][1] ?? -1;
const ORDERS = {
  given: (one, other) => other.batch - one.batch,
  verdict: (one, other) => kind(one).localeCompare(kind(other)) || confidence(other) - confidence(one),
  sure: (one, other) => confidence(other) - confidence(one),
  unsure: (one, other) => Math.abs(confidence(one)) - Math.abs(confidence(other)), // those without an answer last
};

function csv() {
  const classes = [...new Set(jobs.flatMap(({ answer }) => answer?.predictions?.map(([name]) => name) ?? []))].sort();
  const rows = jobs.map(({ photo, answer }) => {
    const found = new Map(answer?.predictions);
    return [photo.source, answer?.verdict ?? "", ...classes.map((name) => found.get(name) ?? ""), answer?.error?.message ?? ""];
  });
  return [["file", "verdict", ...classes, "error"], ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

/** Quoted; with an apostrophe before what a spreadsheet would take for a formula. */
const cell = (value) => (typeof value === "number" ? String(value) : `"${value.replace(/^[=+\-@\t\r]/, "'$&").replaceAll('"', '""')}"`);

/** The photos that are here, in a folder for each verdict; the same name twice gets a number. */
async function inFolders() {
  const taken = new Set(); // in small letters: to some systems large ones are the same
  const entries = jobs.filter(({ photo, answer }) => photo.file && answer?.verdict).map(({ photo, answer }) => {
    const [, stem, suffix = ""] = /^(.*?)(\.\w{1,9})?$/s.exec(photo.file.name);
    const start = `${plain(answer.verdict)}/${plain(stem)}`;
    let name = start + suffix;
    for (let count = 1; taken.has(name.toLowerCase()); count += 1) name = `${start} (${count})${suffix}`;
    taken.add(name.toLowerCase());
    return { name, file: photo.file };
  });
  return zip(entries);
}

/** Short, and without what a file's name may not hold, so that no entry leaves its folder. */
const plain = (name) => [...name].slice(0, 60).join("").replaceAll(/[\u0000-\u001f/\\:*?"<>|]|^\.+|[. ]+$/g, "_");

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Make the bar's controls work; `announce` tells, and `stop` is called with all jobs when everything is cleared. */
export function listenToBar(stop, announce) {
  let zipping = false;
  order.addEventListener("change", arrangeNow);
  filter.addEventListener("change", () => {
    arrangeNow();
    announce(say("shown", { shown: jobs.filter(({ card }) => !card.hidden).length, all: jobs.length }));
  });
  find("#csv").addEventListener("click", () => save(new Blob(["\ufeff", csv()], { type: "text/csv" }), "tellapart.csv"));
  find("#zip").addEventListener("click", async () => {
    if (zipping) return;
    zipping = true;
    await inFolders().then((made) => save(made, "tellapart.zip")).catch(() => announce(WORDS.noZip));
    zipping = false;
  });
  find("#clear").addEventListener("click", () => {
    stop(jobs);
    jobs = [];
    results.replaceChildren();
    arrangeNow();
    find("#file").focus();
  });
}
