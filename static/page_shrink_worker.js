// Turns a photo upright and scales it down, off the page's thread. Answers {blob, width, height}, the last two those of
// the upright original, or null where the photo is to be sent as it is.

const QUALITY = 0.92;
const HARDLY_LARGER = 1.25; // times `short`: there is little to save
const HEAD = 65536; // bytes, in which an animation says that it is one

onmessage = async ({ data }) => postMessage(await scaledDown(data).catch(() => null));

async function scaledDown({ file, short }) {
  if (!(await isStill(file)) || !readsTrue()) return null;
  const image = await createImageBitmap(file, { imageOrientation: "from-image" }); // its colours become sRGB
  const { width, height } = image;
  const scale = short / Math.min(width, height);
  try {
    if (scale * HARDLY_LARGER >= 1) return null;
    const canvas = drawn(image, Math.round(width * scale), Math.round(height * scale));
    const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: QUALITY });
    return blob.size < file.size ? { blob, width, height } : null;
  } finally {
    image.close();
  }
}

/** Whether the first bytes are those of a JPEG, PNG or WebP that does not move. */
async function isStill(file) {
  const head = new TextDecoder("latin1").decode(await file.slice(0, HEAD).arrayBuffer());
  if (/^RIFF.{4}WEBP/s.test(head)) return !head.includes("ANIM");
  return /^.PNG\r\n/s.test(head) ? !head.includes("acTL") : head.startsWith("\xff\xd8\xff");
}

/** Whether a canvas returns what was drawn: browsers that guard against fingerprints may return noise. */
function readsTrue() {
  const context = new OffscreenCanvas(1, 1).getContext("2d");
  context.fillStyle = "rgb(40 100 170)";
  context.fillRect(0, 0, 1, 1);
  const [red, green, blue] = context.getImageData(0, 0, 1, 1).data;
  return Math.abs(red - 40) + Math.abs(green - 100) + Math.abs(blue - 170) < 9;
}

/** By halves, then the rest: every pixel counts, though browsers look at as few as four for each new one. */
function drawn(image, width, height) {
  const half = [Math.ceil(image.width / 2), Math.ceil(image.height / 2)];
  return half[0] > width ? drawn(draw(image, ...half), width, height) : draw(image, width, height);
}

function draw(image, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  context.fillStyle = "white"; // behind transparent parts, as the service has it
  context.fillRect(0, 0, width, height);
  context.drawImage(image, 0, 0, width, height);
  return canvas;
}
