import type { Fault } from "./fault.ts";

/** Only the escrow has nothing that cannot be made again. */
export interface ReplaceHost {
  readonly fault: "replace-host";
  readonly host: "escrow";
}

/**
 * The host is gone for good, its disk with it, and an operator sets up another one in its place and says so to the agents
 * that are left: no fault alone, but what people do after one.
 */
export const replaceHost: Fault<ReplaceHost> = {
  name: "replace-host",
  where: ({ host }) => host,
  async inject(_, { replaceEscrow }) {
    if (replaceEscrow === undefined) throw new Error("there is no escrow that could be replaced");
    await replaceEscrow();
    return undefined;
  },
};
