/*
 * The server of the Linux guest: what the image serves, on the same ports and in the same manner, as a
 * well-made small Linux program does it. One thread, level-triggered epoll, batched datagrams. It is
 * linked statically, started by the guest's init script, and never ends.
 *
 *   7 UDP, TCP   echo            9 UDP, TCP   discard           80 TCP   HTTP: one page, then close
 *   19 TCP       characters until the peer closes
 *   19 UDP       "<n> <size>": n datagrams of that size        11 UDP    counters, one line
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 64, DATAGRAM = 2048, CHUNK = 64 * 1024, EVENTS = 256, HEAD = 2048, REQUESTS = 8, PAGE = 1784 };

/* A socket and what to do when something happened on it. */
struct end {
    int fd;
    void (*ready)(struct end *, uint32_t events);
    /* TCP echo: bytes that the peer has not taken yet. HTTP: the head so far. */
    size_t held;
    char *buffer;
};

struct request {
    struct sockaddr_in to;
    unsigned left;
    size_t size;
};

static int epoll;
static uint64_t udp_received, tcp_received;
static char chunk[CHUNK], pattern[CHUNK], page[PAGE + 256];
static size_t page_length;

static char data[BATCH][DATAGRAM];
static struct sockaddr_in names[BATCH];
static struct iovec vectors[BATCH];
static struct mmsghdr messages[BATCH];

static struct request requests[REQUESTS];
static unsigned request_count;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static struct end *watch(int fd, uint32_t events, void (*ready)(struct end *, uint32_t)) {
    struct end *end = calloc(1, sizeof *end);
    if (!end)
        fail("calloc");
    end->fd = fd;
    end->ready = ready;
    struct epoll_event event = {.events = events, .data.ptr = end};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
        fail("epoll_ctl");
    return end;
}

static void want(struct end *end, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = end};
    epoll_ctl(epoll, EPOLL_CTL_MOD, end->fd, &event);
}

static void finish(struct end *end) {
    close(end->fd); /* which takes it out of the epoll set */
    free(end->buffer);
    free(end);
}

/* ---- UDP ------------------------------------------------------------------------------------- */

static int receive(int fd) {
    for (int i = 0; i < BATCH; i++) {
        vectors[i] = (struct iovec){data[i], DATAGRAM};
        messages[i].msg_hdr = (struct msghdr){.msg_name = &names[i],
                                              .msg_namelen = sizeof names[i],
                                              .msg_iov = &vectors[i],
                                              .msg_iovlen = 1};
    }
    return recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL);
}

static void udp_echo(struct end *end, uint32_t events) {
    (void)events;
    int count = receive(end->fd);
    for (int i = 0; i < count; i++)
        vectors[i].iov_len = messages[i].msg_len;
    for (int sent = 0; sent < count;) {
        int more = sendmmsg(end->fd, messages + sent, count - sent, 0);
        sent += more > 0 ? more : 1;
    }
}

static void udp_discard(struct end *end, uint32_t events) {
    (void)events;
    int count = receive(end->fd);
    if (count > 0)
        udp_received += count;
}

static void udp_stats(struct end *end, uint32_t events) {
    (void)events;
    struct sockaddr_in from;
    socklen_t length = sizeof from;
    char line[128];
    if (recvfrom(end->fd, line, sizeof line, MSG_DONTWAIT, (struct sockaddr *)&from, &length) < 0)
        return;
    int size = snprintf(line, sizeof line, "udp_rx=%llu tcp_discarded_bytes=%llu\n",
                        (unsigned long long)udp_received, (unsigned long long)tcp_received);
    sendto(end->fd, line, size, 0, (struct sockaddr *)&from, length);
}

static void blast(struct end *end) {
    struct request *first = &requests[0];
    unsigned count = first->left < BATCH ? first->left : BATCH;
    for (unsigned i = 0; i < count; i++) {
        vectors[i] = (struct iovec){pattern, first->size};
        messages[i].msg_hdr = (struct msghdr){.msg_name = &first->to,
                                              .msg_namelen = sizeof first->to,
                                              .msg_iov = &vectors[i],
                                              .msg_iovlen = 1};
    }
    int sent = sendmmsg(end->fd, messages, count, MSG_DONTWAIT);
    if (sent > 0)
        first->left -= sent;
    if (first->left == 0)
        memmove(first, first + 1, --request_count * sizeof *first);
}

