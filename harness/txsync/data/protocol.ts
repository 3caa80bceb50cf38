import type { TimelineEventBody } from "../../base/timeline.ts";
import type { LocatedBlock } from "../../qemu/ram-blocks.ts";
import type {
  FrameNumber,
  Generation,
  LogState,
  PageRoute,
  RecordHeader,
  Role,
  TransactionNumber,
} from "../core/index.ts";
import type { PieceSource } from "../device/piece-source.ts";
import type { SmallBlock } from "../dirty/small-blocks.ts";
import type { Spool } from "../dirty/spool.ts";
import type { ModifiedSet, OutputFrame, PartPiece, RecordBlock } from "../log/index.ts";
import type { BlockSize } from "../pages/page-map.ts";
import type { Layout } from "./kept-base.ts";
import type { Follows, Package } from "./kept-package.ts";
import type { Finished, Rounds } from "./memory-ahead.ts";
import type { OfferedBase } from "./running-base.ts";

/**
 * What the two threads of an agent say to each other. The control plane (agent/) has the core, QMP, votes and leases and
 * does nothing that takes long; the data plane (this room) has pages, base, records, log and restored memory. The first
 * never waits for the second where a lease is at stake: it asks, and is told later.
 *
 * Everything is plain data: it crosses by structured clone.
 */
export interface DataConfig {
  readonly role: Role;
  readonly secret: string;
  readonly migration: string;
  readonly peers: Readonly<
    Partial<Record<Role, { readonly host: string; readonly port: number; readonly bulk_port: number }>>
  >;
  readonly listen_bulk: { readonly host: string; readonly port: number };
  readonly state_folder: string;
  readonly memory_folder: string;
  readonly ram_path: string;
  readonly pagescan: string;
  readonly lease_ms: number;
  readonly log_sync: "memory" | "disk";
}

/** A transaction that was taken, on its way to the escrow. Its pages lie in the spool, as pagescan put them there. */
export interface TakenRecord extends ModifiedSet {
  readonly header: RecordHeader;
  /** In the order in which the spool numbers them. */
  readonly blocks: readonly RecordBlock[];
  readonly device_state: Uint8Array;
  readonly frames: readonly OutputFrame[];
  /** What it has of the other parts of the VM's state. */
  readonly parts: readonly PieceSource[];
  readonly spool: Spool;
}

/** The base, as whoever serves or restores from it needs it. */
export interface BaseOf {
  /** 16 hexadecimal digits. */
  readonly base: string;
  readonly blocks: readonly BlockSize[];
}

/** Memory that a source would send ahead. */
export interface AheadOffer extends BaseOf {
  /** As QEMU names it in its stream. */
  readonly machine: string;
  /** Which time it is offered. */
  readonly turn: number;
}

export interface RestoredMemory {
  readonly device_state: Uint8Array;
  /** Content of the blocks that are in no file. */
  readonly small: readonly SmallBlock[];
  readonly mark: FrameNumber;
  readonly acked: FrameNumber;
  readonly frames: readonly OutputFrame[];
  /** What the log has of the other parts of the VM's state, in the order of their transactions. */
  readonly parts: readonly PartPiece[];
  /** Pages that were written now, and pages of the modified set, all of which were read back. */
  readonly pages: number;
  readonly modified_pages: number;
  readonly digest: string;
}

export type StoreOutcome =
  | { readonly outcome: "stored"; readonly bytes: number }
  /** `missing`: there was nothing to be stored. `failed`: the disk, or the log's file, did not take it. */
  | { readonly outcome: "missing" | "failed" | "violation"; readonly why: string };

/** What the control plane asks of the data plane: each name with what goes in and what comes out. */
export interface DataCalls {
  /** First of all: finds what an earlier life left, and begins to talk. `log` is the escrow's, `escrow` its key. */
  open: (what: { readonly escrow: string | null }) => { readonly log: LogState | null };
  notHeard: (what: { readonly peer: Role }) => void;
  heardAgain: (what: { readonly peer: Role }) => void;
  /** Nobody else is answered in the escrow's role from now on. */
  answerEscrow: (what: { readonly key: string }) => void;

  // ---- target
  /**
   * The QEMU that waits on this socket gets the stream's beginning, and the source is told that pages may come under this
   * name; where that was done before, told once more.
   */
  prepareAhead: (what: AheadOffer & { readonly path: string }) => void;
  /** Feeds QEMU the stream's beginning and the package, over the socket on which it waits. */
  load: (what: { readonly path: string; readonly package: Package; readonly hold: boolean }) => void;
  /** QEMU's recovery handshake, on the socket on which it waits for it. */
  recover: (what: { readonly path: string; readonly package: Package }) => {
    readonly count: number;
    readonly total: number;
  };
  route: (what: { readonly route: PageRoute }) => void;
  /**
   * Changed pages are found by their digests: the pages that arrive are wanted by the control plane too, as events
   * `arrived`, and what transactions find says nothing of a page that changed and changed back in between.
   */
  findsSurely: (what: { readonly on: boolean }) => void;
  /** Writes the end of the migration. */
  endFeed: (what: object) => void;
  stopFeed: (what: object) => void;
  /** Once or again: a record that is under way, or known to be there, is not sent twice. */
  sendRecord: (what: TakenRecord) => void;
  /** When this returns nobody reads the spool any more. */
  dropRecord: (what: object) => void;

