// biome-ignore-all lint/performance/useDomNodeTextContent: what a reader sees is tested, and hidden text is not seen
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeBench, makeSample } from "../../harness/bench/make-sample.ts";
import { configurationsOf, partsOf, planOf, TOPICS } from "../../harness/bench/plan.ts";
import { writeBench } from "../bench/write.ts";
import { junitOf } from "../junit.ts";
import { HOSTILE_LINE, type SampleOptions, sampleRun, sampleSuite, writeSample } from "../samples/generate.ts";
import { serveFolder } from "../serve.ts";
import { writeSuite } from "../suite.ts";
import { writeReports } from "../write.ts";
import { findChromium, startChromium } from "./browser.ts";

let browser: Browser;
let folder: string;

beforeAll(async () => {
  browser = await startChromium();
  folder = await mkdtemp(join(tmpdir(), "ferryman-report-"));
});

afterAll(async () => {
  await browser?.close();
  if (folder !== undefined) await rm(folder, { recursive: true, force: true });
});

/** A page that fails its test on any console error, exception or request to anywhere. */
async function openPage(url: string, options: Parameters<Browser["newPage"]>[0] = {}): Promise<Page & AsyncDisposable> {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, ...options });
  const troubles: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") troubles.push(message.text());
  });
  page.on("pageerror", (error) => troubles.push(String(error)));
  page.on("request", (request) => {
    if (request.url() !== page.url() && !request.url().startsWith("data:") && request.resourceType() !== "document")
      troubles.push(`request of ${request.url()}`);
  });
  await page.goto(url);
  await page.waitForFunction(() => document.documentElement.dataset["ready"] !== undefined);
  return Object.assign(page, {
    async [Symbol.asyncDispose]() {
      await page.close();
      expect(troubles).toEqual([]);
    },
  });
}

async function openRun(
  name: string,
  options: SampleOptions,
  page: Parameters<Browser["newPage"]>[0] = {},
): Promise<Page & AsyncDisposable> {
  await writeSample(join(folder, name), sampleRun(options));
  const { index } = await writeReports(join(folder, name));
  return openPage(pathToFileURL(index).href, page);
}

const spanOf = (page: Page): Promise<string> =>
  page.evaluate(() => (document.querySelector(".axis-canvas") as HTMLCanvasElement).toDataURL());

/** Where an event of a lane stands on the screen: its lane's middle, at its share of the whole run. */
async function placeOf(page: Page, lane: string, share: number, row: number): Promise<{ x: number; y: number }> {
  const canvas = page.locator(`[data-lane="${lane}"] canvas`);
  await page.locator("#timeline").evaluate((timeline) => timeline.scrollIntoView());
  const box = await canvas.boundingBox();
  if (box === null) throw new Error(`lane ${lane} is not on the page`);
  return { x: box.x + 10 + (box.width - 20) * share, y: box.y + row };
}

