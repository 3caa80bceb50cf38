import { tsImport } from "tsx/esm/api";
import { ready, TOO_OLD } from "./ready.mjs";

if (!ready) throw new Error(TOO_OLD);
const ferryman = await tsImport("../../index.ts", import.meta.url);

export const {
  CHECKS,
  defineScenario,
  finding,
  IntegrityGuest,
  judge,
  judged,
  judgeFolder,
  LinuxGuest,
  MATCHERS,
  PURE_POSTCOPY,
  SCENARIOS,
  startFerryman,
  UserError,
  waitFor,
} = ferryman;
