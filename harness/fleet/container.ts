import type Docker from "dockerode";
import { GenericContainer, type StartedTestContainer, Wait } from "testcontainers";
import { runLabels } from "./labels.ts";
import { isNotFound } from "./networks.ts";

// The reaper's image cannot be counted on without a registry; leftovers are found by label instead (clean.ts).
process.env["TESTCONTAINERS_RYUK_DISABLED"] = "true";

export interface ContainerSpec {
  readonly image: string;
  readonly name: string;
  readonly run: string;
  readonly owner: string;
  readonly network: string;
  readonly ports: readonly number[];
  readonly command: readonly string[];
  readonly entrypoint?: readonly string[];
  /** A line of the container's output that tells that it is up. */
  readonly ready: RegExp;
  /** Size of /dev/shm in bytes. */
  readonly shm_bytes?: number;
  readonly devices?: readonly string[];
  readonly capabilities?: readonly string[];
  /** userfaultfd is closed to containers by the default seccomp profile. */
  readonly unconfined?: boolean;
  readonly tmpfs?: Record<string, string>;
}

/** A testcontainers container with what its interface does not offer: devices, and ports on loopback only. */
class FerrymanContainer extends GenericContainer {
  readonly #devices: readonly string[];

  constructor(image: string, devices: readonly string[]) {
    super(image);
    this.#devices = devices;
  }

  protected override async beforeContainerCreated(): Promise<void> {
    this.hostConfig.Devices = this.#devices.map((path) => ({
      PathOnHost: path,
      PathInContainer: path,
      CgroupPermissions: "rwm",
    }));
    const bindings = (this.hostConfig.PortBindings ?? {}) as Record<string, { HostIp?: string; HostPort: string }[]>;
    for (const binding of Object.values(bindings).flat()) binding.HostIp = "127.0.0.1";
  }
}

/** Starts a container and waits until it says that it is ready. */
export async function startContainer(spec: ContainerSpec): Promise<StartedTestContainer> {
  const container = new FerrymanContainer(spec.image, spec.devices ?? [])
    .withName(spec.name)
    .withLabels(runLabels(spec.run, spec.owner))
    .withNetworkMode(spec.network)
    .withExposedPorts(...spec.ports)
    .withCommand([...spec.command])
    .withWaitStrategy(Wait.forLogMessage(spec.ready))
    .withStartupTimeout(30_000)
    .withAutoRemove(false);
  if (spec.entrypoint) container.withEntrypoint([...spec.entrypoint]);
  if (spec.shm_bytes !== undefined) container.withSharedMemorySize(spec.shm_bytes);
  if (spec.capabilities) container.withAddedCapabilities(...spec.capabilities);
  if (spec.unconfined) container.withSecurityOpt("seccomp=unconfined");
  if (spec.tmpfs) container.withTmpFs(spec.tmpfs);
  return container.start();
}

/** Kills and removes a container with its volumes; one that is not there is not an error. */
export async function removeContainer(container: Docker.Container): Promise<void> {
  try {
    await container.remove({ force: true, v: true });
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}
