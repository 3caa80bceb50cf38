import type { GuestKind } from "../base/run-record.ts";
import type { HostRole } from "../base/timeline.ts";
import type { HistoryVerdict } from "../guests/integrity/ledger-history.ts";

/** What the run tried to find out: it got it, it tried and failed, or there was nothing to look at. */
export type Gathered<T> =
  | { readonly state: "got"; readonly value: T }
  | { readonly state: "failed"; readonly why: string }
  | { readonly state: "absent"; readonly why: string };

/** Two looks at the step counter of the instance on a host; undefined: no instance, or none that could be read. */
export interface ProgressSample {
  readonly host: HostRole;
  readonly before: number | undefined;
  readonly after: number | undefined;
  readonly watched_ms: number;
  /** Why the instance that is there could not be looked at even once. */
  readonly failed?: string;
}

/** A page that is not what the rule says. Contents are described in words, such as "content of step 12". */
export interface WrongPage {
  readonly page: number;
  readonly address: number;
  readonly expected: string;
  readonly found: string;
}

export interface MemoryFindings {
  readonly step: number;
  readonly pages_checked: number;
  readonly bad_count: number;
  readonly bad: readonly WrongPage[];
}

export interface GuestFindings {
  readonly pages_checked: number;
  readonly bad_count: number;
  /** Errors the guest counted while it worked, and damage its console tells of (an oops, a panic). */
  readonly errors: number;
  readonly first: string;
}

export interface BlockDifference {
  readonly block: string;
  readonly page: number;
  readonly source: string;
  readonly target: string;
}

export interface StillFindings {
  readonly blocks: readonly { readonly name: string; readonly pages: number; readonly differing: number }[];
  readonly differing: readonly BlockDifference[];
  /** Pages that differ in nothing but the clock that KVM itself keeps in the guest's memory; not among the others. */
  readonly kvm_clocks: readonly { readonly block: string; readonly page: number; readonly offset: number }[];
}

export interface MigrateAgainFindings {
  readonly from: HostRole;
  readonly to: HostRole;
  readonly steps_before: number;
  readonly steps_after: number;
}

export interface OutputFindings {
  /** Frames that came in, each counted once. */
  readonly frames: number;
  /** Frames that came once more, as they had come before. */
  readonly repeated: number;
  /** Of all frames, those that were let out after switchover. */
  readonly after_switchover: number;
  /** Frames that came once more with another content: two histories of one VM have been seen outside. */
  readonly changed: readonly string[];
  /** Times a frame was refused because something was missing before it; it was asked for again. */
  readonly refused: number;
  /** Lines that could not be read; what was in them was asked for again. */
  readonly torn: number;
  /** Frames that the owner says it has let out and that never came. */
  readonly missing: number;
  /** New frames of a generation that a newer one had succeeded, and that the newer one never let out. */
  readonly late: readonly string[];
}

export interface AfterwardsFindings {
  /** "reset on source". */
  readonly what: string;
  readonly memory: MemoryFindings;
}

export interface LeftoverFindings {
  readonly containers: readonly string[];
  readonly networks: readonly string[];
}

/** All that a run found out, for the checks to judge. */
export interface Evidence {
  readonly guest_kind: GuestKind;
  /** A target held still makes no progress, and must not. */
  readonly held_still: boolean;
  readonly owner: HostRole | "none";
  readonly settled: string;
  readonly progress: readonly ProgressSample[];
  /**
   * Hosts whose instance has been succeeded, by what came out at the receiving edge: the owner lets output out in a newer
   * generation, and from there nothing new has come since. "unheard": the owner let nothing out. Under txsync only.
   */
  readonly succeeded?: readonly HostRole[] | "unheard";
  /** Rules of the protocol that were broken, as agents tell. Under txsync only. */
  readonly violations?: readonly string[];
  /** What the VM that arrived was put through, and what its memory was then. */
  readonly afterwards?: Gathered<AfterwardsFindings>;
  /** What came out at the receiving edge. Under txsync only. */
  readonly edge?: OutputFindings;
  readonly memory: Gathered<MemoryFindings>;
  readonly guest: Gathered<GuestFindings>;
  readonly ledger: Gathered<HistoryVerdict>;
  readonly still: Gathered<StillFindings>;
  readonly again: Gathered<MigrateAgainFindings>;
}
