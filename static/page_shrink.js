// Large photos are scaled down before they are sent: the network looks at less still.

import { find } from "./page_dom.js";

const SMALL = 300_000; // bytes: there is little to save
const workers = [null, null]; // at rest; null: to be started. As many photos are decoded at once.
const line = []; // who waits for one

/** What to send of a photo: a copy of its file, with the file's own {width, height} at photo.original; or the file. */
export async function shrink(photo) {
  const asItIs = photo.file.size < SMALL || find("#originals").checked;
  photo.original = asItIs ? null : await (photo.copy ??= scaledDown(photo.file));
  return photo.original?.blob ?? photo.file;
}

async function scaledDown(file) {
  let worker = workers.length ? workers.pop() : await new Promise((resolve) => { line.push(resolve); });
  try {
    worker ??= new Worker(new URL("./page_shrink_worker.js", import.meta.url), { type: "module" });
    return await answer(worker, file);
  } catch {
    worker = null; // the next photo gets another
    return null;
  } finally {
    if (line.length) line.shift()(worker);
    else workers.push(worker);
  }
}

function answer(worker, file) {
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = reject;
    worker.postMessage({ file, short: Number(find(".zone").dataset.short) });
  });
}
