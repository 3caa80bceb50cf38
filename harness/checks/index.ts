import { afterwards } from "./afterwards.ts";
import { agreement } from "./agreement.ts";
import { answers } from "./answers.ts";
import type { Check } from "./check.ts";
import { clientHistory } from "./client-history.ts";
import { clocks } from "./clocks.ts";
import { diskHistory } from "./disk-history.ts";
import { firmware } from "./firmware.ts";
import { guestSelfCheck } from "./guest-self-check.ts";
import { diskImages } from "./images.ts";
import { ledger } from "./ledger.ts";
import { limits } from "./limits.ts";
import { memoryModel } from "./memory-model.ts";
import { migrateAgain } from "./migrate-again.ts";
import { networkHistory } from "./network-history.ts";
import { neverBack } from "./never-back.ts";
import { nothingLeft } from "./nothing-left.ts";
import { nothingWaits } from "./nothing-waits.ts";
import { output } from "./output.ts";
import { outputComplete } from "./output-complete.ts";
import { probes } from "./probes.ts";
import { serviceHistory } from "./service-history.ts";
import { singleInstance } from "./single-instance.ts";
import { stillAudit } from "./still-audit.ts";
import { storageAway } from "./storage-away.ts";
import { struck } from "./struck.ts";
import { tooLate } from "./too-late.ts";
import { violations } from "./violations.ts";
import { vmRunning } from "./vm-running.ts";

/** The list that names every check: a new one is a file beside these and a line here. What they need is looked at in this order. */
export const CHECKS: readonly Check[] = [
  agreement,
  struck,
  tooLate,
  vmRunning,
  singleInstance,
  memoryModel,
  guestSelfCheck,
  probes,
  storageAway,
  diskHistory,
  diskImages,
  ledger,
  networkHistory,
  serviceHistory,
  clientHistory,
  neverBack,
  clocks,
  output,
  outputComplete,
  violations,
  afterwards,
  stillAudit,
  firmware,
  migrateAgain,
  limits,
  answers,
  nothingWaits,
  nothingLeft,
];
