import { parentPort, workerData } from "node:worker_threads";
import { DataPlane } from "./plane.ts";
import type { DataConfig } from "./protocol.ts";

/** The data plane's thread. Whatever it does not catch ends it, and with it the agent. */
export function runDataPlane(): DataPlane {
  if (parentPort === null) throw new Error("the data plane runs in a thread of its agent");
  return new DataPlane(workerData as DataConfig, parentPort);
}
