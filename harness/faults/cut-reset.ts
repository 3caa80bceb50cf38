import { type Fault, type OnLink, onLink, partOf, splitFor } from "./fault.ts";

export type CutReset = OnLink & { readonly fault: "cut-reset" };

/** The link breaks and says so: connections are reset, new ones refused. */
export const cutReset: Fault<CutReset> = {
  name: "cut-reset",
  where: onLink,
  prepare: splitFor,
  inject: async (spec, { fleet }) => partOf(spec, fleet).cutWithReset(),
};
