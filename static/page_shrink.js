// Large photos are scaled down before they are sent: the network looks at less still. Whatever cannot be scaled down
// here is sent as it is.

import { find } from "./page_dom.js";

const SMALL = 300_000; // bytes: there is little to save
const workers = [null, null]; // those at rest, null for one to be started. As many photos are decoded at once.
const line = []; // who waits for one

/** What to send of a photo: a copy of its file, with {width, height} of the file's own at photo.original; or the file. */
export async function shrink(photo) {
  const asItIs = photo.file.size < SMALL || find("#originals").checked;
  const copy = asItIs ? null : await (photo.copy ??= scaledDown(photo.file));
  photo.original = copy && { width: copy.width, height: copy.height };
  return copy ? copy.blob : photo.file;
}

async function scaledDown(file) {
  let worker = await take();
  try {
    worker ??= new Worker(new URL("./page_shrink_worker.js", import.meta.url), { type: "module" });
    return await answer(worker, file);
  } catch {
    worker?.terminate(); // the next photo gets another
    worker = null;
    return null;
  } finally {
    giveBack(worker);
  }
}

function answer(worker, file) {
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = reject;
    worker.postMessage({ file, short: Number(find(".zone").dataset.short) });
  });
}

const take = () => (workers.length ? workers.pop() : new Promise((resolve) => { line.push(resolve); }));
const giveBack = (worker) => (line.length ? line.shift()(worker) : workers.push(worker));
