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

// A key, where one is asked for, is in the environment.
const { key } = find(".zone").dataset;
const curlKey = key ? ' -H "Authorization: Bearer $TELLAPART_API_KEY"' : "";
const pythonKey = key ? ', headers={"Authorization": "Bearer " + os.environ["TELLAPART_API_KEY"]}' : "";
const imports = key ? "import os\n\nimport httpx2" : "import httpx2";

const curlFile = (name) => `curl${curlKey} -F ${shell(`file=@"${name.replaceAll(/["\\]/g, "\\$&")}"`)} ${location.origin}/upload`;
const curlUrl = (url) => `curl${curlKey} -G --data-urlencode ${shell(`url=${url}`)} ${location.origin}/classify-url`;

const pythonFile = (name) => `${imports}

with open(${python(name)}, "rb") as photo:
    answer = httpx2.post("${location.origin}/upload", files={"file": photo}${pythonKey}).json()
print(answer)`;

const pythonUrl = (url) => `${imports}

answer = httpx2.get("${location.origin}/classify-url", params={"url": ${python(url)}}, timeout=30${pythonKey}).json()
print(answer)`;
