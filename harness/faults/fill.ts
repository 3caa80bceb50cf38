import { randomBytes } from "node:crypto";
import { type FleetHost, STORAGE } from "../base/timeline.ts";
import type { Fault } from "./fault.ts";

/**
 * What is filled: the host's /dev/shm (where guest RAM lies, and on the storage host the images of the VM's disks), or as much
 * of its disk as `bytes` says.
 */
export interface Fill {
  readonly fault: "fill";
  readonly host: FleetHost;
  readonly what: "shm" | "disk";
  readonly bytes?: number;
}

/**
 * Leaves no room on the host's /dev/shm or puts so many bytes on its disk. The disk is the container's and shared
 * with the machine, so it is filled only up to a bound that must be given. Healing removes the ballast.
 */
export const fill: Fault<Fill> = {
  name: "fill",
  where: ({ host, what }) => `${what} of ${host}`,
  async inject({ host, what, bytes }, { fleet }) {
    const target = host === STORAGE ? fleet.storage : fleet.host(host);
    if (target === undefined) throw new Error("there is no storage host in this run: the VM has no disks");
    // A file of its own for each: two may be in force at once, and each takes away its own.
    const path = `${what === "shm" ? "/dev/shm/ferryman-ballast" : "/run/ferryman/ballast"}-${randomBytes(4).toString("hex")}`;
    if (what === "disk" && bytes === undefined) throw new Error("filling a disk needs a number of bytes");
    // Written, and not allocated in one go: what has room stays where somebody who lives there takes the last of it meanwhile.
    const full = "cat /dev/zero >> $path 2>/dev/null; [ $(df --output=avail -B1 /dev/shm | tail -1) -eq 0 ]";
    const deed = bytes === undefined ? full : `fallocate -l ${bytes} $path`;
    await target.run(`path=${path}; n=0; until ${deed}; do n=$((n+1)); [ $n -lt 100 ] || exit 1; done`, 30_000);
    return async () => {
      if (!target.gone) await target.run(`rm -f ${path}`);
    };
  },
};
