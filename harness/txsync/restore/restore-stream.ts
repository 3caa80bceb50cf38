import { PAGE_BYTES } from "../../base/page.ts";
import { RECORD } from "../../qemu/stream/format.ts";
import { configuration, deviceSections, MADE_RAM_SECTION_ID } from "../../qemu/stream/made-stream.ts";
import { be32, type PageToWrite, ramPart, ramStart, STREAM_HEADER } from "../../qemu/stream/writer.ts";
import type { SmallBlock } from "../dirty/small-blocks.ts";

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
export function* restoreStream(what: RestoreStream): Generator<Uint8Array> {
  yield STREAM_HEADER;
  yield configuration(what.machine);
  yield ramStart(MADE_RAM_SECTION_ID, what.blocks);
  yield* ramPart(MADE_RAM_SECTION_ID, [...pagesOf(what.blocks, what.small)], RECORD.sectionEnd);
  yield deviceSections(what.device_state);
  yield Buffer.concat([Buffer.of(RECORD.eof, RECORD.description), be32(0)]);
}

function* pagesOf(blocks: RestoreStream["blocks"], small: readonly SmallBlock[]): Generator<PageToWrite> {
  for (const { name, content } of small) {
    const block = blocks.find((known) => known.name === name);
    if (block === undefined || content.length !== block.bytes || content.length % PAGE_BYTES !== 0) {
      throw new RangeError(
        `RAM block ${name} with ${content.length} bytes, where the VM has ${block?.bytes ?? "none"}`,
      );
    }
    for (let at = 0; at < content.length; at += PAGE_BYTES) {
      const bytes = content.subarray(at, at + PAGE_BYTES);
      const zero = bytes.every((byte) => byte === 0);
      yield { block: name, page: at / PAGE_BYTES, bytes: zero ? null : bytes };
    }
  }
}
