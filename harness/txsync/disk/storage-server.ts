import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { dirname, join } from "node:path";
import * as z from "zod";
import { type Backend, FileBackend } from "./backend.ts";
import { NbdClient } from "./client.ts";
import { dial } from "./dial.ts";
import { Fence } from "./fence.ts";
import { type ServedDisk, serveNbd } from "./server.ts";
import { NO_STAMP, type Stamp } from "./stamp.ts";

const count = z.int().nonnegative();
const stampSchema = z.object({ generation: count, connection: count });

/** For whoever serves an image on this host to answer. */
const ANSWER_MS = 5_000;

/** An image, or the socket of somebody on this host who exports one by this name: one that is no raw file. */
async function open(path: string, name: string): Promise<Backend> {
  if (!(await stat(path)).isSocket()) return await FileBackend.open(path);
  return await NbdClient.open(await dial({ path }, ANSWER_MS), name, ANSWER_MS);
}

/**
 * What a storage host runs for VMs under txsync: every file of the folder is an export, be it an image or
 * the socket of who serves one. Whoever comes with a generation may
 * write until somebody comes with a later one, whether this was started again meanwhile or not; whoever comes with none
 * may read.
 */
export async function serveStorage(folder: string, port: number, say: (line: string) => void): Promise<Server> {
  const disks = new Map<string, ServedDisk>();
  const kept = `${folder}-generations`;
  mkdirSync(kept, { recursive: true });
  for (const name of await readdir(folder)) {
    const backend = await open(join(folder, name), name);
    const path = join(kept, name);
    const fence = new Fence({ newest_wins: true, lowest: load(path), keep: (lowest) => save(path, lowest) });
    disks.set(name, { backend, fence, read_only_without_stamp: true });
  }
  const server = createServer((socket) => void serveNbd(socket, { disks, onTrouble: say }));
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject).listen(port, "0.0.0.0", resolve);
  });
  return server;
}

/** @throws Error where there is one that cannot be read: who may write is not known then */
function load(path: string): Stamp {
  try {
    return stampSchema.parse(JSON.parse(readFileSync(path, "utf8")));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return NO_STAMP;
    throw error;
  }
}

function save(path: string, stamp: Stamp): void {
  const file = openSync(`${path}.new`, "w", 0o600);
  try {
    writeSync(file, JSON.stringify(stamp));
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(`${path}.new`, path);
  // Its name as well: else a machine that loses power lets in again who was closed out.
  const folder = openSync(dirname(path), "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}
