import { rmSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";
import { UserError } from "../../base/errors.ts";
import { frameNumber } from "../core/index.ts";
import type { SmallBlock } from "../dirty/small-blocks.ts";
import type { OutputFrame } from "../log/index.ts";
import { keep, kept } from "./whole-file.ts";

/** What the package brings, and what has to be known of the migration it belongs to. */
export interface Package {
  /** Names the base that belongs to it. */
  readonly base: string;
  readonly machine: string;
  readonly ram_section_id: number;
  readonly blocks: readonly { readonly name: string; readonly bytes: number }[];
  /** Bound of the background push, bytes per second; 0 for none. */
  readonly bytes_per_s: number;
  /** Where memory was copied ahead to the target, and its QEMU has the stream's beginning already. */
  readonly ahead?: Ahead;
  /** Of a VM that was protected before: what the escrow makes this base of. */
  readonly follows?: Follows;
  /** Output up to the switchover that may not have arrived yet. */
  readonly frames?: readonly OutputFrame[];
  readonly preamble: Buffer;
  readonly packaged: Buffer;
}

/** A base that is another one with the log laid over it, up to a transaction. */
export interface Follows {
  readonly base: string;
  readonly generation: number;
  readonly n: number;
}

/** The base is what the target has under another name, but for some pages. */
export interface Ahead {
  readonly base: string;
  /** By block, pages (`packPages`) which have to come once more, or were never sent. Never empty. */
  readonly stale: PackedPages;
  /** So many frames of pages were sent: a page that was sent twice is here only when the second one is. */
  readonly frames: number;
}

/** By block, pages that are packed: of a large memory millions of runs, which are unpacked only where they are used. */
export type PackedPages = Readonly<Record<string, Uint8Array>>;

const LENGTHS_MAX = 128 * 2 ** 20;
const headSchema = z.strictObject({
  base: z.string().max(64),
  machine: z.string().max(256),
  ram_section_id: z.int(),
  blocks: z.array(z.strictObject({ name: z.string().max(255), bytes: z.int().min(0) })).max(4096),
  bytes_per_s: z.number().min(0),
  ahead: z.exactOptional(
    z.strictObject({
      base: z.string().max(64),
      /** How many bytes each block's have, of those behind the head. */
      stale_bytes: z.record(z.string().max(255), z.int().min(0).max(LENGTHS_MAX)),
      frames: z.int().min(0),
    }),
  ),
  follows: z.exactOptional(z.strictObject({ base: z.string().max(64), generation: z.int().min(0), n: z.int().min(0) })),
  output: z.exactOptional(
    z.array(z.strictObject({ number: z.int().min(1), channel: z.int().min(0).max(255), bytes: z.base64() })),
  ),
  preamble_bytes: z.int().min(0).max(LENGTHS_MAX),
});

// It is compiled when it is used first, which takes 2 ms: a guest would stand still for that.
headSchema.safeParse({});

/** As the body of a `package` message: u32 length, JSON, what is stale of each block, preamble, package. */
export function encodePackage(what: Package): Uint8Array[] {
  const { preamble, packaged, frames, ahead, ...head } = what;
  const stale = Object.entries(ahead?.stale ?? {});
  const stale_bytes = Object.fromEntries(stale.map(([block, { length }]) => [block, length]));
  const there = ahead === undefined ? {} : { ahead: { base: ahead.base, frames: ahead.frames, stale_bytes } };
  const output = frames?.map((frame) => ({ ...frame, bytes: Buffer.from(frame.bytes).toString("base64") }));
  const json = Buffer.from(JSON.stringify({ ...head, ...there, output, preamble_bytes: preamble.length }));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(json.length);
  return [length, json, ...stale.map(([, bytes]) => bytes), preamble, packaged];
}

/** Bytes of its body. */
export function packageBytes(what: Package): number {
  return encodePackage(what).reduce((sum, { length }) => sum + length, 0);
}

/** @throws UserError when it is not what `encodePackage` makes. */
export function decodePackage(bytes: Buffer): Package {
  try {
    const json_bytes = bytes.readUInt32BE(0);
    const text = bytes.toString("utf8", 4, 4 + json_bytes);
    const { preamble_bytes, output, ahead, ...head } = headSchema.parse(JSON.parse(text));
    let at = 4 + json_bytes;
    const stale: Record<string, Buffer> = {};
    for (const [block, length] of Object.entries(ahead?.stale_bytes ?? {})) {
      if (at + length > bytes.length) throw new RangeError("it is cut off");
      stale[block] = Buffer.from(bytes.subarray(at, at + length));
      at += length;
    }
    if (at + preamble_bytes >= bytes.length) throw new RangeError("it is cut off");
    const frames = output?.map(({ number, channel, bytes: text }) => ({
      number: frameNumber(number),
      channel,
      bytes: Buffer.from(text, "base64"),
    }));
    return {
      ...head,
      ...(ahead === undefined ? {} : { ahead: { base: ahead.base, stale, frames: ahead.frames } }),
      ...(frames === undefined ? {} : { frames }),
      preamble: Buffer.from(bytes.subarray(at, at + preamble_bytes)),
      packaged: Buffer.from(bytes.subarray(at + preamble_bytes)),
    };
  } catch (error) {
    throw new UserError(`a package that makes no sense: ${String(error)}`);
  }
}

export interface KeptPackage {
  readonly package: Package;
  /** Content of the RAM blocks that are in no file; only on the source. */
  readonly small: readonly SmallBlock[];
  /** The QEMU that it was made of and that stands still, by its number on this host; absent: it does nothing any more. */
  readonly qemu?: number;
}

const NAME = "package";

/** Writes it to the host's tmpfs, whole or not at all. */
export function savePackage(folder: string, what: KeptPackage): void {
  keep(join(folder, NAME), what);
}

export function forgetPackage(folder: string): void {
  rmSync(join(folder, NAME), { force: true });
}

export function loadPackage(folder: string): KeptPackage | undefined {
  return kept<KeptPackage>(join(folder, NAME));
}
