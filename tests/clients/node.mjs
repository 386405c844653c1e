// Node's HTTP/2 client: many streams of one connection at once, bodies in both directions, and the end of it.
//
//     node node.mjs URL CA
import http2 from "node:http2";
import { readFileSync } from "node:fs";

const [url, ca] = process.argv.slice(2);
const STREAMS = 100;

const session = http2.connect(url, ca ? { ca: readFileSync(ca) } : {});
session.on("error", (error) => { throw error; });

function exchange(fields, body) {
  return new Promise((resolve, reject) => {
    const stream = session.request(fields);
    let status, text = "";
    stream.setEncoding("utf8");
    stream.on("response", (head) => { status = head[":status"]; });
    stream.on("data", (data) => { text += data; });
    stream.on("end", () => resolve({ status, text }));
    stream.on("error", reject);
    stream.end(body);
  });
}

function check(is, what) {
  if (!is) throw new Error(what);
}

const made = [];
for (let n = 0; n < STREAMS; n++) {
  const body = JSON.stringify({ title: `todo ${n} ${"x".repeat(n)}` });
  const fields = { ":method": "POST", ":path": "/api/v1/todos", "content-type": "application/json" };
  made.push(exchange(fields, body));
}
for (const { status, text } of await Promise.all(made)) check(status === 201, `POST: ${status} ${text}`);

const lists = [];
for (let n = 0; n < STREAMS; n++) lists.push(exchange({ ":path": `/api/v1/todos?n=${n}` }));
for (const { status, text } of await Promise.all(lists)) {
  check(status === 200, `GET: ${status}`);
  check(JSON.parse(text) !== null, `GET: ${text}`);
}
const cookies = await exchange({ ":path": "/api/v1/todos", cookie: ["a=1", "b=2"] });
check(cookies.status === 200, `cookies: ${cookies.status}`);
session.close();
console.log(`${2 * STREAMS + 1} exchanges over ${session.alpnProtocol}`);
