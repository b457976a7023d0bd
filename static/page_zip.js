// A ZIP of files as they are (photos are compressed already), made without reading more than one of them at a time.

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

/** A Blob of [{name, file}], in that order; names with / make folders. Source: PKWARE's APPNOTE 6.3.10, §4.3. */
export async function zip(entries) {
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const { name, file } of entries) {
    const bytes = new TextEncoder().encode(name);
    const head = fields(crc32(new Uint8Array(await file.arrayBuffer())), file.size, bytes.length);
    parts.push(local(head), bytes, file);
    directory.push(central(head, offset), bytes);
    offset += 30 + bytes.length + file.size;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  return new Blob([...parts, ...directory, end(entries.length, size, offset)], { type: "application/zip" });
}

function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

// Version 2.0, names in UTF-8, stored, 1 January 1980, checksum, both sizes, the name's length.
const fields = (crc, size, length) => [[2, 20], [2, 0x800], [2, 0], [2, 0], [2, 0x21], [4, crc], [4, size], [4, size], [2, length]];
const local = (head) => pack([[4, 0x04034b50], ...head, [2, 0]]);
const central = (head, offset) =>
  pack([[4, 0x02014b50], [2, 20], ...head, [2, 0], [2, 0], [2, 0], [2, 0], [4, 0], [4, offset]]);
const end = (count, size, offset) => pack([[4, 0x06054b50], [2, 0], [2, 0], [2, count], [2, count], [4, size], [4, offset], [2, 0]]);

/** Little-endian numbers of so many bytes. */
function pack(numbers) {
  const view = new DataView(new ArrayBuffer(numbers.reduce((sum, [bytes]) => sum + bytes, 0)));
  let at = 0;
  for (const [bytes, value] of numbers) {
    if (bytes === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += bytes;
  }
  return new Uint8Array(view.buffer);
}
