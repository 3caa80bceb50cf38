/** Bytes of a `pvclock_vcpu_time_info`. */
const CLOCK_BYTES = 32;
/** PVCLOCK_TSC_STABLE_BIT and PVCLOCK_GUEST_STOPPED. */
const KNOWN_FLAGS = 0b11;
/** Clocks from 62 MHz to 16 GHz: KVM scales the TSC by mul / 2^32, mul in [2^31, 2^32), and a shift. */
const [LEAST_SHIFT, GREATEST_SHIFT] = [-4, 3];

/**
 * Where in a page of guest RAM a guest's KVM clock lies, when that clock, kept anew by the target's KVM, is all that the
 * two pages differ in; undefined when there is any other difference.
 *
 * A guest that uses the clock names an address (MSR 0x4b564d01; SeaBIOS does so at boot), and there the kernel, not
 * QEMU, writes version, time stamp and flags for as long as the VM lives: also on a target whose vCPU has not yet run.
 * That memory belongs to the host. It is known by its form (Linux: arch/x86/include/asm/pvclock-abi.h;
 * arch/x86/kvm/x86.c, kvm_get_time_scale), since QEMU tells no MSRs: a version that moved on by an even number, the
 * same rate of the same machine, padding of zeros, only flags that there are.
 * @param source a page as the source has it
 * @param target the same page on the target, of the same length
 * @returns offset in bytes into the page
 */
export function kvmClockUpdate(source: Buffer, target: Buffer): number | undefined {
  let first = 0;
  while (first < source.length && source[first] === target[first]) first += 1;
  // The version is the first field, and each writing moves it on: the first difference is in it.
  const at = first - (first % 4);
  const end = at + CLOCK_BYTES;
  if (end > source.length || source.length !== target.length) return undefined;
  if (!source.subarray(end).equals(target.subarray(end))) return undefined;
  const [before, after] = [clockAt(source, at), clockAt(target, at)];
  if (before === undefined || after === undefined) return undefined;
  if (before.mul !== after.mul || before.shift !== after.shift) return undefined;
  return before.version === after.version ? undefined : at;
}

function clockAt(page: Buffer, at: number): { version: number; mul: number; shift: number } | undefined {
  const version = page.readUInt32LE(at);
  const mul = page.readUInt32LE(at + 24);
  const shift = page.readInt8(at + 28);
  const flags = page.readUInt8(at + 29);
  const padding = page.readUInt32LE(at + 4) | page.readUInt16LE(at + 30);
  // Odd is a version that is being written: never while nothing runs.
  const whole = version !== 0 && version % 2 === 0 && padding === 0 && (flags & ~KNOWN_FLAGS) === 0;
  const rate = mul >= 2 ** 31 && shift >= LEAST_SHIFT && shift <= GREATEST_SHIFT;
  return whole && rate ? { version, mul, shift } : undefined;
}
