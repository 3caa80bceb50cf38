import * as z from "zod";
import { messageOf } from "../../base/errors.ts";
import { PageFrameError } from "./page-frames.ts";

/**
 * What agents tell each other about the base and the log beside pages: JSON in a `data` frame, u8 3 before it. And
 * long answers, in parts: u8 4 | u32 number of the question | u8 last | bytes.
 */
export const FRAME_NOTE = 3;
export const FRAME_PART = 4;
const PART_BYTES = 1 << 20;
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
  /** Escrow to everybody: what it has of that base. `from`: all pages of the block at and above this one. */
  z.strictObject({
    kind: z.literal("base-held"),
    base: z.string().max(64),
    complete: z.boolean(),
    /** Of all pages, 0 to 1. */
    share: z.number().min(0).max(1),
    from: z.record(z.string().max(255), count),
  }),
  /** To the escrow: the log's last transaction, whole, in parts under this number. */
  z.strictObject({ kind: z.literal("log-wanted"), question: count, n: count }),
  /** The escrow has no such transaction. */
  z.strictObject({ kind: z.literal("log-refused"), question: count, why: z.string().max(1000) }),
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

/** An answer in parts, each fit for one frame. */
export function* parts(question: number, bytes: Buffer): Generator<Uint8Array[]> {
  for (let at = 0; at === 0 || at < bytes.length; at += PART_BYTES) {
    const head = Buffer.alloc(6);
    head.writeUInt8(FRAME_PART, 0);
    head.writeUInt32BE(question, 1);
    head.writeUInt8(at + PART_BYTES >= bytes.length ? 1 : 0, 5);
    yield [head, bytes.subarray(at, at + PART_BYTES)];
  }
}

export function decodePart(bytes: Buffer): {
  readonly question: number;
  readonly last: boolean;
  readonly bytes: Buffer;
} {
  if (bytes.length < 6) throw new PageFrameError("a part without a head");
  return { question: bytes.readUInt32BE(1), last: bytes[5] === 1, bytes: bytes.subarray(6) };
}
