// What the clean page says; its other words are in templates/clean.html.

// A name as part of a sentence: its direction of writing must not turn the rest around.
const isolated = (name) => `\u2068${name}\u2069`;

export const TEXT = {
  about: {
    loss: (wrong, all) => `Worst first: those that the network found hardest. It had not trained on them when it judged them, and got ${wrong} of ${all} wrong.`,
    strangers: "The network has trained on these, so it cannot judge them. Shown are those whose nearest look-alikes bear another label, most first.",
  },
  says: {
    wrong: (name, p, label) => `Labelled ${isolated(label)}. The network says ${isolated(name)}, ${p}.`,
    right: (p, label) => `Labelled ${isolated(label)}. The network agrees, ${p}.`,
    strangers: (share, label) => `Labelled ${isolated(label)}. Of its nearest look-alikes, ${share} bear another label.`,
  },
  percent: (p) => `${(100 * p).toFixed(1)}\u00a0%`,
  place: (index, all) => `${index + 1} of ${all}`,
  mark: { keep: () => "Keep", delete: () => "Delete", relabel: (to) => `Relabel as ${isolated(to)}` },
  marked: { keep: () => "Kept.", delete: () => "To be deleted.", relabel: (to) => `To be relabelled as ${isolated(to)}.` },
  undone: (file) => `Undone: ${isolated(file)}.`,
  nothing: "There is nothing to look at on this side.",
  looked: (done, all) => `${done} of ${all} looked at.`,
  last: "That was the last one here.",
  apply: (n) => (n ? `Apply ${n} change${n === 1 ? "" : "s"}` : "No changes yet"),
  change: ({ file, label, to }) => `${isolated(file)}: ${to ? `${isolated(label)} → ${isolated(to)}` : "delete"}`,
  moving: "Moving photos…",
  moved: (deleted, relabelled) =>
    [deleted && `${deleted} moved to the quarantine`, relabelled && `${relabelled} moved to another class`]
      .filter(Boolean).join(", ") || "Nothing was moved",
  left: (files) => `Left alone, because they are gone or were changed: ${files.map(isolated).join(", ")}.`,
  noClass: (name) => `There is no class ${isolated(name)} in this run.`,
  lost: "The command behind this page has ended. Start it again, and open the address it prints; what you decided is kept.",
  failed: (status) => `The command behind this page failed (${status}); its terminal says more.`,
};
