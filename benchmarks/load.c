/* Load for a forward proxy: clients and their origin in one epoll loop on loopback.
 *
 * usage: load MODE PROXY_PORT TUNNELS SECONDS [CREDENTIALS]
 *
 *   bulk     the origin sends as fast as the client takes it, in every tunnel
 *   echo     64 octets there and back, again and again, in every tunnel
 *   ws       the same as WebSocket messages: a handshake in every tunnel, then a masked
 *            text message there and an unmasked one back
 *   wsabs    the same without CONNECT: the handshake is a request in absolute-form
 *   connect  TUNNELS at a time: connect, CONNECT, 64 octets there and back, reset, next
 *   idle     opens TUNNELS, says so on stdout, and holds them until stdin ends
 *
 * PROXY_PORT 0 leaves the proxy out: what this program can do by itself.
 * CREDENTIALS is the base64 of name:password; or @FILE, a file with one a line, which
 * tunnels have in turns.
 *
 * One line of key=value: `work` and `seconds` of the measured part (without the
 * first 0.3 s), `total_work` of the whole run, for whoever counts the proxy's
 * processor time from outside; failed; latencies in microseconds.  The unit of
 * work is an octet in bulk and a round trip elsewhere.  In ws and wsabs the origin
 * unmasks what it gets, and the client looks at every octet of what comes back: a
 * message that is not what was said is a failure.
 */
#define _GNU_SOURCE
#include "measure.h"
#include "websocket.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK (256 * 1024)  /* octets of one bulk write */
#define TURNS 8             /* reads or writes before the next socket has its turn */

enum kind { LISTENER, ORIGIN, STDIN, CLIENT };
enum phase { CONNECTING, ASKED, SHAKING, OPEN };

struct peer {
  enum kind kind;
  int fd;
  enum phase phase;
  int sends;        /* an origin that was asked for bulk */
  size_t got;       /* of the head, then of the echo or the frame */
  double began;
  char head[512];
};

static const char *const names[] = {"bulk", "echo", "connect", "idle", "ws", "wsabs"};
static enum { BULK, ECHO, CONNECT, IDLE, WS, WSABS, MODES } mode;
static int poller, proxy_port, origin_port, still_to_start, waiting_for_stdin;
static char handshake[1024], data[CHUNK], sink[1 << 20];
static char **requests; /* of clients in turns */
static int request_count;

static struct peer *add(int fd, enum kind kind, unsigned events) {
  struct peer *p = calloc(1, sizeof *p);
  if (!p) fatal("calloc");
  p->fd = fd;
  p->kind = kind;
  struct epoll_event event = {.events = events, .data.ptr = p};
  if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) fatal("epoll_ctl");
  return p;
}

static void wait_for(struct peer *p, unsigned events) {
  struct epoll_event event = {.events = events, .data.ptr = p};
  if (epoll_ctl(poller, EPOLL_CTL_MOD, p->fd, &event)) fatal("epoll_ctl");
}

static void end(struct peer *p) {
  close(p->fd);
  free(p);
}

