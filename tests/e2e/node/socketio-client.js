// One conversation of a Socket.IO client through a proxy.  The first argument is JSON:
//   url    of the server, http:
//   proxy  the proxy's URL
//   agent  "tunnel" (https-proxy-agent, CONNECT) or "absolute" (http-proxy-agent)
// The result is one line of JSON on stdout.
import { HttpProxyAgent } from 'http-proxy-agent';
import { HttpsProxyAgent } from 'https-proxy-agent';
import { io } from 'socket.io-client';

const task = JSON.parse(process.argv[2]);
const Agent = task.agent === 'tunnel' ? HttpsProxyAgent : HttpProxyAgent;
const socket = io(task.url, {
  agent: new Agent(task.proxy),
  reconnection: false,
  transports: ['websocket'],
});
const next = (event) => new Promise((resolve) => { socket.once(event, resolve); });

socket.on('connect_error', (error) => { console.error(error); process.exit(1); });
const news = await next('news');
const greeting = await socket.emitWithAck('greet', 'alice');
const back = next('blob');
socket.emit('blob', Buffer.from([1, 2, 3, 250]));
const blob = [...await back];
const closed = next('disconnect');
socket.disconnect();
console.log(JSON.stringify({ news, greeting, blob, reason: await closed }));
