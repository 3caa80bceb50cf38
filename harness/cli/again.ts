import { FERRYMAN } from "../base/myself.ts";
import { quoteWord } from "../base/words.ts";
import { guestName } from "../run/guests/index.ts";
import type { RunEnvironment, RunRequest } from "../run/request.ts";
import type { TxsyncSettings } from "../run/txsync/settings.ts";
import { configurationWords } from "./configuration.ts";

/** The command that this process carries out, as one types it. */
export function thisCommand(): string {
  return `${FERRYMAN} ${process.argv.slice(2).map(quoteWord).join(" ")}`;
}

/** The command that runs the same again. */
export function commandOf(environment: RunEnvironment, request: RunRequest): string {
  const words = [`${FERRYMAN} run`, request.named ?? request.scenario.id, `--recovery ${request.recovery}`];
  const { qemu, target } = environment;
  const qemus = target === undefined ? `--qemu ${qemu}` : `--source-qemu ${qemu} --target-qemu ${target.qemu}`;
  words.push(`--accel ${request.accel}`, qemus, `--guest ${guestName(request.guest)}`);
  words.push(`--memory ${request.memory_bytes / 1024 ** 2}`, `--seed ${request.seed}`);
  const { write_rate_pages_per_s: rate, working_set_bytes: set, chatter_lines_per_s: chatter } = request.work ?? {};
  if (rate !== undefined) words.push(`--write-rate ${rate}`);
  if (chatter !== undefined) words.push(`--chatter ${chatter}`);
  if (set !== undefined) words.push(`--working-set ${set / 1024 ** 2}`);
  // What is the scenario's own comes with it.
  const { source_qemu: _source, target_qemu: _target, ...configuration } = request.configuration ?? {};
  words.push(...configurationWords(configuration));
  // Stock QEMU has no agents that could be told, though the same command ran txsync too.
  const agents: Partial<TxsyncSettings> = request.recovery === "stock" ? {} : (request.txsync ?? {});
  const { lease_ms, epoch_ms, durability, protect, protect_before, unprotected, switchover_by, base_ahead, find } =
    agents;
  const held_bytes = agents.output_held_bytes;
  if (lease_ms !== undefined) words.push(`--lease ${lease_ms}`);
  if (epoch_ms !== undefined) words.push(`--epoch ${epoch_ms}`);
  if (durability !== undefined) words.push(`--durability ${durability}`);
  if (protect_before === true) words.push("--protect-before");
  if (protect !== undefined) words.push(`--protect ${protect}`);
  if (unprotected !== undefined) words.push(`--unprotected ${unprotected}`);
  if (held_bytes !== undefined) words.push(`--held-output ${held_bytes / 1024}`);
  if (switchover_by !== undefined) words.push(`--switchover-by ${switchover_by}`);
  if (base_ahead !== undefined) words.push(`--ahead ${Math.round(base_ahead * 100)}`);
  if (find !== undefined) words.push(`--find ${find}`);
  if (request.patience_ms !== undefined) words.push(`--patience ${request.patience_ms / 1000}`);
  return words.join(" ");
}
