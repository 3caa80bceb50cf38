import { crc32 } from "node:zlib";
import { UserError } from "../../base/errors.ts";
import type { Durable } from "../core/index.ts";
import { type Files, writeAll } from "./files.ts";

/**
 * What an agent has promised, on disk: written beside, synced, renamed, the folder synced. After `save` returns it is
 * there for ever; before that the old one is. A file that is there but damaged must not be taken for "nothing
 * promised": the agent has to stay out.
 */
const NAME = "promise";

export async function savePromise(files: Files, durable: Durable): Promise<void> {
  const json = Buffer.from(JSON.stringify(durable));
  const head = Buffer.alloc(8);
  head.writeUInt32BE(json.length, 0);
  head.writeUInt32BE(crc32(json), 4);
  const file = await files.open(`${NAME}.new`, "create");
  try {
    await writeAll(file, 0, Buffer.concat([head, json]));
    await file.sync();
  } finally {
    await file.close();
  }
  await files.rename(`${NAME}.new`, NAME);
  await files.syncFolder();
}

/** @returns `null` when nothing was ever promised. @throws UserError when the file is damaged. */
export async function loadPromise(files: Files): Promise<Durable | null> {
  if (!(await files.list()).includes(NAME)) return null;
  const file = await files.open(NAME, "read");
  try {
    const bytes = await file.read(0, await file.size());
    const json = bytes.subarray(8);
    if (bytes.length < 8 || json.length !== bytes.readUInt32BE(0) || crc32(json) !== bytes.readUInt32BE(4)) {
      throw new UserError(
        "the agent's promise file is damaged; it must not vote: remove this agent's folder and migrate anew",
      );
    }
    return JSON.parse(json.toString()) as Durable;
  } finally {
    await file.close();
  }
}
