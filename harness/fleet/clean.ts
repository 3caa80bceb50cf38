import type Docker from "dockerode";
import { removeContainer } from "./container.ts";
import { LABEL_OWNER, LABEL_RUN } from "./labels.ts";
import { removeNetwork } from "./networks.ts";
import { ownerLives } from "./owner.ts";

export interface Leftovers {
  readonly containers: readonly string[];
  readonly networks: readonly string[];
}

/** Which containers and networks of `run` (of any run, when not given) are there. */
export async function findLeftovers(docker: Docker, run?: string): Promise<Leftovers> {
  return find(docker, run, () => true);
}

/**
 * Removes what runs whose harness is gone have left behind; with `all` also what was kept and what belongs to runs that
 * are going on, with `run` whatever belongs to that one run.
 * @returns the names of what was removed
 */
export async function clean(
  docker: Docker,
  options: { readonly all: boolean; readonly run?: string },
): Promise<Leftovers> {
  const every = options.all || options.run !== undefined;
  const left = await find(docker, options.run, (owner) => every || !ownerLives(owner));
  await Promise.all(left.containers.map((name) => removeContainer(docker.getContainer(name))));
  await Promise.all(left.networks.map((name) => removeNetwork(docker, name)));
  return left;
}

async function find(docker: Docker, run: string | undefined, wanted: (owner: string) => boolean): Promise<Leftovers> {
  const filters = { label: [run === undefined ? LABEL_RUN : `${LABEL_RUN}=${run}`] };
  const [containers, networks] = await Promise.all([
    docker.listContainers({ all: true, filters }),
    docker.listNetworks({ filters }),
  ]);
  return {
    containers: containers
      .filter(({ Labels }) => wanted(Labels[LABEL_OWNER] ?? ""))
      .map(({ Names, Id }) => Names[0]?.slice(1) ?? Id),
    networks: networks.filter(({ Labels }) => wanted(Labels?.[LABEL_OWNER] ?? "")).map(({ Name }) => Name),
  };
}
