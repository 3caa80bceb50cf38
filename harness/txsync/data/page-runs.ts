/** As numbers (LEB128): how far from the end of the one before, and how many; or a bit for each page. */
const [NUMBERS, BITS] = [0, 1] as const;
/** A run's two numbers, at most. */
const NUMBER_BYTES_MAX = 16;

/** Pages in a row: first, count. In order, and none reaches into the next. */
export type Runs = readonly (readonly [number, number])[];

/** Pages that are 1, in a row each. */
export function runsOf(pages: Uint8Array): [number, number][] {
  const runs: [number, number][] = [];
  for (let first = pages.indexOf(1); first >= 0; ) {
    const after = pages.indexOf(0, first);
    const end = after < 0 ? pages.length : after;
    runs.push([first, end - first]);
    first = pages.indexOf(1, end);
  }
  return runs;
}

/** How many there are, and in how many runs. */
export function countRuns(pages: Uint8Array): { readonly runs: number; readonly pages: number } {
  let [runs, all] = [0, 0];
  for (let first = pages.indexOf(1); first >= 0; ) {
    const after = pages.indexOf(0, first);
    runs += 1;
    all += (after < 0 ? pages.length : after) - first;
    first = after < 0 ? -1 : pages.indexOf(1, after);
  }
  return { runs, pages: all };
}

/** Those that are 1, and not in `but` as well. */
export function without(pages: Uint8Array, but: Uint8Array | undefined): Uint8Array {
  if (but === undefined) return pages;
  const rest = new Uint8Array(pages.length);
  for (let page = 0; page < pages.length; page += 1) rest[page] = pages[page] === 1 && but[page] !== 1 ? 1 : 0;
  return rest;
}

/**
 * Packs the pages that are 1: two or three bytes for each run of them, and never more than a bit for each page up to the
 * last one. A guest stands still for it: it makes nothing but its result.
 */
export function packPages(pages: Uint8Array): Buffer {
  const end = pages.lastIndexOf(1) + 1;
  const bits_bytes = Math.ceil(end / 8);
  const packed = Buffer.allocUnsafe(1 + bits_bytes + NUMBER_BYTES_MAX);
  packed[0] = NUMBERS;
  let at = 1;
  for (let [first, before] = [pages.indexOf(1), 0]; first >= 0; first = pages.indexOf(1, before)) {
    const after = pages.indexOf(0, first);
    at = put(packed, at, first - before);
    before = after < 0 ? end : after;
    at = put(packed, at, before - first);
    if (at > 1 + bits_bytes) return bitsOf(pages, end);
  }
  return packed.subarray(0, at);
}

/**
 * The runs again, one after the other: of a large memory there may be millions.
 * @throws RangeError where this is nothing that `packPages` makes
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

function put(into: Buffer, at: number, value: number): number {
  let left = value;
  let next = at;
  for (; left >= 0x80; left = Math.floor(left / 0x80), next += 1) into[next] = (left % 0x80) | 0x80;
  into[next] = left;
  return next + 1;
}

/**
 * The pages again, as `packPages` had them, and how many they are.
 * @throws RangeError where it is nothing that makes, or names a page that so many have not
 */
export function unpackPages(packed: Uint8Array, pages: number): { readonly is: Uint8Array; readonly count: number } {
  const is = new Uint8Array(pages);
  let all = 0;
  for (const [first, count] of unpackRuns(packed)) {
    if (first + count > pages) throw new RangeError(`${count} pages from ${first} on, of ${pages}`);
    is.fill(1, first, first + count);
    all += count;
  }
  return { is, count: all };
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

function bitsOf(pages: Uint8Array, end: number): Buffer {
  const packed = Buffer.alloc(1 + Math.ceil(end / 8));
  packed[0] = BITS;
  for (let page = 0; page < end; page += 1)
    if (pages[page] === 1) packed[1 + (page >> 3)] = (packed[1 + (page >> 3)] ?? 0) | (1 << (page & 7));
  return packed;
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
