import type { CheckResult } from "../../harness/base/run-record.ts";
import type { JsonValue } from "../../harness/base/timeline.ts";

/** One page that is not what it should be, as text for a table. */
export interface WrongPage {
  /** Which check found it. */
  readonly check: string;
  readonly block: string;
  readonly page: string;
  readonly expected: string;
  readonly found: string;
  /** The transaction that wrote the page last; empty where the check could not tell. */
  readonly last_written_by: string;
}

/** Names under which a check's evidence may list pages, and the fields of one, the preferred name first. */
const LISTS = ["wrong_pages", "differing_pages", "first_wrong", "wrong", "differing", "pages", "first", "bad_pages"];
const FIELDS = {
  block: ["block", "ram_block", "file"],
  page: ["page", "page_index", "index", "offset", "offset_bytes", "address"],
  expected: ["expected", "source", "want", "model"],
  found: ["found", "target", "actual", "got"],
  last_written_by: ["last_written_by", "last_transaction", "last_tx", "written_by", "transaction", "tx"],
} as const;

/**
 * The wrong pages that checks name in their evidence: a list, under a name such as `wrong_pages`, of objects with
 * `page`, `expected`, `found` and, where known, `block` and `last_written_by`.
 */
export function wrongPagesOf(checks: readonly CheckResult[]): WrongPage[] {
  return checks.flatMap((check) =>
    check.verdict === true || check.evidence === undefined
      ? []
      : listsIn(check.evidence).map((entry) => pageOf(check.check, entry)),
  );
}

type JsonObject = { readonly [key: string]: JsonValue };

function listsIn(evidence: JsonValue): JsonObject[] {
  if (isList(evidence)) return evidence.filter(looksLikePage);
  if (!isObject(evidence)) return [];
  const listed = LISTS.flatMap((name) => {
    const value = evidence[name];
    return isList(value) ? value.filter(looksLikePage) : isObject(value) && looksLikePage(value) ? [value] : [];
  });
  if (listed.length > 0) return listed;
  // One level down: evidence that holds one object per host.
  return Object.values(evidence).flatMap((value) =>
    isObject(value)
      ? LISTS.flatMap((name) => {
          const inner = value[name];
          return isList(inner) ? inner.filter(looksLikePage) : [];
        })
      : [],
  );
}

function looksLikePage(value: JsonValue): value is JsonObject {
  return (
    isObject(value) &&
    FIELDS.page.some((name) => value[name] !== undefined) &&
    [...FIELDS.expected, ...FIELDS.found].some((name) => value[name] !== undefined)
  );
}

function pageOf(check: string, entry: JsonObject): WrongPage {
  const text = (names: readonly string[]): string => {
    const name = names.find((candidate) => entry[candidate] !== undefined && entry[candidate] !== null);
    const value = name === undefined ? undefined : entry[name];
    if (value === undefined || name === undefined) return "";
    const shown = typeof value === "string" ? value : JSON.stringify(value);
    return name.startsWith("offset") || name === "address" ? `${name.replace("_bytes", "")} ${shown}` : shown;
  };
  return {
    check,
    block: text(FIELDS.block),
    page: text(FIELDS.page),
    expected: text(FIELDS.expected),
    found: text(FIELDS.found),
    last_written_by: text(FIELDS.last_written_by),
  };
}

function isList(value: JsonValue | undefined): value is readonly JsonValue[] {
  return Array.isArray(value);
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
