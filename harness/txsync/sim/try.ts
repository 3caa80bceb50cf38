import { scheduleOf } from "./schedule.ts";
import { World } from "./world.ts";

const n = Number(process.argv[2] ?? 1000),
  from = Number(process.argv[3] ?? 0);
const states = new Set<number>();
const paths = new Set<string>();
let events = 0,
  live = 0,
  exp = 0;
const bad: Record<string, number[]> = {};
const t0 = performance.now();
for (let i = from; i < from + n; i++) {
  const o = new World(scheduleOf(i), { states }).run();
  events += o.events;
  paths.add(o.path);
  if (o.live) live++;
  if (o.expectedLive) exp++;
  if (o.violation) (bad[o.violation.message.replace(/\d+/g, "#")] ??= []).push(i);
}
console.log({ ms: performance.now() - t0, events: events / n, states: states.size, paths: paths.size, live, exp });
for (const [k, v] of Object.entries(bad)) console.log(v.length, k, v.slice(0, 6));
if (n === 1) {
  const o = new World(scheduleOf(from), { trace: true }).run();
  console.log(JSON.stringify(scheduleOf(from)));
  console.log(o.trace.join("\n"));
}
