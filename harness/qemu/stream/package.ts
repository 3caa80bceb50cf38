import { COMMAND, StreamError } from "./format.ts";
import { command } from "./writer.ts";

const MAGIC = Buffer.from("5145564d00000003", "hex");
const LISTEN = command(COMMAND.postcopyListen);
const RUN = command(COMMAND.postcopyRun);

/**
 * The device sections of a post-copy package, in the form in which `xen-save-devices-state` writes them: header,
 * sections, end mark. QEMU: migration/migration.c postcopy_start puts listen, device sections, run into the package.
 * @throws StreamError when the package is not made like that.
 */
export function deviceStateOfPackage(content: Buffer): Buffer {
  let from = 0;
  // 11.1 puts a ping before the listen of its package on some machines; any command may stand before the sections.
  while (content[from] === 0x08) from += 5 + content.readUInt16BE(from + 3);
  const listens = content.subarray(0, from).includes(LISTEN);
  const runs = content.subarray(content.length - RUN.length).equals(RUN);
  if (!listens || !runs) throw new StreamError("a package without listen and run", 0);
  return Buffer.concat([MAGIC, content.subarray(from, content.length - RUN.length), Buffer.of(0)]);
}
