import type { Scenario } from "../run/scenario.ts";
import { checkScenario } from "../run/scenario-schema.ts";

/** `guests` and `group` may be left out: the guest whose memory can be told byte for byte, and a group of your own. */
export type ScenarioOfYours = Omit<Scenario, "guests" | "group"> & Partial<Pick<Scenario, "guests" | "group">>;

/**
 * A scenario of your own, looked at before anything starts.
 * @throws UserError that names the first place in it that is wrong, and what is wrong there
 */
export function defineScenario(scenario: ScenarioOfYours): Scenario {
  return checkScenario({ group: "yours", guests: ["integrity"], ...scenario }, `scenario ${String(scenario?.id)}`);
}
