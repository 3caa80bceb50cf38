import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type Docker from "dockerode";
import type { RunPhase } from "../base/timeline.ts";
import { waitFor, within } from "../base/wait.ts";
import { LABEL_OWNER, LABEL_RUN } from "../fleet/labels.ts";
import { ownerOf } from "../fleet/owner.ts";

const PROJECT = join(import.meta.dirname, "..", "..");

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** For tests: the command line as a process of its own, and what the engine has that belongs to that very process. */
export class Spawned {
  readonly #child;
  readonly #ended: Promise<Ended>;
  /** What its containers and networks are labelled with. */
  readonly owner: string;
  #stdout = "";
  #stderr = "";

  constructor(args: readonly string[], environment: Readonly<Record<string, string>> = {}) {
    this.#child = spawn(process.execPath, ["--import", "tsx", "harness/cli.ts", ...args], {
      cwd: PROJECT,
      env: { ...process.env, ...environment },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child.stdout.setEncoding("utf8").on("data", (text: string) => {
      this.#stdout += text;
    });
    this.#child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr += text;
    });
    this.owner = ownerOf(this.#child.pid ?? 0) ?? "";
    this.#ended = once(this.#child, "close").then(([code, signal]) => ({
      code,
      signal,
      stdout: this.#stdout,
      stderr: this.#stderr,
    }));
  }

  /** @throws WaitTimeoutError with what it said last; it is killed then. */
  async ended(timeout_ms = 120_000): Promise<Ended> {
    try {
      const lastLines = (): readonly string[] => this.#stderr.trimEnd().split("\n").slice(-10);
      return await within({ what: "the command to end", timeout_ms, lastLines }, this.#ended);
    } finally {
      this.#child.kill("SIGKILL");
    }
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Names of the containers and networks that are there and are its own. */
  async things(docker: Docker): Promise<readonly string[]> {
    const filters = { label: [`${LABEL_OWNER}=${this.owner}`] };
    const [containers, networks] = await Promise.all([
      docker.listContainers({ all: true, filters }),
      docker.listNetworks({ filters }),
    ]);
    return [...containers.map(({ Names, Id }) => Names[0] ?? Id), ...networks.map(({ Name }) => Name)];
  }

  /** Waits until its run has begun a phase. */
  async reached(docker: Docker, runs_folder: (run: string) => string | undefined, phase: RunPhase): Promise<void> {
    const lastLines = (): readonly string[] => this.#stderr.trimEnd().split("\n").slice(-10);
    await waitFor(
      { what: `the run to be in its phase ${phase}`, timeout_ms: 90_000, interval_ms: 20, lastLines },
      async () => {
        const filters = { label: [`${LABEL_OWNER}=${this.owner}`] };
        const [network] = await docker.listNetworks({ filters });
        const folder = runs_folder(network?.Labels?.[LABEL_RUN] ?? "");
        if (folder === undefined) return undefined;
        const timeline = join(folder, "timeline.ndjson");
        return existsSync(timeline) && readFileSync(timeline, "utf8").includes(`"phase":"${phase}"`) ? true : undefined;
      },
    );
  }
}
