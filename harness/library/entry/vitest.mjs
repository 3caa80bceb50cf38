import { expect } from "vitest";
import { MATCHERS } from "./index.mjs";

// Here and not in TypeScript: what tsx loads would bring another vitest along, whose `expect` nobody uses.
expect.extend(MATCHERS);
