// Server-sent events out of bytes, as the HTML standard parses them.

/** Feed it chunks of bytes; it gives the events that are complete: `{event, data, id}`. */
export class EventParser {
  #decoder = new TextDecoder();
  #rest = "";
  #event = "";
  #data = [];
  #id = "";

  push(bytes) {
    const text = this.#rest + this.#decoder.decode(bytes, { stream: true });
    // A carriage return at the end may be half of a line's end.
    const lines = text.split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    return lines.flatMap((line) => this.#line(line));
  }

  #line(line) {
    if (line === "") return this.#complete();
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.#event = value;
    else if (field === "data") this.#data.push(value);
    else if (field === "id") this.#id = value;
    return [];
  }

  #complete() {
    const found = this.#data.length
      ? [{ event: this.#event || "message", data: this.#data.join("\n"), id: this.#id }]
      : [];
    this.#event = "";
    this.#data = [];
    return found;
  }
}
