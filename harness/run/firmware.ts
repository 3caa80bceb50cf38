import type { FirmwareBlock } from "../checks/firmware.ts";
import { AGENT_FILES } from "../fleet/agent-files.ts";
import type { StartedVm } from "../fleet/vm.ts";
import { blocksOf } from "./audit.ts";
import { HASH_MEMORY } from "./hash-memory.ts";

/**
 * What a QEMU holds beside the guest's RAM, which no guest of ours writes to once it has booted: firmware, option ROMs,
 * ACPI tables. The VM runs on meanwhile.
 * @throws Error where a block cannot be told from others, or not be read
 */
export async function firmwareOf(vm: StartedVm): Promise<readonly FirmwareBlock[]> {
  const small = (await blocksOf(vm)).flatMap(({ name, bytes, where }) =>
    where.kind === "process" ? [{ name, bytes, address: where.address }] : [],
  );
  const stretches = small.map(({ address, bytes }) => `${address}:${bytes}`).join(" ");
  const told = await vm.host.run(`${AGENT_FILES.node} -e '${HASH_MEMORY}' /proc/${vm.process.pid}/mem ${stretches}`);
  const digests = told.trim().split("\n");
  return small.map(({ name, bytes }, index) => ({ name, bytes, sha256: digests[index] ?? "" }));
}
