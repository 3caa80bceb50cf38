import type { FinishedRun, RunEnvironment, RunRequest } from "./request.ts";
import { runScenario } from "./run.ts";

/**
 * Runs requests, so many at a time, begun in their order; begins no more when the signal aborts.
 * @param play how one is run; tests hand in another
 */
export async function runSuite(
  environment: RunEnvironment,
  requests: readonly RunRequest[],
  jobs: number,
  onFinished: (run: FinishedRun, request: RunRequest) => void,
  play: typeof runScenario = runScenario,
): Promise<readonly FinishedRun[]> {
  const finished: FinishedRun[] = [];
  const waiting = [...requests];
  const worker = async (): Promise<void> => {
    for (let request = waiting.shift(); request !== undefined; request = waiting.shift()) {
      if (environment.signal.aborted) return;
      const run = await play(environment, request);
      finished.push(run);
      onFinished(run, request);
    }
  };
  await Promise.all(Array.from({ length: Math.min(jobs, requests.length) }, worker));
  return finished;
}
