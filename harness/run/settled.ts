import type { HostRole } from "../base/timeline.ts";
import type { PagesSeen } from "./movement.ts";

/** How a migration came out, as whoever manages it sees it. */
export interface Settled {
  readonly owner: HostRole | "none";
  readonly how: string;
  /** The wait was given up while pages of the guest were still missing on the target: its memory proves nothing. */
  readonly arriving?: PagesSeen;
  /** The VM runs whole where it is, is to be protected, and is not: what that lacks. */
  readonly unprotected?: string;
  /** How often the migration was asked for. */
  readonly tries?: number;
}

/** Where a wait was given up. @param arriving how many pages there were, where some are still missing */
export function givenUpAt(how: string, arriving: PagesSeen | undefined): Settled {
  return { owner: "none", how, ...(arriving === undefined ? {} : { arriving }) };
}
