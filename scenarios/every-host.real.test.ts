import { everyScenario, hostsFail } from "./testing/suite.ts";

everyScenario("txsync", hostsFail);
