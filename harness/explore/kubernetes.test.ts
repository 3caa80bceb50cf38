import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Job } from "kubernetes-models/batch/v1/Job";
import { PersistentVolumeClaim } from "kubernetes-models/v1/PersistentVolumeClaim";
import { describe, expect, it } from "vitest";
import { parseAllDocuments } from "yaml";

const MANIFEST = join(import.meta.dirname, "../../.ci/many/kubernetes.yaml");

type Thing = Readonly<Record<string, unknown>>;

const documents = parseAllDocuments(readFileSync(MANIFEST, "utf8"));
const things = documents.map((one) => one.toJS() as Thing);

/** By the API's own OpenAPI schema, as the package has it. @throws where it is not one */
function validate(thing: Thing): void {
  if (thing["kind"] === "Job" && thing["apiVersion"] === "batch/v1") new Job(thing as never).validate();
  else if (thing["kind"] === "PersistentVolumeClaim" && thing["apiVersion"] === "v1")
    new PersistentVolumeClaim(thing as never).validate();
  else throw new Error(`nobody here knows a ${String(thing["apiVersion"])} ${String(thing["kind"])}`);
}

/** The ways to all that stands in it, names and numbers one behind the other. */
function ways(of: unknown): (readonly (string | number)[])[] {
  if (typeof of !== "object" || of === null) return [];
  const keys = Array.isArray(of) ? of.map((_, i) => i) : Object.keys(of);
  return keys.flatMap((key) => [
    [key],
    ...ways((of as Record<string | number, unknown>)[key]).map((way) => [key, ...way]),
  ]);
}

/** The same with something there that no schema allows in its place. */
function spoilt(thing: Thing, way: readonly (string | number)[]): Thing {
  const copy = structuredClone(thing) as Record<string | number, unknown>;
  let at = copy;
  for (const key of way.slice(0, -1)) at = at[key] as typeof at;
  const last = way.at(-1) ?? "";
  at[last] = typeof at[last] === "object" ? 17 : { none: [] };
  return copy;
}

describe("the Kubernetes manifest", () => {
  it("is a claim and a job as the API's schema has them", () => {
    expect(documents.flatMap(({ errors, warnings }) => [...errors, ...warnings])).toEqual([]);
    expect(things.map(({ kind }) => kind)).toEqual(["PersistentVolumeClaim", "Job"]);
    for (const thing of things) expect(() => validate(thing)).not.toThrow();
  });

  it("has no name that the schema does not know: it takes nothing wrong in any place", () => {
    for (const thing of things) {
      const unknown = ways(thing).filter((way) => {
        try {
          validate(spoilt(thing, way));
          return true;
        } catch {
          return false;
        }
      });
      expect(unknown.map((way) => way.join("."))).toEqual([]);
    }
    // As one that is misspelt would be found.
    const misspelt = { ...things[1], spec: { ...(things[1]?.["spec"] as Thing), completionz: 4 } };
    expect(() => validate(spoilt(misspelt, ["spec", "completionz"]))).not.toThrow();
  });

  it("gives each pod its part, and says how many there are as often as it is asked", () => {
    const spec = things[1]?.["spec"] as { completions: number; parallelism: number; template: { spec: Thing } };
    const [ferryman] = spec.template.spec["containers"] as { env: { name: string; value: string }[] }[];
    expect(ferryman?.env.find(({ name }) => name === "JOB_COMPLETIONS")?.value).toBe(String(spec.completions));
    expect(spec.parallelism).toBeLessThanOrEqual(spec.completions);
  });
});