static struct sockaddr_in loopback(int port) {
  return (struct sockaddr_in){.sin_family = AF_INET,
                              .sin_port = htons(port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int tuned(int fd) {
  int one = 1;
  if (fd < 0) fatal("socket");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return fd;
}

static void start_client(void) {
  int fd = tuned(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
  struct sockaddr_in to = loopback(proxy_port ? proxy_port : origin_port);
  double began = now();
  if (connect(fd, (void *)&to, sizeof to) && errno != EINPROGRESS) fatal("connect");
  add(fd, CLIENT, EPOLLOUT)->began = began;
}

static void fail(struct peer *p) {
  if (!failed++) fprintf(stderr, "a client failed in phase %d: %.80s\n", p->phase, p->head);
  end(p);
  if (mode == CONNECT) start_client();
}

static void say(struct peer *p, const void *octets, size_t length) {
  if (send(p->fd, octets, length, MSG_NOSIGNAL) != (ssize_t)length) p->got = 0;
}

static int speaks_websocket(void) { return mode == WS || mode == WSABS; }

/* The tunnel stands, and the WebSocket in it. */
static void begin(struct peer *p) {
  opened++;
  p->phase = OPEN;
  p->got = 0;
  if (mode != CONNECT) p->began = now();
  if (mode == BULK) say(p, "B", 1);
  if (mode == ECHO || mode == CONNECT) say(p, data, PING);
  if (speaks_websocket()) say(p, said, MASKED);
  wait_for(p, EPOLLIN);
}

static void ask(struct peer *p, const char *what, enum phase next) {
  p->phase = next;
  p->got = 0;
  memset(p->head, 0, sizeof p->head);
  say(p, what, strlen(what));
  wait_for(p, EPOLLIN);
}

static const char *next_request(void) {
  static int next;
  next = (next + 1) % request_count;
  return requests[next];
}

static void connected(struct peer *p) {
  int error = 0;
  socklen_t length = sizeof error;
  getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &error, &length);
  if (error) { fail(p); return; }
  if (speaks_websocket() && (mode == WSABS || !proxy_port)) ask(p, handshake, SHAKING);
  else if (!proxy_port) begin(p);
  else ask(p, next_request(), ASKED);
}

static void answered(struct peer *p) {
  ssize_t n = recv(p->fd, p->head + p->got, sizeof p->head - 1 - p->got, 0);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) { fail(p); return; }
  p->got += n;
  if (!strstr(p->head, "\r\n\r\n")) return;
  if (p->phase == SHAKING) {
    if (strncmp(p->head + 8, " 101", 4) || !strcasestr(p->head, ACCEPT)) fail(p);
    else begin(p);
  } else if (strncmp(p->head + 8, " 200", 4)) {
    fail(p);
  } else if (mode == WS) {
    ask(p, handshake, SHAKING);
  } else {
    begin(p);
  }
}

static void take_bulk(struct peer *p) {
  for (int turn = 0; turn < TURNS; turn++) {
    ssize_t n = recv(p->fd, NULL, sizeof sink, MSG_TRUNC); /* counts without copying */
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) { fail(p); return; }
    work += n;
  }
}

static void note_round_trip(struct peer *p) {
  note_work(p->began);
  p->got = 0;
}

static void take_echo(struct peer *p) {
  ssize_t n = recv(p->fd, sink, PING, 0);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) { fail(p); return; }
  p->got += n;
  if (p->got < PING) return;
  note_round_trip(p);
  if (mode == ECHO) {
    p->began = now();
    say(p, data, PING);
    return;
  }
  struct linger at_once = {1, 0}; /* no TIME_WAIT: ports would run out */
  setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  end(p);
  start_client();
}

static void take_message(struct peer *p) {
  ssize_t n = recv(p->fd, p->head + p->got, FRAME - p->got, 0);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) { fail(p); return; }
  p->got += n;
  if (p->got < FRAME) return;
  if (memcmp(p->head, heard, FRAME)) { fail(p); return; }
  note_round_trip(p);
  p->began = now();
  say(p, said, MASKED);
}

static void client(struct peer *p) {
  if (p->phase == CONNECTING) connected(p);
  else if (p->phase == ASKED || p->phase == SHAKING) answered(p);
  else if (mode == BULK) take_bulk(p);
  else if (mode == IDLE) fail(p); /* nobody speaks here: it is the end */
  else if (speaks_websocket()) take_message(p);
  else take_echo(p);
}

static void accept_all(struct peer *p) {
  int fd;
  for (int turn = 0; turn < 64 && (fd = accept4(p->fd, NULL, NULL, SOCK_NONBLOCK)) >= 0; turn++)
    add(tuned(fd), ORIGIN, EPOLLIN);
}

/* The origin's end of a WebSocket: says back what the message says, whatever its key. */
static void echo_message(struct peer *p) {
  unsigned char back[FRAME];
  ssize_t n = recv(p->fd, p->head + p->got, MASKED - p->got, 0);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) { end(p); return; }
  p->got += n;
  if (p->got < MASKED) return;
  p->got = 0;
  if (!answer_message((unsigned char *)p->head, back)) { end(p); return; }
  say(p, back, FRAME);
}

static void agree(struct peer *p) {
  ssize_t n = recv(p->fd, p->head + p->got, sizeof p->head - 1 - p->got, 0);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) { end(p); return; }
  p->got += n;
  if (!strstr(p->head, "\r\n\r\n")) return;
  if (!strstr(p->head, KEY)) { end(p); return; }
  p->phase = OPEN;
  p->got = 0;
  say(p, AGREE, strlen(AGREE));
}

