/** A run of bytes of a disk, and what is known of it. */
export interface Extent<Place> {
  readonly offset: number;
  readonly length: number;
  /** Where its first byte is kept; of a part of it `shift` tells. */
  readonly place: Place;
}

/**
 * Which bytes of a disk were written, and where they are kept: extents in order, none over another. What is put last
 * hides what was there. Memory follows the number of writes that are not neighbours, not their size.
 */
export class Extents<Place> {
  readonly #shift: (place: Place, by: number) => Place;
  readonly #extents: Extent<Place>[] = [];

  /** @param shift the place of a byte that stands so many behind the first */
  constructor(shift: (place: Place, by: number) => Place) {
    this.#shift = shift;
  }

  get size(): number {
    return this.#extents.length;
  }

  put(offset: number, length: number, place: Place): void {
    if (length === 0) return;
    const end = offset + length;
    const first = this.#firstEndingAfter(offset);
    const put: Extent<Place>[] = [];
    let behind = first;
    let tail: Extent<Place> | undefined;
    for (let found = this.#extents[behind]; found !== undefined && found.offset < end; found = this.#extents[behind]) {
      if (found.offset < offset) put.push({ offset: found.offset, length: offset - found.offset, place: found.place });
      const found_end = found.offset + found.length;
      if (found_end > end)
        tail = { offset: end, length: found_end - end, place: this.#shift(found.place, end - found.offset) };
      behind++;
    }
    put.push({ offset, length, place });
    if (tail !== undefined) put.push(tail);
    this.#extents.splice(first, behind - first, ...put);
  }

  /** The range from beginning to end: what is here with its place, what is not with none. */
  walk(offset: number, length: number): (Omit<Extent<Place>, "place"> & { readonly place: Place | undefined })[] {
    const end = offset + length;
    const found: (Omit<Extent<Place>, "place"> & { readonly place: Place | undefined })[] = [];
    let at = offset;
    for (let index = this.#firstEndingAfter(offset); at < end; index++) {
      const extent = this.#extents[index];
      if (extent === undefined || extent.offset >= end) {
        found.push({ offset: at, length: end - at, place: undefined });
        break;
      }
      if (extent.offset > at) {
        found.push({ offset: at, length: extent.offset - at, place: undefined });
        at = extent.offset;
      }
      const upto = Math.min(end, extent.offset + extent.length);
      found.push({ offset: at, length: upto - at, place: this.#shift(extent.place, at - extent.offset) });
      at = upto;
    }
    return found;
  }

  [Symbol.iterator](): Iterator<Extent<Place>> {
    return this.#extents[Symbol.iterator]();
  }

  /** Index of the first extent that ends behind this byte. */
  #firstEndingAfter(offset: number): number {
    let [low, high] = [0, this.#extents.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      const { offset: from, length } = this.#extents[middle] as Extent<Place>;
      if (from + length <= offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
