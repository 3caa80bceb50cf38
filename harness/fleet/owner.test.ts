import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { hostname } from "node:os";
import { createInterface } from "node:readline";
import { describe, expect, it } from "vitest";
import { waitFor } from "../base/wait.ts";
import { ownerLives, ownerOf } from "./owner.ts";

describe("owner", () => {
  it("names this process, and finds it alive", () => {
    const owner = ownerOf(process.pid) ?? "";
    expect(owner).toMatch(new RegExp(`^${hostname()}/${process.pid}/\\d+$`));
    expect(ownerLives(owner)).toBe(true);
  });

  it("takes a process with the same pid that started at another time for another process", () => {
    expect(ownerLives(`${hostname()}/${process.pid}/1`)).toBe(false);
  });

  it("takes a process of another machine to live", () => {
    expect(ownerLives(`not-${hostname()}/1/1`)).toBe(true);
  });

  it.each(["", "no slash", `${hostname()}/x/1`, `${hostname()}//`])("bears a label that is no owner: %j", (label) => {
    expect(() => ownerLives(label)).not.toThrow();
  });

  it("sees that a process has ended", async () => {
    const child = spawn("sleep", ["60"], { stdio: "ignore" });
    await once(child, "spawn");
    const owner = ownerOf(child.pid ?? 0) ?? "";
    expect(ownerLives(owner)).toBe(true);
    child.kill("SIGKILL");
    await once(child, "exit");
    expect(ownerLives(owner)).toBe(false);
    expect(ownerOf(child.pid ?? 0)).toBeUndefined();
  });

  it.runIf(existsSync("/proc/self/stat"))(
    "takes a process that was killed and not yet waited for as gone",
    async () => {
      // The shell becomes a process that never waits for its child.
      const parent = spawn("/bin/sh", ["-c", "sleep 60 & echo $!; exec sleep 60"], {
        stdio: ["ignore", "pipe", "ignore"],
      });
      try {
        const [line] = (await once(createInterface(parent.stdout), "line")) as [string];
        const pid = Number(line);
        const owner = ownerOf(pid) ?? "";
        expect(ownerLives(owner)).toBe(true);
        process.kill(pid, "SIGKILL");
        await waitFor({ what: "the killed process to be taken as gone", timeout_ms: 3_000 }, () =>
          ownerLives(owner) ? undefined : true,
        );
      } finally {
        parent.kill("SIGKILL");
      }
    },
  );
});
