import type { LinkDirection } from "../base/timeline.ts";
import { type Fault, type OnLink, onLink, partOf, splitFor } from "./fault.ts";

/** `direction` "forward" silences what flows from the first host of the link's name to the second. */
export type CutSilent = OnLink & { readonly fault: "cut-silent"; readonly direction: LinkDirection };

/** Nothing comes through any more, in one direction or both, and no reset tells of it. */
export const cutSilent: Fault<CutSilent> = {
  name: "cut-silent",
  where: onLink,
  prepare: splitFor,
  inject: async (spec, { fleet }) => partOf(spec, fleet).cutSilently(spec.direction),
};
