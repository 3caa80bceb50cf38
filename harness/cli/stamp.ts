/** A time as a folder name that sorts: 20261122-233015. */
export function stamp(time: Date): string {
  return time.toISOString().slice(0, 19).replaceAll(/[-:]/g, "").replace("T", "-");
}
