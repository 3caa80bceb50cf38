import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { FileBackend } from "../backend.ts";
import { NbdClient } from "../client.ts";
import { DiskDaemon } from "../daemon.ts";
import { DaemonClient } from "../daemon-client.ts";
import { NBD_SOCKET } from "../daemon-words.ts";
import { dial } from "../dial.ts";
import { Fence } from "../fence.ts";
import { serveNbd } from "../server.ts";
import { temporaryFolder } from "./serving.ts";

const SIZE = 65_536;
const ANSWER_MS = 5_000;

/** A storage host, and hosts with a daemon each. */
export async function place() {
  const stack = new AsyncDisposableStack();
  const root = stack.use(await temporaryFolder());
  const image = join(root.path, "image");
  await writeFile(image, Buffer.alloc(SIZE));
  const backend = await FileBackend.open(image);
  stack.defer(() => backend.close());
  const disks = new Map([
    ["disk0", { backend, fence: new Fence({ newest_wins: true }), read_only_without_stamp: true }],
  ]);
  const server = createServer((socket) => void serveNbd(socket, { disks, onTrouble: () => undefined }));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  stack.defer(() => void server.close());
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const host = async (name: string) => {
    const folder = join(root.path, name);
    const daemon = await DiskDaemon.start(
      { folder, disks: ["disk0"], storage: { host: "127.0.0.1", port }, patience_ms: 60_000 },
      () => undefined,
    );
    stack.defer(() => daemon[Symbol.asyncDispose]());
    const words = await DaemonClient.connect(folder, ANSWER_MS, () => undefined);
    stack.use(words);
    const qemu = async (number: number): Promise<NbdClient> =>
      await NbdClient.open(await dial({ path: join(folder, NBD_SOCKET) }, ANSWER_MS), `disk0@${number}`, ANSWER_MS);
    return { folder, daemon, words, qemu };
  };
  const read = async (offset: number): Promise<number> => (await backend.read(offset, 1))[0] ?? -1;
  return { host, read, root: root.path, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}
