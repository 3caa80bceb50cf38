import { type Fault, type OneWay, onLink, shapeOn, splitFor } from "./fault.ts";

export type ByteLimit = OneWay & { readonly fault: "byte-limit"; readonly bytes: number };

/** Every connection dies after so many bytes in one direction: a stream that ends in the middle, at a byte of one\'s choice. */
export const byteLimit: Fault<ByteLimit> = {
  name: "byte-limit",
  where: onLink,
  prepare: splitFor,
  inject: (spec, { fleet }) => shapeOn(spec, fleet, { shape: "byte-limit", bytes: spec.bytes }),
};
