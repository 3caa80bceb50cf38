import { everyScenario, isStockTwin } from "./testing/suite.ts";

everyScenario("stock", isStockTwin);
