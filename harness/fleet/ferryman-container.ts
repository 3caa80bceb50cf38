import { type ContainerRuntimeClient, GenericContainer, getContainerRuntimeClient } from "testcontainers";
import { publishedOn } from "./published.ts";
import { openedSshEngine } from "./ssh-engine.ts";

export { Wait } from "testcontainers";

// The reaper's image cannot be counted on without a registry; leftovers are found by label instead (clean.ts).
process.env["TESTCONTAINERS_RYUK_DISABLED"] = "true";

let client: Promise<ContainerRuntimeClient> | undefined;

/**
 * The engine as testcontainers knows it. It asks the environment once where that is, and knows no ssh: where ours leads
 * through it, DOCKER_HOST is for that moment the socket here. To be called before any container is started.
 */
export async function runtimeClient(): Promise<ContainerRuntimeClient> {
  client ??= findClient().catch((error: unknown) => {
    client = undefined;
    throw error;
  });
  return await client;
}

async function findClient(): Promise<ContainerRuntimeClient> {
  const ssh = openedSshEngine();
  if (ssh === undefined) return await getContainerRuntimeClient();
  const before = process.env["DOCKER_HOST"];
  process.env["DOCKER_HOST"] = `unix://${ssh.engine_socket}`;
  try {
    return await getContainerRuntimeClient();
  } finally {
    if (before !== undefined) process.env["DOCKER_HOST"] = before;
  }
}

/** A testcontainers container with what its interface does not offer: devices, and ports that are open on one address only. */
export class FerrymanContainer extends GenericContainer {
  readonly #devices: readonly string[];
  /** Id of the container once the engine has made it, whether or not it then starts. */
  created: string | undefined;

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
    const address = await publishedOn();
    for (const binding of Object.values(bindings).flat()) binding.HostIp = address;
    // The engine's own name server, which knows the aliases, asks this one for all else, from inside the container,
    // where nobody answers: else it would ask the machine's name servers, in part from outside the container's network.
    this.hostConfig.Dns = ["127.0.0.1"];
    // The name of a host that is off the fabric has no answer: Toxiproxy takes no connection while it waits for one.
    this.hostConfig.DnsOptions = ["timeout:1", "attempts:2"];
  }

  protected override async containerCreated(id: string): Promise<void> {
    this.created = id;
  }
}
