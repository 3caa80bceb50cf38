#!/usr/bin/env node
import { spawnSync } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { broughtNode, ready, TOO_OLD } from "./ready.mjs";

if (ready) {
  const { tsImport } = await import("tsx/esm/api");
  await tsImport("../../cli.ts", import.meta.url);
} else {
  const node = broughtNode();
  if (node === undefined) {
    process.stderr.write(`ferryman: ${TOO_OLD}\n`);
    process.exitCode = 2;
  } else {
    const { status, signal } = spawnSync(node, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], {
      stdio: "inherit",
    });
    if (signal !== null) process.kill(process.pid, signal);
    process.exitCode = status ?? 2;
  }
}