describe("run report in Chromium", () => {
  it("opens from disk with verdict, failing evidence, command, lanes and plots, and fetches nothing", async () => {
    await using page = await openRun("corrupt", { outcome: "corrupt" });
    expect(await page.locator(".head .verdict").innerText()).toContain("corrupt");
    expect(await page.locator(".check").first().innerText()).toContain("memory");
    expect(await page.locator("#command").innerText()).toBe(
      "npx tsx harness/cli.ts run target-qemu-killed --recovery txsync --seed 1",
    );
    expect(await page.getByRole("heading", { name: "First wrong pages" }).isVisible()).toBe(true);
    expect(await page.locator("table").first().innerText()).toContain("transaction 1");
    const lanes = await page
      .locator(".lane")
      .evaluateAll((found) => found.map((lane) => lane.getAttribute("data-lane")));
    expect(lanes).toEqual([
      "run",
      "migration",
      "fault",
      "source",
      "target",
      "escrow",
      "link:source-target",
      "tx",
      "votes",
      "client",
      "check",
    ]);
    const plots = await page
      .locator(".plot")
      .evaluateAll((found) => found.map((plot) => plot.getAttribute("data-plot")));
    expect(plots).toEqual(["pages", "tx-size", "tx-pause", "steps", "latency"]);
  });

  it("a lane really shows something where the timeline says so", async () => {
    await using page = await openRun("painted", {});
    const painted = await page.locator('[data-lane="fault"] canvas').evaluate((canvas: HTMLCanvasElement) => {
      const { width, height } = canvas;
      const pixels = canvas.getContext("2d")?.getImageData(0, 0, width, height).data ?? [];
      let before = 0;
      let after = 0;
      for (let index = 3; index < pixels.length; index += 4) {
        if (pixels[index] === 0) continue;
        if (((index >> 2) % width) / width < 0.4) before += 1;
        else after += 1;
      }
      return { before, after };
    });
    // The fault comes at 1.84 of 4 s: nothing before, a bar after.
    expect(painted.before).toBe(0);
    expect(painted.after).toBeGreaterThan(1_000);
  });

  it("zooms by wheel, buttons and keys, and back to the whole run", async () => {
    await using page = await openRun("zoom", {});
    const whole = await spanOf(page);
    const at = await placeOf(page, "source", 0.5, 10);
    await page.mouse.move(at.x, at.y);
    await page.keyboard.down("Control");
    await page.mouse.wheel(0, -400);
    await page.keyboard.up("Control");
    await page.mouse.move(1, 1);
    await expect.poll(() => spanOf(page)).not.toBe(whole);
    await page.getByRole("button", { name: "Whole run" }).click();
    await expect.poll(() => spanOf(page)).toBe(whole);
    await page.getByRole("button", { name: "Fault to settled" }).click();
    await expect.poll(() => spanOf(page)).not.toBe(whole);
    await page.locator('[data-lane="fault"]').focus();
    await page.keyboard.press("0");
    await expect.poll(() => spanOf(page)).toBe(whole);
    await page.keyboard.press("+");
    await expect.poll(() => spanOf(page)).not.toBe(whole);
  });

  it("hovering shows the event, clicking two shows the time between them", async () => {
    await using page = await openRun("hover", {});
    const fault = await placeOf(page, "fault", 1_900 / 4_000, 12);
    await page.mouse.move(fault.x, fault.y);
    const tooltip = page.locator("#tooltip");
    await expect.poll(() => tooltip.innerText()).toContain("SIGKILL of QEMU on target");
    expect(await tooltip.innerText()).toContain("had not ended");
    await page.mouse.click(fault.x, fault.y);
    const restore = await placeOf(page, "run", 1, 34);
    await page.mouse.click(restore.x, restore.y);
    expect(await page.locator("#between").innerText()).toContain("(2160.000 ms)");
  });

  it("is worked by keyboard alone, and says aloud where it is", async () => {
    await using page = await openRun("keys", {});
    const lane = page.locator('[data-lane="fault"]');
    await lane.focus();
    expect(await lane.getAttribute("aria-valuetext")).toContain("SIGKILL of QEMU on target");
    await page.keyboard.press("Enter");
    await page.keyboard.press("ArrowDown");
    expect(await page.evaluate(() => document.activeElement?.getAttribute("data-lane"))).toBe("source");
    await page.keyboard.press("End");
    await page.keyboard.press("Enter");
    expect(await page.locator("#between").count()).toBe(1);
    await page.keyboard.press("Escape");
    expect(await page.locator("#between").count()).toBe(0);
    await page.keyboard.press("Tab");
    expect(await page.evaluate(() => document.activeElement?.getAttribute("data-lane"))).toBe("target");
  });

  it("leads from the story to the timeline and to the line", async () => {
    await using page = await openRun("story", {});
    await page.locator(".story button", { hasText: "generation 2 opened" }).click();
    expect(await page.locator("#chosen").innerText()).toContain("generation 2 opened, owner source");
    expect(await page.locator('.event-row[aria-selected="true"]').innerText()).toContain("generation 2 opened");
    await page.locator("#list-search").fill("lease of target lost");
    await expect.poll(() => page.locator("#list-count").innerText()).toContain("2 of");
  });

  it("a hostile log line stays text everywhere", async () => {
    await using page = await openRun("hostile", { outcome: "corrupt", hostile: true });
    expect(await page.title()).toContain("corrupt");
    expect(await page.locator("img").count()).toBe(0);
    expect(await page.locator(".why").innerText()).toContain("</script><img src=x onerror=");
    await page.locator("#list-search").fill("onerror");
    await expect.poll(() => page.locator(".event-row .text").count()).toBeGreaterThan(1);
    await page.locator(".event-row").first().click();
    expect(await page.locator("#chosen").innerText()).toContain(HOSTILE_LINE.slice(0, 30));
    expect(await page.locator("img").count()).toBe(0);
    expect(await page.title()).toContain("corrupt");
  });

  it.each(["light", "dark"] as const)("on a phone in %s nothing is wider than the screen", async (colorScheme) => {
    await using page = await openRun(
      "phone",
      { outcome: "corrupt", hostile: true },
      { viewport: { width: 375, height: 740 }, colorScheme, hasTouch: true },
    );
    expect(await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth)).toBeLessThanOrEqual(0);
    expect(await page.locator('[data-lane="fault"] canvas').evaluate((canvas) => canvas.clientWidth)).toBeGreaterThan(
      300,
    );
  });

  it("opens 100,000 events with few elements on the page", async () => {
    await using page = await openRun("big", { events_min: 100_000 });
    const ready_ms = Number(await page.evaluate(() => document.documentElement.dataset["ready"]));
    console.log(`a run of 100,000 events was ready ${ready_ms} ms after its page began to load`);
    expect(await page.locator("#list-count").innerText()).toContain("of 100,");
    expect(await page.evaluate(() => document.querySelectorAll("*").length)).toBeLessThan(3_000);
  });

  it("a run without a record and one without events open too", async () => {
    await using page = await openRun("bare", {});
    await rm(join(folder, "bare", "run.json"));
    await writeReports(join(folder, "bare"));
    await page.reload();
    expect(await page.locator("body").innerText()).toContain("the report is made from the timeline alone");
    await writeSample(join(folder, "bare"), { ...sampleRun(), events: [] });
    await writeReports(join(folder, "bare"));
    await page.reload();
    expect(await page.locator("body").innerText()).toContain("No event was recorded");
  });
});

