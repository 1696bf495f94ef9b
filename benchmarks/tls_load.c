/* Load for a forward proxy that looks into TLS: clients and their origin in one epoll loop.
 *
 * usage: tls_load MODE PROXY_PORT TUNNELS SECONDS CERTIFICATES
 *
 *   wss    64 octets there and back as WebSocket messages, again and again, over TLS in
 *          every tunnel
 *   new    TUNNELS at a time: connect, CONNECT, handshake, one small page, close, next
 *   first  one at a time, each name once: from the 200 for the CONNECT to the end of the
 *          client's handshake
 *   again  the same names a second time; only that is measured
 *
 * PROXY_PORT 0 leaves the proxy out: what this program can do by itself.
 * CERTIFICATES is a PEM file of pairs, a key and its certificate each: the first is of
 * 127.0.0.1, where the origin of wss and new is, and the others are of 127.0.1.1 and so
 * on: names that need no DNS.  The origin shows each address its own: proxies keep what
 * they made for a certificate, too.
 *
 * Nobody here resumes a session or verifies the other; who must verify is the proxy.  A
 * connection costs this program a client's and a server's half of a handshake, the same
 * as a proxy that looks into it: `new` cannot leave a proxy in C far behind.
 * A line "measuring" says that warm-up and the handshakes of wss are over; nothing before
 * it counts.  The last line is that of load.c; first and again take as long as they take,
 * a quarter of a minute at most.  A page or a message that is not what was said is a
 * failure, and so is the origin's own certificate: then nobody has looked into it.
 */
#define _GNU_SOURCE
#include "measure.h"
#include "websocket.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST_NAMES 255
#define PATIENCE_S 15

enum role { LISTENER, ORIGIN, CLIENT };
enum phase { CONNECTING, ASKED, HANDSHAKE, HEAD, OPEN };

/* One end of a connection; edge-triggered, so every step goes on until nothing is left. */
struct peer {
  enum role role;
  enum phase phase;
  int fd, name;
  SSL *ssl;
  size_t got; /* octets of the head, the page or the frame */
  double began;
  char head[2048];
};

static const char *const modes[] = {"wss", "new", "first", "again"};
static enum { WSS, NEW, FIRST, AGAIN, MODES } mode;
static int poller, proxy_port, origin_port, names, next_name, passes_left;
static SSL_CTX *client_side, *origin_sides[MOST_NAMES];
static const unsigned char ALPN[] = "\x08http/1.1";

#define SHAKE "GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" ASK "\r\n"
#define GET "GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n"
#define BODY "a small page\n"
#define PAGE "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\n" BODY

static int counts_names(void) { return mode == FIRST || mode == AGAIN; }

static void fatal_tls(const char *what) {
  fprintf(stderr, "%s: ", what);
  ERR_print_errors_fp(stderr);
  exit(1);
}

static struct sockaddr_in address(int name, int port) {
  unsigned ip = name ? 0x7f000100u + name : INADDR_LOOPBACK;
  return (struct sockaddr_in){
      .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(ip)};
}

static struct peer *add(int fd, enum role role, int name) {
  int one = 1;
  struct peer *p = calloc(1, sizeof *p);
  if (!p) fatal("calloc");
  p->role = role;
  p->fd = fd;
  p->name = name;
  if (role != LISTENER) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = p};
  if (role == LISTENER) event.events = EPOLLIN;
  if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) fatal("epoll_ctl");
  return p;
}

static void start_client(void) {
  if (counts_names() && next_name == names - 1) {
    next_name = 0;
    if (--passes_left) latency_count = 0; /* only the last pass is measured */
  }
  if (!passes_left) return;
  int name = counts_names() ? ++next_name : 0;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (fd < 0) fatal("socket");
  struct sockaddr_in to = proxy_port ? address(0, proxy_port) : address(name, origin_port);
  double began = now();
  if (connect(fd, (void *)&to, sizeof to) && errno != EINPROGRESS) fatal("connect");
  add(fd, CLIENT, name)->began = began;
}

static void end(struct peer *p) {
  if (p->phase > HANDSHAKE) SSL_shutdown(p->ssl); /* says so; does not wait for the other */
  SSL_free(p->ssl);
  close(p->fd);
  int next = p->role == CLIENT && mode != WSS;
  free(p);
  if (next) start_client();
}

static void fail(struct peer *p) {
  if (p->role == CLIENT && !failed++)
    fprintf(stderr, "a client failed in phase %d: %.200s\n", p->phase, p->head);
  if (p->phase > HANDSHAKE) p->phase = HANDSHAKE; /* nothing to say goodbye to */
  end(p);
}

/* Whether to go on; what cannot be said at once is a failure, for it is little. */
static int say(struct peer *p, const void *octets, int length) {
  if (SSL_write(p->ssl, octets, length) == length) return 1;
  fail(p);
  return 0;
}

