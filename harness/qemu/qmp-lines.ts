/** What the splitter made of the bytes so far: a line, or the reason why there will be no more. */
export type LineResult =
  | { readonly kind: "line"; readonly line: string }
  | { readonly kind: "garbage"; readonly bytes: Buffer }
  | { readonly kind: "too-long"; readonly size_bytes: number; readonly bytes: Buffer };

const NEWLINE = 0x0a;
const BRACE = 0x7b;
/** Bytes that may stand before a message: space, tab, carriage return. */
const BLANKS: ReadonlySet<number> = new Set([0x20, 0x09, 0x0d]);

/**
 * Cuts QMP's byte stream into lines, however it was chunked. Holds at most one line of at most `line_bytes_max`
 * bytes. Every QMP message is a JSON object, so a line that begins with anything but `{` is garbage, and is told
 * as such at once: a peer that is not QEMU may never send a newline.
 */
export class QmpLines {
  readonly #line_bytes_max: number;
  #parts: Buffer[] = [];
  #size_bytes = 0;
  #begun: boolean;
  #failed = false;

  /** @param midway what comes first may be the rest of a line whose beginning somebody else has read */
  constructor(line_bytes_max: number, midway = false) {
    this.#line_bytes_max = line_bytes_max;
    this.#begun = midway;
  }

  /** Bytes of a line that has begun and not ended. */
  get unfinished(): Buffer {
    return Buffer.concat(this.#parts);
  }

  /** The lines that this chunk completes; after garbage or a line too long, nothing any more. */
  *push(chunk: Buffer): Generator<LineResult, void> {
    let from = 0;
    while (from < chunk.length && !this.#failed) {
      if (!this.#begun) {
        const first = chunk[from];
        if (first === NEWLINE || (first !== undefined && BLANKS.has(first))) {
          from += 1;
          continue;
        }
        if (first !== BRACE) {
          this.#failed = true;
          yield { kind: "garbage", bytes: chunk.subarray(from) };
          return;
        }
        this.#begun = true;
      }
      const end = chunk.indexOf(NEWLINE, from);
      const part = chunk.subarray(from, end < 0 ? chunk.length : end);
      this.#size_bytes += part.length;
      this.#parts.push(part);
      if (this.#size_bytes > this.#line_bytes_max) {
        this.#failed = true;
        yield { kind: "too-long", size_bytes: this.#size_bytes, bytes: this.unfinished };
        return;
      }
      if (end < 0) return;
      const line = this.unfinished.toString("utf8").trimEnd();
      this.#parts = [];
      this.#size_bytes = 0;
      this.#begun = false;
      from = end + 1;
      yield { kind: "line", line };
    }
  }
}