static void origin(struct peer *p) {
  if (speaks_websocket()) {
    if (p->phase == OPEN) echo_message(p);
    else agree(p);
    return;
  }
  if (p->sends) {
    for (int turn = 0; turn < TURNS; turn++) {
      if (send(p->fd, data, sizeof data, MSG_NOSIGNAL) > 0) continue;
      if (errno != EAGAIN) end(p);
      return;
    }
    return;
  }
  ssize_t n = recv(p->fd, sink, sizeof sink, 0);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) { end(p); return; }
  if (sink[0] == 'B') {
    p->sends = 1;
    wait_for(p, EPOLLOUT);
  } else {
    say(p, sink, n);
  }
}

static void listen_as_origin(void) {
  struct sockaddr_in at = loopback(0);
  socklen_t length = sizeof at;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (bind(fd, (void *)&at, sizeof at) || listen(fd, 4096)) fatal("listen");
  getsockname(fd, (void *)&at, &length);
  origin_port = ntohs(at.sin_port);
  add(fd, LISTENER, EPOLLIN);
}

static void write_request(const char *host, const char *fields) {
  requests = realloc(requests, (request_count + 1) * sizeof *requests);
  if (!requests || asprintf(&requests[request_count++], "CONNECT %s HTTP/1.1\r\nHost: %s\r\n%s\r\n",
                            host, host, fields) < 0)
    fatal("memory");
}

static void write_requests_of(const char *file, const char *host) {
  char line[512], fields[600];
  FILE *lines = fopen(file, "r");
  if (!lines) fatal(file);
  while (fgets(line, sizeof line, lines)) {
    line[strcspn(line, "\n")] = 0;
    snprintf(fields, sizeof fields, "Proxy-Authorization: Basic %s\r\n", line);
    write_request(host, fields);
  }
  fclose(lines);
}

/* What clients say, with the origin's port and the credentials. */
static void write_requests(const char *credentials) {
  char host[64], fields[512] = "";
  snprintf(host, sizeof host, "127.0.0.1:%d", origin_port);
  if (credentials && *credentials == '@') {
    write_requests_of(credentials + 1, host);
  } else {
    if (credentials)
      snprintf(fields, sizeof fields, "Proxy-Authorization: Basic %s\r\n", credentials);
    write_request(host, fields);
  }
  if (mode == WSABS)
    snprintf(handshake, sizeof handshake, "GET http://%s/ HTTP/1.1\r\nHost: %s\r\n" ASK "%s\r\n",
             host, host, fields);
  else
    snprintf(handshake, sizeof handshake, "GET / HTTP/1.1\r\nHost: %s\r\n" ASK "\r\n", host);
}

static void turn(int timeout_ms) {
  struct epoll_event events[512];
  int n = epoll_wait(poller, events, 512, timeout_ms);
  for (int i = 0; i < n; i++) {
    struct peer *p = events[i].data.ptr;
    if (p->kind == LISTENER) accept_all(p);
    else if (p->kind == ORIGIN) origin(p);
    else if (p->kind == CLIENT) client(p);
    else waiting_for_stdin = 0;
  }
}

int main(int argc, char **argv) {
  mode = MODES;
  for (int i = 0; argc >= 5 && i < MODES; i++)
    if (!strcmp(argv[1], names[i])) mode = i;
  if (mode == MODES) {
    fputs("usage: load MODE PROXY_PORT TUNNELS SECONDS [CREDENTIALS]\n"
          "MODE is bulk, echo, connect, idle, ws or wsabs\n", stderr);
    return 2;
  }
  proxy_port = atoi(argv[2]);
  unsigned long long tunnels = still_to_start = atoi(argv[3]);
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  memset(data, 'E', sizeof data);
  poller = epoll_create1(0);
  listen_as_origin();
  write_requests(argc > 5 ? argv[5] : NULL);
  write_message();
  if (mode == IDLE) {
    add(0, STDIN, EPOLLIN);
    waiting_for_stdin = 1;
  }
  double began = now(), measured_from = 0, length = atof(argv[4]);
  unsigned long long work_before = 0;
  int told = 0;
  while (mode == IDLE ? waiting_for_stdin : !measured_from || now() < measured_from + length) {
    for (int burst = 0; still_to_start && burst < 32; burst++, still_to_start--) start_client();
    turn(still_to_start ? 1 : 50);
    if (!measured_from && now() > began + WARM_UP_S) {
      measured_from = now();
      work_before = work;
      latency_count = 0;
    }
    if (mode == IDLE && !told && opened + failed >= tunnels) {
      told = printf("opened=%llu failed=%llu\n", opened, failed);
      fflush(stdout);
    }
  }
  if (mode == IDLE) return 0;
  tell(work_before, measured_from);
  return 0;
}
