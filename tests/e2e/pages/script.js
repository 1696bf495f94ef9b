// Fetches, then talks to a WebSocket server; the tests call these two from outside.
async function fetchText(url) {
  const response = await fetch(url);
  return { status: response.status, text: await response.text() };
}

function converse(url, count) {
  const binary = new Uint8Array(count).map((_, index) => index % 251);
  return new Promise((resolve) => {
    const socket = new WebSocket(url, 'chat');
    const echoed = [];
    socket.binaryType = 'arraybuffer';
    socket.onerror = () => resolve({ error: true });
    socket.onopen = () => { socket.send('grüße'); socket.send(binary); };
    socket.onmessage = (event) => {
      echoed.push(event.data);
      if (echoed.length === 2) socket.close(1000, 'done');
    };
    socket.onclose = (event) => {
      const back = new Uint8Array(echoed[1] ?? 0);
      resolve({ code: event.code, clean: event.wasClean, protocol: socket.protocol,
        text: echoed[0], length: back.length,
        intact: back.length === count && back.every((byte, index) => byte === binary[index]) });
    };
  });
}

document.title = 'loaded';
