import fc from "fast-check";

/** Runs of pages as they are found: in order, with room between. */
export const orderedRuns: fc.Arbitrary<[number, number][]> = fc
  .array(fc.tuple(fc.integer({ min: 1, max: 5_000 }), fc.integer({ min: 1, max: 300 })), { maxLength: 300 })
  .map((steps) => {
    let end = -1;
    return steps.map(([gap, length]): [number, number] => {
      const first = end + gap;
      end = first + length;
      return [first, length];
    });
  });
