import { readFileSync } from "node:fs";
import { hostname } from "node:os";

/**
 * Names a process so that a later one can tell whether it still lives: machine, pid and the kernel's start time of
 * that pid (field 22 of /proc/PID/stat, see proc(5)), because pids are used again. Without /proc the start time is 0.
 */
export function ownerOf(pid: number): string | undefined {
  const started = startTime(pid);
  return started === undefined ? undefined : `${hostname()}/${pid}/${started}`;
}

/** The owner of what is to outlive its process: nobody takes it for a leftover, only who asks for it by name removes it. */
export function keptBy(owner: string): string {
  return `kept/${owner}`;
}

/** Whether the process that `owner` names is still there. A process of another machine is taken to live, and so is what is kept. */
export function ownerLives(owner: string): boolean {
  const [machine, pid] = owner.split("/");
  if (machine !== hostname()) return true;
  return ownerOf(Number(pid)) === owner;
}

function startTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    // A zombie (Z) or dead (X) process only waits for its parent to take note.
    return fields[0] === "Z" || fields[0] === "X" ? undefined : fields[19];
  } catch {
    return isAlive(pid) ? "0" : undefined;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // Another user's process lives, though it may not be signalled.
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}
