import { readFile } from "node:fs/promises";
import { UserError } from "../../base/errors.ts";
import type { QmpClient } from "../../qemu/qmp.ts";
import { type LocatedBlock, locateBlocks } from "../../qemu/ram-blocks.ts";
import { readShimStatus } from "./shim-status.ts";

export interface FindBlocksOptions {
  readonly qmp: Pick<QmpClient, "executeRaw">;
  readonly pid: number;
  /** RAM file by block name. */
  readonly files: Readonly<Record<string, string>>;
  /** Status file of the preloaded library, where there is one. */
  readonly shim_status_path?: string;
}

/**
 * The RAM blocks of a running QEMU on this host, and where they are. On a target to be asked once it has read the RAM
 * section's beginning, because blocks may be resized there: from `postcopy-active` on.
 * @throws UserError when a block cannot be found; what QMP throws.
 */
export async function findBlocks(options: FindBlocksOptions): Promise<readonly LocatedBlock[]> {
  const answer = await options.qmp.executeRaw("x-query-ramblock");
  const table =
    typeof answer === "object" && answer !== null && "human-readable-text" in answer
      ? answer["human-readable-text"]
      : undefined;
  if (typeof table !== "string") throw new UserError(`QEMU does not tell its RAM blocks: ${JSON.stringify(answer)}`);
  const maps = await readFile(`/proc/${options.pid}/maps`, "utf8");
  const path = options.shim_status_path;
  const status = readShimStatus(path === undefined ? undefined : await readFile(path, "utf8").catch(() => undefined));
  return locateBlocks(table, maps, options.files, status.tracking ? status.ranges : []);
}
