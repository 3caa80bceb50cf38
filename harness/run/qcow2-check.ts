/** Where an image is: it has qemu-img. */
export interface QemuImgHost {
  run(command: string, timeout_ms?: number): Promise<string>;
}

const CHECK_MS = 60_000;
const OUTPUT_CHARS_MAX = 2_000;

/**
 * By the codes of qemu-img(1). Leaks are room that nobody uses (what was under way when a VM was stopped), and no damage.
 * `unreadable`: it is no qcow2, or so damaged that the check did not come to its end.
 */
const STATES = { "0": "clean", "1": "unreadable", "2": "damaged", "3": "leaks" } as const;
export type Qcow2State = (typeof STATES)[keyof typeof STATES];

/**
 * Checks a qcow2 to which nobody writes.
 * @returns how it is, and what qemu-img said, of 2,000 characters at most
 * @throws Error where there was no check: that says nothing of the image
 */
export async function checkQcow2(
  host: QemuImgHost,
  path: string,
): Promise<{ readonly state: Qcow2State; readonly said: string }> {
  const all = (await host.run(`qemu-img check -U -f qcow2 ${path} 2>&1; echo code $?`, CHECK_MS)).trim();
  const said = all.slice(0, OUTPUT_CHARS_MAX);
  const code = /code (\d+)$/.exec(all)?.[1];
  if (code === undefined || !(code in STATES)) throw new Error(`qemu-img could not check ${path}: ${said}`);
  return { state: STATES[code as keyof typeof STATES], said };
}
