import { rmSync } from "node:fs";
import { join } from "node:path";
import type { Role } from "../core/index.ts";
import type { SmallBlock } from "../dirty/small-blocks.ts";
import type { BlockSize } from "../pages/page-map.ts";
import { keep, kept } from "./whole-file.ts";

/** What has to be known of a VM beside its memory, to make it again where it never was. */
export interface Layout {
  /** Names the base: 16 hexadecimal digits. */
  readonly base: string;
  /** Machine type as QEMU names it in its configuration section: `pc-q35-7.2`. */
  readonly machine: string;
  readonly blocks: readonly BlockSize[];
}

/** A base whose copy is complete: what its file does not tell. With it a restarted escrow has the copy still. */
export interface KeptBase {
  /** Names the base. */
  readonly base: string;
  readonly blocks: readonly BlockSize[];
  /** Content of the RAM blocks that are in no file. */
  readonly small: readonly SmallBlock[];
  /** Of a VM that was protected where it ran: who can make it again need not have had it. */
  readonly machine?: string;
  /** Who has the base: the source, where it is not said. */
  readonly of?: Role;
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

const LAYOUT = "layout";

/** Of the VM that is protected on this host, on its tmpfs: for a later life of the agent. */
export function saveLayout(folder: string, what: Layout): void {
  keep(join(folder, LAYOUT), what);
}

export function loadLayout(folder: string): Layout | undefined {
  return kept<Layout>(join(folder, LAYOUT));
}
