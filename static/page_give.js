// The ways to give a photo: choose, take, drop (folders too), paste, a web address, a link with ?url=.

import { find } from "./page_dom.js";
import { WORDS } from "./page_words.js";

// What a folder holds beside photos is left out; a file chosen by itself goes up whatever it is, and is told of.
const looksLikeAPhoto = ({ name, type }) => !name.startsWith(".") && (type.startsWith("image/") || /\.(avif|hei[cf])$/i.test(name));

/** Files as `give` takes them. */
export const asPhotos = (files) => Array.from(files, (file) => ({ source: file.webkitRelativePath || file.name, file }));

/** By name, as people do; a browser has those of a folder in any order. */
const inOrder = (photos) => photos.sort((one, other) => one.source.localeCompare(other.source, undefined, { numeric: true }));

/** Call `give` with [{source, file}] or [{source, url}] for whatever comes in; `announce` tells. */
export function listen(give, announce) {
  const giveUrl = (url) => give([{ source: url, url }]);
  listenToInputs(give);
  listenToDrops(give);
  listenToExamples(give, announce);
  const box = find(".url");
  listenToPaste(give, box && giveUrl);
  if (!box) return;
  box.addEventListener("submit", (event) => {
    event.preventDefault();
    giveUrl(find("#url").value);
  });
  const linked = location.pathname === "/" && new URLSearchParams(location.search).get("url");
  if (linked) giveUrl(linked);
}

function listenToInputs(give) {
  for (const input of document.querySelectorAll(".zone input")) {
    input.addEventListener("change", () => {
      const files = [...input.files];
      give(input.webkitdirectory ? inOrder(asPhotos(files.filter(looksLikeAPhoto))) : asPhotos(files));
      input.value = ""; // so that the same photo can be chosen again
    });
  }
}

/** Which the browser has already, as it shows them. */
function listenToExamples(give, announce) {
  for (const button of document.querySelectorAll(".examples button")) {
    button.addEventListener("click", async () => {
      const { src, alt } = find("img", button);
      const photo = await fetch(src).then((answer) => answer.ok && answer.blob()).catch(() => null);
      if (photo) give([{ source: alt, file: new File([photo], `${alt}.${photo.type.slice(6)}`, { type: photo.type }) }]);
      else announce(WORDS.unreachable);
    });
  }
}

/** The whole page takes dropped files; other things that are dragged are left to the browser. */
function listenToDrops(give) {
  const mark = (on) => document.body.classList.toggle("dragging", on);
  const withFiles = (handle) => (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    handle(event);
  };
  addEventListener("dragover", withFiles(() => mark(true)));
  addEventListener("dragleave", (event) => event.relatedTarget || mark(false));
  addEventListener("drop", withFiles(async ({ dataTransfer }) => {
    mark(false);
    const files = [...dataTransfer.files];
    const entries = [...dataTransfer.items].map((item) => item.webkitGetAsEntry?.()); // only now: they are gone later
    if (!entries.some((entry) => entry?.isDirectory)) give(asPhotos(files));
    else give(inOrder((await Promise.all(entries.map(photosOf))).flat()));
  }));
}

/** A dropped file if it is a photo, or all photos of a dropped folder and of those in it; none that cannot be read. */
async function photosOf(entry) {
  if (entry?.isFile) {
    const file = await new Promise((resolve) => entry.file(resolve, () => resolve(null)));
    return file && looksLikeAPhoto(file) ? [{ source: entry.fullPath.slice(1), file }] : [];
  }
  const [reader, found] = [entry?.createReader(), []];
  for (let some = await next(reader); some.length; some = await next(reader)) found.push(...some);
  return (await Promise.all(found.map(photosOf))).flat();
}

/** Some more of what is in a folder, up to a hundred; none at its end. */
const next = (reader) => new Promise((resolve) => (reader ? reader.readEntries(resolve, () => resolve([])) : resolve([])));

/** A pasted picture, or a pasted web address where those are taken; what is pasted into a field stays there. */
function listenToPaste(give, giveUrl) {
  addEventListener("paste", ({ clipboardData, target }) => {
    if (clipboardData.files.length) give(asPhotos(clipboardData.files));
    else if (giveUrl && target.id !== "url") {
      const text = clipboardData.getData("text").trim();
      if (/^https?:\/\/\S+$/i.test(text)) giveUrl(text);
    }
  });
}
