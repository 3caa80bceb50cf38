import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { messageOf, UserError, WaitTimeoutError } from "./errors.ts";
import { waitFor, within } from "./wait.ts";

const never = <T>(): Promise<T> => new Promise<T>(() => undefined);

describe("waitFor", () => {
  it("looks until there is something, however often that is, and then no more", async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: 8 }), async (misses) => {
        let looks = 0;
        const found = await waitFor({ what: "it", timeout_ms: 60_000, interval_ms: 0 }, () =>
          looks++ < misses ? undefined : "found",
        );
        expect(found).toBe("found");
        expect(looks).toBe(misses + 1);
      }),
      { numRuns: 20 },
    );
  });

  it.each([null, false, 0, ""])("takes %j for something found", async (value) => {
    expect(await waitFor({ what: "it", timeout_ms: 0 }, () => value)).toBe(value);
  });

  it("looks at least once, even without any time", async () => {
    expect(await waitFor({ what: "it", timeout_ms: 0 }, async () => 1)).toBe(1);
  });

  it("names what was awaited, for how long, and shows the last lines", async () => {
    const waiting = waitFor(
      { what: "the target", timeout_ms: 5, interval_ms: 1, lastLines: async () => ["first", "second"] },
      () => undefined,
    );
    await expect(waiting).rejects.toThrow(WaitTimeoutError);
    await expect(waiting).rejects.toMatchObject({
      awaited: "the target",
      timeout_ms: 5,
      message: "waited 5 ms for the target, in vain\nlast lines:\n  first\n  second",
    });
  });

  it("bounds a look that never comes back, and one that fails afterwards", async () => {
    await expect(waitFor({ what: "an answer", timeout_ms: 5 }, () => never<number>())).rejects.toMatchObject({
      awaited: "an answer",
      timeout_ms: 5,
    });
    let fail: (error: Error) => void = () => undefined;
    const late = new Promise<never>((_, reject) => {
      fail = reject;
    });
    await expect(waitFor({ what: "it", timeout_ms: 1 }, () => late)).rejects.toThrow(WaitTimeoutError);
    fail(new Error("too late"));
    await new Promise((resolve) => setImmediate(resolve));
  });

  it("passes on what looking throws", async () => {
    const look = (): undefined => {
      throw new Error("broken");
    };
    await expect(waitFor({ what: "it", timeout_ms: 60_000 }, look)).rejects.toThrow("broken");
  });

  it("does not look when it was aborted before", async () => {
    let looks = 0;
    const signal = AbortSignal.abort(new UserError("stopped"));
    const waiting = waitFor({ what: "it", timeout_ms: 60_000, signal }, () => {
      looks++;
      return undefined;
    });
    await expect(waiting).rejects.toThrow("stopped");
    expect(looks).toBe(0);
  });

  it("ends at once when it is aborted in the middle of a pause", async () => {
    const abort = new AbortController();
    const waiting = waitFor({ what: "it", timeout_ms: 60_000, interval_ms: 60_000, signal: abort.signal }, () => {
      queueMicrotask(() => abort.abort());
      return undefined;
    });
    await expect(waiting).rejects.toMatchObject({ name: "AbortError" });
  });
});

describe("within", () => {
  it("gives what the promise gives", async () => {
    expect(await within({ what: "it", timeout_ms: 60_000 }, Promise.resolve(7))).toBe(7);
    expect(await within({ what: "it", timeout_ms: 60_000 }, Promise.resolve(undefined))).toBeUndefined();
    // A value that looks like the inner word for "time is up" is a value all the same.
    expect(await within({ what: "it", timeout_ms: 60_000 }, Promise.resolve("expired"))).toBe("expired");
  });

  it("passes on what the promise rejects with", async () => {
    await expect(within({ what: "it", timeout_ms: 60_000 }, Promise.reject(new Error("no")))).rejects.toThrow("no");
  });

  it("says what it waited for when the time is up, with the last lines", async () => {
    const waiting = within({ what: "an answer", timeout_ms: 1, lastLines: () => ["a line"] }, never());
    await expect(waiting).rejects.toThrow("waited 1 ms for an answer, in vain\nlast lines:\n  a line");
  });

  it("ends when it is aborted, before or in the middle", async () => {
    const before = within({ what: "it", timeout_ms: 60_000, signal: AbortSignal.abort() }, never());
    await expect(before).rejects.toMatchObject({ name: "AbortError" });
    const abort = new AbortController();
    const middle = within({ what: "it", timeout_ms: 60_000, signal: abort.signal }, never());
    abort.abort();
    await expect(middle).rejects.toMatchObject({ name: "AbortError" });
  });

  it("leaves no rejection unhandled when the promise fails after its time", async () => {
    let fail: (error: Error) => void = () => undefined;
    const late = new Promise<never>((_, reject) => {
      fail = reject;
    });
    await expect(within({ what: "it", timeout_ms: 1 }, late)).rejects.toThrow(WaitTimeoutError);
    // vitest fails the file on an unhandled rejection.
    fail(new Error("too late"));
    await new Promise((resolve) => setImmediate(resolve));
  });
});

describe("errors", () => {
  it("tells a message of anything that was thrown", () => {
    expect(messageOf(new UserError("a"))).toBe("a");
    expect(messageOf("b")).toBe("b");
    expect(messageOf(undefined)).toBe("undefined");
    expect(new UserError("a").exitCode).toBe(2);
    expect(new WaitTimeoutError("it", 3).message).toBe("waited 3 ms for it, in vain");
  });
});
