import { expect, test } from "vitest";
import { locateBlocks, parseRamBlocks } from "./ram-blocks.ts";

/** As QEMU 7.2.22 printed it. */
const TABLE_7_2 = `              Block Name    PSize              Offset               Used              Total
                    ram0    4 KiB  0x0000000000000000 0x0000000004000000 0x0000000004000000
    /rom@etc/acpi/tables    4 KiB  0x0000000004080000 0x0000000000020000 0x0000000000200000
                 pc.bios    4 KiB  0x0000000004000000 0x0000000000040000 0x0000000000040000
`;
const RAM_FILE = { ram0: "/dev/shm/guest.ram" };
const line = (start: number, end: number, rights: string, rest = "") =>
  `${start.toString(16)}-${end.toString(16)} ${rights} 00000000 00:00 0 ${rest}`;
const TABLES = 0x7f4496200000;
const BIOS = 0x7f4496800000;
/** The firmware right behind other memory, the tables split by userfaultfd, a thread's stack between them. */
const MAPS = [
  line(TABLES, TABLES + 0x20000, "rw-p"),
  line(TABLES + 0x20000, TABLES + 0x200000, "rw-p"),
  line(TABLES + 0x200000, TABLES + 0x201000, "---p"),
  line(0x7f449675b000, BIOS, "rw-p"),
  line(BIOS, BIOS + 0x40000, "rw-p"),
  line(BIOS + 0x40000, BIOS + 0x41000, "---p"),
  line(BIOS + 0x41000, BIOS + 0x841000, "rw-p", "[stack]"),
].join("\n");

test("blocks of a version that tells no addresses are found by length, alignment and guard page", () => {
  expect(locateBlocks(TABLE_7_2, MAPS, RAM_FILE)).toEqual([
    { name: "ram0", bytes: 0x4000000, where: { kind: "file", path: "/dev/shm/guest.ram" } },
    { name: "/rom@etc/acpi/tables", bytes: 0x20000, where: { kind: "process", address: BigInt(TABLES) } },
    { name: "pc.bios", bytes: 0x40000, where: { kind: "process", address: BigInt(BIOS) } },
  ]);
});

test("an address that QEMU tells is taken, if the process has memory there", () => {
  const table = TABLE_7_2.replace(/(pc\.bios.*)$/m, `$1 0x${BIOS.toString(16)}  rw`);
  expect(parseRamBlocks(table).at(-1)?.address).toBe(BigInt(BIOS));
  expect(locateBlocks(table, MAPS, RAM_FILE).at(-1)?.where).toEqual({ kind: "process", address: BigInt(BIOS) });
  const elsewhere = TABLE_7_2.replace(/(pc\.bios.*)$/m, "$1 0x7f0000000000  rw");
  expect(() => locateBlocks(elsewhere, MAPS, RAM_FILE)).toThrow(/pc\.bios .*nothing in the process looks like it/);
});

test("a block that cannot be told from another is an error, not a guess", () => {
  const other = BIOS + 0x40000000;
  const two = `${MAPS}\n${line(other, other + 0x40000, "rw-p")}\n${line(other + 0x40000, other + 0x41000, "---p")}`;
  expect(() => locateBlocks(TABLE_7_2, two, RAM_FILE)).toThrow(/pc\.bios .*several places look like it/);
  expect(() => locateBlocks(TABLE_7_2, "", RAM_FILE)).toThrow(/nothing in the process looks like it/);
});

test("blocks of equal length are told apart by the order in which QEMU registered them", () => {
  const other = BIOS + 0x40000000;
  const two = `${MAPS}\n${line(other, other + 0x40000, "rw-p")}\n${line(other + 0x40000, other + 0x41000, "---p")}`;
  const table = `${TABLE_7_2}${TABLE_7_2.split("\n")[3]?.replace("pc.bios", "net.rom")}\n`;
  const registered = [
    { start: 0x7f0000000000n, bytes: 0x4000000 },
    { start: BigInt(TABLES), bytes: 0x20000 },
    { start: BigInt(other), bytes: 0x40000 },
    { start: BigInt(BIOS), bytes: 0x40000 },
  ];
  const found = locateBlocks(table, two, RAM_FILE, registered);
  expect(found.map(({ name, where }) => [name, where.kind === "process" ? where.address : null]).slice(2)).toEqual([
    ["pc.bios", BigInt(other)],
    ["net.rom", BigInt(BIOS)],
  ]);
  expect(() => locateBlocks(table, two, RAM_FILE, registered.slice(1))).toThrow(/several places look like it/);
});

test("a table without blocks, or without the block of the RAM file, is refused", () => {
  expect(() => locateBlocks("", MAPS, RAM_FILE)).toThrow(/table of RAM blocks is empty/);
  expect(() => locateBlocks(TABLE_7_2, MAPS, { mem0: "/x" })).toThrow(/no RAM block mem0/);
});
