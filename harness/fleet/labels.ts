/** Every container and network that a run makes carries these labels; `clean` finds leftovers by them. */
export const LABEL_RUN = "ferryman.run";
/** Pid and start time of the harness process that owns the thing: a label whose process is gone marks a leftover. */
export const LABEL_OWNER = "ferryman.owner";

export function runLabels(run: string, owner: string): Record<string, string> {
  return { [LABEL_RUN]: run, [LABEL_OWNER]: owner };
}
