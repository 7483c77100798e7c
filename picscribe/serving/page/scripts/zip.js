// A ZIP archive without compression, as its specification (APPNOTE.TXT, 4.3) describes it: photos are compressed already.

const CRC = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? 0xedb88320 ^ (byte >>> 1) : byte >>> 1;
  return byte;
});

export function crc32(bytes) {
  let sum = ~0;
  for (const byte of bytes) sum = CRC[(sum ^ byte) & 0xff] ^ (sum >>> 8);
  return ~sum >>> 0;
}

const MOST = 2 ** 32 - 1;

/** `entries`: [{name, blob}]. Raises RangeError for more than 4 GB or 65,535 files, which ZIP's plain form cannot hold. */
export async function zip(entries) {
  const parts = [];
  const directory = [];
  let offset = 0;
  if (entries.length > 0xffff) throw new RangeError("a ZIP file holds 65,535 files at most");
  for (const { name, blob } of entries) {
    const path = new TextEncoder().encode(name);
    const content = new Uint8Array(await blob.arrayBuffer());
    const fields = (central) => {
      const header = new DataView(new ArrayBuffer(central ? 46 : 30));
      const at = central ? 2 : 0;
      header.setUint32(0, central ? 0x02014b50 : 0x04034b50, true);
      if (central) header.setUint16(4, 20, true);
      header.setUint16(4 + at, 20, true);
      header.setUint16(6 + at, 0x0800, true); // names are UTF-8
      header.setUint16(12 + at, 0x21, true); // 1 January 1980
      header.setUint32(14 + at, crc, true);
      header.setUint32(18 + at, content.length, true);
      header.setUint32(22 + at, content.length, true);
      header.setUint16(26 + at, path.length, true);
      if (central) header.setUint32(42, offset, true);
      return header.buffer;
    };
    const crc = crc32(content);
    directory.push(fields(true), path);
    parts.push(fields(false), path, blob);
    offset += 30 + path.length + content.length;
    if (offset > MOST) throw new RangeError("a ZIP file holds 4 GB at most: take fewer photos along at once");
  }
  const size = directory.reduce((sum, part) => sum + part.byteLength, 0);
  const end = new DataView(new ArrayBuffer(22));
  end.setUint32(0, 0x06054b50, true);
  end.setUint16(8, entries.length, true);
  end.setUint16(10, entries.length, true);
  end.setUint32(12, size, true);
  end.setUint32(16, offset, true);
  return new Blob([...parts, ...directory, end.buffer], { type: "application/zip" });
}
