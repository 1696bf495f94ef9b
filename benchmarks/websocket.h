/* The WebSocket of both load programs: its handshake, and one text message there and back. */
#include <string.h>

#define PING 64             /* octets of one message */
#define FRAME (2 + PING)    /* of the origin: opcode, length, payload */
#define MASKED (6 + PING)   /* of a client: its key stands in front of the payload */

/* RFC 6455 section 1.3: what the key of its example is answered with. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
#define ASK "Upgrade: websocket\r\nConnection: Upgrade\r\n" \
            "Sec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Version: 13\r\n"
#define AGREE "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n" \
              "Connection: Upgrade\r\n" ACCEPT "\r\n\r\n"

static unsigned char said[MASKED], heard[FRAME];

static void write_message(void) {
  const unsigned char front[] = {0x81, 0x80 | PING, 0x37, 0xfa, 0x21, 0x3d};
  memcpy(said, front, sizeof front);
  for (int i = 0; i < PING; i++) said[6 + i] = 'E' ^ front[2 + (i & 3)];
  heard[0] = 0x81;
  heard[1] = PING;
  memset(heard + 2, 'E', PING);
}

/* What the origin says to a message, whatever its key; 0 when it is none. */
static int answer_message(const unsigned char *frame, unsigned char *back) {
  if (frame[0] != 0x81 || frame[1] != (0x80 | PING)) return 0;
  back[0] = 0x81;
  back[1] = PING;
  for (int i = 0; i < PING; i++) back[2 + i] = frame[6 + i] ^ frame[2 + (i & 3)];
  return 1;
}
