import { UserError } from "../base/errors.ts";
import { PAGE_BYTES } from "../base/page.ts";

/** A stretch of memory that a QEMU registered for userfaultfd, in the order in which it did: that of its RAM blocks. */
export interface RegisteredRange {
  readonly start: bigint;
  readonly bytes: number;
}

/** A RAM block of a running QEMU, and where its bytes can be read from outside. */
export interface LocatedBlock {
  /** As the migration stream names it: `ram0`, `pc.bios`, `/rom@etc/acpi/tables`. */
  readonly name: string;
  readonly bytes: number;
  readonly where:
    | { readonly kind: "file"; readonly path: string }
    | { readonly kind: "process"; readonly address: bigint };
}

/** A line of QEMU's `info ramblock`. */
export interface RamBlockLine {
  readonly name: string;
  /** Length in use: what migrates. */
  readonly used_bytes: number;
  /** Length mapped: a resizable block may grow up to it. */
  readonly total_bytes: number;
  /** Address in QEMU, where this version tells it. */
  readonly address: bigint | undefined;
}

/**
 * Reads the table of HMP `info ramblock` and QMP `x-query-ramblock` (QEMU: softmmu/physmem.c, ram_block_format).
 * 7.2 has five columns; newer versions add HVA and RO.
 */
export function parseRamBlocks(text: string): RamBlockLine[] {
  const blocks: RamBlockLine[] = [];
  for (const line of text.split(/\r?\n/)) {
    const found =
      /^\s*(\S.*?)\s+[\d.]+ [KMG]?i?B\s+0x[0-9a-f]+\s+0x([0-9a-f]+)\s+0x([0-9a-f]+)(?:\s+0x([0-9a-f]+))?/i.exec(line);
    if (!found) continue;
    const [, name = "", used = "", total = "", address] = found;
    blocks.push({
      name,
      used_bytes: Number.parseInt(used, 16),
      total_bytes: Number.parseInt(total, 16),
      address: address === undefined ? undefined : BigInt(`0x${address}`),
    });
  }
  return blocks;
}

/** A stretch of a process's addresses, from /proc/PID/maps. */
interface Mapping {
  readonly start: bigint;
  readonly end: bigint;
  readonly rights: string;
  readonly inode: number;
  readonly name: string;
}

function parseMaps(text: string): Mapping[] {
  const mappings: Mapping[] = [];
  for (const line of text.split("\n")) {
    const found = /^([0-9a-f]+)-([0-9a-f]+) (\S{4}) [0-9a-f]+ \S+ (\d+)\s*(.*)$/.exec(line);
    if (!found) continue;
    const [, start = "", end = "", rights = "", inode = "", name = ""] = found;
    mappings.push({ start: BigInt(`0x${start}`), end: BigInt(`0x${end}`), rights, inode: Number(inode), name });
  }
  return mappings;
}

/** QEMU aligns RAM to this (include/qemu/osdep.h, QEMU_VMALLOC_ALIGN on x86 Linux). */
const RAM_ALIGN_BYTES = 2n << 20n;

/**
 * Where QEMU mapped an anonymous block, for versions that do not tell: private memory of exactly that length, aligned
 * to 2 MiB, with one inaccessible page behind it (QEMU: util/mmap-alloc.c, qemu_ram_mmap). Thread stacks have their
 * guard page in front.
 */
function candidates(mappings: readonly Mapping[], total_bytes: number): bigint[] {
  const found: bigint[] = [];
  for (const [index, { start }] of mappings.entries()) {
    const end = start + BigInt(total_bytes);
    if (start % RAM_ALIGN_BYTES !== 0n) continue;
    // userfaultfd splits a mapping where a block's used length ends.
    let last = index;
    let at = start;
    for (; last < mappings.length && at < end; last++) {
      const part = mappings[last];
      if (part?.start !== at || part.inode !== 0 || part.name !== "" || !part.rights.startsWith("rw")) break;
      at = part.end;
    }
    const guard = mappings[last];
    if (at !== end || guard?.start !== end || !guard.rights.startsWith("---")) continue;
    if (guard.end - guard.start === BigInt(PAGE_BYTES)) found.push(start);
  }
  return found;
}

/**
 * Where every RAM block of a QEMU is: those of `files` in their file, the others in the process's memory.
 * @param table text of `x-query-ramblock` of that QEMU.
 * @param maps /proc/PID/maps of that QEMU.
 * @param files RAM file by block name: `{ ram0: "/dev/shm/…" }`.
 * @param registered ranges that the preloaded library saw QEMU register, in order: QEMU goes through its blocks in the
 *   same order there (migration/postcopy-ram.c, ram_block_enable_notify). Tells blocks of equal length apart.
 * @throws UserError when a block cannot be told from others: then no transaction would be whole.
 */
export function locateBlocks(
  table: string,
  maps: string,
  files: Readonly<Record<string, string>>,
  registered: readonly RegisteredRange[] = [],
): readonly LocatedBlock[] {
  const lines = parseRamBlocks(table);
  if (lines.length === 0) throw new UserError(`QEMU's table of RAM blocks is empty: ${table.slice(0, 200)}`);
  for (const name of Object.keys(files)) {
    if (!lines.some((line) => line.name === name)) throw new UserError(`QEMU has no RAM block ${name}`);
  }
  const mappings = parseMaps(maps);
  const taken = new Set<bigint>();
  const in_order =
    registered.length === lines.length && lines.every((line, index) => registered[index]?.bytes === line.used_bytes);
  return lines.map(({ name, used_bytes, total_bytes, address: told }, index) => {
    const address = told ?? (in_order ? registered[index]?.start : undefined);
    const path = files[name];
    if (path !== undefined) return { name, bytes: used_bytes, where: { kind: "file", path } };
    const mapped = (at: bigint) =>
      mappings.some(({ start, end, rights }) => rights.startsWith("rw") && start <= at && at < end);
    const places = address !== undefined ? [address].filter(mapped) : candidates(mappings, total_bytes);
    const [place] = places;
    if (place === undefined || places.length > 1 || taken.has(place)) {
      const what = places.length === 0 ? "nothing in the process looks like it" : "several places look like it";
      throw new UserError(
        `cannot tell where QEMU keeps RAM block ${name} (${used_bytes} of ${total_bytes} bytes): ${what}`,
      );
    }
    taken.add(place);
    return { name, bytes: used_bytes, where: { kind: "process", address: place } };
  });
}
