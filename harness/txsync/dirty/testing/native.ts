import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const NATIVE = join(fileURLToPath(import.meta.url), "../../../../../fixtures/native");

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
  readonly shim: string;
  /** The process with a guest's memory (fixtures/native/testing/memory.c). */
  readonly memory: string;
}

/** For a hook that builds it: a second on a machine that has time, and many times that where everything else is busy too. */
export const BUILD_MS = 120_000;

/** Builds what fixtures/native holds into a folder of its own, which goes with what is returned. */
export function buildNative(): NativeTools {
  const folder = mkdtempSync(join(tmpdir(), "ferryman-native-"));
  const memory = join(folder, "memory");
  const stdio = ["ignore", "inherit", "inherit"] as const;
  execFileSync("sh", [join(NATIVE, "build.sh"), folder], { stdio: [...stdio] });
  const flags = ["-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror"];
  execFileSync("gcc", [...flags, join(NATIVE, "testing/memory.c"), "-o", memory], { stdio: [...stdio] });
  return {
    pagescan: join(folder, "pagescan"),
    shim: join(folder, "libferryman-uffd.so"),
    memory,
    [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }),
  };
}
