import type { Socket } from "node:net";
import type { HostRole } from "../../base/timeline.ts";
import type { StartedHost } from "../../fleet/host.ts";
import { PORTS } from "../../fleet/ports.ts";
import { EthernetCutter, encodeEthernet } from "../../txsync/device/ethernet-frames.ts";
import type { Cable } from "../net/network.ts";

const SIDES: readonly HostRole[] = ["source", "target"];
const DIAL_AGAIN_MS = 50;
/** What may wait for a QEMU that does not take it; more is lost. */
const WAITING_BYTES_MAX = 4 * 2 ** 20;

/**
 * A switch with a port for the QEMU of each side, as a stock migration has it: it learns from every frame behind which port
 * the VM is, so that the announcement of a VM that has arrived moves it (QEMU: net/announce.c).
 */
export class Switch implements Cable, Disposable {
  readonly #ports = new Map<HostRole, Socket>();
  readonly #listeners: ((frame: Buffer, from: HostRole) => void)[] = [];
  #learned: HostRole = "source";
  #closed = false;

  constructor(host: (role: HostRole) => StartedHost) {
    for (const role of SIDES) void this.#plugIn(host(role));
  }

  onFrame(listener: (frame: Buffer, from: HostRole) => void): void {
    this.#listeners.push(listener);
  }

  send(frame: Buffer): void {
    const port = this.#ports.get(this.#learned);
    if (port !== undefined && port.writableLength < WAITING_BYTES_MAX) port.write(encodeEthernet(frame));
  }

  async #plugIn(host: StartedHost): Promise<void> {
    while (!this.#closed && !host.gone) {
      const port = await host.connect(PORTS.card).catch(() => undefined);
      if (port !== undefined && !this.#closed) await this.#serve(host.role, port);
      port?.destroy();
      await new Promise((resolve) => setTimeout(resolve, DIAL_AGAIN_MS).unref());
    }
  }

  /** Settles when the port is unplugged. */
  async #serve(role: HostRole, port: Socket): Promise<void> {
    const cutter = new EthernetCutter();
    this.#ports.set(role, port);
    await new Promise<void>((resolve) => {
      port.on("error", () => port.destroy());
      port.on("close", () => resolve());
      port.on("data", (bytes: Buffer) => {
        try {
          for (const frame of cutter.push(bytes)) {
            this.#learned = role;
            for (const listener of this.#listeners) listener(frame, role);
          }
        } catch {
          port.destroy();
        }
      });
    });
    if (this.#ports.get(role) === port) this.#ports.delete(role);
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    for (const port of this.#ports.values()) port.destroy();
  }
}
