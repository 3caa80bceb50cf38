import { COMMAND, RECORD, StreamError } from "./format.ts";
import { command, ping, STREAM_HEADER } from "./writer.ts";

const COMMAND_HEAD_BYTES = 5;
/** A ping without its number. */
const PING = ping(0).subarray(0, COMMAND_HEAD_BYTES);
const PING_BYTES = ping(0).length;
const RUN = command(COMMAND.postcopyRun);

/**
 * The device sections of a post-copy package, in the form in which `xen-save-devices-state` writes them: header,
 * sections, end mark. QEMU: migration/migration.c postcopy_start puts listen, device sections, run into the package.
 * @throws StreamError when the package is not made like that.
 */
export function deviceStateOfPackage(content: Buffer): Buffer {
  let from = 0;
  let listens = false;
  while (content[from] === RECORD.command) {
    if (content.length < from + COMMAND_HEAD_BYTES) throw new StreamError("a package that is cut off", from);
    listens ||= content.readUInt16BE(from + 1) === COMMAND.postcopyListen;
    from += COMMAND_HEAD_BYTES + content.readUInt16BE(from + 3);
  }
  let to = content.length - RUN.length;
  const runs = to >= 0 && content.subarray(to).equals(RUN);
  if (!listens || !runs) throw new StreamError("a package without listen and run", 0);
  // Pings stand before the run, of which who restores wants none: number 3, and with 11.1 number 0x42 too.
  while (to - PING_BYTES >= from && content.subarray(to - PING_BYTES, to - PING_BYTES + PING.length).equals(PING))
    to -= PING_BYTES;
  return Buffer.concat([STREAM_HEADER, content.subarray(from, Math.max(from, to)), Buffer.of(RECORD.eof)]);
}
