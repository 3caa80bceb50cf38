import * as z from "zod";
import { messageOf } from "../../base/errors.ts";
import { PageFrameError } from "./page-frames.ts";

/**
 * What agents tell each other about the base, the log and records beside their bytes: JSON in a `data` frame, u8 3
 * before it.
 */
export const FRAME_NOTE = 3;
const NOTE_BYTES_MAX = 2 * 2 ** 20;
/** More changed runs than that are not listed: the base is copied anew. */
export const CHANGED_RUNS_MAX = 65_536;

const count = z.int().min(0);
const blocks = z
  .array(z.strictObject({ name: z.string().max(255), bytes: count }))
  .max(4096)
  .readonly();

const schema = z.discriminatedUnion("kind", [
  /**
   * Source to escrow: there is a base to be copied, with this name and these blocks. `from`: it is what was offered
   * under that name before, but for the pages of `changed` (first, count): the guest still ran then.
   */
  z.strictObject({
    kind: z.literal("base-offered"),
    base: z.string().max(64),
    blocks,
    from: z.string().max(64).nullable(),
    /** The guest stands still: it will not change any more. */
    final: z.boolean(),
    changed: z.record(z.string().max(255), z.array(z.tuple([count, count])).max(CHANGED_RUNS_MAX)),
  }),
  /** Source to target: pages of a VM that still runs here are to come under this name, for a QEMU that waits. */
  z.strictObject({
    kind: z.literal("ahead-offered"),
    base: z.string().max(64),
    machine: z.string().max(256),
    blocks,
    turn: count,
  }),
  /**
   * Target to source: its QEMU has the stream's beginning, and pages may come; so many frames of them have been taken. To
   * the offer of this turn, which came over the connection that is used from now on.
   */
  z.strictObject({ kind: z.literal("ahead-ready"), base: z.string().max(64), turn: count, frames: count }),
  /**
   * Source to target: these pages, from `first` on and packed, come once more after switchover, whatever the guest does until then. What is
   * there of them is of no use, and QEMU takes its time to throw it away. No more pages come ahead after this.
   */
  z.strictObject({
    kind: z.literal("ahead-stale"),
    base: z.string().max(64),
    block: z.string().max(255),
    first: count,
    pages: z.base64(),
  }),
  /**
   * Source or target to the escrow: the VM was protected, and has left its host with that transaction. The base before with
   * the log laid over it is the new base, and what records are relative to from now on.
   */
  z.strictObject({
    kind: z.literal("base-follows"),
    base: z.string().max(64),
    of: z.strictObject({ base: z.string().max(64), generation: count, n: count }),
  }),
  /** The VM's host to the escrow: the VM runs on, and pages of it are to be had under this name. */
  z.strictObject({ kind: z.literal("base-running"), base: z.string().max(64), machine: z.string().max(256), blocks }),
  /** Escrow to everybody: what it has of that base. `from`: all pages of the block at and above this one. */
  z.strictObject({
    kind: z.literal("base-held"),
    base: z.string().max(64),
    complete: z.boolean(),
    /** Of all pages, 0 to 1. */
    share: z.number().min(0).max(1),
    /** Of a VM that was protected where it ran: what has to be known to make it again elsewhere. */
    layout: z.exactOptional(z.strictObject({ machine: z.string().max(256), blocks })),
    from: z.record(z.string().max(255), count),
  }),
  /**
   * To the escrow: the log's last transaction as a record, relative to `since` of that log where the asker has that; null:
   * to the base. `n`: no other one will do.
   */
  z.strictObject({
    kind: z.literal("log-wanted"),
    question: count,
    n: count.nullable(),
    since: z.strictObject({ lineage: z.string().max(64), n: count }).nullable(),
    /** The base that it is to be laid over: where the log is of another one it is refused. */
    base: z.exactOptional(z.string().max(64)),
  }),
  /** The escrow has no such transaction. */
  z.strictObject({ kind: z.literal("log-refused"), question: count, why: z.string().max(1000) }),
  /** Escrow to source: another transaction was committed. */
  z.strictObject({ kind: z.literal("log-grew"), n: count }),
  /** Target to escrow: the record that you have whole is asked to be stored once more. */
  z.strictObject({ kind: z.literal("record-again"), generation: count, n: count }),
  /** Escrow to target: the record is here whole; or what came is of no use, and has to come again. */
  z.strictObject({ kind: z.literal("record-here"), generation: count, n: count }),
  z.strictObject({ kind: z.literal("record-spoilt"), why: z.string().max(1000) }),
  /** The same: what comes of the record is not taken before there is room for it, which is being made. */
  z.strictObject({ kind: z.literal("record-waits") }),
]);

export type Note = z.infer<typeof schema>;

export function encodeNote(note: Note): Uint8Array[] {
  return [Buffer.of(FRAME_NOTE), Buffer.from(JSON.stringify(note))];
}

/** @throws PageFrameError when it is no note of this version. */
export function decodeNote(bytes: Buffer): Note {
  if (bytes.length > NOTE_BYTES_MAX) throw new PageFrameError(`a note of ${bytes.length} bytes`);
  try {
    return schema.parse(JSON.parse(bytes.toString("utf8", 1)));
  } catch (error) {
    throw new PageFrameError(`a note that makes no sense (${messageOf(error)})`);
  }
}
