// How the clean page talks with the command behind it.

import { TEXT } from "./clean_words.js";

const PICTURES_KEPT = 60;

// The printed address ends in # and the token. Only this tab keeps it; browsers send that part of an address to nobody.
if (location.hash) {
  sessionStorage.setItem("token", location.hash.slice(1));
  history.replaceState(null, "", "/");
}
addEventListener("hashchange", () => location.reload()); // a newer address, typed into the same tab

/** Ask the server; returns its JSON, or a picture as a Blob. Throws an Error with a sentence for a person. */
export async function ask(path, body) {
  const headers = { Authorization: `Bearer ${sessionStorage.getItem("token")}` };
  const post = body && { method: "POST", body: JSON.stringify(body) };
  let response;
  try {
    response = await fetch(path, { headers, ...post });
  } catch {
    throw new Error(TEXT.lost);
  }
  const isPicture = response.headers.get("Content-Type") === "image/jpeg";
  if (response.ok) return isPicture ? response.blob() : response.json();
  const { error } = await response.json().catch(() => ({ error: TEXT.failed(response.status) }));
  throw new Error(error);
}

const pictures = new Map(); // path → Promise of a blob's address, as an <img> could not send the token

/** Fetch a picture once; returns a Promise of its address for an <img>. */
export function picture(path) {
  if (!pictures.has(path)) {
    pictures.set(path, ask(path).then(URL.createObjectURL));
    for (const old of [...pictures.keys()].slice(0, -PICTURES_KEPT)) forget(old);
  }
  return pictures.get(path);
}

function forget(path) {
  pictures.get(path).then(URL.revokeObjectURL, () => {});
  pictures.delete(path);
}

export function forgetAll() {
  for (const path of [...pictures.keys()]) forget(path);
}
