import { everyScenario } from "./testing/suite.ts";

everyScenario("stock");
