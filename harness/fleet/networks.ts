import type Docker from "dockerode";
import { messageOf, UserError } from "../base/errors.ts";
import { within } from "../base/wait.ts";
import { ENGINE_MS } from "./engine.ts";
import { runLabels } from "./labels.ts";

/** The two networks of a run. */
export interface RunNetworks extends AsyncDisposable {
  /** Carries every byte between hosts, by way of Toxiproxy. Internal: no way out. */
  readonly fabric: string;
  /**
   * Carries the harness's own connections, so that a broken fabric does not blind it. Containers on it cannot reach
   * one another (no inter-container traffic) nor anything outside (no masquerading); only published ports work.
   */
  readonly management: string;
}

export async function createNetworks(docker: Docker, run: string, owner: string): Promise<RunNetworks> {
  const Labels = runLabels(run, owner);
  const fabric = `ferryman-${run}-fabric`;
  const management = `ferryman-${run}-management`;
  const create = (options: Docker.NetworkCreateOptions): Promise<Docker.Network> =>
    within(
      { what: `the engine to make the network ${options.Name}`, timeout_ms: ENGINE_MS },
      docker.createNetwork(options),
    );
  const settled = await Promise.allSettled([
    create({ Name: fabric, CheckDuplicate: true, Driver: "bridge", Internal: true, Labels }),
    create({
      Name: management,
      CheckDuplicate: true,
      Driver: "bridge",
      Labels,
      Options: {
        "com.docker.network.bridge.enable_icc": "false",
        "com.docker.network.bridge.enable_ip_masquerade": "false",
      },
    }),
  ]);
  // By id: a network of the same name may be that of another run.
  const made = settled.flatMap((result) => (result.status === "fulfilled" ? [result.value.id] : []));
  const remove = async (): Promise<void> => {
    await Promise.all(made.map((id) => removeNetwork(docker, id)));
  };
  const failed = settled.find((result) => result.status === "rejected");
  if (failed) {
    await remove();
    throw new UserError(`the networks of run ${run} could not be made: ${messageOf(failed.reason)}`);
  }
  return { fabric, management, [Symbol.asyncDispose]: remove };
}

/** Removes a network; one that is not there is not an error. */
export async function removeNetwork(docker: Docker, name: string): Promise<void> {
  try {
    const removing: Promise<unknown> = docker.getNetwork(name).remove();
    await within({ what: `the engine to remove the network ${name}`, timeout_ms: ENGINE_MS }, removing);
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}

/** Whether the engine said that the thing is not there. */
export function isNotFound(error: unknown): boolean {
  return typeof error === "object" && error !== null && "statusCode" in error && error.statusCode === 404;
}
