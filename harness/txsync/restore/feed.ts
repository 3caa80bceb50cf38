import { once } from "node:events";
import { createConnection } from "node:net";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { UserError } from "../../base/errors.ts";
import { waitFor, within } from "../../base/wait.ts";
import type { QmpClient } from "../../qemu/qmp.ts";

export interface FeedOptions {
  /** Of a QEMU started with the VM's own arguments, its new RAM file, `-incoming defer` and `-S`. */
  readonly qmp: Pick<QmpClient, "execute">;
  /** Where QEMU listens for the stream: a path for a Unix socket. */
  readonly socket_path: string;
  readonly stream: Iterable<Uint8Array>;
  /** Whether the VM runs at the end, default true. */
  readonly run?: boolean;
  /** Bounds each step, default 10 s. */
  readonly timeout_ms?: number;
}

export interface FedTimings {
  /** Until QEMU listened. */
  readonly listen_ms: number;
  /** Until QEMU had read the stream and said so. */
  readonly load_ms: number;
  /** Until `cont` was answered. */
  readonly cont_ms: number;
}

/**
 * Feeds a stream to a QEMU that waits for one, and lets the VM run unless told not to.
 * @throws UserError when QEMU refuses the stream; WaitTimeoutError; QmpConnectionError when QEMU exits.
 */
export async function feedRestore(options: FeedOptions): Promise<FedTimings> {
  const { qmp, socket_path } = options;
  const timeout_ms = options.timeout_ms ?? 10_000;
  const began_ms = performance.now();
  await qmp.execute("migrate-incoming", { uri: `unix:${socket_path}` });
  const socket = createConnection(socket_path);
  // Whoever awaits hears of it; afterwards it says nothing new.
  socket.on("error", () => undefined);
  try {
    await within({ what: `QEMU to listen on ${socket_path}`, timeout_ms }, once(socket, "connect"));
    const listening_ms = performance.now();
    await within(
      { what: "QEMU to read the restore stream", timeout_ms },
      pipeline(Readable.from(options.stream, { objectMode: false }), socket),
    );
    await waitFor({ what: "QEMU to report that it has the restored VM", timeout_ms, interval_ms: 2 }, async () => {
      const { status, "error-desc": why } = await qmp.execute("query-migrate");
      if (status === "failed") throw new UserError(`QEMU refused the restore stream: ${why ?? "it does not say why"}`);
      return status === "completed" ? status : undefined;
    });
    const loaded_ms = performance.now();
    if (options.run ?? true) await qmp.execute("cont");
    return {
      listen_ms: listening_ms - began_ms,
      load_ms: loaded_ms - listening_ms,
      cont_ms: performance.now() - loaded_ms,
    };
  } finally {
    socket.destroy();
  }
}

/**
 * The machine type of a running QEMU, as its migration stream names it: `pc-q35-7.2`, whatever alias it was started with.
 * QEMU: hw/core/machine.c, the suffix TYPE_MACHINE_SUFFIX of the type's name.
 */
export async function machineType(qmp: Pick<QmpClient, "execute">): Promise<string> {
  const type = await qmp.execute("qom-get", { path: "/machine", property: "type" });
  if (typeof type !== "string") throw new UserError(`QEMU does not tell its machine type: ${JSON.stringify(type)}`);
  return type.replace(/-machine$/, "");
}
