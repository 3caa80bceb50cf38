import { runStarter } from "../starter-thread.ts";

/** What an agent's program does in the thread that starts processes. */
runStarter();
