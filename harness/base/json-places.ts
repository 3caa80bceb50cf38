/** The way to a place in a JSON value: keys and numbers. */
export type JsonPath = readonly (string | number)[];

/** Every place in a JSON value, and what stands there. */
export function* placesIn(value: unknown, path: JsonPath = []): Generator<readonly [JsonPath, unknown]> {
  yield [path, value];
  if (typeof value !== "object" || value === null) return;
  const entries = Array.isArray(value) ? value.entries() : Object.entries(value);
  for (const [key, each] of entries) yield* placesIn(each, [...path, key]);
}

/** With something else in one place; undefined: with nothing there any more. */
export function changedAt(value: unknown, [key, ...rest]: JsonPath, other: unknown): unknown {
  if (key === undefined) return other;
  if (Array.isArray(value))
    return other === undefined && rest.length === 0
      ? value.toSpliced(Number(key), 1)
      : value.map((each, index) => (index === key ? changedAt(each, rest, other) : each));
  const fields = Object.entries(value as object);
  return Object.fromEntries(fields.map(([name, each]) => [name, name === key ? changedAt(each, rest, other) : each]));
}
