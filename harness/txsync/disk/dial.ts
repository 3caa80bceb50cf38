import { once } from "node:events";
import { connect, type NetConnectOpts, type Socket } from "node:net";

/** A connection, or an error within the time. */
export async function dial(where: NetConnectOpts, timeout_ms: number): Promise<Socket> {
  const socket = connect(where);
  try {
    await once(socket, "connect", { signal: AbortSignal.timeout(timeout_ms) });
    return socket;
  } catch (error) {
    socket.on("error", () => undefined).destroy();
    throw error;
  }
}
