import { describe, expect, it } from "vitest";
import { publishedOn } from "./published.ts";

describe("where published ports are", () => {
  it.each([
    [{}, "127.0.0.1"],
    [{ DOCKER_HOST: "" }, "127.0.0.1"],
    [{ DOCKER_HOST: "unix:///var/run/docker.sock" }, "127.0.0.1"],
    [{ DOCKER_HOST: "tcp://127.0.0.1:2375" }, "127.0.0.1"],
    [{ DOCKER_HOST: "tcp://localhost:2375" }, "127.0.0.1"],
    [{ DOCKER_HOST: "tcp://[::1]:2375" }, "127.0.0.1"],
    [{ DOCKER_HOST: "tcp://127.0.0.1:2376", DOCKER_TLS_VERIFY: "1" }, "127.0.0.1"],
    [{ DOCKER_HOST: "tcp://10.1.2.3:2375" }, "10.1.2.3"],
    [{ DOCKER_HOST: "http://10.1.2.3:2375" }, "10.1.2.3"],
    [{ DOCKER_HOST: "tcp://10.1.2.3:2376", DOCKER_TLS_VERIFY: "1", FERRYMAN_OPEN_PORTS: "1" }, "10.1.2.3"],
  ])("is where the engine is: %j", async (environment, address) => {
    expect(await publishedOn(environment)).toBe(address);
  });

  it("is the other machine's loopback where ssh leads to it", async () => {
    expect(await publishedOn({ DOCKER_HOST: "ssh://me@10.1.2.3" })).toBe("127.0.0.1");
    expect(await publishedOn({ DOCKER_HOST: "ssh://a-name-of-ssh-config-alone" })).toBe("127.0.0.1");
  });

  it.each([
    [{ DOCKER_HOST: "tcp://10.1.2.3:2376" }],
    [{ DOCKER_HOST: "https://10.1.2.3:2377" }],
    [{ DOCKER_HOST: "tcp://10.1.2.3:2377", DOCKER_TLS_VERIFY: "1" }],
  ])("is refused where the engine asks who comes, for our monitors do not: %j", async (environment) => {
    await expect(publishedOn(environment)).rejects.toThrow(/ssh:\/\/<user>@10\.1\.2\.3.*FERRYMAN_OPEN_PORTS=1/);
  });

  it("says which name is no machine's", async () => {
    await expect(publishedOn({ DOCKER_HOST: "tcp://nowhere.invalid:2375" })).rejects.toThrow(
      "there is no machine nowhere.invalid",
    );
  });
});
