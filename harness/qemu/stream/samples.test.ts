import { describe, expect, test } from "vitest";
import { PAGE_BYTES } from "../../base/page.ts";
import { COMMAND } from "./format.ts";
import { deviceStateOfPackage } from "./package.ts";
import { type ReturnMessage, ReturnPathReader } from "./return-path.ts";
import { type Kept, readStream, sample, VERSIONS } from "./testing.ts";

const MIB = 2 ** 20;
const BLOCKS = [
  { name: "ram0", bytes: 8 * MIB },
  { name: "/rom@etc/acpi/tables", bytes: 131_072 },
  { name: "pc.rom", bytes: 131_072 },
  { name: "pc.bios", bytes: 65_536 },
  { name: "/rom@etc/table-loader", bytes: 4096 },
  { name: "/rom@etc/acpi/rsdp", bytes: 4096 },
];
const PAGES = BLOCKS.reduce((sum, { bytes }) => sum + bytes / PAGE_BYTES, 0);
const RAM_SECTION_ID = { "7.2": 2, "10.0": 1, "11.1": 1 };
/** Of every q35. */
const DEVICES = ["timer", "cpu_common", "cpu", "apic", "fw_cfg", "PCIHost", "PCIBUS", "i8259", "serial", "globalstate"];

type Of<K extends Kept["kind"]> = Extract<Kept, { readonly kind: K }>;

function only<K extends Kept["kind"]>(records: readonly Kept[], kind: K): Of<K>[] {
  return records.filter((record): record is Of<K> => record.kind === kind);
}

/** Pages that the target has, as the stream makes it: sent, discarded, and after the package never sent twice. */
class Pages {
  readonly has = new Set<string>();
  sent = 0;

  take(record: Kept, once: boolean): void {
    if (record.kind === "command" && record.command === COMMAND.ramDiscard) this.#discard(record.data);
    if (record.kind !== "ram-page") return;
    const page = `${record.block} ${record.offset / PAGE_BYTES}`;
    if (once && this.has.has(page)) throw new Error(`sent twice: ${page}`);
    this.has.add(page);
    this.sent += 1;
  }

  #discard(data: Buffer): void {
    const name = data.toString("latin1", 2, 2 + data.readUInt8(1));
    for (let at = 3 + name.length; at < data.length; at += 16) {
      const first = Number(data.readBigUInt64BE(at)) / PAGE_BYTES;
      const count = Number(data.readBigUInt64BE(at + 8)) / PAGE_BYTES;
      for (let page = first; page < first + count; page += 1) this.has.delete(`${name} ${page}`);
    }
  }
}

/** Commands in order, pings by number. */
function commands(records: readonly Kept[]): string[] {
  const named = new Map(Object.entries(COMMAND).map(([name, number]) => [number, name]));
  return records.flatMap((record) => {
    if (record.kind === "packaged") return ["packaged"];
    if (record.kind !== "command") return [];
    const name = named.get(record.command as 1) ?? "?";
    return [record.command === COMMAND.ping ? `ping ${record.data.readUInt32BE(0)}` : name];
  });
}

function messages(bytes: Buffer): ReturnMessage[] {
  const heard: ReturnMessage[] = [];
  new ReturnPathReader((message) => heard.push(message)).push(bytes);
  return heard;
}

function checkRequests(heard: readonly ReturnMessage[]): void {
  const requests = heard.filter((message) => message.kind === "request");
  expect(requests.length).toBeGreaterThan(0);
  expect(requests[0]?.block).toBe("ram0");
  for (const { start, bytes } of requests) {
    expect(bytes).toBe(PAGE_BYTES);
    expect(start % PAGE_BYTES).toBe(0);
    expect(start).toBeLessThan(8 * MIB);
  }
}