static void udp_chargen(struct end *end, uint32_t events) {
    char text[64];
    struct sockaddr_in from;
    socklen_t length = sizeof from;
    if (events & EPOLLIN) {
        ssize_t size = recvfrom(end->fd, text, sizeof text - 1, MSG_DONTWAIT, (struct sockaddr *)&from, &length);
        unsigned left, each;
        text[size > 0 ? size : 0] = 0;
        if (request_count < REQUESTS && sscanf(text, "%u %u", &left, &each) == 2 && left && each <= 1472)
            requests[request_count++] = (struct request){from, left, each};
    }
    if (request_count && (events & EPOLLOUT))
        blast(end);
    want(end, request_count ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

/* ---- TCP ------------------------------------------------------------------------------------- */

static int gone(ssize_t result) { return result == 0 || (result < 0 && errno != EAGAIN); }

static void tcp_echo(struct end *end, uint32_t events) {
    (void)events;
    if (!end->held) {
        ssize_t size = read(end->fd, chunk, sizeof chunk);
        if (gone(size)) {
            finish(end);
            return;
        }
        if (size < 0)
            return;
        ssize_t sent = write(end->fd, chunk, size);
        if (sent == size)
            return;
        if (gone(sent) || !(end->buffer = malloc(sizeof chunk))) {
            finish(end);
            return;
        }
        sent = sent < 0 ? 0 : sent;
        end->held = size - sent;
        memcpy(end->buffer, chunk + sent, end->held);
        want(end, EPOLLOUT);
        return;
    }
    ssize_t sent = write(end->fd, end->buffer, end->held);
    if (gone(sent)) {
        finish(end);
        return;
    }
    if (sent < 0)
        return;
    end->held -= sent;
    memmove(end->buffer, end->buffer + sent, end->held);
    if (!end->held) {
        free(end->buffer);
        end->buffer = NULL;
        want(end, EPOLLIN);
    }
}

static void tcp_discard(struct end *end, uint32_t events) {
    (void)events;
    ssize_t size = read(end->fd, chunk, sizeof chunk);
    if (gone(size))
        finish(end);
    else if (size > 0)
        tcp_received += size;
}

static void tcp_chargen(struct end *end, uint32_t events) {
    if ((events & EPOLLIN) && gone(read(end->fd, chunk, sizeof chunk))) {
        finish(end);
        return;
    }
    if ((events & EPOLLOUT) && gone(write(end->fd, pattern, sizeof pattern)))
        finish(end);
}

static void http(struct end *end, uint32_t events) {
    (void)events;
    if (!end->buffer && !(end->buffer = malloc(HEAD))) {
        finish(end);
        return;
    }
    ssize_t size = read(end->fd, end->buffer + end->held, HEAD - end->held);
    if (gone(size)) {
        finish(end);
        return;
    }
    if (size < 0)
        return;
    end->held += size;
    int whole = memmem(end->buffer, end->held, "\r\n\r\n", 4) != NULL;
    /* The page fits an empty send buffer: one call takes all of it. */
    if (whole && write(end->fd, page, page_length) < 0 && errno != EPIPE && errno != ECONNRESET)
        perror("http");
    if (whole || end->held == HEAD)
        finish(end);
}

static void take(int listener, uint32_t events, void (*ready)(struct end *, uint32_t)) {
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        watch(fd, events, ready);
    }
}

static void accept_echo(struct end *end, uint32_t events) { (void)events, take(end->fd, EPOLLIN, tcp_echo); }
static void accept_discard(struct end *end, uint32_t events) { (void)events, take(end->fd, EPOLLIN, tcp_discard); }
static void accept_chargen(struct end *end, uint32_t events) {
    (void)events, take(end->fd, EPOLLIN | EPOLLOUT, tcp_chargen);
}
static void accept_http(struct end *end, uint32_t events) { (void)events, take(end->fd, EPOLLIN, http); }

/* ---------------------------------------------------------------------------------------------- */

static void serve(int kind, int port, void (*ready)(struct end *, uint32_t)) {
    int fd = socket(AF_INET, kind | SOCK_NONBLOCK, 0), on = 1;
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) ||
        bind(fd, (struct sockaddr *)&any, sizeof any) || (kind == SOCK_STREAM && listen(fd, 1024)))
        fail("serve");
    watch(fd, EPOLLIN, ready);
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < sizeof pattern; i++)
        pattern[i] = ' ' + i % 95;
    page_length = sprintf(page,
                          "HTTP/1.1 200 OK\r\nServer: Linux\r\nContent-Type: text/html; charset=utf-8\r\n"
                          "Content-Length: %d\r\nConnection: close\r\n\r\n",
                          PAGE);
    memcpy(page + page_length, pattern, PAGE);
    page_length += PAGE;

    epoll = epoll_create1(0);
    if (epoll < 0)
        fail("epoll_create1");
    serve(SOCK_DGRAM, 7, udp_echo);
    serve(SOCK_DGRAM, 9, udp_discard);
    serve(SOCK_DGRAM, 11, udp_stats);
    serve(SOCK_DGRAM, 19, udp_chargen);
    serve(SOCK_STREAM, 7, accept_echo);
    serve(SOCK_STREAM, 9, accept_discard);
    serve(SOCK_STREAM, 19, accept_chargen);
    serve(SOCK_STREAM, 80, accept_http);
    puts("linux guest: ready");
    fflush(stdout);
    for (;;) {
        static struct epoll_event events[EVENTS];
        int count = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            struct end *end = events[i].data.ptr;
            end->ready(end, events[i].events);
        }
    }
}
