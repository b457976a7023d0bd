// Scales a photo down, upright. Answers {blob, width, height}, the last two the original's; null: send it as it is.

const QUALITY = 0.92;
const HARDLY_LARGER = 1.25; // times `short`: there is little to save

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
  const head = new TextDecoder("latin1").decode(await file.slice(0, 65536).arrayBuffer());
  return /^(\xff\xd8\xff|.PNG\r\n|RIFF.{4}WEBP)/s.test(head) && !/acTL|ANIM/.test(head);
}

/** Whether a canvas gives back what was drawn: browsers that guard against fingerprints may give noise. */
function readsTrue() {
  const context = new OffscreenCanvas(1, 1).getContext("2d");
  context.fillRect(0, 0, 1, 1);
  return context.getImageData(0, 0, 1, 1).data.join() === "0,0,0,255";
}

/** By halves, then the rest: every pixel counts, though browsers look at as few as four for each new one. */
function drawn(image, width, height) {
  const halves = image.width > 2 * width;
  const [w, h] = halves ? [Math.ceil(image.width / 2), Math.ceil(image.height / 2)] : [width, height];
  const canvas = new OffscreenCanvas(w, h);
  const context = canvas.getContext("2d");
  context.fillStyle = "white"; // behind transparent parts, as the service has it
  context.fillRect(0, 0, w, h);
  context.drawImage(image, 0, 0, w, h);
  return halves ? drawn(canvas, width, height) : canvas;
}
