import type { HostRole } from "../base/timeline.ts";
import { StartedVm, type VmMachine } from "../fleet/vm.ts";
import { configurationOf, extraArgsOf, machineTypeOf } from "./configure.ts";
import { diskArgs } from "./disks.ts";
import { cardOf } from "./net/card.ts";
import type { RunContext } from "./recovery.ts";
import { qemuOf } from "./request.ts";

/** The run's VM as a QEMU on that host is asked for it. */
export function vmMachineOf(
  { environment, request, guest }: Pick<RunContext, "environment" | "request" | "guest">,
  role: HostRole,
): VmMachine {
  const configuration = configurationOf(request);
  const { vcpus = 1, cpu, ram = "file" } = configuration;
  return {
    ...guest.files,
    ...(role === "source" && guest.state !== undefined ? { state: guest.state } : {}),
    accel: request.accel,
    memory_bytes: request.memory_bytes,
    machine: machineTypeOf(environment, configuration),
    vcpus,
    ...(cpu === undefined ? {} : { cpu }),
    ram,
    ...cardOf(configuration),
    extra: extraArgsOf(configuration, role),
  };
}

/** Starts a QEMU of the run's VM that nobody but the harness has to do with. */
export async function startPlainVm(
  context: RunContext,
  role: HostRole,
  how: { readonly incoming: boolean; readonly paused: boolean },
): Promise<StartedVm> {
  const { environment, fleet, guest, timeline, logs, vms } = context;
  const machine = vmMachineOf(context, role);
  const vm = await StartedVm.start(fleet.host(role), {
    ...machine,
    extra: [...diskArgs(configurationOf(context.request), role), ...machine.extra],
    ...how,
    qemu_binary: environment.qemu_binary,
    version_text: qemuOf(environment, role).qemu_version,
    emit: timeline.emit,
    log: logs.of(role),
    onConsole: (line) => guest.onConsole(role, line),
  });
  vms.set(role, vm);
  return vm;
}
