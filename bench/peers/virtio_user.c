/*
 * DPDK's own virtio driver, net_virtio_user, against a vhost-user back end.
 *
 * Compiled and driven by `cargo run -p bench --release -- virtio`. Speaks the same lines as its own
 * worker: a request "CONTENDER CASE RING AMOUNT MODE" on standard input; on standard output
 * "PACKETS NS BUSY_NS BURSTS IDLE LOST", or "none" for what it does not do. The loops have the same
 * shape as those in src/virtio/worker/loops.rs.
 *
 * usage: virtio_user CORE SOCKET huge | small
 */
#include <stdbool.h>
#include <string.h>

#include <rte_bus.h>
#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "worker.h"

enum {
    MBUFS = 4095,
    CACHE = 256,
    RING = 256,
    BURST = 32,
    FRAME = 64,
    WINDOW = 128, /* frames that go round in an echo run */
    SETTLE_MS = 20, /* for the back end to have both rings on */
    DRAIN_MS = 100,
    LONGEST_COUNT_MS = 10000, /* a counted run would not end if its frames were lost */
};

static const char device[] = "net_virtio_user0";
static struct rte_mempool *pool;
static uint16_t port;

/* What arrived in turn, and was not passed on yet. */
static struct rte_mbuf *held[BURST];
static unsigned holds;

/* Frames of a wrong length. */
static uint64_t damaged;

/* A turn; returns how many packets it moved. */
typedef unsigned turn_fn(void);

struct job {
    turn_fn *turn;
    uint64_t packets, cycles; /* limits */
};

static struct {
    uint64_t packets, cycles, busy, bursts, idle;
} tally;

static void keep_rest(unsigned gone)
{
    holds -= gone;
    if (gone > 0 && holds > 0)
        memmove(held, held + gone, holds * sizeof held[0]);
}

static unsigned transmit(void)
{
    unsigned lacking = BURST - holds;

    if (lacking > 0 && rte_pktmbuf_alloc_bulk(pool, held + holds, lacking) == 0) {
        for (unsigned i = 0; i < lacking; i++)
            held[holds + i]->data_len = held[holds + i]->pkt_len = FRAME;
        holds += lacking;
    }
    unsigned sent = rte_eth_tx_burst(port, 0, held, holds);
    keep_rest(sent);
    return sent;
}

static unsigned receive(void)
{
    struct rte_mbuf *burst[BURST];
    unsigned n = rte_eth_rx_burst(port, 0, burst, BURST);

    for (unsigned i = 0; i < n; i++)
        damaged += burst[i]->pkt_len != FRAME;
    rte_pktmbuf_free_bulk(burst, n);
    return n;
}

static unsigned echo(void)
{
    unsigned got = 0;

    if (holds == 0)
        holds = got = rte_eth_rx_burst(port, 0, held, BURST);
    if (holds > 0)
        keep_rest(rte_eth_tx_burst(port, 0, held, holds));
    return got;
}

static void loop(const struct job *job)
{
    uint64_t start = rte_rdtsc(), last = start, at;

    do {
        unsigned moved = job->turn();
        at = rte_rdtsc();
        if (moved > 0) {
            tally.busy += at - last;
            tally.packets += moved;
            tally.bursts++;
        } else {
            tally.idle++;
        }
        last = at;
    } while (tally.packets < job->packets && at - start < job->cycles);
    tally.cycles = at - start;
}

/* The frame that goes round as number `n`. */
static void fill(uint8_t *frame, unsigned n)
{
    for (unsigned i = 0; i < FRAME; i++)
        frame[i] = (uint8_t)(n + i);
}

static void seed(void)
{
    rte_delay_us_sleep(SETTLE_MS * 1000);
    for (unsigned n = 0; n < WINDOW; n++) {
        struct rte_mbuf *one = rte_pktmbuf_alloc(pool);
        if (one == NULL)
            die("pool exhausted");
        fill((uint8_t *)rte_pktmbuf_append(one, FRAME), n);
        while (rte_eth_tx_burst(port, 0, &one, 1) == 0)
            rte_pause();
    }
}

/* Takes the frames of an echo run out again; returns how many are missing or damaged. */
static uint64_t drain(void)
{
    uint8_t expected[FRAME];
    uint64_t end = now() + DRAIN_MS * 1000000ull, good = 0;
    struct rte_mbuf *burst[BURST];

    while (good < WINDOW && now() < end) {
        unsigned n = holds;
        if (n > 0)
            memcpy(burst, held, sizeof held);
        else
            n = rte_eth_rx_burst(port, 0, burst, BURST);
        holds = 0;
        for (unsigned i = 0; i < n; i++) {
            uint8_t *frame = rte_pktmbuf_mtod(burst[i], uint8_t *);
            fill(expected, frame[0]);
            good += burst[i]->pkt_len == FRAME && memcmp(frame, expected, FRAME) == 0;
        }
        rte_pktmbuf_free_bulk(burst, n);
    }
    return WINDOW - good;
}

