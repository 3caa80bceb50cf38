import type Docker from "dockerode";
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
  const remove = async (): Promise<void> => {
    await Promise.all([fabric, management].map((name) => removeNetwork(docker, name)));
  };
  try {
    await Promise.all([
      docker.createNetwork({ Name: fabric, Driver: "bridge", Internal: true, Labels }),
      docker.createNetwork({
        Name: management,
        Driver: "bridge",
        Labels,
        Options: {
          "com.docker.network.bridge.enable_icc": "false",
          "com.docker.network.bridge.enable_ip_masquerade": "false",
        },
      }),
    ]);
  } catch (error) {
    await remove();
    throw error;
  }
  return { fabric, management, [Symbol.asyncDispose]: remove };
}

/** Removes a network; one that is not there is not an error. */
export async function removeNetwork(docker: Docker, name: string): Promise<void> {
  try {
    await docker.getNetwork(name).remove();
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}

/** Whether the engine said that the thing is not there. */
export function isNotFound(error: unknown): boolean {
  return typeof error === "object" && error !== null && "statusCode" in error && error.statusCode === 404;
}
