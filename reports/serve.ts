import { createReadStream } from "node:fs";
import { realpath, stat } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, resolve, sep } from "node:path";

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".json": "application/json; charset=utf-8",
  ".ndjson": "text/plain; charset=utf-8",
  ".log": "text/plain; charset=utf-8",
  ".xml": "text/xml; charset=utf-8",
  ".md": "text/plain; charset=utf-8",
};

/** A server that runs; its address, and how to end it. */
export interface ReportServer extends AsyncDisposable {
  readonly url: string;
}

/**
 * Serves the files of a folder on the loopback address, for reading only. What lies outside of the folder, through
 * `..` or a symbolic link, is not found.
 * @param port 0 takes any that is free.
 */
export async function serveFolder(folder: string, port = 0): Promise<ReportServer> {
  const root = await realpath(folder);
  const server = createServer((request, response) => {
    void find(root, request.url ?? "/").then((found) => {
      const headers = { "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store" };
      if ((request.method !== "GET" && request.method !== "HEAD") || found === undefined) {
        response
          .writeHead(found === undefined ? 404 : 405, { ...headers, "Content-Type": "text/plain" })
          .end("not found\n");
        return;
      }
      if (found.redirect !== undefined) {
        response.writeHead(302, { ...headers, Location: found.redirect }).end();
        return;
      }
      response.writeHead(200, { ...headers, "Content-Type": TYPES[extname(found.path)] ?? "application/octet-stream" });
      if (request.method === "HEAD") response.end();
      else
        createReadStream(found.path)
          .on("error", () => response.destroy())
          .pipe(response);
    });
  });
  await listen(server, port);
  const { port: taken } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${taken}/`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}

async function find(root: string, url: string): Promise<{ path: string; redirect?: string } | undefined> {
  try {
    const { pathname } = new URL(url, "http://127.0.0.1");
    const path = await realpath(resolve(root, `.${decodeURIComponent(pathname)}`));
    if (path !== root && !path.startsWith(root + sep)) return undefined;
    const found = await stat(path);
    if (found.isFile()) return { path };
    if (!found.isDirectory()) return undefined;
    if (!pathname.endsWith("/")) return { path, redirect: `${pathname}/` };
    const index = join(path, "index.html");
    return (await stat(index)).isFile() ? { path: index } : undefined;
  } catch {
    return undefined;
  }
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((done, fail) => {
    server.once("error", fail);
    server.listen(port, "127.0.0.1", () => {
      server.off("error", fail);
      done();
    });
  });
}
