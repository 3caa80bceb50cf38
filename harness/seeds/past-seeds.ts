import type { Seed } from "./seed.ts";

const TXSYNC = "harness/txsync";

function seed(name: string, what: string, file: string, is: string, becomes: string, ...by: string[]): Seed {
  return { name, what, file: `${TXSYNC}/${file}`, is, becomes, by: by.map((test) => `${TXSYNC}/${test}`) };
}

/** Bugs that were there once, each found by a schedule or a reader and mended: they are not to come back unseen. */
export const PAST_SEEDS: readonly Seed[] = [
  seed(
    "laid-over-in-a-restore",
    "a word that comes late has records laid over the memory of a VM that is being restored",
    "data/source-store.ts",
    "    if (this.#restoring) this.#resume = true;\n    else this.#may_lay_over = true;",
    "    this.#may_lay_over = true;",
    "data/restore.test.ts",
  ),
  seed(
    "laid-over-meanwhile",
    "records are laid over a base that became the memory of a restored VM while another QEMU took its place",
    "agent/source-side.ts",
    'this.#may_lay_over = vm === "none" || vm === "gone";',
    "this.#may_lay_over = vm !== undefined;",
    "agent/source-side.test.ts",
  ),
  seed(
    "ready-counts-as-contained",
    "what a VM put out that an agent finds ready counts as contained in its transaction",
    "core/start.ts",
    'committed: vm === "ready" ? containedOf(memory, produced) : acked',
    'committed: vm === "ready" ? produced : acked',
    "core/restored.test.ts",
  ),
  seed(
    "asker-not-heard",
    "of a time without protection that only who asks knows of a claim's log may lack what went out",
    "core/votes.ts",
    "const validFrom = Math.max(promised.validFrom, from);",
    "const validFrom = promised.validFrom;",
    "core/protection.test.ts",
    "sim/protected.test.ts",
  ),
  seed(
    "answer-without-base",
    "the answer to a record opens the gate although it says that the base is gone",
    "core/step.ts",
    "      notePeer(s, from, message.status);\n      committed(s, out,",
    "      committed(s, out,",
    "sim/protected.test.ts",
  ),
  seed(
    "lost-tail-forgotten",
    "an escrow whose log lost records and that dies before it has noted so takes the short log for all",
    "core/start.ts",
    "  if (memory.logLost) return true;\n",
    "",
    "core/protection.test.ts",
    "sim/simulation.test.ts",
  ),
  seed(
    "opened-forgotten",
    "an agent that comes up again takes a word from before its VM's last generation for news",
    "core/start.ts",
    "  if (remembered !== null && remembered.generation >= origin) return remembered;\n",
    "",
    "core/restored.test.ts",
  ),
  seed(
    "refused-too-early-for-ever",
    "who was refused while an owner was heard is not answered when that one is heard no more",
    "core/votes.ts",
    '    if (pre && why === "hears-owner") oweAnswer(s, out, from, p);\n',
    "",
    "core/late-answer.test.ts",
  ),
  seed(
    "record-without-its-writes",
    "what a dead VM wrote is dropped while a record of it is still sent, which is stored as if it had written nothing",
    "device/disk-part.ts",
    "          await this.#options.recordDropped?.();\n",
    "",
    "device/disk-part.test.ts",
  ),
  seed(
    "dead-qemu-finds-room",
    "what a dead QEMU had asked for finds room once the rest of it is dropped, and stays",
    "device/disk-part.ts",
    '          this.#ask({ do: "close-out", below }).catch((error: unknown) => this.#say(error));\n',
    "",
    "device/disk-part.test.ts",
  ),
  seed(
    "floor-of-another-count",
    "after an agent's restart a transaction that was taken again counts as being in the image",
    "disk/disk.ts",
    "? n - 1 : Math.min(this.#applied, n - 1);",
    "? Math.max(this.#applied, n - 1) : this.#applied;",
    "disk/disk.test.ts",
  ),
  seed(
    "late-output-of-the-dead",
    "what is read late of a restored VM that died before it was known to run leaves",
    "core/gate.ts",
    '["ready", "none", "restoring"].includes(s.vm)',
    '["ready"].includes(s.vm)',
    "core/restored.test.ts",
  ),
  seed(
    "output-under-way-left-behind",
    "what had not arrived at switchover does not go along, and nobody lets it out again",
    "agent/source-side.ts",
    "    return bytes > OUTPUT_BYTES_MAX ? {} : { frames };",
    "    return bytes > OUTPUT_BYTES_MAX || this.#leaving === undefined ? {} : { frames };",
    "agent/source-side.test.ts",
  ),
];
