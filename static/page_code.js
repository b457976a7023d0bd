// The same request for developers: as curl, as Python, and the answer's JSON, each with a button that copies it.

import { find } from "./page_dom.js";
import { TEXT } from "./page_words.js";

/** Fill the panel in, once it is opened. */
export function addCode(card, { file, url }, { seconds, thumbnail, ...answer }) {
  const panel = find(".code", card);
  panel.addEventListener("toggle", () => {
    const shown = { curl: file ? curlFile(file.name) : curlUrl(url), python: file ? pythonFile(file.name) : pythonUrl(url), json: JSON.stringify(answer, null, 1) };
    for (const [kind, text] of Object.entries(shown)) {
      find(`.${kind}`, panel).textContent = text;
      find(`[data-copies=${kind}]`, panel).addEventListener("click", ({ target }) => copy(target, text));
    }
  }, { once: true });
}

async function copy(button, text) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = TEXT.copied;
  } catch {
    button.textContent = TEXT.notCopied; // the browser allows it on https and localhost alone
  }
  setTimeout(() => { button.textContent = TEXT.copy; }, 2000);
}

// Names are a stranger's: in single quotes a shell takes all but a single quote as it stands, and Python reads JSON's strings.
const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const python = JSON.stringify;

const curlFile = (name) => `curl -F ${shell(`file=@"${name.replaceAll(/["\\]/g, "\\$&")}"`)} ${location.origin}/upload`;
const curlUrl = (url) => `curl -G --data-urlencode ${shell(`url=${url}`)} ${location.origin}/classify-url`;

const pythonFile = (name) => `import httpx

with open(${python(name)}, "rb") as photo:
    answer = httpx.post("${location.origin}/upload", files={"file": photo}).json()
print(answer["verdict"], answer["predictions"])`;

const pythonUrl = (url) => `import httpx

answer = httpx.get("${location.origin}/classify-url", params={"url": ${python(url)}}, timeout=30).json()
print(answer["verdict"], answer["predictions"])`;
