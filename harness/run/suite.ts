import type { FinishedRun, RunEnvironment, RunRequest } from "./run.ts";
import { runScenario } from "./run.ts";

/** Runs requests, so many at a time, in their order; stops taking new ones when the signal aborts. */
export async function runSuite(
  environment: RunEnvironment,
  requests: readonly RunRequest[],
  jobs: number,
  onFinished: (run: FinishedRun) => void,
): Promise<readonly FinishedRun[]> {
  const finished: FinishedRun[] = [];
  const waiting = [...requests];
  const worker = async (): Promise<void> => {
    for (let request = waiting.shift(); request !== undefined; request = waiting.shift()) {
      if (environment.signal.aborted) return;
      const run = await runScenario(environment, request);
      finished.push(run);
      onFinished(run);
    }
  };
  await Promise.all(Array.from({ length: Math.min(jobs, requests.length) }, worker));
  return finished;
}
