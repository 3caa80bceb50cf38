import type { Readable } from "node:stream";
import { PAGE_BYTES } from "../base/page.ts";
import { chunksOf } from "../base/patience.ts";
import type { Accel } from "../base/run-record.ts";
import type { BlockDifference, StillFindings } from "../checks/still-audit.ts";
import type { StartedVm } from "../fleet/vm.ts";
import { RAM_BLOCK } from "../qemu/command-line.ts";
import { kvmClockUpdate } from "../qemu/kvm-clock.ts";
import { type LocatedBlock, locateBlocks } from "../qemu/ram-blocks.ts";
import type { Looking } from "./looking.ts";

const PART_BYTES = 256 * PAGE_BYTES;
const DIFFERENCES_NAMED = 16;

/**
 * Compares every page of every RAM block of two QEMUs that both stand still: guest RAM through its file, the small
 * blocks (firmware, option ROMs, ACPI tables) through the memory of the process. Under KVM the kernel writes its clock
 * into the guest's memory at any time: a page that differs in that alone is told apart.
 */
export async function auditStill(
  source: StartedVm | undefined,
  target: StartedVm,
  accel: Accel,
  looking: Looking,
): Promise<StillFindings> {
  if (source === undefined || !source.alive) throw new Error("the source's QEMU is gone: nothing to compare with");
  for (const vm of [source, target]) {
    const { running } = await vm.control.execute("query-status");
    if (running) throw new Error(`the VM on ${vm.host.role} runs: only what stands still can be compared`);
  }
  const [left, right] = await Promise.all([blocksOf(source), blocksOf(target)]);
  const blocks: { name: string; pages: number; differing: number }[] = [];
  const differing: BlockDifference[] = [];
  const kvm_clocks: { block: string; page: number; offset: number }[] = [];
  for (const block of left) {
    const other = right.find(({ name }) => name === block.name);
    if (other === undefined || other.bytes !== block.bytes) {
      throw new Error(
        `RAM block ${block.name} has ${block.bytes} bytes on the source, ${other?.bytes ?? "none"} on the target`,
      );
    }
    let count = 0;
    for await (const { first_page, a, b } of partPairs(
      await bytesOf(source, block),
      await bytesOf(target, other),
      block,
      looking,
    )) {
      if (a.equals(b)) continue;
      for (let at = 0; at < a.length; at += PAGE_BYTES) {
        const [left_page, right_page] = [a.subarray(at, at + PAGE_BYTES), b.subarray(at, at + PAGE_BYTES)];
        if (left_page.equals(right_page)) continue;
        const page = first_page + at / PAGE_BYTES;
        const offset = accel === "kvm" ? kvmClockUpdate(left_page, right_page) : undefined;
        if (offset !== undefined) {
          kvm_clocks.push({ block: block.name, page, offset });
          continue;
        }
        count += 1;
        if (differing.length < DIFFERENCES_NAMED)
          differing.push({ block: block.name, page, ...describe(left_page, right_page) });
      }
    }
    blocks.push({ name: block.name, pages: Math.ceil(block.bytes / PAGE_BYTES), differing: count });
  }
  const extra = right.filter(({ name }) => !left.some((block) => block.name === name));
  if (extra.length > 0)
    throw new Error(`the target has RAM blocks that the source has not: ${extra.map(({ name }) => name).join(", ")}`);
  return { blocks, differing, kvm_clocks };
}

/** Every RAM block of a QEMU, and where its bytes are. */
export async function blocksOf(vm: StartedVm): Promise<readonly LocatedBlock[]> {
  const answer = await vm.control.executeRaw("x-query-ramblock");
  const text =
    typeof answer === "object" && answer !== null && "human-readable-text" in answer
      ? answer["human-readable-text"]
      : "";
  const maps = await vm.host.run(`cat /proc/${vm.process.pid}/maps`);
  return locateBlocks(String(text), maps, { [RAM_BLOCK]: vm.ram_path });
}

function bytesOf(vm: StartedVm, { where, bytes }: LocatedBlock): Promise<Readable> {
  if (where.kind === "file") return vm.host.readFile(where.path, 0, bytes);
  return vm.host.readFile(`/proc/${vm.process.pid}/mem`, Number(where.address), bytes);
}

/** Two streams side by side, a part at a time. @throws Error when either ends before the block does */
async function* partPairs(
  left: Readable,
  right: Readable,
  block: LocatedBlock,
  looking: Looking,
): AsyncGenerator<{ first_page: number; a: Buffer; b: Buffer }> {
  const of = (stream: Readable, side: string): AsyncGenerator<Buffer, undefined> =>
    parts(chunksOf(stream, { what: `RAM block ${block.name} of the ${side}`, ...looking }));
  const [as, bs] = [of(left, "source"), of(right, "target")];
  let at = 0;
  while (at < block.bytes) {
    const [a, b] = await Promise.all([as.next(), bs.next()]);
    if (a.done || b.done || a.value.length !== b.value.length) {
      throw new Error(`RAM block ${block.name} of ${block.bytes} bytes ended early, after ${at} bytes`);
    }
    yield { first_page: at / PAGE_BYTES, a: a.value, b: b.value };
    at += a.value.length;
  }
}

/** A stream in parts of equal length; the last may be shorter. */
async function* parts(stream: AsyncIterable<Buffer>): AsyncGenerator<Buffer, undefined> {
  let waiting: Buffer[] = [];
  let waiting_bytes = 0;
  for await (const chunk of stream) {
    waiting.push(chunk);
    waiting_bytes += chunk.length;
    if (waiting_bytes < PART_BYTES) continue;
    const whole = Buffer.concat(waiting);
    let at = 0;
    for (; at + PART_BYTES <= whole.length; at += PART_BYTES) yield whole.subarray(at, at + PART_BYTES);
    waiting = [whole.subarray(at)];
    waiting_bytes = whole.length - at;
  }
  if (waiting_bytes > 0) yield Buffer.concat(waiting);
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