/* Octets read; 0 for nothing more just now, and -1 when it was the end of the peer. */
static int hear(struct peer *p, size_t most) {
  int n = SSL_read(p->ssl, p->head + p->got, most - p->got);
  p->got += n > 0 ? n : 0;
  if (n > 0) return n;
  int why = SSL_get_error(p->ssl, n);
  if (why == SSL_ERROR_WANT_READ) return 0;
  if (p->role == ORIGIN && why == SSL_ERROR_ZERO_RETURN) end(p);
  else fail(p);
  return -1;
}

static void expect(struct peer *p, enum phase phase) {
  p->phase = phase;
  p->got = 0;
  memset(p->head, 0, sizeof p->head);
}

static void secure(struct peer *p) {
  p->ssl = SSL_new(p->role == CLIENT ? client_side : origin_sides[p->name]);
  if (!p->ssl || !SSL_set_fd(p->ssl, p->fd)) fatal_tls("SSL_new");
  if (p->role == CLIENT) SSL_set_connect_state(p->ssl);
  else SSL_set_accept_state(p->ssl);
  expect(p, HANDSHAKE);
}

/* Each of these makes one step: 1 when there may be more to do, 0 when not, or no more peer. */
static int connected(struct peer *p) {
  char ask[256], host[32];
  int error = 0;
  socklen_t length = sizeof error;
  getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &error, &length);
  if (error) {
    fail(p);
    return 0;
  }
  if (!proxy_port) {
    if (counts_names()) p->began = now();
    secure(p);
    return 1;
  }
  struct sockaddr_in to = address(p->name, origin_port);
  inet_ntop(AF_INET, &to.sin_addr, host, sizeof host);
  int n = snprintf(ask, sizeof ask, "CONNECT %s:%d HTTP/1.1\r\nHost: %s:%d\r\n\r\n", host,
                   origin_port, host, origin_port);
  expect(p, ASKED);
  if (send(p->fd, ask, n, MSG_NOSIGNAL) == n) return 1;
  fail(p);
  return 0;
}

static int answered(struct peer *p) {
  ssize_t n = recv(p->fd, p->head + p->got, sizeof p->head - 1 - p->got, 0);
  if (n < 0 && errno == EAGAIN) return 0;
  if (n > 0) p->got += n;
  int whole = strstr(p->head, "\r\n\r\n") != NULL;
  if (n <= 0 || (whole && strncmp(p->head + 8, " 200", 4))) {
    fail(p);
    return 0;
  }
  if (!whole) return 1;
  if (counts_names()) p->began = now();
  secure(p);
  return 1;
}

/* Whether a client sees the origin's own certificate although a proxy should show its. */
static int sees_through(struct peer *p) {
  const ASN1_BIT_STRING *signature, *own;
  X509_get0_signature(&signature, NULL, SSL_get0_peer_certificate(p->ssl));
  X509_get0_signature(&own, NULL, SSL_CTX_get0_certificate(origin_sides[p->name]));
  if (!proxy_port || ASN1_STRING_cmp(signature, own)) return 0;
  strcpy(p->head, "the certificate is the origin's");
  return 1;
}

static int shaken(struct peer *p) {
  char request[256];
  int done = SSL_do_handshake(p->ssl);
  if (done != 1 || (p->role == CLIENT && sees_through(p))) {
    if (done == 1 || SSL_get_error(p->ssl, done) != SSL_ERROR_WANT_READ) fail(p);
    return 0;
  }
  expect(p, HEAD);
  if (p->role == ORIGIN) return 1;
  opened++;
  if (counts_names()) {
    note_work(p->began);
    end(p);
    return 0;
  }
  return say(p, request, snprintf(request, sizeof request, mode == WSS ? SHAKE : GET, origin_port));
}

static int take_head(struct peer *p) {
  int n = hear(p, sizeof p->head - 1);
  if (n <= 0) return 0;
  char *tail = strstr(p->head, "\r\n\r\n");
  if (!tail) return 1;
  if (p->role == ORIGIN) {
    expect(p, mode == WSS ? OPEN : HEAD);
    return mode == WSS ? say(p, AGREE, strlen(AGREE)) : say(p, PAGE, strlen(PAGE));
  }
  if (mode == WSS && !strncmp(p->head + 8, " 101", 4) && strcasestr(p->head, ACCEPT)) {
    expect(p, OPEN);
    p->began = now();
    return say(p, said, MASKED);
  }
  if (mode == NEW && !strncmp(p->head + 8, " 200", 4) && strlen(tail + 4) < strlen(BODY)) return 1;
  if (mode == NEW && !strncmp(p->head + 8, " 200", 4) && !strcmp(tail + 4, BODY)) {
    note_work(p->began);
    end(p);
  } else {
    fail(p);
  }
  return 0;
}

static int take_message(struct peer *p) {
  size_t most = p->role == CLIENT ? FRAME : MASKED;
  int n = hear(p, most);
  if (n <= 0 || p->got < most) return n > 0;
  p->got = 0;
  unsigned char *frame = (unsigned char *)p->head, back[FRAME];
  if (p->role == CLIENT) {
    if (!memcmp(frame, heard, FRAME)) {
      note_work(p->began);
      p->began = now();
      return say(p, said, MASKED);
    }
  } else if (answer_message(frame, back)) {
    return say(p, back, FRAME);
  }
  fail(p);
  return 0;
}

