/** Pages in a row: first, count. In order, and none reaches into the next. */
export type Runs = readonly (readonly [number, number])[];

/** As numbers (LEB128): how far from the end of the one before, and how many; or a bit for each page. */
const [NUMBERS, BITS] = [0, 1] as const;

/**
 * Packs runs of pages: two or three bytes for each, and never more than a bit for each page up to the last one.
 * @throws RangeError where they are not in order
 */
export function packRuns(runs: Runs): Buffer {
  const [last = 0, count = 0] = runs.at(-1) ?? [];
  const bits_bytes = Math.ceil((last + count) / 8);
  const numbers: number[] = [];
  let end = 0;
  for (const [first, length] of runs) {
    if (first < end || length < 1) throw new RangeError(`${length} pages from ${first} on, behind ${end}`);
    if (numbers.length > bits_bytes) continue;
    put(numbers, first - end);
    put(numbers, length);
    end = first + length;
  }
  const content = numbers.length > bits_bytes ? bitsOf(runs, bits_bytes) : Buffer.from(numbers);
  return Buffer.concat([Buffer.from([numbers.length > bits_bytes ? BITS : NUMBERS]), content]);
}

/**
 * The runs again, one after the other: of a large memory there may be millions.
 * @throws RangeError where this is nothing that `packRuns` makes
 */
export function* unpackRuns(bytes: Uint8Array): Generator<[number, number], void> {
  const content = bytes.subarray(1);
  switch (bytes[0]) {
    case NUMBERS:
      yield* runsOfNumbers(content);
      return;
    case BITS:
      yield* runsOfBits(content);
      return;
    default:
      throw new RangeError("runs of pages that are packed in no way that is known");
  }
}

function put(into: number[], value: number): void {
  let left = value;
  for (; left >= 0x80; left = Math.floor(left / 0x80)) into.push((left % 0x80) | 0x80);
  into.push(left);
}

function* runsOfNumbers(content: Uint8Array): Generator<[number, number], void> {
  let at = 0;
  const take = (): number => {
    for (let [value, weight] = [0, 1]; ; weight *= 0x80) {
      const byte = content[at];
      at += 1;
      if (byte === undefined) throw new RangeError("runs of pages that are cut off");
      value += (byte & 0x7f) * weight;
      if (!Number.isSafeInteger(value) || weight > 2 ** 49) throw new RangeError("a page behind every memory");
      if (byte < 0x80) return value;
    }
  };
  for (let end = 0; at < content.length; ) {
    const first = end + take();
    const length = take();
    end = first + length;
    if (length < 1 || !Number.isSafeInteger(end)) throw new RangeError(`${length} pages from ${first} on`);
    yield [first, length];
  }
}

function bitsOf(runs: Runs, bytes: number): Buffer {
  const bits = Buffer.alloc(bytes);
  for (const [first, length] of runs)
    for (let page = first; page < first + length; page += 1)
      bits[page >> 3] = (bits[page >> 3] ?? 0) | (1 << (page & 7));
  return bits;
}

function* runsOfBits(bits: Uint8Array): Generator<[number, number], void> {
  const has = (page: number): boolean => (((bits[page >> 3] ?? 0) >> (page & 7)) & 1) === 1;
  const pages = bits.length * 8;
  for (let page = 0; page < pages; page += 1) {
    if ((page & 7) === 0 && bits[page >> 3] === 0) page += 7;
    else if (has(page)) {
      const first = page;
      while (page < pages && has(page)) page += 1;
      yield [first, page - first];
    }
  }
}
