import { open } from "node:fs/promises";
import { UserError } from "../../base/errors.ts";
import { PAGE_BYTES } from "../../base/page.ts";
import type { LocatedBlock } from "../../qemu/ram-blocks.ts";
import { type DirtyTracker, openTracker } from "./tracker.ts";

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
  return await readSmallBlocksBy(tracker, pid, blocks);
}

/** The same, by a tracker that is open. Of a guest that runs it is what each page was at some moment. */
export async function readSmallBlocksBy(
  tracker: Pick<DirtyTracker, "present">,
  pid: number,
  all: readonly LocatedBlock[],
): Promise<SmallBlock[]> {
  const blocks = all.filter((block) => block.where.kind === "process");
  await using memory = await open(`/proc/${pid}/mem`, "r");
  const small: SmallBlock[] = [];
  for (const { name, bytes, where } of blocks) {
    const content = Buffer.alloc(bytes);
    const start = where.kind === "process" ? Number(where.address) : 0;
    for (const { first, count } of await tracker.present(name)) {
      const [at, length] = [first * PAGE_BYTES, count * PAGE_BYTES];
      const { bytesRead } = await memory.read(content, at, length, start + at);
      if (bytesRead !== length)
        throw new UserError(`RAM block ${name} of process ${pid} ends at byte ${at + bytesRead}`);
    }
    small.push({ name, content });
  }
  return small;
}
