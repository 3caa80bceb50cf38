import { expect, it } from "vitest";
import { Questions } from "./questions.ts";

it("gives each question its own answer, in whatever order they come, and one answer alone", async () => {
  const questions = new Questions();
  const ids: number[] = [];
  const asked = [1, 2, 3].map(() => questions.ask<string>((id) => ids.push(id)));
  expect(new Set(ids).size).toBe(3);
  const [first = 0, second = 0, third = 0] = ids;
  questions.answered(third, "third");
  questions.failed(second, new Error("not this one"));
  questions.answered(first, "first");
  questions.answered(first, "again");
  questions.failed(99, new Error("nobody asked"));
  await expect(Promise.allSettled(asked)).resolves.toEqual([
    { status: "fulfilled", value: "first" },
    { status: "rejected", reason: new Error("not this one") },
    { status: "fulfilled", value: "third" },
  ]);
});

it("is not asked where it cannot be put", async () => {
  const send = (): void => {
    throw new Error("the thread is gone");
  };
  await expect(new Questions().ask(send)).rejects.toThrow("the thread is gone");
});
