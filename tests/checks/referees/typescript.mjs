// Says for each conversation of a file (a JSON list of {name, hello, listed}) whether the TypeScript SDK's client takes it.
// Arguments: the node_modules folder, "sdk" (version 1) or "client" (version 2), the file.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
console.log = console.debug = console.info = console.error; // stdout is the answer, and nothing else
const [modules, which, file] = process.argv.slice(2);
const at = (path) => import(pathToFileURL(`${modules}/@modelcontextprotocol/${path}`).href);
const { Client, deserializeMessage } =
  which === "sdk"
    ? { ...(await at("sdk/dist/esm/client/index.js")), ...(await at("sdk/dist/esm/shared/stdio.js")) }
    : await at("client/dist/index.mjs");

class Replay {
  constructor(test) { this.answers = { initialize: test.hello, "tools/list": test.listed }; this.failed = new Promise((_, no) => (this.fail = no)); this.failed.catch(() => {}); }
  async start() {}
  async close() { this.onclose?.(); }
  async send(message) {
    const text = this.answers[message.method];
    if (message.id === undefined || text === undefined) return;
    queueMicrotask(() => {
      try { this.onmessage?.(renumbered(deserializeMessage(text), message)); } catch (error) { this.fail(error); }
    });
  }
}
// The texts answer requests 1 and 2; this client counts from 0.
function renumbered(answer, message) {
  const expected = message.method === "initialize" ? 1 : 2;
  if (answer.id === expected) answer.id = message.id;
  else if (answer.id === String(expected)) answer.id = String(message.id);
  return answer;
}

async function taken(test) {
  const transport = new Replay(test);
  const client = new Client({ name: "referee", version: "1" }, {});
  client.onerror = (error) => transport.fail(error);
  const work = (async () => { await client.connect(transport); await client.listTools(); })();
  work.catch(() => {});
  const late = new Promise((_, no) => setTimeout(() => no(new Error("no answer")), 10000).unref());
  late.catch(() => {});
  try { await Promise.race([work, transport.failed, late]); return ""; }
  catch (error) { return String(error.message ?? error).replace(/\s+/g, " ").slice(0, 200) || "refused"; }
  finally { client.close().catch(() => {}); }
}
const tests = JSON.parse(readFileSync(file, "utf8"));
const out = {};
for (const test of tests) out[test.name] = await taken(test);
process.stdout.write(JSON.stringify(out), () => process.exit(0));
