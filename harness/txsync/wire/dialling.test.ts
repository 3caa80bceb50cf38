import { expect, it } from "vitest";
import { Dialling } from "./dialling.ts";

it("gives a connection twice the time that the one before it had in vain, eight times at most, and begins anew with one that is up", () => {
  const dialling = new Dialling(100);
  const given: number[] = [];
  for (let i = 0; i < 6; i += 1) {
    given.push(dialling.dialled(1_000 * i));
    dialling.ledNowhere();
  }
  expect(given).toEqual([100, 200, 400, 800, 800, 800]);
  dialling.isUp();
  expect(dialling.dialled(9_000)).toBe(100);
});

it("gives a connection its plain time again when the peer is heard again", () => {
  const dialling = new Dialling(100);
  for (let i = 0; i < 4; i += 1) dialling.ledNowhere();
  dialling.heardAgain();
  expect(dialling.dialled(9_000)).toBe(100);
});

it("lets a connection have its time, up or not, when its peer is not heard", () => {
  const dialling = new Dialling(100);
  dialling.dialled(5_000);
  expect(dialling.isOld(5_099)).toBe(false);
  dialling.isUp();
  expect(dialling.isOld(5_100)).toBe(true);
  dialling.dialled(5_100);
  expect(dialling.isOld(5_150)).toBe(false);
});
