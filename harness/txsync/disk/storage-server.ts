import { readdir } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { FileBackend } from "./backend.ts";
import { Fence } from "./fence.ts";
import { type ServedDisk, serveNbd } from "./server.ts";

/**
 * What a storage host runs for VMs under txsync: every file of the folder is an export. Whoever comes with a generation may
 * write until somebody comes with a later one; whoever comes with none may read.
 */
export async function serveStorage(folder: string, port: number, say: (line: string) => void): Promise<void> {
  const disks = new Map<string, ServedDisk>();
  for (const name of await readdir(folder)) {
    const backend = await FileBackend.open(join(folder, name));
    disks.set(name, { backend, fence: new Fence({ newest_wins: true }), read_only_without_stamp: true });
  }
  const server = createServer((socket) => void serveNbd(socket, { disks, onTrouble: say }));
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject).listen(port, "0.0.0.0", resolve);
  });
}
