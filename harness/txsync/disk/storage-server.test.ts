import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { NbdClient, NbdRequestError } from "./client.ts";
import { dial } from "./dial.ts";
import { serveStorage } from "./storage-server.ts";
import { temporaryFolder } from "./testing/serving.ts";

const ANSWER_MS = 5_000;

it("lets an older generation write no more, not even when the server was started again", async () => {
  await using root = await temporaryFolder();
  const folder = join(root.path, "disks");
  await mkdir(folder);
  await writeFile(join(folder, "disk0"), Buffer.alloc(4096));
  const start = async () => {
    const server = await serveStorage(folder, 0, () => undefined);
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const client = async (name: string): Promise<NbdClient> =>
      await NbdClient.open(await dial({ host: "127.0.0.1", port }, ANSWER_MS), name, ANSWER_MS);
    return { server, client };
  };
  const first = await start();
  const old = await first.client("disk0@1.1");
  await old.write(0, Buffer.from([1]));
  const reader = await first.client("disk0");
  await expect(reader.write(0, Buffer.from([9]))).rejects.toThrow(NbdRequestError);
  const owner = await first.client("disk0@2.1");
  await owner.write(0, Buffer.from([2]));
  expect(await reader.read(0, 1)).toEqual(Buffer.from([2]));
  await Promise.all([old.close(), owner.close(), reader.close()]);
  first.server.close();
  const second = await start();
  await expect(second.client("disk0@1.2")).rejects.toThrow(NbdRequestError);
  const again = await second.client("disk0@2.2");
  expect(await again.read(0, 1)).toEqual(Buffer.from([2]));
  await again.close();
  second.server.close();
});
