import { waitFor } from "../../base/wait.ts";
import type { StartedVm } from "../../fleet/vm.ts";

/** That a QEMU has ended its monitor tells at once, what it said last comes by way of its agent. */
const WORDS_MS = 1_000;

/**
 * For who waits for a guest to boot.
 * @throws Error with QEMU's last words where it has ended
 */
export async function refuseGone({ process }: { readonly process: Pick<StartedVm["process"], "gone" | "lastLines"> }) {
  if (!process.gone) return;
  const what = "QEMU's last words";
  const said = await waitFor({ what, timeout_ms: WORDS_MS, interval_ms: 20 }, () => {
    const lines = process.lastLines();
    return lines.length > 0 ? lines : undefined;
  }).catch(() => ["it said nothing"]);
  throw new Error(`QEMU ended before its guest had booted: ${said.join(" | ")}`);
}
