import type { Socket } from "node:net";
import { pipeline, type Readable, Transform } from "node:stream";
import type Docker from "dockerode";
import type { StartedTestContainer } from "testcontainers";
import { messageOf } from "../base/errors.ts";
import type { Emit, FleetHost, HostRole } from "../base/timeline.ts";
import { within } from "../base/wait.ts";
import { removeContainer, type SeenFile, startContainer } from "./container.ts";
import { Demultiplexer } from "./demultiplexer.ts";
import { ENGINE_MS } from "./engine.ts";
import { MANAGEMENT_NAME, MANAGEMENT_PORTS } from "./ports.ts";
import { HostProcess } from "./process.ts";
import { connectPublished } from "./published-port.ts";
import { type ContainerRights, HOST_RIGHTS } from "./rights.ts";
import { HostShell } from "./shell.ts";

export interface HostSpec<Role extends FleetHost> {
  readonly role: Role;
  readonly run: string;
  readonly owner: string;
  readonly image: string;
  readonly management: string;
  readonly fabric: string;
  readonly shm_bytes: number;
  /** Devices passed on, such as /dev/kvm. */
  readonly devices: readonly string[];
  readonly read_only?: readonly SeenFile[];
  /** Default: HOST_RIGHTS. */
  readonly rights?: ContainerRights;
  readonly emit: Emit;
}

/** A host that runs: a container that plays one hypervisor machine. */
export class StartedHost<Role extends FleetHost = HostRole> implements AsyncDisposable {
  readonly role: Role;
  readonly container_name: string;
  readonly #docker: Docker;
  readonly #started: StartedTestContainer;
  readonly #container: Docker.Container;
  readonly #shell: HostShell;
  readonly #fabric: string;
  readonly #emit: Emit;
  readonly #processes = new Set<HostProcess>();
  #state: "up" | "frozen" | "gone" = "up";
  #detached = false;

  private constructor(
    spec: HostSpec<Role>,
    docker: Docker,
    started: StartedTestContainer,
    shell: HostShell,
    name: string,
  ) {
    this.role = spec.role;
    this.container_name = name;
    this.#docker = docker;
    this.#started = started;
    this.#container = docker.getContainer(started.getId());
    this.#shell = shell;
    this.#fabric = spec.fabric;
    this.#emit = spec.emit;
  }

  static async start<Role extends FleetHost>(docker: Docker, spec: HostSpec<Role>): Promise<StartedHost<Role>> {
    const name = `ferryman-${spec.run}-${spec.role}`;
    const started = await startContainer({
      image: spec.image,
      name,
      run: spec.run,
      owner: spec.owner,
      network: spec.management,
      ports: MANAGEMENT_PORTS,
      entrypoint: ["/opt/ferryman/bin/tini", "--"],
      command: ["/bin/sh", "-c", "mkdir -p /run/ferryman && echo ferryman host is up && exec sleep infinity"],
      ready: /ferryman host is up/,
      shm_bytes: spec.shm_bytes,
      devices: spec.devices,
      rights: spec.rights ?? HOST_RIGHTS,
      ...(spec.read_only === undefined ? {} : { read_only: spec.read_only }),
    });
    const container = docker.getContainer(started.getId());
    try {
      await connectTo(docker, spec.fabric, started.getId(), spec.role);
      const shell = await HostShell.open(docker, container, spec.role);
      await shell.run(`echo '${await addressOf(container, spec.management)} ${MANAGEMENT_NAME}' >> /etc/hosts`);
      spec.emit(spec.role, { kind: "host.started", container: name });
      return new StartedHost(spec, docker, started, shell, name);
    } catch (error) {
      await removeContainer(container);
      throw error;
    }
  }

  /** Whether the host's processes can run: neither killed nor frozen. */
  get up(): boolean {
    return this.#state === "up";
  }

  get gone(): boolean {
    return this.#state === "gone";
  }

  /** Runs one command line in the host's open shell (see HostShell.run). */
  async run(command: string, timeout_ms?: number): Promise<string> {
    return this.#shell.run(command, timeout_ms);
  }

