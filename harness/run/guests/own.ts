import { basename } from "node:path";
import type { HostRole } from "../../base/timeline.ts";
import { GUEST_ABILITIES, type GuestAbility } from "../../checks/evidence.ts";
import type { StartedFleet } from "../../fleet/fleet.ts";
import type { GuestFiles, GuestUnderTest, OwnGuest, OwnGuestFiles, OwnGuestInRun, Workload } from "./guest.ts";
import type { GuestSettings } from "./integrity.ts";

/** Where the files of a guest of somebody else's lie on each host. */
const FOLDER = "/opt/ferryman/guests/own";

/** An instance that shows no progress for so long stands still, where its guest does not say otherwise. */
const STILL_AFTER_MS = 1_500;

/** A guest of somebody else's as a run deals with it: what it does not bring is what every guest can do without. */
export function adopted(guest: OwnGuest, settings: GuestSettings): GuestUnderTest {
  const own = guest.start(settings);
  const asked: Readonly<Record<GuestAbility, unknown>> = {
    memory: own.memory,
    ledger: own.ledger,
    "self-check": own.selfCheck,
    network: undefined,
    disks: undefined,
    probes: undefined,
    client: undefined,
    images: undefined,
  };
  return {
    kind: guest.kind,
    can: GUEST_ABILITIES.filter((ability) => asked[ability] !== undefined),
    files: onHost(own.files),
    still_after_ms: own.still_after_ms ?? STILL_AFTER_MS,
    onConsole: (host, line) => {
      settings.emit(host, { kind: "guest.log", host, line });
      own.onConsole?.(host, line);
    },
    booted: (vm) => own.booted(vm),
    steps: (vm) => own.steps(vm),
    memory: async (vm) => await own.memory?.(vm),
    selfCheck: async (vm) => await own.selfCheck?.(vm),
    disks: async () => undefined,
    ledger: async () => await own.ledger?.(),
    workload: () => own.workload?.() ?? NOBODY,
    reboot: async (vm) => {
      if (own.reboot !== undefined) return await own.reboot(vm);
      await vm.control.executeRaw("system_reset");
      await own.booted(vm);
    },
    put: (fleet) => putFiles(own, fleet),
  };
}

/** Nobody works in it from outside. */
const NOBODY: Workload = {
  moveTo: () => undefined,
  warmedUp: async () => undefined,
  stop: async () => undefined,
};

function onHost({ kernel, initrd, append }: OwnGuestFiles): GuestFiles {
  return {
    kernel: placeOf(kernel),
    ...(initrd === undefined ? {} : { initrd: placeOf(initrd) }),
    append,
  };
}

function placeOf(file: OwnGuestFiles["kernel"]): string {
  return typeof file === "string" ? file : `${FOLDER}/${basename(file.local)}`;
}

async function putFiles({ files: { kernel, initrd } }: OwnGuestInRun, fleet: StartedFleet): Promise<void> {
  const local = [kernel, ...(initrd === undefined ? [] : [initrd])].filter((file) => typeof file === "object");
  const roles: readonly HostRole[] = ["source", "target", "escrow"];
  for (const file of local)
    await Promise.all(roles.map((role) => fleet.host(role).copyFile(file.local, placeOf(file))));
}
