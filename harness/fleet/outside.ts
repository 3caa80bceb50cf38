import type { Socket } from "node:net";
import type Docker from "dockerode";
import type { StartedTestContainer } from "testcontainers";
import { UserError } from "../base/errors.ts";
import { waitFor, within } from "../base/wait.ts";
import { AGENT_FILES } from "./agent-files.ts";
import { removeContainer, startContainer } from "./container.ts";
import { NEIGHBOUR_PROGRAM } from "./neighbour.ts";
import { PORTS } from "./ports.ts";
import { HostProcess } from "./process.ts";
import { connectPublished } from "./published-port.ts";
import { OUTSIDE_RIGHTS } from "./rights.ts";

/** Its tap, and the network that it shares with the guest (fixtures/guests/linux/src/net.c). */
const TAP = "fm0";
const OWN = { address: "10.77.0.1", prefix: 24, mask: "255.255.255.0" } as const;
const GUEST_ADDRESS = "10.77.0.2";
/** So that a guest's neighbour is the same in every run. */
const TAP_MAC = "02:00:0a:4d:00:01";
const SET_UP_MS = 10_000;
/** For a guest that is there to take a connection, or to refuse it. */
const DIAL_MS = 2_000;

export interface OutsideSpec {
  readonly run: string;
  readonly owner: string;
  readonly image: string;
  readonly management: string;
}

/**
 * The world outside of a run's VM: a container with a TCP/IP stack of its own, the kernel's, behind a tap. What runs in it
 * are ordinary programs. Its cable ends at a published port, where the harness, which is the switch, plugs it in; no frame
 * goes anywhere else: the container is on the management network alone, which has no way out.
 */
export class Outside implements AsyncDisposable {
  readonly #docker: Docker;
  readonly #container: Docker.Container;
  readonly #started: StartedTestContainer;
  readonly #processes = new Set<HostProcess>();

  private constructor(docker: Docker, started: StartedTestContainer) {
    this.#docker = docker;
    this.#started = started;
    this.#container = docker.getContainer(started.getId());
  }

  /** @throws UserError where no tap can be made */
  static async start(docker: Docker, { run, owner, image, management }: OutsideSpec): Promise<Outside> {
    const started = await startContainer({
      image,
      name: `ferryman-${run}-outside`,
      run,
      owner,
      network: management,
      ports: [PORTS.wall, PORTS.dial],
      entrypoint: ["/opt/ferryman/bin/tini", "--"],
      command: [
        "/bin/sh",
        "-c",
        `exec /opt/ferryman/bin/tapedge "$(hostname -i | cut -d' ' -f1)" ${PORTS.wall} ${TAP}`,
      ],
      ready: /^up/m,
      devices: ["/dev/net/tun"],
      rights: OUTSIDE_RIGHTS,
    });
    const outside = new Outside(docker, started);
    try {
      const commands = [
        `ip link set dev ${TAP} address ${TAP_MAC}`,
        `ip addr add ${OWN.address}/${OWN.prefix} dev ${TAP}`,
        `ip link set dev ${TAP} up`,
      ];
      const setting_up = await outside.spawn(["/bin/sh", "-c", commands.join(" && ")]);
      const code = await within(
        { what: "the outside's interface to come up", timeout_ms: SET_UP_MS },
        setting_up.exited,
      );
      if (code !== 0) throw new UserError(`the outside has no interface: ${setting_up.lastLines().join(" | ")}`);
      return outside;
    } catch (error) {
      await outside[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The cable's end. */
  async plugIn(): Promise<Socket> {
    const port = this.#started.getMappedPort(PORTS.wall);
    const waiting = { what: "the outside's cable to be plugged in", timeout_ms: SET_UP_MS };
    return await waitFor(waiting, () => connectPublished(port, waiting).catch(() => undefined));
  }

  /** From now on the guest gets its address by DHCP, and can be dialled. @throws Error where that does not come up */
  async serveGuests(): Promise<void> {
    // Who has no address yet is answered by broadcast, which has to go out by the tap.
    const script = `ip route add 255.255.255.255 dev ${TAP} && exec ${AGENT_FILES.node} -e "$1" "$(hostname -i | cut -d' ' -f1)" ${PORTS.dial} ${OWN.address} ${GUEST_ADDRESS} ${OWN.mask}`;
    const neighbour = await this.spawn(["/bin/sh", "-c", script, "sh", NEIGHBOUR_PROGRAM]);
    let up = false;
    neighbour.onLine((line) => {
      up ||= line === "up";
    });
    const what = "the outside to serve the guest";
    await waitFor({ what, timeout_ms: SET_UP_MS, lastLines: () => neighbour.lastLines() }, () => {
      if (neighbour.gone) throw new UserError(`${what} ended: ${neighbour.lastLines().join(" | ")}`);
      return up || undefined;
    });
  }

  /** A connection to a TCP port of the guest, as from any program outside. @throws Error where the guest does not take it */
  async dial(port: number, timeout_ms = DIAL_MS): Promise<Socket> {
    const what = "the world outside to dial";
    const socket = await connectPublished(this.#started.getMappedPort(PORTS.dial), { what, timeout_ms });
    socket.on("error", () => undefined);
    const taken = new Promise<void>((resolve, reject) => {
      socket.write(`${GUEST_ADDRESS} ${port}\n`);
      socket.once("close", () => reject(new Error(`port ${port} of the guest does not take a connection`)));
      // Nobody speaks before it is taken, so this comes first.
      socket.on("readable", function look() {
        if (socket.read(3) === null) return;
        socket.off("readable", look);
        resolve();
      });
    });
    try {
      await within({ what: `port ${port} of the guest to take a connection`, timeout_ms }, taken);
      return socket;
    } catch (error) {
      socket.destroy();
      throw error;
    }
  }

  /** Starts a program outside; its output comes as it is written. */
  async spawn(argv: readonly string[]): Promise<HostProcess> {
    const started = await HostProcess.start(this.#docker, this.#container, argv, {});
    this.#processes.add(started);
    return started;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const started of this.#processes) started[Symbol.dispose]();
    await removeContainer(this.#container);
  }
}
