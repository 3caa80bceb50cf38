import { type Fault, type OnLink, onLink, partOf, splitFor } from "./fault.ts";

/** `direction`: only one end is told, the second of the link's name (forward) or the first (backward); absent: both. */
export type CutReset = OnLink & { readonly fault: "cut-reset"; readonly direction?: "forward" | "backward" };

/**
 * The link breaks and says so: connections are reset, new ones refused. In one direction only the reset goes that way: the
 * other end hears nothing any more, and no reset tells of it.
 */
export const cutReset: Fault<CutReset> = {
  name: "cut-reset",
  where: onLink,
  prepare: splitFor,
  inject: async (spec, { fleet }) =>
    spec.direction === undefined
      ? partOf(spec, fleet).cutWithReset()
      : partOf(spec, fleet).cutTellingOne(spec.direction),
};
