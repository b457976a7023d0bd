// Requests to the service. Every answer is its JSON, or {error} of the same shape.

import { shrink } from "./page_shrink.js";
import { TEXT } from "./page_words.js";

const TRIES = 4;
const LONGEST_WAIT_S = 30;
const JSON_ONLY = { Accept: "application/json" };

/** The answer for a photo, with a class's heat map if `explain` names one. A busy service is asked again when it says so. */
export async function ask(photo, onBusy, explain) {
  const { url } = photo;
  const file = photo.file && (await shrink(photo));
  const maxMb = Number(document.querySelector(".zone").dataset.maxMb);
  if (file && file.size > maxMb * 1e6) return { error: TEXT.tooLarge(maxMb) };
  const send = () => (file ? post(`/upload${query({ explain })}`, { file }) : get(`/classify-url${query({ url, thumbnail: 1, explain })}`));
  return readable(async () => {
    for (let attempt = 1; ; attempt += 1) {
      const response = await send();
      const seconds = Math.min(Number(response.headers.get("Retry-After")), LONGEST_WAIT_S);
      if (response.status !== 503 || !seconds || attempt === TRIES) return response;
      onBusy(seconds);
      await new Promise((resume) => setTimeout(resume, 1000 * seconds));
    }
  }, (answer) => answer?.predictions);
}

/** Keep a photo under its right label; what the service says to that. */
export function sendFeedback(file, label) {
  return readable(() => post("/feedback", { file, label }), (answer) => answer);
}

/** The response's JSON, unless something between here and the service spoke JSON of its own. */
async function readable(send, expected) {
  try {
    const response = await send();
    const answer = await response.json();
    return answer?.error?.message || (response.ok && expected(answer)) ? answer : { error: TEXT.unreadable };
  } catch (error) {
    return { error: error instanceof SyntaxError ? TEXT.unreadable : TEXT.unreachable };
  }
}

function query({ explain, ...rest }) {
  const found = new URLSearchParams({ ...rest, ...(explain !== undefined && { explain }) });
  return found.size ? `?${found}` : "";
}

function get(address) {
  return fetch(address, { headers: JSON_ONLY });
}

function post(address, fields) {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) body.append(name, value);
  return fetch(address, { method: "POST", body, headers: JSON_ONLY });
}
