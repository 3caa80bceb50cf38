import { describe, expect, it } from "vitest";
import { capabilitiesOf, tlsObject } from "./stream.ts";

describe("a stock migration's stream", () => {
  it("has the capabilities that were asked for beside those that every migration has", () => {
    expect(capabilitiesOf({}, true)).toEqual({ events: true, "postcopy-ram": true });
    const capabilities = { multifd: true, xbzrle: false };
    expect(capabilitiesOf({ capabilities }, false)).toEqual({ events: true, "postcopy-ram": false, ...capabilities });
  });

  it("has a key of its own under the name of the migration", () => {
    const object = { "qom-type": "tls-creds-psk", id: "stream-0a", dir: "/d" };
    expect(tlsObject("stream-0a", "/d", "server")).toEqual({ ...object, endpoint: "server" });
    expect(tlsObject("stream-0a", "/d", "client")).toEqual({ ...object, endpoint: "client", username: "qemu" });
    expect(() => tlsObject("a b", "/d", "server")).toThrow("a b");
  });
});
