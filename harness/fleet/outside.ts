import { createConnection, type Socket } from "node:net";
import type Docker from "dockerode";
import type { StartedTestContainer } from "testcontainers";
import { UserError } from "../base/errors.ts";
import { waitFor, within } from "../base/wait.ts";
import { removeContainer, startContainer } from "./container.ts";
import { PORTS, PUBLISHED_ON } from "./ports.ts";
import { HostProcess } from "./process.ts";
import { OUTSIDE_RIGHTS } from "./rights.ts";

/** Its tap, and the network that it shares with the guest (fixtures/guests/linux/src/net.c). */
const TAP = "fm0";
const ADDRESS = "10.77.0.1/24";
/** So that a guest's neighbour is the same in every run. */
const TAP_MAC = "02:00:0a:4d:00:01";
const SET_UP_MS = 10_000;

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
      ports: [PORTS.wall],
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
        `ip addr add ${ADDRESS} dev ${TAP}`,
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
    return await waitFor({ what: "the outside's cable to be plugged in", timeout_ms: SET_UP_MS }, async () => {
      const socket = createConnection({ host: PUBLISHED_ON, port, noDelay: true });
      return await new Promise<Socket | undefined>((resolve) => {
        socket.once("connect", () => resolve(socket)).once("error", () => resolve(undefined));
      });
    });
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
