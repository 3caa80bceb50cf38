/** Bytes that came in pieces, taken out by length or by line. Copies each byte at most once. */
export class ByteQueue {
  #chunks: Buffer[] = [];
  #length = 0;

  push(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.#length += chunk.length;
  }

  /** The first `length` bytes, or undefined while there are fewer. */
  take(length: number): Buffer | undefined {
    if (this.#length < length) return undefined;
    const taken: Buffer[] = [];
    let missing = length;
    let whole = 0;
    for (const chunk of this.#chunks) {
      if (missing < chunk.length) break;
      taken.push(chunk);
      missing -= chunk.length;
      whole++;
    }
    const next = this.#chunks[whole];
    if (missing > 0 && next !== undefined) {
      taken.push(next.subarray(0, missing));
      this.#chunks[whole] = next.subarray(missing);
    }
    this.#chunks.splice(0, whole);
    this.#length -= length;
    return taken.length === 1 ? taken[0] : Buffer.concat(taken, length);
  }

  /** The first line without its end; "too-long" when there is none in the first `bytes_max` bytes. */
  takeLine(bytes_max: number): string | "too-long" | undefined {
    let before = 0;
    for (const chunk of this.#chunks) {
      const at = chunk.indexOf(0x0a);
      if (at >= 0) return this.take(before + at + 1)?.toString("utf8", 0, before + at);
      before += chunk.length;
      if (before > bytes_max) return "too-long";
    }
    return undefined;
  }
}
