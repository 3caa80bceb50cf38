import { setImmediate as turn } from "node:timers/promises";
import { RAM_BLOCK } from "../../qemu/command-line.ts";
import {
  encodeRecord,
  type OutputFrame,
  type PartPiece,
  partOf,
  type RecordBlock,
  type RecordHead,
  RecordParser,
  type TransactionLog,
} from "../log/index.ts";
import type { BaseCopy } from "./base-copy.ts";
import type { Follows } from "./kept-package.ts";
import { layPages } from "./log-reader.ts";
import { RamImage } from "./ram-image.ts";

/** Of no page. */
const NO_PAGES = { modified_pages: 0, digest: "0".repeat(16) } as const;

/**
 * The escrow of a VM that left the host on which it was protected: the log is laid over the copy of the base, which is the
 * memory as it stood at switchover then, and the log begins anew with that transaction and no page. Base and log give the
 * same before, after and in the middle of it, so it may be begun again whenever it was left: whatever was laid over is in
 * every later record since the base.
 * @param wanted asked before every piece, and before anything begins anew: the migration may be over before this is
 * @returns pages that were laid over; undefined where the copy or the log is not what the VM left with, or are wanted no more
 * @throws Error when the memory is not what the log says: then it stays the base that it was
 */
export async function follow(
  copy: BaseCopy,
  log: TransactionLog,
  { generation, n }: Follows,
  wanted: () => boolean,
): Promise<number | undefined> {
  const last = log.state;
  if (!copy.complete || last?.last !== n || last.generation !== generation) return undefined;
  using image = RamImage.open(copy.path, RAM_BLOCK, copy.blocks, copy.small);
  const parser = new RecordParser();
  let head: RecordHead | undefined;
  let blocks: readonly RecordBlock[] = [];
  let pages = 0;
  const device: Buffer[] = [];
  const frames: OutputFrame[] = [];
  const parts: PartPiece[] = [];
  for await (const bytes of log.read("base")) {
    for (const event of parser.push(bytes)) {
      if (event.kind === "header") head = event.head;
      else if (event.kind === "blocks") blocks = event.blocks;
      else if (event.kind === "device") device.push(Buffer.from(event.bytes));
      else if (event.kind === "frames")
        for (const { number, channel, bytes } of event.frames)
          frames.push({ number, channel, bytes: Buffer.from(bytes) });
      else if (event.kind === "pages") {
        pages += event.count;
        layPages(
          image,
          blocks.map(({ name }) => name),
          event,
        );
      } else if (event.kind === "part") parts.push(partOf(event));
      else {
        const { digest, modified_pages } = image.modified;
        if (digest !== event.end.digest || modified_pages !== event.end.modified_pages)
          throw new Error(`base and log give ${digest} over ${modified_pages} pages, the log says ${event.end.digest}`);
      }
    }
    await turn();
    if (!wanted()) return undefined;
  }
  parser.finish();
  if (head?.n !== n) throw new Error(`the log's last transaction is ${head?.n ?? "none"}, not ${n}`);
  for (const { name, content } of image.small) copy.small.find((block) => block.name === name)?.content.set(content);
  await log.beginWith(
    encodeRecord({
      head: { ...head, since: "base" },
      blocks,
      device_state: Buffer.concat(device),
      frames,
      pages: [],
      parts,
      end: () => NO_PAGES,
    }),
  );
  return pages;
}
