import { everyScenario, isStockTwin } from "./testing/suite.ts";

everyScenario("stock", (scenario) => !isStockTwin(scenario));
