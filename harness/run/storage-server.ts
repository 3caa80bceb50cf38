import type { FleetHost, STORAGE } from "../base/timeline.ts";
import { pause, waitFor } from "../base/wait.ts";
import type { StartedHost } from "../fleet/host.ts";
import type { HostProcess } from "../fleet/process.ts";

/** What disks that the run makes itself, and images of the user's, have in common: who exports them, and how they are looked at. */

const START_MS = 20_000;
const LOOK_AGAIN_MS = 500;
const ARRIVES_MS = 5_000;

/** A shell command that succeeds once somebody listens there (proc_pid_net(5): ports stand there in hexadecimal). */
export function listensOn(port: number): string {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  return `grep -qE ':${hex} [0-9A-F]+:0000 0A ' /proc/net/tcp /proc/net/tcp6`;
}

/**
 * Starts a program on the storage host, and waits until it is up.
 * @param what it exports, in words
 * @param up a shell command that succeeds then
 */
export async function serve(
  host: StartedHost<typeof STORAGE>,
  argv: readonly string[],
  { what, up }: { readonly what: string; readonly up: string },
  log: (host: FleetHost, line: string) => void,
): Promise<HostProcess> {
  const server = await host.spawn(argv);
  server.onLine((line) => log(host.role, line));
  await waitFor(
    { what: `the storage host to export ${what}`, timeout_ms: START_MS, lastLines: () => server.lastLines() },
    async () => {
      if (server.gone) throw new Error(`${argv[0]} on the storage host ended: ${server.lastLines().join(" | ")}`);
      return (await host.run(`${up} && echo up || true`)).trim() === "up" ? true : undefined;
    },
  );
  return server;
}

/** What is stored, once it is well; at the latest when what was on its way from the VM's host to there had a moment to come. */
export async function lookUntilWell<T>(look: () => Promise<T>, isWell: (found: T) => boolean): Promise<T> {
  const until_ms = performance.now() + ARRIVES_MS;
  for (;;) {
    const found = await look();
    if (isWell(found) || performance.now() > until_ms) return found;
    await pause(LOOK_AGAIN_MS);
  }
}
