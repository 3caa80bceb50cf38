import type { Fault } from "./fault.ts";

export interface KillStorage {
  readonly fault: "kill-storage";
  readonly what: "server";
}

/**
 * SIGKILL to what exports the VM's disks on the storage host: connections end, and what it had in hand is done or not. Healed,
 * it is started again over the same images.
 */
export const killStorage: Fault<KillStorage> = {
  name: "kill-storage",
  where: () => "the storage host's server",
  async inject(_, { storage }) {
    if (storage === undefined) throw new Error("there is no storage host in this run: the VM has no disks");
    await storage.kill();
    return () => storage.start();
  },
};
