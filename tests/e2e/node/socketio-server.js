// A Socket.IO server on a free port of 127.0.0.1, which it writes on stdout.  It ends with its stdin.
//   greet NAME     is acknowledged with a greeting
//   blob BINARY    is sent back as `blob`, its octets reversed
import http from 'node:http';
import { Server } from 'socket.io';

const server = http.createServer();
const io = new Server(server, { transports: ['websocket'], perMessageDeflate: true });

io.on('connection', (socket) => {
  socket.emit('news', { headline: 'schönes Wetter' });
  socket.on('greet', (name, acknowledge) => acknowledge(`hello ${name}`));
  socket.on('blob', (data) => socket.emit('blob', Buffer.from(data).reverse()));
});

server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.on('end', () => process.exit()).resume();
