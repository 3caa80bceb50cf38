const SEGMENT_BITS = 13;
const SEGMENT = 1 << SEGMENT_BITS;
const FIRST = 256;

interface Segment {
  size: number;
  page: Uint32Array;
  offset: Float64Array;
  lane1: Int32Array | null;
  lane2: Int32Array | null;
}

/**
 * Pages in ascending order with where their contents lie; 12 bytes a page, 20 with lanes. It grows a segment at a time:
 * the list of an ordinary record is a few kilobytes, that of a large guest is never copied.
 */
export class PageList {
  readonly #lanes: boolean;
  readonly #segments: Segment[] = [];
  readonly #runs: { readonly block: number; readonly first: number }[] = [];
  #length = 0;

  constructor(options: { readonly lanes: boolean }) {
    this.#lanes = options.lanes;
  }

  get length(): number {
    return this.#length;
  }

  /** @param offset of the content; -1 for a page of zeros */
  add(block: number, page: number, offset: number, lane1 = 0, lane2 = 0): void {
    const run = this.#runs[this.#runs.length - 1];
    if (run === undefined || run.block !== block) this.#runs.push({ block, first: this.#length });
    const i = this.#length & (SEGMENT - 1);
    let segment = this.#segments[this.#length >> SEGMENT_BITS];
    if (segment === undefined) {
      segment = this.#segment(this.#length === 0 ? FIRST : SEGMENT);
      this.#segments.push(segment);
    } else if (i === segment.size) this.#grow(segment);
    segment.page[i] = page;
    segment.offset[i] = offset;
    if (segment.lane1 !== null) segment.lane1[i] = lane1;
    if (segment.lane2 !== null) segment.lane2[i] = lane2;
    this.#length += 1;
  }

  page(i: number): number {
    return this.#at(i).page[i & (SEGMENT - 1)] as number;
  }

  offset(i: number): number {
    return this.#at(i).offset[i & (SEGMENT - 1)] as number;
  }

  lane1(i: number): number {
    return this.#at(i).lane1?.[i & (SEGMENT - 1)] ?? 0;
  }

  lane2(i: number): number {
    return this.#at(i).lane2?.[i & (SEGMENT - 1)] ?? 0;
  }

  /** Pages of one block in a row in the list: places `first` to before `end`. */
  *runs(): Generator<{ readonly block: number; readonly first: number; readonly end: number }> {
    for (const [i, { block, first }] of this.#runs.entries()) {
      yield { block, first, end: this.#runs[i + 1]?.first ?? this.#length };
    }
  }

  #at(i: number): Segment {
    return this.#segments[i >> SEGMENT_BITS] as Segment;
  }

  #segment(size: number): Segment {
    return {
      size,
      page: new Uint32Array(size),
      offset: new Float64Array(size),
      lane1: this.#lanes ? new Int32Array(size) : null,
      lane2: this.#lanes ? new Int32Array(size) : null,
    };
  }

  #grow(segment: Segment): void {
    const larger = this.#segment(segment.size * 2);
    larger.page.set(segment.page);
    larger.offset.set(segment.offset);
    if (segment.lane1 !== null) larger.lane1?.set(segment.lane1);
    if (segment.lane2 !== null) larger.lane2?.set(segment.lane2);
    Object.assign(segment, larger);
  }
}
