import { expect, test } from "vitest";
import { restoreStream } from "./restore-stream.ts";

const HEADER = "5145564d00000003";
const page = Buffer.alloc(4096, 0xab);
const what = {
  machine: "pc-q35-7.2",
  blocks: [
    { name: "ram0", bytes: 1 << 20 },
    { name: "pc.rom", bytes: 8192 },
  ],
  small: [{ name: "pc.rom", content: Buffer.concat([page, Buffer.alloc(4096)]) }],
  device_state: Buffer.from(`${HEADER}04deadbeef00`, "hex"),
};

/** Written by hand from QEMU's migration/savevm.c and migration/ram.c. */
const EXPECTED = [
  HEADER,
  `070000000a${Buffer.from("pc-q35-7.2").toString("hex")}`,
  `01466572720372616d0000000000000004${"0000000000102004"}`,
  `04${Buffer.from("ram0").toString("hex")}0000000000100000`,
  `06${Buffer.from("pc.rom").toString("hex")}0000000000002000`,
  "00000000000000107e46657272",
  "0346657272",
  `000000000000000806${Buffer.from("pc.rom").toString("hex")}${page.toString("hex")}`,
  "000000000000102200",
  "00000000000000107e46657272",
  "04deadbeef",
  "000600000000",
].join("");

test("the stream has header, configuration, small blocks, the device sections and an end, byte for byte", () => {
  expect(Buffer.concat([...restoreStream(what)]).toString("hex")).toBe(EXPECTED);
});

test("a device state that is cut off, or none, is refused before QEMU sees it", () => {
  for (const device_state of [what.device_state.subarray(0, -1), what.device_state.subarray(1), Buffer.alloc(0)]) {
    expect(() => [...restoreStream({ ...what, device_state })]).toThrow(/is not a whole one/);
  }
});

test("a small block that the machine has not, or in another length, is refused", () => {
  expect(() => [...restoreStream({ ...what, blocks: what.blocks.slice(0, 1) })]).toThrow(/pc\.rom with 8192 bytes/);
  const small = [{ name: "pc.rom", content: page }];
  expect(() => [...restoreStream({ ...what, small })]).toThrow(/pc\.rom with 4096 bytes, where the VM has 8192/);
});
