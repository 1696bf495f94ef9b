// One exchange of a Node.js client through a proxy.  The first argument is JSON:
//   url        http:, https:, ws: or wss:
//   proxy      the proxy's URL, with credentials when it wants them
//   agent      "tunnel" (https-proxy-agent, CONNECT) or "absolute" (http-proxy-agent)
//   fields     fields that the agent adds to what it sends to the proxy
//   authority  PEM file to trust
//   proxyTls   PEM files for TLS to the proxy: {ca, cert, key}; the two last may be missing
//   bytes      size of the binary message to send, for ws: and wss:
//   compress   whether to offer permessage-deflate; it does unless told otherwise
// The result is one line of JSON on stdout.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { HttpProxyAgent } from 'http-proxy-agent';
import { HttpsProxyAgent } from 'https-proxy-agent';
import WebSocket from 'ws';

const task = JSON.parse(process.argv[2]);
const Agent = task.agent === 'tunnel' ? HttpsProxyAgent : HttpProxyAgent;
const toProxy = Object.entries(task.proxyTls ?? {}).map(([name, file]) => [name, readFileSync(file)]);
const options = {
  agent: new Agent(task.proxy, { headers: task.fields ?? {}, ...Object.fromEntries(toProxy) }),
  ca: readFileSync(task.authority),
  perMessageDeflate: task.compress ?? true,
};
const digest = (data) => createHash('sha256').update(data).digest('hex');
const finish = (result) => console.log(JSON.stringify(result));

const collect = (response, result) => {
  const parts = [];
  response.on('data', (part) => parts.push(part));
  response.on('end', () => finish({ ...result, status: response.statusCode,
    headers: response.headers, body: Buffer.concat(parts).toString() }));
};

const get = () => {
  const library = task.url.startsWith('https:') ? https : http;
  library.get(task.url, options, (response) => collect(response, {}))
    .on('error', (error) => finish({ error: String(error) }));
};

const converse = () => {
  const binary = Buffer.alloc(task.bytes, 'wsproxy');
  const socket = new WebSocket(task.url, 'chat', options);
  const echoed = [];
  socket.on('unexpected-response', (_, response) => collect(response, { refused: true }));
  socket.on('error', (error) => { finish({ error: String(error) }); process.exit(); });
  socket.on('open', () => { socket.send('grüße'); socket.send(binary); });
  socket.on('message', (data) => {
    echoed.push(data);
    if (echoed.length === 2) socket.close(1000, 'done');
  });
  socket.on('close', (code) => finish({ code, protocol: socket.protocol,
    text: echoed[0]?.toString(), intact: digest(echoed[1]) === digest(binary) }));
};

if (task.url.startsWith('ws')) converse(); else get();
