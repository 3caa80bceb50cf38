import { tsImport } from "tsx/esm/api";
import { ready, TOO_OLD } from "./ready.mjs";

if (!ready) throw new Error(TOO_OLD);
const ferryman = await tsImport("../harness/index.ts", import.meta.url);

export const {
  CHECKS,
  defineScenario,
  finding,
  judge,
  judged,
  judgeFolder,
  MATCHERS,
  PURE_POSTCOPY,
  startFerryman,
  UserError,
} = ferryman;
