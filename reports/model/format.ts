/** A time for people: `0.42 ms`, `34.1 ms`, `734 ms`, `12.345 s`, `3 min 07.2 s`. */
export function formatMs(value_ms: number): string {
  if (!Number.isFinite(value_ms)) return "–";
  const size = Math.abs(value_ms);
  if (size < 10) return `${value_ms.toFixed(2)} ms`;
  if (size < 100) return `${value_ms.toFixed(1)} ms`;
  if (size < 1_000) return `${value_ms.toFixed(0)} ms`;
  if (size < 60_000) return `${(value_ms / 1_000).toFixed(3)} s`;
  const minutes = Math.trunc(value_ms / 60_000);
  return `${minutes} min ${Math.abs((value_ms % 60_000) / 1_000).toFixed(1)} s`;
}

/** A place on the timeline, always in seconds, so that two of them compare at a glance: `12.345 s`. */
export function formatAt(at_ms: number): string {
  return `${(at_ms / 1_000).toFixed(3)} s`;
}

/** Bytes for people, in powers of 1024. */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${units[unit] ?? "B"}`;
}

/** A whole number with separators that do not depend on the reader's locale: `1,234,567`. */
export function formatCount(value: number): string {
  return Number.isInteger(value)
    ? value.toLocaleString("en-US")
    : value.toLocaleString("en-US", { maximumFractionDigits: 2 });
}

/** `1 page`, `2 pages`. */
export function plural(count: number, one: string, many = `${one}s`): string {
  return `${formatCount(count)} ${count === 1 ? one : many}`;
}
