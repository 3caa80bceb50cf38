import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const BUILD = join(fileURLToPath(import.meta.url), "../../../../../fixtures/native/build.sh");

/** Whether this machine can build the native helper: tests of the unit project that drive it are skipped elsewhere. */
export function canBuildNative(): boolean {
  try {
    execFileSync("gcc", ["--version"], { stdio: "ignore" });
    return process.platform === "linux" && process.arch === "x64";
  } catch {
    return false;
  }
}

export interface NativeTools extends Disposable {
  readonly pagescan: string;
}

/** Builds what fixtures/native holds into a folder of its own, which goes with what is returned. */
export function buildNative(): NativeTools {
  const folder = mkdtempSync(join(tmpdir(), "ferryman-native-"));
  execFileSync("sh", [BUILD, folder], { stdio: ["ignore", "inherit", "inherit"] });
  return {
    pagescan: join(folder, "pagescan"),
    [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }),
  };
}
