// What a program written against the generated types does: create, read, list in pages, change, conflict, watch, delete.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.gen.js";

function need(condition: unknown, message: string): asserts condition {
  if (!condition) {
    console.error("failed:", message);
    process.exit(1);
  }
}

const server = process.env.SERVER ?? "";
const headers = { Authorization: `Bearer ${process.env.TOKEN}` };
const manager = createClient<paths>({ baseUrl: server, headers });

const network: components["schemas"]["Network"] = {
  apiVersion: "cyphonic/v1",
  kind: "Network",
  metadata: { name: "typescript" },
  spec: { ipv4Prefix: "100.97.0.0/24", ipv6Prefix: "fd97::/64", domain: "typescript.example.internal" },
};
const created = await manager.POST("/api/v1/networks", { body: network });
need(created.response.status === 201 && created.data, `create: ${JSON.stringify(created.error)}`);
need(created.data.status?.ipv4Gateway === "100.97.0.1", "the gateway is not the first address");

for (let i = 0; i < 25; i++) {
  const name = `node-${String(i).padStart(2, "0")}`;
  const node = await manager.PUT("/api/v1/nodes/{name}", {
    params: { path: { name } },
    body: { apiVersion: "cyphonic/v1", kind: "Node", metadata: { name, labels: { part: i % 2 ? "odd" : "even" } }, spec: { network: "typescript" } },
  });
  need(node.response.status === 201 && node.data?.status?.virtualIPv4, `node ${name}: ${JSON.stringify(node.error)}`);
}

const names: string[] = [];
let next: string | undefined;
// A list with watch=true is a stream, a string for the types; without it is a page.
do {
  const page = await manager.GET("/api/v1/nodes", { params: { query: { limit: 10, labelSelector: "part=even", continue: next } } });
  need(page.data && typeof page.data !== "string", `list: ${JSON.stringify(page.error)}`);
  names.push(...page.data.items.map((item) => item.metadata.name));
  next = page.data.metadata.continue;
} while (next);
need(names.length === 13 && names[0] === "node-00" && names[12] === "node-24", `pages: ${names}`);

const applied = await manager.PATCH("/api/v1/nodes/{name}", {
  params: { path: { name: "node-00" }, query: { fieldManager: "typescript" } },
  body: { apiVersion: "cyphonic/v1", kind: "Node", metadata: { name: "node-00", annotations: { by: "typescript" } }, spec: { network: "typescript" } },
  bodySerializer: JSON.stringify,
  headers: { "Content-Type": "application/apply-patch+json" },
});
need(applied.data?.metadata.annotations?.by === "typescript", `apply: ${JSON.stringify(applied.error)}`);

const stale = await manager.PUT("/api/v1/nodes/{name}", {
  params: { path: { name: "node-00" }, header: { "If-Match": '"1"' } },
  body: { apiVersion: "cyphonic/v1", kind: "Node", metadata: { name: "node-00" }, spec: { network: "typescript" } },
});
need(stale.error?.status === 412 && stale.error.requestId, `stale write: ${JSON.stringify(stale)}`);

const wrong = await manager.POST("/api/v1/nodes", {
  body: { apiVersion: "cyphonic/v1", kind: "Node", metadata: { name: "Wrong" }, spec: { network: "typescript" } },
});
need(wrong.error?.errors?.[0]?.pointer === "/metadata/name", `fault: ${JSON.stringify(wrong)}`);

const list = await manager.GET("/api/v1/nodes", { params: { query: { limit: 1 } } });
need(list.data && typeof list.data !== "string", `list: ${JSON.stringify(list.error)}`);
const stop = new AbortController();
const stream = await fetch(`${server}/api/v1/nodes?watch=true&resourceVersion=${list.data.metadata.resourceVersion}`, { headers, signal: stop.signal });
const reader = stream.body!.pipeThrough(new TextDecoderStream()).getReader();
const removed = await manager.DELETE("/api/v1/nodes/{name}", { params: { path: { name: "node-00" } } });
need(removed.response.status === 200, `delete: ${JSON.stringify(removed.error)}`);
let text = "";
while (!text.includes("\n")) {
  const chunk = await reader.read();
  need(!chunk.done, "the watch ended");
  text += chunk.value;
}
const event: components["schemas"]["WatchEvent"] = JSON.parse(text.split("\n")[0]!);
need(event.type === "DELETED", `watch: ${text}`);
stop.abort();
console.log("ok");