static int step(struct peer *p) {
  ERR_clear_error();
  switch (p->phase) {
    case CONNECTING: return connected(p);
    case ASKED: return answered(p);
    case HANDSHAKE: return shaken(p);
    case HEAD: return take_head(p);
    default: return take_message(p);
  }
}

static void accept_all(struct peer *listener) {
  int fd;
  for (int turn = 0; turn < 64 && (fd = accept4(listener->fd, 0, 0, SOCK_NONBLOCK)) >= 0; turn++)
    secure(add(fd, ORIGIN, listener->name));
}

static void listen_as_origin(int name) {
  struct sockaddr_in at = address(name, origin_port);
  socklen_t length = sizeof at;
  int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, (void *)&at, sizeof at) || listen(fd, 4096)) fatal("listen");
  getsockname(fd, (void *)&at, &length);
  origin_port = ntohs(at.sin_port);
  add(fd, LISTENER, name);
}

static int choose_protocol(SSL *ssl, const unsigned char **chosen, unsigned char *length,
                           const unsigned char *offered, unsigned offered_length, void *unused) {
  (void)ssl, (void)unused;
  unsigned char *found;
  int done = SSL_select_next_proto(&found, length, ALPN, sizeof ALPN - 1, offered, offered_length);
  *chosen = found;
  return done == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* Without this OpenSSL verifies all the same, and only ignores the outcome. */
static int believe(X509_STORE_CTX *chain, void *unused) {
  (void)chain, (void)unused;
  return 1;
}

static SSL_CTX *side(const SSL_METHOD *method) {
  SSL_CTX *context = SSL_CTX_new(method);
  if (!context) fatal_tls("SSL_CTX_new");
  SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
  SSL_CTX_set_cert_verify_callback(context, believe, NULL);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
  SSL_CTX_set_num_tickets(context, 0);
  SSL_CTX_set_mode(context, SSL_MODE_NO_AUTO_CHAIN); /* there is none to look for each time */
  SSL_CTX_set_read_ahead(context, 1);
  SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256");
  SSL_CTX_set1_groups_list(context, "X25519:P-256");
  return context;
}

static SSL_CTX *origin_side(EVP_PKEY *key, X509 *certificate) {
  SSL_CTX *context = side(TLS_server_method());
  SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
  if (!SSL_CTX_use_certificate(context, certificate) || !SSL_CTX_use_PrivateKey(context, key))
    fatal_tls("a certificate of the origin");
  return context;
}

static void set_up_tls(const char *path) {
  EVP_PKEY *key;
  X509 *certificate;
  FILE *file = fopen(path, "r");
  if (!file) fatal(path);
  while (names < (counts_names() ? MOST_NAMES : 1) &&
         (key = PEM_read_PrivateKey(file, NULL, NULL, NULL)) &&
         (certificate = PEM_read_X509(file, NULL, NULL, NULL)))
    origin_sides[names++] = origin_side(key, certificate);
  fclose(file);
  if (names < (counts_names() ? 2 : 1)) fatal_tls(path);
  ERR_clear_error(); /* that of the end of the file */
  client_side = side(TLS_client_method());
  SSL_CTX_set_alpn_protos(client_side, ALPN, sizeof ALPN - 1);
}

static void turn(int timeout_ms) {
  struct epoll_event events[512];
  int n = epoll_wait(poller, events, 512, timeout_ms);
  for (int i = 0; i < n; i++) {
    struct peer *p = events[i].data.ptr;
    if (p->role == LISTENER) accept_all(p);
    else while (step(p)) {}
  }
}

static double begin_measuring(void) {
  work = latency_count = 0;
  puts("measuring");
  fflush(stdout);
  return now();
}

static void measure(int tunnels, double length) {
  double began = now(), from = counts_names() ? begin_measuring() : 0;
  for (int i = 0; i < tunnels; i++) start_client();
  while (now() < began + length + PATIENCE_S) {
    turn(50);
    if (counts_names() ? !passes_left : from && now() >= from + length) break;
    if (from || now() < began + WARM_UP_S) continue;
    if (mode == NEW || opened + failed >= (unsigned)tunnels) from = begin_measuring();
  }
  tell(0, from ? from : begin_measuring());
}

int main(int argc, char **argv) {
  mode = MODES;
  for (int i = 0; argc == 6 && i < MODES; i++)
    if (!strcmp(argv[1], modes[i])) mode = i;
  if (mode == MODES) {
    fputs("usage: tls_load MODE PROXY_PORT TUNNELS SECONDS CERTIFICATES\n"
          "MODE is wss, new, first or again\n", stderr);
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  proxy_port = atoi(argv[2]);
  passes_left = mode == AGAIN ? 2 : 1;
  poller = epoll_create1(0);
  set_up_tls(argv[5]);
  write_message();
  for (int name = 0; name < names; name++) listen_as_origin(name);
  measure(counts_names() ? 1 : atoi(argv[3]), atof(argv[4]));
  return 0;
}