describe.each(VERSIONS)("the streams of QEMU %s", (version) => {
  test("post-copy: read to the end, every byte accounted for, every page there once", () => {
    const stream = sample(`post-copy-${version}.forward`);
    const { records, raw, error, held_bytes, ram_section_id } = readStream(stream);
    expect(error).toBeNull();
    expect(held_bytes).toBe(0);
    expect(raw.equals(stream)).toBe(true);
    expect(records.slice(0, 2)).toEqual([{ kind: "header" }, { kind: "configuration", machine: `pc-q35-${version}` }]);
    expect(records.at(-1)).toEqual({ kind: "eof" });
    expect(only(records, "ram-setup")).toEqual([{ kind: "ram-setup", blocks: BLOCKS }]);
    expect(ram_section_id).toBe(RAM_SECTION_ID[version]);
    const parts = only(records, "ram-section").map(({ part }) => part);
    expect([parts[0], new Set(parts.slice(1, -1)), parts.at(-1)]).toEqual(["start", new Set(["part"]), "end"]);
    expect(commands(records)).toEqual([
      "openReturnPath",
      "ping 1",
      "postcopyAdvise",
      ...(version === "7.2" ? [] : ["switchoverStart"]),
      ...BLOCKS.map(() => "ramDiscard"),
      "ping 2",
      "packaged",
      "ping 4",
    ]);
    const pages = new Pages();
    let packaged = false;
    for (const record of records) {
      packaged ||= record.kind === "packaged";
      pages.take(record, packaged);
    }
    expect(pages.has.size).toBe(PAGES);
    expect(pages.sent).toBe(only(records, "ram-page").length);
  });

  test("the package's device sections, and the device state that is made of them", () => {
    const [whole] = only(readStream(sample(`post-copy-${version}.forward`)).records, "packaged");
    const content = whole?.content ?? Buffer.alloc(0);
    const { records, raw, error } = readStream(content, { from: "top" });
    expect(error).toBeNull();
    expect(raw.equals(content)).toBe(true);
    const pings = version === "11.1" ? ["ping 3", "ping 66"] : ["ping 3"];
    expect(commands(records)).toEqual(["postcopyListen", ...pings, "postcopyRun"]);
    const sections = only(records, "section");
    expect(sections.length).toBe(31);
    expect(sections.map(({ name }) => name)).toEqual(expect.arrayContaining(DEVICES));
    expect(only(records, "footer").map(({ id }) => id)).toEqual(sections.map(({ id }) => id));

    const state = readStream(deviceStateOfPackage(content));
    expect(state.error).toBeNull();
    expect(state.records).toEqual([
      { kind: "header" },
      ...records.filter(({ kind }) => kind === "section" || kind === "footer"),
      { kind: "eof" },
    ]);
  });

  test("the return path: pongs to all pings, requests, and the end", () => {
    const { records } = readStream(sample(`post-copy-${version}.forward`));
    const inside = only(records, "packaged").flatMap(({ content }) => readStream(content, { from: "top" }).records);
    const pings = [...commands(records), ...commands(inside)].filter((name) => name.startsWith("ping"));
    const heard = messages(sample(`post-copy-${version}.return`));
    const pongs = heard.flatMap((message) => (message.kind === "pong" ? [`ping ${message.value}`] : []));
    expect(pongs.toSorted()).toEqual(pings.toSorted());
    expect(heard.at(-1)).toEqual({ kind: "shut", value: 0 });
    checkRequests(heard);
  });

  test("pre-copy: every section is found as the stream's own description has it, to the byte", () => {
    const stream = sample(`pre-copy-${version}.forward`);
    const { records, raw, error } = readStream(stream);
    expect(error).toBeNull();
    expect(raw.equals(stream)).toBe(true);
    const [description] = only(records, "description");
    expect(records.slice(-2)).toEqual([{ kind: "eof" }, description]);
    const described = (JSON.parse(description?.json ?? "{}") as { devices: Described[] }).devices;
    const found = only(records, "section");
    expect(found.length).toBe(40);
    expect(found.map(({ name, instance, version, body }) => [name, instance, version, body.length])).toEqual(
      described.map((device) => [device.name, device.instance_id, device.version, bytesOf(device)]),
    );
    const pages = new Pages();
    for (const record of records) pages.take(record, false);
    expect(pages.has.size).toBe(PAGES);
  });

  test("recovery: what the target has and what the second connection brings are all pages, none twice", () => {
    const broken = readStream(sample(`recovery-${version}.broken.forward`), { end: false });
    expect(broken.error).toBeNull();
    const stream = sample(`recovery-${version}.forward`);
    const { records, raw, error, ram_section_id } = readStream(stream, { from: "top" });
    expect(error).toBeNull();
    expect(raw.equals(stream)).toBe(true);
    expect(ram_section_id).toBe(RAM_SECTION_ID[version]);
    expect(commands(records)).toEqual([...BLOCKS.map(() => "receivedBitmap"), "postcopyResume"]);
    expect(records.at(-1)).toEqual({ kind: "eof" });

    checkRequests(messages(sample(`recovery-${version}.broken.return`)));
    const heard = messages(sample(`recovery-${version}.return`));
    checkRequests(heard);
    expect(heard.filter(({ kind }) => kind === "resume-ack")).toEqual([{ kind: "resume-ack", value: 1 }]);
    expect(heard.at(-1)).toEqual({ kind: "shut", value: 0 });
    const pages = new Pages();
    for (const message of heard) {
      if (message.kind !== "received") continue;
      const count = (BLOCKS.find(({ name }) => name === message.block)?.bytes ?? 0) / PAGE_BYTES;
      expect(message.pages.length).toBe(Math.ceil(count / 64) * 8);
      for (let page = 0; page < count; page += 1)
        if (((message.pages[page >> 3] ?? 0) & (1 << (page & 7))) !== 0) pages.has.add(`${message.block} ${page}`);
    }
    for (const record of records) pages.take(record, true);
    expect(pages.has.size).toBe(PAGES);
  });
});

interface Described {
  readonly name: string;
  readonly instance_id: number;
  readonly vmsd_name: string;
  readonly version: number;
  readonly fields?: readonly { readonly size: number; readonly array_len?: number }[];
  readonly subsections?: readonly Described[];
}

/** Length of a section's body: its fields, and subsections with 05, length and name, be32 version before them. */
function bytesOf({ fields = [], subsections = [] }: Described): number {
  const own = fields.reduce((sum, { size, array_len = 1 }) => sum + size * array_len, 0);
  return subsections.reduce((sum, sub) => sum + 6 + sub.vmsd_name.length + bytesOf(sub), own);
}
