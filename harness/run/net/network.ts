import type { Socket } from "node:net";
import type { HostRole } from "../../base/timeline.ts";
import type { NetworkFindings } from "../../checks/network-history.ts";
import type { Outside } from "../../fleet/outside.ts";
import { EthernetCutter, encodeEthernet } from "../../txsync/device/ethernet-frames.ts";
import type { Looking } from "../looking.ts";
import { NetworkClient } from "./client.ts";
import type { Reach } from "./reach.ts";
import { Storm } from "./storm.ts";

/** The VM's end of the cable, wherever the VM is. */
export interface Cable {
  /** Frames that the VM sends. */
  onFrame(listener: (frame: Buffer, from: HostRole) => void): void;
  /** A frame for the VM. */
  send(frame: Buffer): void;
}

/** So much may wait for the world outside, which takes everything at once; more is lost, as on any network. */
const WAITING_BYTES_MAX = 16 * 2 ** 20;

/** The run's network: a cable between the VM, wherever it is, and a world outside in which a client is at work. */
export class Network implements Disposable {
  readonly #wall: Socket;
  readonly #outside: Outside;
  readonly #client: NetworkClient | undefined;
  #storm: Storm | undefined;
  #from_vm = 0;
  #to_vm = 0;
  #from: HostRole = "source";
  /** How anybody outside reaches the VM; where there is a client of ours nobody else does. */
  readonly reach: Reach | undefined;

  private constructor(outside: Outside, wall: Socket, cable: Cable, client: NetworkClient | undefined) {
    const from = (): HostRole => this.#from;
    this.reach =
      client === undefined
        ? {
            dial: (port, timeout_ms) => outside.dial(port, timeout_ms),
            get from() {
              return from();
            },
          }
        : undefined;
    this.#outside = outside;
    this.#wall = wall;
    this.#client = client;
    const cutter = new EthernetCutter();
    wall.on("data", (bytes: Buffer) => {
      for (const frame of cutter.push(bytes)) {
        this.#to_vm += 1;
        cable.send(frame);
      }
    });
    wall.on("error", () => wall.destroy());
    cable.onFrame((frame, host) => {
      this.#from_vm += 1;
      this.#from = host;
      if (!wall.destroyed && wall.writableLength < WAITING_BYTES_MAX) wall.write(encodeEthernet(frame));
    });
  }

  /** @param client of the Linux guest's service; without, the guest gets its address by DHCP, and is dialled */
  static async start(outside: Outside, cable: Cable, { client }: { readonly client: boolean }): Promise<Network> {
    const wall = await outside.plugIn();
    if (!client) await outside.serveGuests();
    return new Network(outside, wall, cable, client ? await NetworkClient.start(outside) : undefined);
  }

  async warmedUp(looking: Looking): Promise<void> {
    await this.#client?.warmedUp(looking);
  }

  /** From now on, until it is stopped, so many datagrams a second come to the guest; 0: none. */
  async storm(datagrams_per_s: number): Promise<void> {
    if (datagrams_per_s > 0) this.#storm = await Storm.start(this.#outside, datagrams_per_s);
  }

  /** @param served whether somebody has the VM, who could still answer */
  async stop(served: boolean): Promise<void> {
    await this.#storm?.end();
    await this.#client?.stop(served);
  }

  /** Of the client of ours; undefined where there is none. */
  get findings(): NetworkFindings | undefined {
    if (this.#client === undefined) return undefined;
    const { operations, keys, broken, strays } = this.#client;
    const storm = this.#storm?.counted;
    const frames = { from_vm: this.#from_vm, to_vm: this.#to_vm };
    return { operations, keys, broken, strays, ...frames, ...(storm === undefined ? {} : { storm }) };
  }

  [Symbol.dispose](): void {
    this.#wall.destroy();
    this.#client?.[Symbol.dispose]();
    this.#storm?.[Symbol.dispose]();
  }
}
