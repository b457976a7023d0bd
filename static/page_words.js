// What the page says; its other words are in templates/.

// A name as part of a sentence: its direction of writing must not turn the rest around.
const isolated = (name) => `\u2068${name}\u2069`;

const percent = (p) => `${(100 * p).toFixed(1)}\u00a0%`;
const UNSURE = "not sure";
const OUTSIDE = "none of these";
const DOUBTS = ["blurry", "dark", "tiny", "one_colour"]; // notes on what may make an answer worse
const MOST = 3 / 4; // so that a quarter named by both halves holds at least half of all

/** The verdict in words; templates/card.html says the same. */
function verdict({ verdict: said, predictions }) {
  if (said === UNSURE) return `Not sure: ${predictions.slice(0, 2).map(([name]) => isolated(name)).join(" or ")}`;
  return said === OUTSIDE ? "None of these" : said;
}

/** Where a class was seen, for those who cannot see the map: the halves of the photo that hold three quarters of it. */
function place({ class: name, grid }) {
  const middle = (grid.length - 1) / 2;
  let [all, across, down] = [0, 0, 0]; // `across`: what is right of the middle less what is left of it
  grid.forEach((row, y) => row.forEach((value, x) => {
    all += value;
    across += value * Math.sign(x - middle);
    down += value * Math.sign(y - middle);
  }));
  if (!all) return `Nothing in the photo speaks for ${isolated(name)}.`;
  const side = (lean, before, after) => (Math.abs(lean) / all < 2 * MOST - 1 ? "" : lean < 0 ? before : after);
  const where = [side(down, "upper", "lower"), side(across, "left", "right")].filter(Boolean).join(" ");
  return where
    ? `Most of what speaks for ${isolated(name)} is in the ${where} part of the photo.`
    : `What speaks for ${isolated(name)} is around the middle of the photo, or all over it.`;
}

export const TEXT = {
  waiting: "Waiting for its turn…",
  working: "Looking at the photo…",
  busy: (seconds) => `The service is busy; trying again in ${seconds} s…`,
  alt: (source) => `Preview of ${source}`,
  percent,
  verdict,
  meaning: (said) => (said === OUTSIDE ? "It looks like none of the photos this model learned from." : ""),
  inShort: (answer) =>
    answer.verdict === answer.predictions[0][0] ? `${answer.verdict}, ${percent(answer.predictions[0][1])}` : verdict(answer),
  facts: ({ image: { format, width, height, notes }, seconds }) =>
    [`${format}, ${width} × ${height}`, `${seconds.toFixed(2)} s`, ...notes.map(({ code, text }) => (DOUBTS.includes(code) ? `⚠ ${text}` : text))].join(" · "),
  more: (count) => `Show all ${count} classes`,
  copy: "Copy",
  copied: "Copied",
  notCopied: "Select and copy it by hand",
  all: "All",
  kinds: { [UNSURE]: "Not sure", [OUTSIDE]: "None of these", error: "Without an answer", waiting: "Still waiting" },
  looking: (name) => `Looking for ${isolated(name)}…`,
  place,
  outside: OUTSIDE,
  choose: "Choose…",
  sent: "Thank you. The photo was kept.",
  nothingShared: "No photos came from the share sheet. Share them again, or choose them here.",
  progress: (done, all) => (all === 1 ? "Classifying…" : `${done} of ${all} photos done…`),
  answer: (source, words) => `${source}: ${words}`,
  summary: (all, failed) => `${all} photos done${failed ? `, ${failed} of them without an answer` : ""}.`,
  cancelled: { message: "Cancelled.", hint: "" },
  tooLarge: (mb) => ({ message: `This photo is larger than ${mb} MB.`, hint: "Scale it down first." }),
  unreachable: { message: "The service could not be reached.", hint: "Check the connection, then give the photo again." },
  unreadable: { message: "This page cannot read the service's answer.", hint: "Reload the page, then give the photo again." },
};
