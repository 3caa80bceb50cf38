/** Where an image is: it has qemu-img. */
export interface QemuImgHost {
  run(command: string, timeout_ms?: number): Promise<string>;
}

const CHECK_MS = 60_000;
const OUTPUT_CHARS_MAX = 2_000;

/** Leaks are room that nobody uses, and no damage. `unchecked`: it could not be looked at as a qcow2. */
export type Qcow2State = "clean" | "leaks" | "damaged" | "unchecked";

/** Checks a qcow2 to which nobody writes. @returns how it is, and what qemu-img said, of 2,000 characters at most */
export async function checkQcow2(
  host: QemuImgHost,
  path: string,
): Promise<{ readonly state: Qcow2State; readonly said: string }> {
  const said = (await host.run(`qemu-img check -U -f qcow2 ${path} 2>&1; echo code $?`, CHECK_MS)).trim();
  // qemu-img(1): 0 consistent, 1 not checked, 2 corrupt, 3 leaks (what was under way when a VM was stopped).
  const states: Readonly<Record<string, Qcow2State>> = { "0": "clean", "2": "damaged", "3": "leaks" };
  const code = /code (\d+)$/.exec(said)?.[1] ?? "";
  return { state: states[code] ?? "unchecked", said: said.slice(0, OUTPUT_CHARS_MAX) };
}
