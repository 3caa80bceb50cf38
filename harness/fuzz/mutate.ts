/** A small seeded generator (mulberry32): the same seed breaks the same things on every machine. */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** 0 <= value < below. */
  below(below: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor(((t ^ (t >>> 14)) >>> 0) * (below / 4294967296));
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new Error("pick from an empty list");
    return item;
  }
}

/** Numbers at which lengths, counts and offsets go wrong. */
const NUMBERS = [0, 1, 2, 3, 0x7f, 0x80, 0xff, 0x100, 0xfff, 0x1000, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000];
const LAST = [0xffff_ffff, 0xffff_fffe];

/** Bytes that are nearly as they were: one to three fields of them are something else. */
export function mutateBytes(dice: Dice, valid: Buffer, others: readonly Buffer[], bytes_max: number): Buffer {
  let bytes: Buffer = Buffer.from(valid);
  for (let times = 1 + dice.below(3); times > 0; times -= 1) bytes = mutateOnce(dice, bytes, others);
  return bytes.subarray(0, bytes_max);
}

function mutateOnce(dice: Dice, bytes: Buffer, others: readonly Buffer[]): Buffer {
  const at = dice.below(bytes.length + 1);
  const count = 1 + dice.below(Math.min(64, bytes.length + 1));
  switch (dice.below(9)) {
    case 0:
      if (at < bytes.length) bytes[at] = (bytes[at] ?? 0) ^ (1 << dice.below(8));
      return bytes;
    case 1:
      if (at < bytes.length) bytes[at] = dice.below(256);
      return bytes;
    case 2:
    case 3:
      return withNumber(dice, bytes, at);
    case 4:
      return bytes.subarray(0, at);
    case 5:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + count)]);
    case 6:
      return Buffer.concat([bytes.subarray(0, at + count), bytes.subarray(at)]);
    case 7:
      return Buffer.concat([bytes.subarray(0, at), Buffer.alloc(count, dice.below(256)), bytes.subarray(at)]);
    default: {
      const other = dice.pick(others);
      const from = dice.below(other.length + 1);
      return Buffer.concat([bytes.subarray(0, at), other.subarray(from)]);
    }
  }
}

/** A field of 2, 4 or 8 bytes is a number at which something goes wrong, or one off what it was. */
function withNumber(dice: Dice, bytes: Buffer, at: number): Buffer {
  const width = dice.pick([2, 4, 4, 8]);
  if (at + width > bytes.length) return bytes;
  const low = at + width - Math.min(4, width);
  const was = width === 2 ? bytes.readUInt16BE(low) : bytes.readUInt32BE(low);
  const value = dice.below(3) === 0 ? was + dice.pick([-1, 1]) : dice.pick([...NUMBERS, ...LAST]);
  if (width === 2) bytes.writeUInt16BE(value & 0xffff, low);
  else bytes.writeUInt32BE(value >>> 0, low);
  if (width === 8) bytes.writeUInt32BE(dice.pick([0, 0, 1, 0xffff_ffff]), at);
  return bytes;
}

const TEXTS = [
  "",
  " ",
  "\0",
  "é",
  "__proto__",
  "constructor",
  "-1",
  "1e999",
  "a".repeat(300),
  "\ud800",
  "0x10",
  "%",
  "=",
  ",",
  "@",
  ":",
];
const VALUES: readonly unknown[] = [null, true, 0, -1, 1.5, 1e308, 2 ** 53, [], {}, ...TEXTS];

/** The same value with one to three of its parts gone, doubled, or something else. */
export function mutateValue(dice: Dice, value: unknown): unknown {
  const copy: unknown = JSON.parse(JSON.stringify(value));
  const root = { value: copy };
  for (let times = 1 + dice.below(3); times > 0; times -= 1) mutatePart(dice, root);
  return root.value ?? null;
}

function mutatePart(dice: Dice, root: object): void {
  let holder = root as Record<string, unknown>;
  for (;;) {
    const keys = Object.keys(holder);
    if (keys.length === 0) return;
    const key = dice.pick(keys);
    const part = holder[key];
    if (typeof part === "object" && part !== null && Object.keys(part).length > 0 && dice.below(4) > 0) {
      holder = part as Record<string, unknown>;
      continue;
    }
    changePart(dice, holder, key);
    return;
  }
}

function changePart(dice: Dice, holder: Record<string, unknown>, key: string): void {
  const part = holder[key];
  switch (dice.below(6)) {
    case 0:
      // Of a list a hole is left, which a file may have as well.
      delete holder[key];
      return;
    case 1:
      if (Array.isArray(part)) part.push(...part);
      else holder[key] = [part];
      return;
    case 2:
      holder[dice.pick(["x", "__proto__x", "fault", "on", "kind", "when"])] = part;
      return;
    case 3:
      if (typeof part === "string") holder[key] = textLike(dice, part);
      else if (typeof part === "number") holder[key] = part + dice.pick([-1, 1, 0.5, -2 * part, 1e15]);
      else holder[key] = nested(dice.below(200));
      return;
    default:
      holder[key] = structuredClone(dice.pick(VALUES));
  }
}

function nested(depth: number): unknown {
  let value: unknown = [];
  for (let i = 0; i < depth; i += 1) value = i % 2 === 0 ? [value] : { x: value };
  return value;
}

/** A text that is nearly as it was. */
export function textLike(dice: Dice, text: string): string {
  let out = text;
  for (let times = 1 + dice.below(3); times > 0; times -= 1) {
    const at = dice.below(out.length + 1);
    const kind = dice.below(4);
    if (kind === 0) out = out.slice(0, at) + out.slice(at + 1 + dice.below(4));
    else if (kind === 1) out = out.slice(0, at) + dice.pick(TEXTS) + out.slice(at);
    else if (kind === 2) out = out.slice(0, at) + String.fromCharCode(dice.below(128)) + out.slice(at + 1);
    else out = out.slice(0, at) + out.slice(Math.max(0, at - 5));
  }
  return out.slice(0, 2_000);
}
