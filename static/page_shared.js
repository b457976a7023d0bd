// The service worker (sw.js): starting it, and taking the photos that the phone's share sheet gave to it.

import { find } from "./page_dom.js";
import { WORDS } from "./page_words.js";

const VERSION = import.meta.url.split("/").at(-2); // this script is /static/VERSION/page_shared.js

/** Have the browser run the worker of this version. Where it cannot, the page does all it did before. */
export function startWorker() {
  navigator.serviceWorker?.register(`/sw.js?v=${VERSION}`).catch(() => {});
}

/** The photos that were shared with the app, of which this is the page that shows them; each is given out once. */
export async function sharedPhotos() {
  if (!new URLSearchParams(location.search).has("shared")) return [];
  history.replaceState(null, "", "/"); // a reload would ask in vain
  const worker = navigator.serviceWorker?.controller;
  const files = worker ? await take(worker) : [];
  if (!files.length) find("#status").textContent = WORDS.nothingShared;
  return files;
}

function take(worker) {
  const { port1, port2 } = new MessageChannel();
  return new Promise((resolve) => {
    port1.onmessage = ({ data }) => resolve(data);
    worker.postMessage("shared", [port2]);
  });
}