describe("suite report in Chromium", () => {
  async function suite(name: string, repeat: number): Promise<string> {
    const runs = sampleSuite(repeat);
    for (const run of runs) await writeSample(join(folder, name, run.record.id), run);
    await writeSuite(
      join(folder, name),
      runs.map((run) => run.record.id),
      { command: "npx tsx harness/cli.ts run all", started_at: "2026-01-02T03:04:05Z" },
    );
    return join(folder, name);
  }

  it("shows the matrix, what changed and the distributions, and leads to the runs", async () => {
    const before = await suite("before", 2);
    const { index } = await writeReports(await suite("after", 3), { against: before });
    await using page = await openPage(pathToFileURL(index).href);
    expect(await page.locator("h1").innerText()).toBe("29 of 30 runs as expected");
    expect(await page.locator(".matrix .unexpected").first().innerText()).toContain("corrupt");
    expect(await page.locator("[aria-labelledby='h-against']").first().innerText()).toContain("worse");
    expect(await page.locator("[data-distribution='detect_ms'] canvas").count()).toBe(1);
    await page.locator("#runs-search").fill("corrupt");
    expect(await page.locator("#runs-count").innerText()).toBe("1 of 30 runs");
    await page.locator(".matrix .unexpected a").first().click();
    await page.waitForFunction(() => document.documentElement.dataset["ready"] !== undefined);
    expect(await page.locator(".head .verdict").innerText()).toContain("corrupt");
    await page.locator(".crumbs a").click();
    expect(await page.locator("h1").innerText()).toBe("29 of 30 runs as expected");
  });

  it("is served on the loopback address, and nothing outside of its folder", async () => {
    const { index } = await writeReports(await suite("served", 1));
    expect(await readFile(index, "utf8")).toContain("runs as expected");
    await using server = await serveFolder(join(folder, "served"));
    await using page = await openPage(server.url);
    expect(await page.locator("h1").innerText()).toContain("runs as expected");
    for (const path of ["../before/suite.json", "%2e%2e/before/suite.json", "..%2fbefore%2fsuite.json", "nothing"]) {
      expect((await fetch(`${server.url}${path}`)).status).toBe(404);
    }
  });

  it("its JUnit XML is XML to an XML parser, hostile text included", async () => {
    await using page = await openRun("xml", {});
    const { record } = sampleRun({ outcome: "corrupt", hostile: true });
    const xml = junitOf([{ path: "a", record: { ...record, scenario: HOSTILE_LINE } }]);
    const parsed = await page.evaluate((text) => {
      const tree = new DOMParser().parseFromString(text, "text/xml");
      return {
        broken: tree.querySelectorAll("parsererror").length,
        name: tree.querySelector("testcase")?.getAttribute("name"),
        images: tree.querySelectorAll("img").length,
      };
    }, xml);
    expect(parsed.broken).toBe(0);
    expect(parsed.images).toBe(0);
    expect(parsed.name).toContain("</script><img src=x onerror=");
  });
});

describe("bench report in Chromium", () => {
  it("opens from disk with its tables, a plot of each figure and its notes, and fetches nothing", async () => {
    const configurations = configurationsOf([128, 1024], [1_000, 20_000]);
    const samples = planOf(configurations, 2, 1, partsOf(TOPICS, "agent")).map((planned) =>
      makeSample(planned, {
        why: HOSTILE_LINE,
        as_expected: planned.turn === 1,
        measures: { total_ms: 2_000, pause_p50_ms: 4, stop_p50_ms: 1, recover_ms: 20, detect_ms: 500 },
      }),
    );
    const index = await writeBench(join(folder, "bench"), makeBench(configurations, samples));
    await using page = await openPage(pathToFileURL(index).href);
    expect(await page.locator("[aria-labelledby='h-notes']").innerText()).toContain("did not come out as expected");
    for (const id of ["recover_ms-target-host-killed", "pause_p50_ms", "total"])
      expect(await page.locator(`[data-bench='${id}'] canvas`).count()).toBe(1);
    expect(await page.locator(".pause-row").count()).toBe(4);
    const unexpected = samples.filter(({ as_expected }) => !as_expected);
    expect(unexpected.length).toBe(samples.length / 2);
    expect(await page.locator(".runs .unexpected").count()).toBe(unexpected.length);
    expect(await page.title()).toBe(`Ferryman bench: ${samples.length} runs`);
  });
});

describe("without a Chromium", () => {
  it("the tests say how to get one", async () => {
    expect(findChromium({ PATH: "" })).toBeUndefined();
    await expect(startChromium({ CHROMIUM: "/nowhere/chromium", PATH: "" })).rejects.toThrow(
      /apt-get install chromium/,
    );
  });
});
