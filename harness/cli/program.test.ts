import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { carryOut } from "./program.ts";

/** Where an engine is asked all the same, the sentence is another. */
const NO_ENGINE = "unix:///nonexistent/ferryman.sock";

describe("wrong usage is exit code 2 and a sentence on standard error, before an engine is asked", () => {
  let said: { readonly stdout: string[]; readonly stderr: string[] };

  beforeEach(() => {
    vi.stubEnv("DOCKER_HOST", NO_ENGINE);
    said = { stdout: [], stderr: [] };
    for (const stream of ["stdout", "stderr"] as const) {
      vi.spyOn(process[stream], "write").mockImplementation((text) => {
        said[stream].push(String(text));
        return true;
      });
    }
  });

  afterEach(() => {
    vi.restoreAllMocks();
    vi.unstubAllEnvs();
  });

  test.each([
    ["an unknown command", ["frobnicate"], /unknown command 'frobnicate'/],
    ["no scenario", ["run"], /Which scenarios\? Name some/],
    ["a glob of nothing", ["run", "no-such-*"], /There is no scenario "no-such-\*"/],
    ["a file that is not there", ["run", "./nowhere.scenario.ts"], /There is no file \.\/nowhere\.scenario\.ts/],
    [
      "a fault that is none",
      ["run", "--fault", "melt:target@pages=1%"],
      /at character 1 .*a fault is one of bandwidth,/,
    ],
    ["a fault at no moment", ["run", "--fault", "kill-host:target"], /at its end: "@" is needed/],
    ["an expectation that is none", ["run", "no-fault", "--expect", "fine"], /a verdict is one of intact, lost/],
    ["nothing to save", ["run", "no-fault", "--save", "x.scenario.ts"], /--save writes what is put together/],
    ["runs that were never made", ["run", "--rerun-failed", "/nonexistent"], /There is no folder \/nonexistent/],
    [
      "a link to disks that are not there",
      ["run", "--fault", "cut-silent:source-storage@pages=30%"],
      /cut-silent \(link source-storage\) breaks what only a VM with disks has/,
    ],
    [
      "a step that stock never comes to",
      ["run", "--fault", "kill-host:target@step=takeover", "--recovery", "stock"],
      /With --recovery stock fault 0 \(kill-host, target\) waits for "takeover", which never comes/,
    ],
    [
      "a setting of txsync's under stock",
      ["run", "no-fault", "--recovery", "stock", "--switchover-by", "agent"],
      /--switchover-by is for --recovery txsync, or both/,
    ],
    ["an unknown scenario", ["run", "no-such"], /There is no scenario "no-such"\. There are: no-fault, /],
    ["an unknown scenario beside all", ["run", "all", "no-such"], /There is no scenario "no-such"/],
    ["an unknown flag", ["run", "no-fault", "--frob"], /unknown option '--frob'/],
    ["an unknown recovery", ["run", "no-fault", "--recovery", "magic"], /argument 'magic' is invalid/],
    ["an unknown accelerator", ["run", "no-fault", "--accel", "hvf"], /It is one of auto, kvm, tcg/],
    ["a number that is none", ["run", "no-fault", "--jobs", "two"], /A whole number from 1 to 256 is needed/],
    ["a guest too small to boot", ["run", "no-fault", "--memory", "8"], /A whole number from 32 to 1048576 is needed/],
    ["a seed that no guest takes", ["run", "no-fault", "--seed", "99999999999999"], /from 0 to 4294967295 is needed/],
    ["a lease that no agent takes", ["run", "no-fault", "--lease", "999999"], /from 50 to 60000 is needed/],
    ["a processor number of none", ["run", "no-fault", "--smp", "0"], /A whole number from 1 to 255 is needed/],
    [
      "what txsync's agents cannot",
      ["run", "no-fault", "--capability", "multifd"],
      /with --recovery txsync: .*one channel/,
    ],
    [
      "a switchover that they do not have",
      ["run", "no-fault", "--switchover", "never"],
      /--switchover never cannot be/,
    ],
    [
      "a guest that the scenario is not for",
      ["run", "no-fault", "--guest", "bsd"],
      /no-fault is not for the guest "bsd": it takes --guest integrity, --guest linux, or/,
    ],
    [
      "a guest of none for a fault",
      ["run", "--fault", "kill-host:target@pages=30%", "--guest", "bsd"],
      /What is put together with --fault is not for the guest "bsd": it takes --guest/,
    ],
    ["an image that cannot be", ["run", "no-fault", "--qemu", "no image"], /QEMU version or the name of an image/],
    ["a report on nothing", ["report", "/nonexistent/ferryman"], /no folder \/nonexistent\/ferryman/],
  ])("%s", async (_, words, sentence) => {
    const code = await carryOut(words);
    const [stdout, stderr] = [said.stdout.join(""), said.stderr.join("")];
    expect(stderr).toMatch(sentence);
    expect(stderr).not.toMatch(/^\s+at /m);
    expect(stderr.trimEnd().split("\n").length).toBeLessThanOrEqual(3);
    expect([code, stdout]).toEqual([2, ""]);
    if (words[0] !== "run") return;
    // What a run refuses its plan refuses in the same words.
    said.stderr.length = 0;
    expect(await carryOut([...words, "--dry-run"])).toBe(2);
    expect([said.stderr.join(""), said.stdout.join("")]).toEqual([stderr, ""]);
  });

  test("help is no error", async () => {
    expect(await carryOut(["run", "--help"])).toBe(0);
    expect(said.stdout.join("")).toMatch(/^Usage: ferryman run /);
    expect(said.stderr).toEqual([]);
  });
});
