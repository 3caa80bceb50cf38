import { PAGE_BYTES } from "../../base/page.ts";
import type { LocatedBlock } from "../../qemu/ram-blocks.ts";
import { openTracker } from "./tracker.ts";

/** A RAM block that is in no file: its name, and its content as it stands. */
export interface SmallBlock {
  readonly name: string;
  readonly content: Buffer;
}

/**
 * Reads the RAM blocks that are in no file (firmware, option ROMs, ACPI tables) out of a QEMU whose guest is stopped:
 * the source after switchover. Pages that nobody has touched are zeros.
 * @throws UserError when the process cannot be looked at.
 */
export async function readSmallBlocks(options: {
  readonly pagescan: string;
  readonly pid: number;
  readonly blocks: readonly LocatedBlock[];
}): Promise<SmallBlock[]> {
  const { pagescan, pid } = options;
  const blocks = options.blocks.filter((block) => block.where.kind === "process");
  await using tracker = await openTracker({ pagescan, pid, blocks, prefer: "sure" });
  await tracker.take();
  const { pages } = await tracker.collect();
  const small = blocks.map(({ name, bytes }) => ({ name, content: Buffer.alloc(bytes) }));
  for (const { block, page, bytes } of pages) {
    if (bytes !== null) small.find(({ name }) => name === block)?.content.set(bytes, page * PAGE_BYTES);
  }
  return small;
}
