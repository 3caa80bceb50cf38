import type { Fault, OnLink } from "./fault.ts";

export type CutReset = OnLink & { readonly fault: "cut-reset" };

/** The link breaks and says so: connections are reset, new ones refused. */
export const cutReset: Fault<CutReset> = {
  name: "cut-reset",
  where: ({ link }) => `link ${link}`,
  async inject({ link }, { fleet }) {
    return fleet.link(link).cutWithReset();
  },
};
