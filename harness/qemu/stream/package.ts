import { COMMAND, RECORD, StreamError } from "./format.ts";
import { command, ping } from "./writer.ts";

const MAGIC = Buffer.from("5145564d00000003", "hex");
const LISTEN = command(COMMAND.postcopyListen);
/** A ping without its number. */
const PING = ping(0).subarray(0, 5);
const PING_BYTES = ping(0).length;
const RUN = command(COMMAND.postcopyRun);

/**
 * The device sections of a post-copy package, in the form in which `xen-save-devices-state` writes them: header,
 * sections, end mark. QEMU: migration/migration.c postcopy_start puts listen, device sections, run into the package.
 * @throws StreamError when the package is not made like that.
 */
export function deviceStateOfPackage(content: Buffer): Buffer {
  let from = 0;
  while (content[from] === RECORD.command) from += 5 + content.readUInt16BE(from + 3);
  const listens = content.subarray(0, from).includes(LISTEN);
  const runs = content.subarray(content.length - RUN.length).equals(RUN);
  if (!listens || !runs) throw new StreamError("a package without listen and run", 0);
  let to = content.length - RUN.length;
  // A ping stands before the run (postcopy_start: "ping 3"); who restores has no return path.
  const before = content.subarray(to - PING_BYTES, to);
  if (before.subarray(0, PING.length).equals(PING)) to -= PING_BYTES;
  return Buffer.concat([MAGIC, content.subarray(from, to), Buffer.of(RECORD.eof)]);
}
