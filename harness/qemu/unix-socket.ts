import { once } from "node:events";
import { createConnection, type Socket } from "node:net";

/** A connection to a Unix socket, or undefined while nobody listens there; for a wait that tries again. */
export async function tryConnect(path: string): Promise<Socket | undefined> {
  const attempt = createConnection(path);
  try {
    await once(attempt, "connect");
    return attempt;
  } catch {
    attempt.destroy();
    return undefined;
  }
}
