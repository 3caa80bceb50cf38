import type Docker from "dockerode";
import type { StartedTestContainer } from "testcontainers";
import { waitFor, within } from "../base/wait.ts";
import { runLabels } from "./labels.ts";
import { isNotFound } from "./networks.ts";
import type { ContainerRights } from "./rights.ts";

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
  readonly rights: ContainerRights;
  /** The container's own name for itself, which it has on its first network only. */
  readonly hostname?: string;
  readonly tmpfs?: Record<string, string>;
  /** Files of this machine that the container sees, and cannot change. */
  readonly read_only?: readonly SeenFile[];
}

/** A file of this machine, and where a container sees it. */
export interface SeenFile {
  readonly local: string;
  readonly path: string;
}

/** Starts a container and waits until it says that it is ready. One that does not start is taken away again. */
export async function startContainer(spec: ContainerSpec): Promise<StartedTestContainer> {
  // Only now: it takes half a second to load, and most commands start no container.
  const { FerrymanContainer, runtimeClient, Wait } = await import("./ferryman-container.ts");
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
  container.withDroppedCapabilities(...spec.rights.capabilities_dropped);
  container.withAddedCapabilities(...spec.rights.capabilities_added);
  if (spec.rights.security_options.length > 0) container.withSecurityOpt(...spec.rights.security_options);
  if (spec.hostname !== undefined) container.withHostname(spec.hostname);
  if (spec.tmpfs) container.withTmpFs(spec.tmpfs);
  if (spec.read_only)
    container.withBindMounts(spec.read_only.map(({ local, path }) => ({ source: local, target: path, mode: "ro" })));
  const engine = await runtimeClient();
  try {
    return await within({ what: `the engine to start ${spec.name}`, timeout_ms: START_TIMEOUT_MS }, container.start());
  } catch (error) {
    if (container.created !== undefined) await removeContainer(engine.container.getById(container.created));
    throw error;
  }
}

/** Making and starting, and the line that says that it is up. */
const START_TIMEOUT_MS = 60_000;
const REMOVE_TIMEOUT_MS = 30_000;

/**
 * Kills and removes a container with its volumes, and returns when it is gone. One that is not there is not an error,
 * nor is one that somebody else is removing.
 */
export async function removeContainer(container: Docker.Container): Promise<void> {
  try {
    const removing: Promise<unknown> = container.remove({ force: true, v: true });
    await within({ what: `the engine to remove container ${container.id}`, timeout_ms: REMOVE_TIMEOUT_MS }, removing);
  } catch (error) {
    if (isNotFound(error)) return;
    if (!isRemovalUnderWay(error)) throw error;
    const gone = (): Promise<true | undefined> =>
      container.inspect().then(
        () => undefined,
        (refused: unknown) => {
          if (isNotFound(refused)) return true;
          throw refused;
        },
      );
    await waitFor({ what: `container ${container.id} to be removed`, timeout_ms: REMOVE_TIMEOUT_MS }, gone);
  }
}

/** Code 409 (conflict) has other reasons too. */
function isRemovalUnderWay(error: unknown): boolean {
  return (
    error instanceof Error &&
    "statusCode" in error &&
    error.statusCode === 409 &&
    /already in progress/.test(error.message)
  );
}
