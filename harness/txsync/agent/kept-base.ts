import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { deserialize, serialize } from "node:v8";
import type { SmallBlock } from "../dirty/small-blocks.ts";
import type { BlockSize } from "../pages/page-map.ts";
import { writeWhole } from "./whole-file.ts";

/** A base whose copy is complete: what its file does not tell. With it a restarted escrow has the copy still. */
export interface KeptBase {
  /** Names the base. */
  readonly base: string;
  readonly blocks: readonly BlockSize[];
  /** Content of the RAM blocks that are in no file. */
  readonly small: readonly SmallBlock[];
}

const NAME = "base-copy.kept";

export function saveBase(folder: string, kept: KeptBase): void {
  writeWhole(join(folder, NAME), serialize(kept));
}

export function loadBase(folder: string): KeptBase | undefined {
  const path = join(folder, NAME);
  if (!existsSync(path)) return undefined;
  const kept = deserialize(readFileSync(path)) as KeptBase;
  // deserialize makes Uint8Arrays of what were Buffers.
  return { ...kept, small: kept.small.map(({ name, content }) => ({ name, content: Buffer.from(content) })) };
}

export function forgetBase(folder: string): void {
  rmSync(join(folder, NAME), { force: true });
}