  // ---- source
  /** Copies a share (0 to 1) of a running guest's memory to the escrow; returns when it is there, or time is up. */
  copyAhead: (what: {
    readonly pid: number;
    readonly blocks: readonly LocatedBlock[];
    readonly share: number;
    readonly most_ms: number;
  }) => { readonly share: number };
  /** Copies a running guest's memory to the target, in rounds, until little is left or time is up. */
  pushAhead: (what: {
    readonly pid: number;
    readonly blocks: readonly LocatedBlock[];
    readonly folder: string;
    readonly shim_status_path: string;
    /** As QEMU names it in its stream. */
    readonly machine: string;
    readonly bytes_per_s: number;
    /** Whether memory goes to the target; else a share of it goes to the escrow alone, which is waited for. */
    readonly memory: boolean;
    /** Of the base, to the escrow; 0: nothing is copied ahead, to nobody. */
    readonly share: number;
    readonly most_ms: number;
    /** The VM is protected: its records say what changes, and the escrow has a base. */
    readonly by_records: boolean;
  }) => ({ readonly tracked: true } & Rounds) | { readonly tracked: false; readonly why: string };
  /**
   * The guest stands still: what the target lacks, and the content of the blocks that are in no file. `last`: of a VM that
   * is protected the pages of its last transaction.
   */
  finishAhead: (what: { readonly last?: Spool }) => Finished;
  giveUpAhead: (what: object) => void;
  /** The guest stands still: when this returns nothing of what was copied ahead is read any more. */
  stopAhead: (what: object) => void;
  /** There is a base: its file, and the content of the other blocks. */
  haveBase: (
    what: BaseOf & {
      readonly small: readonly SmallBlock[];
      readonly compare: boolean;
      /** What the escrow makes it of. */
      readonly follows?: Follows | undefined;
    },
  ) => void;
  serve: (what: object) => void;
  stopServing: (what: object) => void;
  /** The base of the VM that runs here: the escrow is told of it, and gets its pages. In place of any before it. */
  offerBase: (what: OfferedBase) => void;
  withdrawBase: (what: object) => void;
  /** Committed records may be laid over the base: nobody will ever go back to the package alone. */
  mayLayOver: (what: object) => void;
  forgetBase: (what: object) => void;

  // ---- restoring
  /**
   * Makes transaction n of the base at `base_path` in place and of the escrow's log; where `fetch`, the base comes from
   * the escrow first. Reads all pages of the modified set back, and requires the record's digest.
   */
  restore: (what: BaseOf & { readonly n: TransactionNumber; readonly fetch: boolean }) => RestoredMemory;
  /** The base as it stood. @throws where a record was laid over it already */
  restorePackage: (what: object) => { readonly small: readonly SmallBlock[] };
  abortRestore: (what: object) => void;
  /** The base that the escrow's log is relative to, as it has said: where it is that of a VM that was protected as it ran. */
  heldBase: (what: object) => Layout | null;

  // ---- escrow
  store: (what: { readonly generation: Generation; readonly n: TransactionNumber }) => StoreOutcome;
  forgetCopy: (what: object) => void;
  /** The core has decided for the base that this host offered: copy and log begin anew. */
  adoptBase: (what: { readonly from: Role }) => void;
  tell: (what: object) => void;
}

/** What the data plane tells by itself. */
export type DataEvent =
  | { readonly kind: "event"; readonly event: TimelineEventBody }
  /** Escrow: a record is here whole, and not stored yet. */
  | { readonly kind: "record-came"; readonly from: Role; readonly header: RecordHeader }
  /** Escrow: a record that was coming in could not be received: the log's file did not take it. */
  | {
      readonly kind: "record-not-received";
      readonly from: Role;
      readonly generation: Generation;
      readonly n: TransactionNumber;
      readonly why: string;
    }
  /** Target: bytes of the record that is under way move. */
  | { readonly kind: "record-moves"; readonly generation: Generation; readonly n: TransactionNumber }
  /** Target: QEMU has read, and placed, all pages; has loaded the package (only where it is held still). */
  | { readonly kind: "all-pages" }
  | { readonly kind: "loaded" }
  | { readonly kind: "feed-closed"; readonly why: string }
  | { readonly kind: "covered"; readonly covered: boolean }
  | { readonly kind: "arrived"; readonly block: string; readonly first: number; readonly content: Uint8Array }
  | { readonly kind: "base-complete" }
  /** Target: the source would send memory ahead. */
  | { readonly kind: "ahead-offered"; readonly offer: AheadOffer }
  /** Escrow: this host's VM has a base that is not the one that is kept here. */
  | { readonly kind: "base-offered"; readonly from: Role }
  /** The escrow says that it has all of this base. Told when it is another one than before. */
  | { readonly kind: "base-known"; readonly base: string }
  /** What is kept here is not what the escrow's log is relative to. */
  | { readonly kind: "base-void" };

/** As messages between the threads. */
export type ToData = { readonly id: number; readonly call: keyof DataCalls; readonly what: unknown };
export type FromData =
  | { readonly id: number; readonly ok: unknown }
  | { readonly id: number; readonly error: string }
  | { readonly tell: DataEvent };
