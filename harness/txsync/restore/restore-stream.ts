import { UserError } from "../../base/errors.ts";
import { PAGE_BYTES } from "../../base/page.ts";
import type { SmallBlock } from "../dirty/small-blocks.ts";

/** Constants of the migration stream (QEMU: migration/savevm.h, migration/ram.c). */
const MAGIC = Buffer.from("5145564d00000003", "hex");
const SECTION = { start: 0x01, end: 0x03, configuration: 0x07, footer: 0x7e, end_of_stream: 0x00, description: 0x06 };
const RAM_FLAG = { zero: 0x02, setup: 0x04, page: 0x08, end: 0x10, same_block: 0x20 };
const RAM_VERSION = 4;
/** Any number that no device section has: QEMU numbers them from 0. */
const RAM_SECTION_ID = 0x4665_7272;

export interface RestoreStream {
  /** Machine type as QEMU names it in its configuration section: `pc-q35-7.2`. */
  readonly machine: string;
  /** All RAM blocks of the VM in QEMU's order, with the length in use. */
  readonly blocks: readonly { readonly name: string; readonly bytes: number }[];
  /** Content of the blocks that are in no file. The others stay as the file has them. */
  readonly small: readonly SmallBlock[];
  /** As `xen-save-devices-state` wrote it. */
  readonly device_state: Buffer;
}

/**
 * A migration stream from which a stock `qemu -incoming` starts as the VM that it describes: header, configuration,
 * RAM section with the small blocks, the device sections, end mark, an empty description. The RAM that is in a file is
 * not sent: QEMU keeps of the file what nobody sends.
 *
 * Read by QEMU: migration/savevm.c qemu_loadvm_state, migration/ram.c ram_load_precopy.
 * @throws UserError when the device state is not what QEMU writes; RangeError when a small block's content does not fit.
 */
export function* restoreStream(what: RestoreStream): Generator<Buffer> {
  yield MAGIC;
  const machine = Buffer.from(what.machine);
  yield Buffer.concat([Buffer.of(SECTION.configuration), be32(machine.length), machine]);
  yield* ramSection(what.blocks, what.small);
  yield deviceSections(what.device_state);
  yield Buffer.of(SECTION.end_of_stream, SECTION.description, 0, 0, 0, 0);
}

/** The sections without header and end mark, of which the stream has its own. */
function deviceSections(device_state: Buffer): Buffer {
  if (!device_state.subarray(0, MAGIC.length).equals(MAGIC) || device_state.at(-1) !== SECTION.end_of_stream) {
    throw new UserError(
      `the device state of ${device_state.length} bytes is not a whole one: it begins with ` +
        `${device_state.toString("hex", 0, 8)} and ends with ${device_state.toString("hex", device_state.length - 1)}`,
    );
  }
  return device_state.subarray(MAGIC.length, -1);
}

function* ramSection(blocks: RestoreStream["blocks"], small: readonly SmallBlock[]): Generator<Buffer> {
  const total = blocks.reduce((sum, block) => sum + block.bytes, 0);
  const id = be32(RAM_SECTION_ID);
  const footer = Buffer.concat([Buffer.of(SECTION.footer), id]);
  yield Buffer.concat([
    Buffer.of(SECTION.start),
    id,
    counted("ram"),
    be32(0),
    be32(RAM_VERSION),
    be64(total + RAM_FLAG.setup),
    ...blocks.flatMap(({ name, bytes }) => [counted(name), be64(bytes)]),
    be64(RAM_FLAG.end),
    footer,
  ]);
  yield Buffer.concat([Buffer.of(SECTION.end), id]);
  for (const { name, content } of small) {
    const block = blocks.find((known) => known.name === name);
    if (block === undefined || content.length !== block.bytes || content.length % PAGE_BYTES !== 0) {
      throw new RangeError(
        `RAM block ${name} with ${content.length} bytes, where the VM has ${block?.bytes ?? "none"}`,
      );
    }
    for (let at = 0; at < content.length; at += PAGE_BYTES) {
      const page = content.subarray(at, at + PAGE_BYTES);
      const zero = page.every((byte) => byte === 0);
      const head = be64(at + (zero ? RAM_FLAG.zero : RAM_FLAG.page) + (at > 0 ? RAM_FLAG.same_block : 0));
      yield Buffer.concat([head, ...(at > 0 ? [] : [counted(name)]), zero ? Buffer.of(0) : page]);
    }
  }
  yield Buffer.concat([be64(RAM_FLAG.end), footer]);
}

function be32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function be64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}

function counted(text: string): Buffer {
  const bytes = Buffer.from(text);
  if (bytes.length > 255) throw new RangeError(`a RAM block's name of ${bytes.length} bytes`);
  return Buffer.concat([Buffer.of(bytes.length), bytes]);
}
