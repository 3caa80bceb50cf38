import { pageOfStep } from "./rule.ts";
import type { CpuStatus } from "./status-page.ts";

/**
 * The last page of a processor's region that it rewrites in none of its next steps: what is wrong there is there to be found
 * for a while. For tests that damage one.
 * @throws Error where it comes to all of them
 */
export function pageLeftAlone({ region, step_done }: CpuStatus, steps: number): number {
  const soon = new Set(Array.from({ length: steps }, (_, ahead) => pageOfStep(region, step_done + 1 + ahead)));
  for (let page = region.first_page + region.pages - 1; page >= region.first_page; page -= 1)
    if (!soon.has(page)) return page;
  throw new Error(`processor ${region.cpu} rewrites all of its ${region.pages} pages within ${steps} steps`);
}
