// Many photos: sort and filter their cards, take the answers away as CSV or the photos as a ZIP, clear all.

import { find } from "./page_dom.js";
import { WORDS, verdict } from "./page_words.js";
import { zip } from "./page_zip.js";

const results = find("#results");
const bar = find("#many");
const [order, filter] = ["#order", "#filter"].map((name) => find(name));
const MOST_ZIP = 4e9; // bytes: the format's own limit is 2³²
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
  find("#zip").disabled = jobs.reduce((sum, { photo }) => sum + (photo.file?.size ?? 0), 0) > MOST_ZIP;
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
  return answer.verdict === "not sure" ? WORDS.notSure : verdict(answer);
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
    const found = Object.fromEntries(answer?.predictions ?? []);
    return [photo.source, answer?.verdict ?? "", ...classes.map((name) => found[name] ?? ""), answer?.error?.message ?? ""];
  });
  return [["file", "verdict", ...classes, "error"], ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

/** Quoted; with an apostrophe before what a spreadsheet would take for a formula. */
const cell = (value) => (typeof value === "number" ? String(value) : `"${value.replace(/^[=+\-@\t\r]/, "'$&").replaceAll('"', '""')}"`);

/** The photos that are here, in a folder for each verdict; the same name twice gets a number. */
async function inFolders() {
  const taken = new Map();
  const entries = jobs.filter(({ photo, answer }) => photo.file && answer?.verdict).map(({ photo, answer }) => {
    const [, stem, suffix] = /^(.*?)(\.[^.]*)?$/s.exec(plain(photo.file.name));
    const name = `${plain(answer.verdict)}/${stem}`;
    const count = taken.get(`${name}${suffix}`) ?? 0;
    taken.set(`${name}${suffix}`, count + 1);
    return { name: `${name}${count ? ` (${count})` : ""}${suffix ?? ""}`, file: photo.file };
  });
  return zip(entries);
}

/** Without what a file's name may not hold, so that no entry leaves its folder. */
const plain = (name) => name.replaceAll(/[\u0000-\u001f/\\:*?"<>|]/g, "_").replace(/^\.+/, "_");

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Make the bar's controls work; `stop` is called with all jobs when everything is cleared. */
export function listenToBar(stop) {
  order.addEventListener("change", arrangeNow);
  filter.addEventListener("change", arrangeNow);
  find("#csv").addEventListener("click", () => save(new Blob(["\ufeff", csv()], { type: "text/csv" }), "tellapart.csv"));
  find("#zip").addEventListener("click", async ({ target }) => {
    target.disabled = true;
    save(await inFolders(), "tellapart.zip");
    target.disabled = false;
  });
  find("#clear").addEventListener("click", () => {
    stop(jobs);
    jobs = [];
    results.replaceChildren();
    arrangeNow();
    find("#file").focus();
  });
}