  /** Starts a process that outlives the call; its output comes as it is written. */
  async spawn(argv: readonly string[], environment: Readonly<Record<string, string>> = {}): Promise<HostProcess> {
    const started = await HostProcess.start(this.#docker, this.#container, argv, environment);
    this.#processes.add(started);
    return started;
  }

  /** Writes a small file that root alone may read. What is in it stands in no command, and so in no error. */
  async writeFile(path: string, content: string): Promise<void> {
    const writing = this.#started.copyContentToContainer([{ content, target: path, mode: 0o600 }]);
    await this.#engine(`write ${path}`, writing);
  }

  /** Copies a file of this machine's into the host, to be read by all there. @throws Error where there is none */
  async copyFile(local: string, path: string): Promise<void> {
    const copying = this.#started.copyFilesToContainer([{ source: local, target: path, mode: 0o644 }]);
    await this.#engine(`copy ${local}`, copying);
  }

  /** The bytes of a file in the host, from `offset_bytes` on (a multiple of 4096), in order. Holes read as zeros. */
  async readFile(path: string, offset_bytes = 0, length_bytes?: number): Promise<Readable> {
    const count = length_bytes === undefined ? [] : [`count=${length_bytes}`];
    const making = this.#container.exec({
      Cmd: [
        "dd",
        `if=${path}`,
        "bs=1M",
        `skip=${offset_bytes}`,
        ...count,
        "iflag=skip_bytes,count_bytes",
        "status=none",
      ],
      AttachStdout: true,
      AttachStderr: true,
    });
    const exec = await this.#engine(`read ${path}`, making);
    const stream = await this.#engine(`read ${path}`, exec.start({ hijack: true, stdin: false }));
    let complaint = "";
    const output = new Demultiplexer((text) => {
      complaint += text;
    });
    // The end of the output alone does not mean that all was read: the host may have died, or the file ended in an error.
    const output_checked = new Transform({
      transform: (chunk, _encoding, done) => done(null, chunk),
      flush: (done) => {
        exec.inspect().then(
          ({ ExitCode }) =>
            ExitCode === 0
              ? done()
              : done(new Error(`reading ${path} on ${this.role}: ${complaint.trim() || "the host is gone"}`)),
          (error: unknown) => done(new Error(`reading ${path} on ${this.role}: ${messageOf(error)}`)),
        );
      },
    });
    // An error of any part reaches the reader; a reader that leaves ends the others.
    pipeline(stream, output, output_checked, () => undefined);
    return output_checked;
  }

  /**
   * Connects to a management port of the host.
   * @throws WaitTimeoutError or the socket's error when nobody answers there.
   */
  async connect(port: number, timeout_ms = 5_000): Promise<Socket> {
    const what = `a connection to port ${port} of ${this.role}`;
    return await connectPublished(this.#started.getMappedPort(port), { what, timeout_ms });
  }

  /**
   * The host dies at once, with all its memory. That is told before the engine has answered: what the death causes must
   * not stand before it on the timeline.
   * @throws Error when the engine refuses or does not answer; then the host counts as what it was.
   */
  async kill(): Promise<void> {
    const before = this.#state;
    this.#state = "gone";
    this.#emit(this.role, { kind: "host.gone", how: "killed" });
    try {
      await this.#engine("kill", this.#container.kill({ signal: "SIGKILL" }));
    } catch (error) {
      this.#state = before;
      throw error;
    }
  }

  /** Every process of the host stands still (cgroup freezer). */
  async freeze(): Promise<void> {
    await this.#engine("freeze", this.#container.pause());
    this.#state = "frozen";
  }

  /** A host that was killed meanwhile stays what it is. */
  async thaw(): Promise<void> {
    if (this.gone) return;
    await this.#engine("thaw", this.#container.unpause());
    this.#state = "up";
  }

  async detachFromFabric(): Promise<void> {
    this.#detached = true;
    const leaving = this.#docker.getNetwork(this.#fabric).disconnect({ Container: this.#container.id, Force: true });
    await this.#engine("take off the fabric", leaving);
  }

  /** A host that was killed meanwhile stays where it is, and one that is attached too. */
  async attachToFabric(): Promise<void> {
    if (this.gone || !this.#detached) return;
    this.#detached = false;
    await connectTo(this.#docker, this.#fabric, this.#container.id, this.role);
  }

  /** Where the others reach it now: another address than before, where it was taken off the fabric. @throws Error while it is off */
  async fabricAddress(): Promise<string> {
    return await addressOf(this.#container, this.#fabric);
  }

  /** Bounds what the engine is asked for. */
  #engine<T>(deed: string, asked: Promise<T>): Promise<T> {
    return within({ what: `the engine to ${deed} (${this.role})`, timeout_ms: ENGINE_MS }, asked);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#shell[Symbol.dispose]();
    for (const started of this.#processes) started[Symbol.dispose]();
    await removeContainer(this.#container);
    this.#state = "gone";
  }
}

/** Attaches a container to the fabric under the name by which the others know it. */
export async function connectTo(docker: Docker, network: string, container: string, alias: string): Promise<void> {
  const joining = docker.getNetwork(network).connect({ Container: container, EndpointConfig: { Aliases: [alias] } });
  await within({ what: `the engine to attach ${alias} to ${network}`, timeout_ms: ENGINE_MS }, joining);
}

/** The address of a container on a network. @throws Error when it has none there. */
async function addressOf(container: Docker.Container, network: string): Promise<string> {
  const what = `the engine to tell the addresses of ${container.id}`;
  const { NetworkSettings, Name } = await within({ what, timeout_ms: ENGINE_MS }, container.inspect());
  const found = Object.entries(NetworkSettings.Networks).find(
    ([name, { NetworkID }]) => name === network || NetworkID === network,
  );
  const address = found?.[1].IPAddress;
  if (!address) throw new Error(`${Name} has no address on the network ${network}`);
  return address;
}
