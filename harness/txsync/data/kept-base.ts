import { rmSync } from "node:fs";
import { join } from "node:path";
import type { SmallBlock } from "../dirty/small-blocks.ts";
import type { BlockSize } from "../pages/page-map.ts";
import { keep, kept } from "./whole-file.ts";

/** A base whose copy is complete: what its file does not tell. With it a restarted escrow has the copy still. */
export interface KeptBase {
  /** Names the base. */
  readonly base: string;
  readonly blocks: readonly BlockSize[];
  /** Content of the RAM blocks that are in no file. */
  readonly small: readonly SmallBlock[];
}

const NAME = "base-copy.kept";

export function saveBase(folder: string, what: KeptBase): void {
  keep(join(folder, NAME), what);
}

export function loadBase(folder: string): KeptBase | undefined {
  return kept<KeptBase>(join(folder, NAME));
}

export function forgetBase(folder: string): void {
  rmSync(join(folder, NAME), { force: true });
}
