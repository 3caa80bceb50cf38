import { afterwards } from "./afterwards.ts";
import type { Check } from "./check.ts";
import { guestSelfCheck } from "./guest-self-check.ts";
import { ledger } from "./ledger.ts";
import { memoryModel } from "./memory-model.ts";
import { migrateAgain } from "./migrate-again.ts";
import { output } from "./output.ts";
import { outputComplete } from "./output-complete.ts";
import { singleInstance } from "./single-instance.ts";
import { stillAudit } from "./still-audit.ts";
import { violations } from "./violations.ts";
import { vmRunning } from "./vm-running.ts";

/** The list that names every check of a VM: a new one is a file beside these and a line here. */
export const CHECKS: readonly Check[] = [
  vmRunning,
  singleInstance,
  memoryModel,
  guestSelfCheck,
  ledger,
  output,
  outputComplete,
  violations,
  afterwards,
  stillAudit,
  migrateAgain,
];
