// Requests to the service. Every answer is its JSON, or {error} of the same shape.

import { shrink } from "./page_shrink.js";
import { trouble } from "./page_words.js";

const TRIES = 4;
const HOPELESS = [400, 403, 404, 413, 415, 422]; // it is the photo, or the address
const IGNORE = () => {};

/**
 * The answer for a photo, with a class's heat map if `explain` names one; `seconds` is what it took. A busy service is
 * asked again when it says so: `onBusy` is told the seconds. `onSent` is told the share of the upload that is done.
 * `again`: an error that may be gone another time.
 */
export async function ask(photo, { explain, onBusy = IGNORE, onSent = IGNORE, signal } = {}) {
  let started = performance.now();
  const { url } = photo;
  const file = photo.file && (await shrink(photo));
  if (file && file.size > largest() * 1e6) return { error: tooLarge() };
  const address = file ? `/upload${query({ explain })}` : `/classify-url${query({ url, thumbnail: 1, explain })}`;
  for (let attempt = 1; ; attempt += 1) {
    if (signal?.aborted) return { error: trouble("cancelled"), again: true }; // meanwhile
    const { status, seconds, answer } = await send(address, file && { file }, { onSent, signal });
    if (status === 503 && seconds && attempt < TRIES && !signal?.aborted) {
      onBusy(seconds);
      await new Promise((resume) => {
        setTimeout(resume, 1000 * seconds);
        signal?.addEventListener("abort", resume);
      });
      started = performance.now();
    } else if (answer.predictions) return { ...answer, seconds: (performance.now() - started) / 1000 };
    else return { error: answer.error ?? trouble("unreadable"), again: !HOPELESS.includes(status) };
  }
}

/** Keep a photo under its right label; what the service says to that. */
export async function sendFeedback(file, label) {
  return (await send("/feedback", { file, label })).answer;
}

/** A form, or a GET without one. XMLHttpRequest, as fetch does not tell how much of an upload is done. */
function send(address, fields, { onSent = IGNORE, signal } = {}) {
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    const end = (answer) => resolve({ status: request.status, seconds: secondsTo(request.getResponseHeader("Retry-After")), answer });
    request.open(fields ? "POST" : "GET", address);
    request.setRequestHeader("Accept", "application/json");
    request.responseType = "json"; // null where something between here and the service spoke another language
    request.upload.onprogress = ({ loaded, total }) => onSent(loaded / total);
    request.onload = () => end(readable(request));
    request.onerror = () => end({ error: trouble("unreachable") });
    request.onabort = () => end({ error: trouble("cancelled") });
    signal?.addEventListener("abort", () => request.abort());
    request.send(fields && form(fields));
  });
}

/** What Retry-After says, in seconds or as a date. */
const secondsTo = (when) => Number(when) || Math.max(0, Math.ceil((Date.parse(when) - Date.now()) / 1000)) || 0;

const largest = () => Number(document.querySelector(".zone").dataset.maxMb);
const tooLarge = () => trouble("tooLarge", { mb: largest() });

/** The answer, or what to make of one by something between here and the service. */
function readable({ status, response }) {
  if (response?.error?.message || (response && status < 400)) return response;
  if (status === 413) return { error: tooLarge() };
  return { error: trouble(status >= 500 || status === 429 ? "unreachable" : "unreadable") };
}

function form(fields) {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) body.append(name, value);
  return body;
}

function query({ explain, ...rest }) {
  const found = String(new URLSearchParams({ ...rest, ...(explain !== undefined && { explain }) }));
  return found && `?${found}`;
}
