import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, connect as dial, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { NbdClient } from "../client.ts";
import { type ServedDisk, serveNbd } from "../server.ts";

const ANSWER_MS = 5_000;

/** A folder of its own, gone afterwards. */
export async function temporaryFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), "ferryman-disk-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

export interface Serving extends AsyncDisposable {
  readonly path: string;
  readonly trouble: string[];
  readonly socket: () => Promise<Socket>;
  readonly client: (name: string) => Promise<NbdClient>;
}

/** The server, on a Unix socket in a folder. */
export async function serving(folder: string, disks: ReadonlyMap<string, ServedDisk>): Promise<Serving> {
  const path = join(folder, "nbd");
  const trouble: string[] = [];
  const open = new Set<Promise<void>>();
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    const serve = serveNbd(socket, { disks, onTrouble: (what) => trouble.push(what) }).finally(() => {
      open.delete(serve);
      sockets.delete(socket);
    });
    open.add(serve);
  });
  server.listen(path);
  await once(server, "listening");
  const socket = async (): Promise<Socket> => {
    const made = dial(path);
    await once(made, "connect");
    return made;
  };
  return {
    path,
    trouble,
    socket,
    client: async (name) => await NbdClient.open(await socket(), name, ANSWER_MS),
    [Symbol.asyncDispose]: async () => {
      server.close();
      for (const each of sockets) each.destroy();
      await Promise.all(open);
    },
  };
}
