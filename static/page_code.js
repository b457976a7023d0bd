// The same request for developers: as curl, as Python, and the answer's JSON, each with a button that copies it.

import { find } from "./page_dom.js";
import { WORDS } from "./page_words.js";

/** Fill the panel in, once it is opened. */
export function addCode(card, { file, url }, { seconds, thumbnail, ...answer }) {
  const panel = find(".code", card);
  panel.addEventListener("toggle", () => {
    const shown = [...(file ? [curlFile(file.name), pythonFile(file.name)] : [curlUrl(url), pythonUrl(url)]), JSON.stringify(answer, null, 1)];
    panel.querySelectorAll("pre").forEach((place, index) => {
      const [text, button] = [shown[index], place.previousElementSibling];
      const label = button.textContent;
      place.textContent = text;
      button.addEventListener("click", () => copy(button, label, text));
    });
  }, { once: true });
}

async function copy(button, label, text) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = WORDS.copied;
  } catch {
    button.textContent = WORDS.notCopied; // the browser allows it on https and localhost alone
  }
  setTimeout(() => { button.textContent = label; }, 2000);
}

// Names are a stranger's: in single quotes a shell takes all but a single quote as it stands, and Python reads JSON's strings.
const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const python = JSON.stringify;

const curlFile = (name) => `curl -F ${shell(`file=@"${name.replaceAll(/["\\]/g, "\\$&")}"`)} ${location.origin}/upload`;
const curlUrl = (url) => `curl -G --data-urlencode ${shell(`url=${url}`)} ${location.origin}/classify-url`;

const pythonFile = (name) => `import httpx

with open(${python(name)}, "rb") as photo:
    answer = httpx.post("${location.origin}/upload", files={"file": photo}).json()
print(answer)`;

const pythonUrl = (url) => `import httpx

answer = httpx.get("${location.origin}/classify-url", params={"url": ${python(url)}}, timeout=30).json()
print(answer)`;
