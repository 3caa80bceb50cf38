import type { FinishedRun, RunEnvironment, RunRequest } from "./request.ts";
import { runScenario } from "./run.ts";

/**
 * Runs requests, so many at a time, begun in their order; begins no more when the signal aborts.
 * @param environmentOf of a request; default: `environment` for each
 * @param enough whether no more are to be begun
 * @param play how one is run; tests hand in another
 */
export async function runSuite(
  environment: RunEnvironment,
  requests: readonly RunRequest[],
  jobs: number,
  onFinished: (run: FinishedRun, request: RunRequest) => void,
  {
    environmentOf = () => environment,
    enough = () => false,
    play = runScenario,
  }: {
    readonly environmentOf?: (request: RunRequest) => RunEnvironment;
    readonly enough?: () => boolean;
    readonly play?: typeof runScenario;
  } = {},
): Promise<readonly FinishedRun[]> {
  const finished: FinishedRun[] = [];
  const waiting = [...requests];
  const worker = async (): Promise<void> => {
    for (let request = waiting.shift(); request !== undefined; request = waiting.shift()) {
      if (environment.signal.aborted || enough()) return;
      const run = await play(environmentOf(request), request);
      finished.push(run);
      onFinished(run, request);
    }
  };
  await Promise.all(Array.from({ length: Math.min(jobs, requests.length) }, worker));
  return finished;
}