static void check(int failed, const char *what)
{
    if (failed)
        die(what);
}

static void start(const char *arguments)
{
    struct rte_eth_conf conf = { 0 };

    check(rte_eal_hotplug_add("vdev", device, arguments), "no virtio-user device");
    check(rte_eth_dev_get_port_by_name(device, &port), "no port");
    check(rte_eth_dev_configure(port, 1, 1, &conf), "configure");
    check(rte_eth_rx_queue_setup(port, 0, RING, SOCKET_ID_ANY, NULL, pool), "receive queue");
    check(rte_eth_tx_queue_setup(port, 0, RING, SOCKET_ID_ANY, NULL), "transmit queue");
    check(rte_eth_dev_start(port), "start");
}

static void stop(void)
{
    check(rte_eth_dev_stop(port), "stop");
    rte_pktmbuf_free_bulk(held, holds);
    holds = 0;
    check(rte_eth_dev_close(port), "close");
    check(rte_eal_hotplug_remove("vdev", device), "remove");
}

/* What a contender asks of the driver; NULL if there is no such one. */
static const char *wishes(const char *contender, bool packed)
{
    if (strcmp(contender, "dpdk") == 0)
        return "";
    if (strcmp(contender, "dpdk-plain") == 0)
        return ",mrg_rxbuf=0,in_order=0";
    /* The vector paths of both rings want one buffer a frame; the packed one wants order too. */
    if (strcmp(contender, "dpdk-vector") == 0)
        return packed ? ",mrg_rxbuf=0,in_order=1,vectorized=1"
                      : ",mrg_rxbuf=0,in_order=0,vectorized=1";
    return NULL;
}

static turn_fn *turn_of(const char *name)
{
    if (strcmp(name, "tx") == 0)
        return transmit;
    if (strcmp(name, "rx") == 0)
        return receive;
    return strcmp(name, "echo") == 0 ? echo : NULL;
}

static void serve(const char *socket)
{
    char line[256], contender[32], name[32], ring[32], mode[32], arguments[512];
    unsigned long amount;

    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "%31s %31s %31s %lu %31s", contender, name, ring, &amount, mode) != 5)
            die("bad request");
        bool packed = strcmp(ring, "packed") == 0, count = strcmp(mode, "count") == 0;
        const char *extra = wishes(contender, packed);
        turn_fn *turn = turn_of(name);
        if (extra == NULL || turn == NULL) {
            puts("none");
            fflush(stdout);
            continue;
        }
        snprintf(arguments, sizeof arguments, "path=%s,queues=1,queue_size=%d,packed_vq=%d%s",
                 socket, RING, packed, extra);
        start(arguments);
        damaged = 0;
        if (turn == echo)
            seed();
        uint64_t ms = rte_get_tsc_hz() / 1000;
        struct job job = { .turn = turn, .packets = UINT64_MAX, .cycles = amount * ms };
        if (count) {
            job.packets = amount;
            job.cycles = LONGEST_COUNT_MS * ms;
        }
        struct job warm = job;
        warm.packets = count ? amount / 4 : UINT64_MAX;
        warm.cycles = count ? job.cycles : job.cycles / 4;
        memset(&tally, 0, sizeof tally);
        measured_run(loop, &warm);
        measured_dump(); /* the warm-up's profile is of no use */
        memset(&tally, 0, sizeof tally);
        uint64_t began = now();
        measured_run(loop, &job);
        uint64_t took = now() - began;
        measured_dump();
        uint64_t lost = damaged + (turn == echo ? drain() : 0);
        stop();
        double busy = (double)tally.busy * (double)took / (double)tally.cycles;
        printf("%lu %lu %.0f %lu %lu %lu\n", (unsigned long)tally.packets, (unsigned long)took,
               busy, (unsigned long)tally.bursts, (unsigned long)tally.idle,
               (unsigned long)lost);
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    if (argc != 4)
        die("usage: virtio_user CORE SOCKET huge | small");
    bool huge = strcmp(argv[3], "huge") == 0;
    char *eal[] = { argv[0], "-l", argv[1], "-m", "64", "--no-pci", "--no-telemetry",
                    "--log-level", "3", "--force-max-simd-bitwidth=512",
                    "-d", "librte_bus_vdev.so", "-d", "librte_mempool_ring.so",
                    "-d", "librte_net_virtio.so",
                    huge ? "--in-memory" : "--no-huge", "--single-file-segments" };
    int words = (int)RTE_DIM(eal) - !huge;
    if (rte_eal_init(words, eal) < 0)
        die("rte_eal_init failed");
    pool = rte_pktmbuf_pool_create("mbufs", MBUFS, CACHE, 0, RTE_MBUF_DEFAULT_BUF_SIZE,
                                   SOCKET_ID_ANY);
    if (pool == NULL)
        die("no memory for the pool");
    puts("ready");
    fflush(stdout);
    serve(argv[2]);
    return 0;
}
