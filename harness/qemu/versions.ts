import { UserError } from "../base/errors.ts";

/** A QEMU version. `text` is what QEMU said, with the distribution's package version where there is one. */
export interface QemuVersion {
  readonly major: number;
  readonly minor: number;
  readonly micro: number;
  readonly text: string;
}

/** Oldest version that Ferryman works with. */
export const QEMU_MINIMUM = { major: 7, minor: 2 } as const;

/** Everything that differs between versions and that some part of Ferryman has to know. */
export interface QemuTraits {
  /** The versioned machine type that `q35` stands for: `pc-q35-7.2`. Both sides of a migration must have the same. */
  readonly machine: string;
  /** Command 11 SWITCHOVER_START stands in the migration stream (10.0). */
  readonly hasSwitchoverStart: boolean;
  /** Capability `postcopy-preempt`: requested pages come over a connection of their own (7.1). */
  readonly hasPostcopyPreempt: boolean;
  /** Status `postcopy-device` between the package and the running target (10.2). */
  readonly hasPostcopyDeviceState: boolean;
  /** Status `postcopy-recover-setup`; before it, recovery reports `setup` again (9.1). */
  readonly hasPostcopyRecoverSetup: boolean;
  /** `migrate-incoming` takes `exit-on-error` (9.1). */
  readonly hasIncomingExitOnError: boolean;
}

/** Whether `version` is at least `major.minor`. */
export function isAtLeast(version: Pick<QemuVersion, "major" | "minor">, major: number, minor: number): boolean {
  return version.major > major || (version.major === major && version.minor >= minor);
}

/**
 * Reads what `qemu-system-x86_64 --version` printed.
 * @throws UserError when that is not QEMU's version.
 */
export function parseVersionText(output: string): QemuVersion {
  const found = /^QEMU emulator version ((\d+)\.(\d+)\.(\d+)[^\r\n]*)/m.exec(output);
  if (found === null) {
    const shown = JSON.stringify(output.slice(0, 80));
    throw new UserError(
      `This is not the version of a QEMU emulator: ${shown}. Is qemu-system-x86_64 what it should be?`,
    );
  }
  const [, text = "", major, minor, micro] = found;
  return { major: Number(major), minor: Number(minor), micro: Number(micro), text: text.trim() };
}

/**
 * Reads a version as `QemuVersion.text` has it, and as images of hosts carry it: `10.0.13 (Debian 1:10.0.13)`.
 * @throws UserError when it is none.
 */
export function parseVersion(text: string): QemuVersion {
  return parseVersionText(`QEMU emulator version ${text}`);
}

/** The version that a QMP greeting told. */
export function versionOfGreeting(greeting: {
  readonly major: number;
  readonly minor: number;
  readonly micro: number;
  readonly package: string;
}): QemuVersion {
  const { major, minor, micro } = greeting;
  const number = `${major}.${minor}.${micro}`;
  return { major, minor, micro, text: greeting.package === "" ? number : `${number} (${greeting.package})` };
}

/**
 * What this version can and does.
 * @throws UserError for a version older than 7.2.
 */
export function traits(version: QemuVersion): QemuTraits {
  const { major, minor } = version;
  if (!isAtLeast(version, QEMU_MINIMUM.major, QEMU_MINIMUM.minor)) {
    throw new UserError(
      `QEMU ${version.text} is too old: Ferryman needs ${QEMU_MINIMUM.major}.${QEMU_MINIMUM.minor} or newer. ` +
        "Name an image with a newer one (--qemu).",
    );
  }
  return {
    machine: `pc-q35-${major}.${minor}`,
    hasSwitchoverStart: isAtLeast(version, 10, 0),
    hasPostcopyPreempt: true,
    hasPostcopyDeviceState: isAtLeast(version, 10, 2),
    hasPostcopyRecoverSetup: isAtLeast(version, 9, 1),
    hasIncomingExitOnError: isAtLeast(version, 9, 1),
  };
}
