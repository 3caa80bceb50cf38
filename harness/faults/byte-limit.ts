import type { Fault, OnLink } from "./fault.ts";

export type ByteLimit = OnLink & { readonly fault: "byte-limit"; readonly bytes: number };

/** Every connection dies after so many bytes in one direction: a stream that ends in the middle, at a byte of one\'s choice. */
export const byteLimit: Fault<ByteLimit> = {
  name: "byte-limit",
  where: ({ link }) => `link ${link}`,
  async inject({ link, ...spec }, { fleet }) {
    return fleet.link(link).shape({ shape: "byte-limit", bytes: spec.bytes });
  },
};
