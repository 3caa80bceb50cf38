import type { Seed } from "./seed.ts";

function seed(name: string, what: string, file: string, is: string, becomes: string, ...by: string[]): Seed {
  return { name, what, file: `harness/${file}`, is, becomes, by: by.map((test) => `harness/${test}`) };
}

const EDGE = "run/txsync/edge.test.ts";
const CHECKS = "checks/checks.test.ts";

/** Bugs in the eyes of the harness: it would let a broken system pass. */
export const EYE_SEEDS: readonly Seed[] = [
  seed(
    "edge-skips",
    "the edge takes a frame although one before it is missing",
    "run/txsync/edge.ts",
    "    if (frame !== this.#upTo + 1) {",
    "    if (frame < this.#upTo + 1) {",
    EDGE,
  ),
  seed(
    "edge-compares-nothing",
    "a frame that comes again with another content is taken for the same",
    "run/txsync/edge.ts",
    "      if (known !== content) {",
    "      if (known.length !== content.length) {",
    EDGE,
  ),
  seed(
    "edge-sees-no-old-owner",
    "what an old generation lets out after a newer one is not noticed",
    "run/txsync/edge.ts",
    "const succeeded = generation < this.#newest;",
    "const succeeded = generation < this.#newest - 1_000;",
    EDGE,
  ),
  seed(
    "edge-believes-marks",
    "a frame that somebody says to have let out, and that never came, is not missed",
    "run/txsync/edge.ts",
    "    const end = Math.max(seen, ...marks.values());\n    if (end > this.#upTo)",
    "    const end = Math.max(seen, marks.size * 0);\n    if (end > this.#upTo)",
    EDGE,
  ),
  seed(
    "sampler-sleeps",
    "the sampler does not see most of the guest's steps",
    "run/sampler.ts",
    "if (step === undefined || step === last) continue;",
    "if (step === undefined || step < last + 100) continue;",
    "run/sampler.test.ts",
  ),
  seed(
    "standing-taken-for-moving",
    "an instance whose counter went back counts as one that goes on",
    "checks/check.ts",
    "after !== undefined && after > before)",
    "after !== undefined && after !== before)",
    CHECKS,
  ),
  seed(
    "second-instance-overlooked",
    "two instances that run at one time are looked for on one host alone",
    "checks/single-instance.ts",
    'if (moving.length > 1 && evidence.succeeded !== "unheard")',
    'if (moving.length > 2 && evidence.succeeded !== "unheard")',
    CHECKS,
    "checks/instances.test.ts",
  ),
  seed(
    "short-overlap-overlooked",
    "instances that ran at one time in the middle of the run are not looked for",
    "checks/single-instance.ts",
    "const overlaps = overlapsOf(instancesOf(events));",
    "const overlaps = overlapsOf(instancesOf(events.slice(0, 1)));",
    "checks/instances.test.ts",
  ),
  seed(
    "bad-page-overlooked",
    "one wrong page of the guest's memory does not count",
    "checks/memory-model.ts",
    "if (bad_count === 0) return",
    "if (bad_count <= 1) return",
    CHECKS,
  ),
  seed(
    "still-page-overlooked",
    "one page that differs between source and target does not count",
    "checks/still-audit.ts",
    "if (wrong === 0) {",
    "if (wrong <= 1) {",
    CHECKS,
  ),
  seed(
    "lost-frame-overlooked",
    "one frame that never came does not count",
    "checks/output-complete.ts",
    "return missing.count === 0\n",
    "return missing.count <= 1\n",
    "checks/output.test.ts",
  ),
  seed(
    "shorter-ledger-overlooked",
    "a ledger that is shorter at its end than it was seen to be has not gone back",
    "checks/never-back.ts",
    "  if (end !== undefined && end.length < seen) say(",
    "  if (end !== undefined && end.length < 0) say(",
    "checks/never-back.test.ts",
  ),
  seed(
    "old-record-overlooked",
    "one record on a disk that is not what was written last does not count",
    "checks/disk-history.ts",
    "        if (wrong > 0) {",
    "        if (wrong > 1) {",
    "checks/disk-history.test.ts",
  ),
  seed(
    "lower-counter-overlooked",
    "a counter that went back for a client outside is taken for good",
    "checks/network-history.ts",
    "    if (count < least)\n",
    "    if (count < 0)\n",
    "checks/network-history.test.ts",
  ),
  seed(
    "digest-of-evidence-not-compared",
    "evidence that was changed, or is of another run, is believed",
    "checks/agreement.ts",
    "timelineDigest(events.slice(0, sealed.events)).sha256 !== sealed.sha256)",
    "timelineDigest(events.slice(0, sealed.events)).events !== sealed.events)",
    "checks/agreement.test.ts",
  ),
  seed(
    "network-left-overlooked",
    "a network of the run that is left over is not seen",
    "checks/nothing-left.ts",
    "const left = [...containers, ...networks];",
    "const left = [...containers];",
    CHECKS,
  ),
  seed(
    "unknown-taken-for-true",
    "what could not be looked at counts as being well",
    "checks/check.ts",
    '    verdict: "unknown",\n    summary: `${gathered.state',
    "    verdict: true,\n    summary: `${gathered.state",
    CHECKS,
  ),
];
