import type { HostRole } from "../base/timeline.ts";
import { StartedVm } from "../fleet/vm.ts";
import type { RunContext } from "./recovery.ts";

/** Starts a QEMU of the run's VM that nobody but the harness has to do with. */
export async function startPlainVm(
  { environment, request, fleet, guest, timeline, logs, vms }: RunContext,
  role: HostRole,
  how: { readonly incoming: boolean; readonly paused: boolean },
): Promise<StartedVm> {
  const vm = await StartedVm.start(fleet.host(role), {
    ...guest.files,
    ...how,
    accel: request.accel,
    qemu_binary: environment.qemu_binary,
    version_text: environment.qemu_version,
    memory_bytes: request.memory_bytes,
    emit: timeline.emit,
    log: logs.of(role),
    onConsole: (line) => guest.onConsole(role, line),
  });
  vms.set(role, vm);
  return vm;
}
