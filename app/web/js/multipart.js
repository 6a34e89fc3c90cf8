// Pictures out of multipart/x-mixed-replace, whatever the chunks they come in.

const BLANK = [13, 10, 13, 10];
const LONGEST_HEAD = 4096;
const LARGEST_PART = 32 << 20;

/** Feed it chunks of bytes; it gives the parts that are complete: `{headers, body}`, header names in lower case. */
export class PartParser {
  #chunks = [];
  #length = 0;
  #head = null;

  push(bytes) {
    this.#chunks.push(bytes);
    this.#length += bytes.length;
    const parts = [];
    for (let part = this.#next(); part; part = this.#next()) parts.push(part);
    return parts;
  }

  #next() {
    this.#head ??= this.#readHead();
    if (!this.#head || this.#length < this.#head.size) return null;
    const body = this.#take(this.#head.size);
    const { headers } = this.#head;
    this.#head = null;
    return { headers, body };
  }

  #readHead() {
    const buffer = this.#joined();
    const end = find(buffer, BLANK);
    if (end < 0) {
      if (buffer.length > LONGEST_HEAD) throw new Error("The picture stream makes no sense.");
      return null;
    }
    const headers = parseHead(new TextDecoder().decode(this.#take(end + BLANK.length)));
    const size = Number(headers["content-length"]);
    if (!(size >= 0 && size <= LARGEST_PART)) throw new Error("A picture of the stream has no proper length.");
    return { headers, size };
  }

  /** Joining only when a head is looked for, or a part complete, keeps large pictures from being copied each time. */
  #joined() {
    if (this.#chunks.length > 1) {
      const whole = new Uint8Array(this.#length);
      let at = 0;
      for (const chunk of this.#chunks) {
        whole.set(chunk, at);
        at += chunk.length;
      }
      this.#chunks = [whole];
    }
    return this.#chunks[0] ?? new Uint8Array();
  }

  #take(size) {
    const whole = this.#joined();
    const rest = whole.subarray(size);
    this.#chunks = rest.length ? [rest] : [];
    this.#length = rest.length;
    return whole.slice(0, size);
  }
}

function parseHead(text) {
  const lines = text
    .split("\r\n")
    .map((line) => line.match(/^([^:\s]+):\s*(.*)$/))
    .filter(Boolean);
  return Object.fromEntries(lines.map(([, name, value]) => [name.toLowerCase(), value]));
}

function find(bytes, wanted) {
  for (let at = bytes.indexOf(wanted[0]); at >= 0; at = bytes.indexOf(wanted[0], at + 1)) {
    if (wanted.every((byte, offset) => bytes[at + offset] === byte)) return at;
  }
  return -1;
}
