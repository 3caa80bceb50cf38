import { createConnection, createServer, type Socket } from "node:net";
import { pipeline } from "node:stream";
import { within } from "../base/wait.ts";
import { publishedOn } from "./published.ts";
import { openedSshEngine } from "./ssh-engine.ts";

export interface PortOptions {
  /** Who is to be reached, for the error. */
  readonly what: string;
  readonly timeout_ms: number;
}

/**
 * Connects to a port that the engine has published, wherever the engine is.
 * @throws WaitTimeoutError or the socket's error when nobody answers there.
 */
export async function connectPublished(port: number, { what, timeout_ms }: PortOptions): Promise<Socket> {
  const { socket, connected } = openedSshEngine()?.connect(port) ?? (await direct(port));
  try {
    await within({ what, timeout_ms }, connected);
  } catch (error) {
    socket.destroy();
    throw error;
  }
  return socket;
}

async function direct(port: number): Promise<{ readonly socket: Socket; readonly connected: Promise<void> }> {
  const socket = createConnection({ host: await publishedOn(), port, noDelay: true });
  const connected = new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve).once("error", reject);
  });
  return { socket, connected };
}

/** Where a published port is, for what takes an address and makes its connections itself. */
export interface PublishedUrl {
  readonly url: string;
  readonly close: () => void;
}

const PASS_ON_MS = 10_000;

/** An HTTP server's address behind a published port: the port's own, or one of this machine that passes on to it. */
export async function publishedUrl(port: number): Promise<PublishedUrl> {
  if (openedSshEngine() === undefined) return { url: `http://${await publishedOn()}:${port}`, close: () => undefined };
  const open = new Set<Socket>();
  const server = createServer({ noDelay: true }, (near) => {
    open.add(near);
    near.on("error", () => undefined).once("close", () => open.delete(near));
    connectPublished(port, { what: `port ${port} behind ssh`, timeout_ms: PASS_ON_MS }).then(
      (far) => {
        // Where the one that asked has gone meanwhile, this ends the other too. Errors end both, and are seen as that.
        pipeline(near, far, near, () => undefined);
      },
      () => near.destroy(),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject).listen(0, "127.0.0.1", resolve);
  });
  server.unref();
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("a listening server has no port");
  const close = (): void => {
    server.close();
    for (const socket of open) socket.destroy();
  };
  return { url: `http://127.0.0.1:${address.port}`, close };
}
