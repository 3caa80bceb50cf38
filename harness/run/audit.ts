import type { Readable } from "node:stream";
import type { BlockDifference, StillFindings } from "../checks/evidence.ts";
import { RAM_PATH, type StartedVm } from "../fleet/vm.ts";
import { RAM_BLOCK } from "../qemu/command-line.ts";
import { type LocatedBlock, locateBlocks } from "../txsync/dirty/locate.ts";

const PAGE_BYTES = 4096;
const DIFFERENCES_NAMED = 16;

/**
 * Compares every page of every RAM block of two QEMUs that both stand still: guest RAM through its file, the small
 * blocks (firmware, option ROMs, ACPI tables) through the memory of the process.
 */
export async function auditStill(source: StartedVm | undefined, target: StartedVm): Promise<StillFindings> {
  if (source === undefined || !source.alive) throw new Error("the source's QEMU is gone: nothing to compare with");
  for (const vm of [source, target]) {
    const { running } = await vm.control.execute("query-status");
    if (running) throw new Error(`the VM on ${vm.host.role} runs: only what stands still can be compared`);
  }
  const [left, right] = await Promise.all([blocksOf(source), blocksOf(target)]);
  const blocks: { name: string; pages: number; differing: number }[] = [];
  const differing: BlockDifference[] = [];
  for (const block of left) {
    const other = right.find(({ name }) => name === block.name);
    if (other === undefined || other.bytes !== block.bytes) {
      throw new Error(
        `RAM block ${block.name} has ${block.bytes} bytes on the source, ${other?.bytes ?? "none"} on the target`,
      );
    }
    let count = 0;
    for await (const { page, a, b } of pagePairs(await bytesOf(source, block), await bytesOf(target, other), block)) {
      if (a.equals(b)) continue;
      count += 1;
      if (differing.length < DIFFERENCES_NAMED) differing.push({ block: block.name, page, ...describe(a, b) });
    }
    blocks.push({ name: block.name, pages: Math.ceil(block.bytes / PAGE_BYTES), differing: count });
  }
  const extra = right.filter(({ name }) => !left.some((block) => block.name === name));
  if (extra.length > 0)
    throw new Error(`the target has RAM blocks that the source has not: ${extra.map(({ name }) => name).join(", ")}`);
  return { blocks, differing };
}

async function blocksOf(vm: StartedVm): Promise<readonly LocatedBlock[]> {
  const answer = await vm.control.executeRaw("x-query-ramblock");
  const text =
    typeof answer === "object" && answer !== null && "human-readable-text" in answer
      ? answer["human-readable-text"]
      : "";
  const maps = await vm.host.run(`cat /proc/${vm.process.pid}/maps`);
  return locateBlocks(String(text), maps, { [RAM_BLOCK]: RAM_PATH });
}

function bytesOf(vm: StartedVm, { where, bytes }: LocatedBlock): Promise<Readable> {
  if (where.kind === "file") return vm.host.readFile(where.path, 0, bytes);
  return vm.host.readFile(`/proc/${vm.process.pid}/mem`, Number(where.address), bytes);
}

/** The pages of two streams side by side. @throws Error when either ends before the block does */
async function* pagePairs(
  left: Readable,
  right: Readable,
  block: LocatedBlock,
): AsyncGenerator<{ page: number; a: Buffer; b: Buffer }> {
  const [as, bs] = [pages(left), pages(right)];
  for (let page = 0; page * PAGE_BYTES < block.bytes; page++) {
    const [a, b] = await Promise.all([as.next(), bs.next()]);
    if (a.done || b.done) throw new Error(`RAM block ${block.name} ended at page ${page}, before its end`);
    yield { page, a: a.value, b: b.value };
  }
}

async function* pages(stream: Readable): AsyncGenerator<Buffer, undefined> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let at = 0;
    for (; at + PAGE_BYTES <= rest.length; at += PAGE_BYTES) yield rest.subarray(at, at + PAGE_BYTES);
    rest = rest.subarray(at);
  }
  return undefined;
}

/** What two unequal pages hold, in words, around the first byte that differs. */
function describe(a: Buffer, b: Buffer): { source: string; target: string } {
  let at = 0;
  while (at < a.length && a[at] === b[at]) at += 1;
  const words = (page: Buffer): string =>
    page.every((byte) => byte === 0) ? "all zeros" : `${page.subarray(at, at + 8).toString("hex")} at byte ${at}`;
  return { source: words(a), target: words(b) };
}
