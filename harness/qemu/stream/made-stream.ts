import { UserError } from "../../base/errors.ts";
import { RECORD } from "./format.ts";
import { advise, be32, listen, openReturnPath, packaged, ping, ramStart, run, STREAM_HEADER } from "./writer.ts";

/** What a post-copy stream begins with. */
export interface StreamBeginning {
  /** As QEMU names it in its configuration section: `pc-q35-10.0`. */
  readonly machine: string;
  /** All RAM blocks in QEMU's order, with the length in use. */
  readonly blocks: readonly { readonly name: string; readonly bytes: number }[];
}

/** The number of the RAM section in streams of ours: any that no device section has, which QEMU numbers from 0. */
export const MADE_RAM_SECTION_ID = 0x4665_7272;

const BEGUN_PING = 1;

/**
 * The beginning of a post-copy migration that no QEMU sends: when its last ping is answered the target has emptied its
 * blocks (migration/postcopy-ram.c, postcopy_ram_incoming_init), and whoever has its RAM file may write pages into it.
 */
export function beginning({ machine, blocks }: StreamBeginning, ping_value: number): Buffer {
  return Buffer.concat([
    STREAM_HEADER,
    configuration(machine),
    openReturnPath(),
    ping(BEGUN_PING),
    advise(),
    ramStart(MADE_RAM_SECTION_ID, blocks),
    ping(ping_value),
  ]);
}

/**
 * The package of a VM that stands still, from what `xen-save-devices-state` wrote: listen, device sections, run, as
 * QEMU makes it (migration/migration.c, postcopy_start).
 */
export function packageOf(device_state: Buffer): Buffer {
  return packaged(Buffer.concat([listen(), deviceSections(device_state), run()]));
}

/** For which machine type the stream is: QEMU refuses another one. */
export function configuration(machine: string): Buffer {
  const name = Buffer.from(machine);
  return Buffer.concat([Buffer.of(RECORD.configuration), be32(name.length), name]);
}

/** The sections without header and end mark, of which the stream has its own. */
export function deviceSections(device_state: Buffer): Buffer {
  if (!device_state.subarray(0, STREAM_HEADER.length).equals(STREAM_HEADER) || device_state.at(-1) !== RECORD.eof) {
    throw new UserError(
      `the device state of ${device_state.length} bytes is not a whole one: it begins with ` +
        `${device_state.toString("hex", 0, 8)} and ends with ${device_state.toString("hex", device_state.length - 1)}`,
    );
  }
  return device_state.subarray(STREAM_HEADER.length, -1);
}
