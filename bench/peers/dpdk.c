/*
 * DPDK's side of the pool benchmarks: rte_pktmbuf and the bare rte_mempool.
 *
 * Compiled and driven by `cargo run -p bench --release -- pool`. Speaks the same lines as its
 * own worker: a request "CONTENDER CASE BULK MAGAZINES OBJECTS MODE" on standard input, an
 * answer on standard output: nanoseconds (mode "time"), "ok" after a profile dump (mode
 * "count", under callgrind), or "none" for what it does not do.
 *
 * usage: dpdk CORE OTHER_CORE
 */
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <rte_eal.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_ring.h>

#include "worker.h"

enum { OBJECTS = 8191, CACHE = 256, RING = 2048, HUGE_PAGE = 2 << 20, MAX_BULK = 256, STEP_BURSTS = 4 };

struct job {
    bool bare; /* rte_mempool instead of rte_pktmbuf */
    bool by_call; /* rte_pktmbuf_chain */
    struct rte_mempool *pool;
    struct rte_mempool *clones;
    unsigned bulk;
    uint64_t objects;
};

/* [with cache] */
static struct rte_mempool *packet_pool[2], *clone_pool[2], *bare_pool[2];
/* The same, packed in huge pages: see packed_pool(). */
static struct rte_mempool *packed_packets[2], *packed_clones[2];
static struct rte_ring *there, *back;
static unsigned other_core;

static void must(int failed)
{
    if (failed)
        die("pool exhausted");
}

/* ---- one core ---- */

static void packets(const struct job *job)
{
    struct rte_mbuf *burst[MAX_BULK];

    if (job->bulk == 1) {
        for (uint64_t done = 0; done < job->objects; done++) {
            struct rte_mbuf *one = rte_pktmbuf_alloc(job->pool);
            must(one == NULL);
            rte_pktmbuf_free(one);
        }
        return;
    }
    for (uint64_t done = 0; done < job->objects; done += job->bulk) {
        must(rte_pktmbuf_alloc_bulk(job->pool, burst, job->bulk));
        rte_pktmbuf_free_bulk(burst, job->bulk);
    }
}

/* Chains as a receive path of a driver links them. */
static void chains(const struct job *job)
{
    struct rte_mbuf *segments[3 * MAX_BULK], *heads[MAX_BULK];

    for (uint64_t done = 0; done < job->objects; done += job->bulk) {
        must(rte_pktmbuf_alloc_bulk(job->pool, segments, 3 * job->bulk));
        for (unsigned i = 0; i < job->bulk; i++) {
            struct rte_mbuf **part = segments + 3 * i;
            part[0]->next = part[1];
            part[1]->next = part[2];
            part[0]->nb_segs = 3;
            heads[i] = part[0];
        }
        rte_pktmbuf_free_bulk(heads, job->bulk);
    }
}

/* Chains by the library's checked call. */
static void called_chains(const struct job *job)
{
    struct rte_mbuf *segments[3 * MAX_BULK], *heads[MAX_BULK];

    for (uint64_t done = 0; done < job->objects; done += job->bulk) {
        must(rte_pktmbuf_alloc_bulk(job->pool, segments, 3 * job->bulk));
        for (unsigned i = 0; i < job->bulk; i++) {
            heads[i] = segments[3 * i];
            must(rte_pktmbuf_chain(heads[i], segments[3 * i + 1]));
            must(rte_pktmbuf_chain(heads[i], segments[3 * i + 2]));
        }
        rte_pktmbuf_free_bulk(heads, job->bulk);
    }
}

static struct rte_mbuf *sources[MAX_BULK];

static void clones(const struct job *job)
{
    struct rte_mbuf *burst[MAX_BULK];

    for (uint64_t done = 0; done < job->objects; done += job->bulk) {
        for (unsigned i = 0; i < job->bulk; i++) {
            burst[i] = rte_pktmbuf_clone(sources[i], job->clones);
            must(burst[i] == NULL);
        }
        if (job->bulk == 1)
            rte_pktmbuf_free(burst[0]);
        else
            rte_pktmbuf_free_bulk(burst, job->bulk);
    }
}

static void buffers(const struct job *job)
{
    void *burst[MAX_BULK];

    if (job->bulk == 1) {
        for (uint64_t done = 0; done < job->objects; done++) {
            must(rte_mempool_get(job->pool, &burst[0]));
            rte_mempool_put(job->pool, burst[0]);
        }
        return;
    }
    for (uint64_t done = 0; done < job->objects; done += job->bulk) {
        must(rte_mempool_get_bulk(job->pool, burst, job->bulk));
        rte_mempool_put_bulk(job->pool, burst, job->bulk);
    }
}

/* ---- two cores ---- */

static inline bool take(const struct job *job, void **burst)
{
    if (job->bare)
        return rte_mempool_get_bulk(job->pool, burst, job->bulk) == 0;
    if (job->bulk == 1)
        return (burst[0] = rte_pktmbuf_alloc(job->pool)) != NULL;
    return rte_pktmbuf_alloc_bulk(job->pool, (struct rte_mbuf **)burst, job->bulk) == 0;
}

static inline void give(const struct job *job, void **burst, unsigned n)
{
    if (job->bare)
        rte_mempool_put_bulk(job->pool, burst, n);
    else if (n == 1)
        rte_pktmbuf_free(burst[0]);
    else
        rte_pktmbuf_free_bulk((struct rte_mbuf **)burst, n);
}

static void produce(const struct job *job)
{
    void *burst[MAX_BULK];

    for (uint64_t sent = 0; sent < job->objects; sent += job->bulk) {
        while (!take(job, burst))
            rte_pause();
        for (unsigned at = 0; at < job->bulk;) {
            unsigned n = rte_ring_sp_enqueue_burst(there, burst + at, job->bulk - at, NULL);
            if (n == 0)
                rte_pause();
            at += n;
        }
    }
}

static void consume(const struct job *job)
{
    void *burst[MAX_BULK];

    for (uint64_t got = 0; got < job->objects;) {
        unsigned n = rte_ring_sc_dequeue_burst(there, burst, job->bulk, NULL);
        if (n == 0) {
            rte_pause();
            continue;
        }
        give(job, burst, n);
        got += n;
    }
}

static inline void exchange(const struct job *job, struct rte_ring *out, struct rte_ring *in)
{
    void *burst[MAX_BULK], *arrived[MAX_BULK];
    uint64_t sent = 0, got = 0;
    unsigned at = job->bulk; /* none pending */

    while (sent < job->objects || got < job->objects) {
        if (at == job->bulk && sent < job->objects && take(job, burst))
            at = 0;
        if (at < job->bulk) {
            unsigned n = rte_ring_sp_enqueue_burst(out, burst + at, job->bulk - at, NULL);
            at += n;
            sent += n;
        }
        unsigned n = rte_ring_sc_dequeue_burst(in, arrived, job->bulk, NULL);
        if (n == 0) {
            rte_pause();
            continue;
        }
        give(job, arrived, n);
        got += n;
    }
}

static void exchange_here(const struct job *job)
{
    exchange(job, there, back);
}

static void exchange_there(const struct job *job)
{
    exchange(job, back, there);
}

/* A step of an exchange, for counting: all of one's own, then all that arrived. */
static inline void step(const struct job *job, struct rte_ring *out, struct rte_ring *in)
{
    void *burst[MAX_BULK];
    unsigned n;

    for (uint64_t sent = 0; sent < job->objects; sent += job->bulk) {
        must(!take(job, burst));
        must(rte_ring_sp_enqueue_burst(out, burst, job->bulk, NULL) != job->bulk);
    }
    while ((n = rte_ring_sc_dequeue_burst(in, burst, job->bulk, NULL)) != 0)
        give(job, burst, n);
}

static void step_here(const struct job *job)
{
    step(job, there, back);
}

static void step_there(const struct job *job)
{
    step(job, back, there);
}

static struct {
    const struct job *job;
    work_fn *work;
    bool steps;
    uint64_t rounds;
    atomic_uint ready, done, turn;
} remote;

static int remote_main(void *unused)
{
    (void)unused;
    atomic_fetch_add(&remote.ready, 1);
    while (atomic_load(&remote.ready) != 2)
        sched_yield();
    if (!remote.steps) {
        remote.work(remote.job);
    } else {
        for (uint64_t i = 0; i < remote.rounds; i++) {
            while (atomic_load(&remote.turn) != 1)
                sched_yield();
            measured_run(remote.work, remote.job);
            atomic_store(&remote.turn, 0);
        }
    }
    atomic_store(&remote.done, 1);
    return 0;
}

/* Runs `here` and `far` on two cores at once; with `steps`, in turns of a few bursts. */
static uint64_t two_cores(work_fn *here, work_fn *far, const struct job *job, bool steps)
{
    struct job piece = *job;
    uint64_t rounds = 1;

    if (steps) {
        piece.objects = STEP_BURSTS * job->bulk;
        rounds = job->objects / piece.objects;
    }
    remote.job = &piece;
    remote.work = far;
    remote.steps = steps;
    remote.rounds = rounds;
    atomic_store(&remote.ready, 0);
    atomic_store(&remote.done, 0);
    atomic_store(&remote.turn, 0);
    must(rte_eal_remote_launch(remote_main, NULL, other_core));
    atomic_fetch_add(&remote.ready, 1);
    while (atomic_load(&remote.ready) != 2)
        sched_yield();
    uint64_t start = now();
    if (!steps) {
        here(&piece);
    } else {
        for (uint64_t i = 0; i < rounds; i++) {
            while (atomic_load(&remote.turn) != 0)
                sched_yield();
            measured_run(here, &piece);
            atomic_store(&remote.turn, 1);
        }
    }
    while (!atomic_load(&remote.done))
        rte_pause();
    uint64_t took = now() - start;
    rte_eal_wait_lcore(other_core);
    /* What the last step sent and nobody took. */
    void *left;
    while (rte_ring_sc_dequeue(there, &left) == 0)
        give(&(struct job){.bare = job->bare, .pool = job->pool}, &left, 1);
    while (rte_ring_sc_dequeue(back, &left) == 0)
        give(&(struct job){.bare = job->bare, .pool = job->pool}, &left, 1);
    return took;
}

static uint64_t one_core(work_fn *work, const struct job *job, bool count)
{
    uint64_t start = now();
    if (count)
        measured_run(work, job);
    else
        work(job);
    return now() - start;
}

/* ---- requests ---- */

static bool run(const char *name, const struct job *job, bool count, uint64_t *took)
{
    bool is_packet = !job->bare;

    if (strcmp(name, "oneway") == 0) {
        *took = two_cores(produce, consume, job, count);
    } else if (strcmp(name, "bothways") == 0) {
        work_fn *here = count ? step_here : exchange_here;
        work_fn *far = count ? step_there : exchange_there;
        *took = two_cores(here, far, job, count);
    } else if (strcmp(name, "buffer") == 0 && !is_packet) {
        *took = one_core(buffers, job, count);
    } else if (strcmp(name, "alloc") == 0 && is_packet) {
        *took = one_core(packets, job, count);
    } else if (strcmp(name, "chain") == 0 && is_packet) {
        *took = one_core(job->by_call ? called_chains : chains, job, count);
    } else if (strcmp(name, "clone") == 0 && is_packet) {
        must(rte_pktmbuf_alloc_bulk(job->pool, sources, job->bulk));
        *took = one_core(clones, job, count);
        rte_pktmbuf_free_bulk(sources, job->bulk);
    } else {
        return false;
    }
    return true;
}

static void serve(void)
{
    char contender[32], name[32], mode[32], line[256];
    unsigned bulk, cached;
    unsigned long objects;

    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "%31s %31s %u %u %lu %31s", contender, name, &bulk, &cached, &objects,
                   mode) != 6 || bulk == 0 || bulk > MAX_BULK || cached > 1)
            die("bad request");
        bool bare = strcmp(contender, "mempool") == 0;
        bool small_pages = strcmp(contender, "pktmbuf-4k") == 0;
        struct rte_mempool **packets_of = small_pages ? packet_pool : packed_packets;
        struct rte_mempool **clones_of = small_pages ? clone_pool : packed_clones;
        struct job job = {
            .bare = bare,
            .by_call = strcmp(contender, "chain-call") == 0,
            .pool = bare ? bare_pool[cached] : packets_of[cached],
            .clones = clones_of[cached],
            .bulk = bulk,
            .objects = objects,
        };
        bool count = strcmp(mode, "count") == 0;
        uint64_t took = 0;
        struct job warm = job;
        if (!count)
            warm.objects = RTE_MAX((uint64_t)STEP_BURSTS, objects / bulk / 4) * bulk;
        if (!run(name, &warm, count, &took)) {
            puts("none");
        } else if (count) {
            measured_dump(); /* the warm-up's profile is of no use */
            run(name, &job, true, &took);
            measured_dump();
            puts("ok");
        } else {
            run(name, &job, false, &took);
            printf("%lu\n", (unsigned long)took);
        }
        fflush(stdout);
    }
}

/* A packet pool as on a machine with huge pages. With --no-huge, rte_pktmbuf_pool_create() lets no
 * object cross a page of 4 KiB: each starts one, and all headers fall into the same few sets of
 * the first-level cache. Packed, in transparent huge pages, most cases are much faster. */
static struct rte_mempool *packed_pool(const char *name, unsigned cache, unsigned data_room)
{
    unsigned element = sizeof(struct rte_mbuf) + data_room;
    size_t room = (size_t)OBJECTS * (element + 512) + 2 * HUGE_PAGE;
    struct rte_pktmbuf_pool_private private = { .mbuf_data_room_size = data_room };
    struct rte_mempool *pool = rte_mempool_create_empty(
        name, OBJECTS, element, cache, sizeof private, SOCKET_ID_ANY, RTE_MEMPOOL_F_NO_IOVA_CONTIG);
    char *memory = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (pool == NULL || memory == MAP_FAILED)
        die("no memory for a pool");
    madvise(memory, room, MADV_HUGEPAGE);
    if (rte_mempool_set_ops_byname(pool, "ring_mp_mc", NULL) != 0)
        die("no ring_mp_mc");
    rte_pktmbuf_pool_init(pool, &private);
    memory = RTE_PTR_ALIGN_CEIL(memory, HUGE_PAGE);
    if (rte_mempool_populate_virt(pool, memory, room - HUGE_PAGE, HUGE_PAGE, NULL, NULL) < 0 ||
        pool->populated_size != OBJECTS)
        die("a pool cannot be filled");
    rte_mempool_obj_iter(pool, rte_pktmbuf_init, NULL);
    return pool;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        die("usage: dpdk CORE OTHER_CORE");
    char cores[64];
    snprintf(cores, sizeof cores, "%s,%s", argv[1], argv[2]);
    char *eal[] = { argv[0], "--no-huge", "--no-pci", "-m", "256", "--no-telemetry",
                    "--no-shconf", "--log-level", "3", "-d", "librte_mempool_ring.so",
                    "-l", cores, "--main-lcore", argv[1] };
    if (rte_eal_init((int)RTE_DIM(eal), eal) < 0)
        die("rte_eal_init failed");
    other_core = (unsigned)atoi(argv[2]);
    for (unsigned cached = 0; cached < 2; cached++) {
        unsigned cache = cached ? CACHE : 0;
        char name[32];
        snprintf(name, sizeof name, "packets%u", cached);
        packet_pool[cached] = rte_pktmbuf_pool_create(name, OBJECTS, cache, 0,
                                                      RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
        snprintf(name, sizeof name, "clones%u", cached);
        clone_pool[cached] = rte_pktmbuf_pool_create(name, OBJECTS, cache, 0, 0, SOCKET_ID_ANY);
        snprintf(name, sizeof name, "bare%u", cached);
        bare_pool[cached] = rte_mempool_create(name, OBJECTS, 2048, cache, 0, NULL, NULL, NULL,
                                               NULL, SOCKET_ID_ANY, 0);
        if (!packet_pool[cached] || !clone_pool[cached] || !bare_pool[cached])
            die("no memory for the pools");
        snprintf(name, sizeof name, "packed packets%u", cached);
        packed_packets[cached] = packed_pool(name, cache, RTE_MBUF_DEFAULT_BUF_SIZE);
        snprintf(name, sizeof name, "packed clones%u", cached);
        packed_clones[cached] = packed_pool(name, cache, 0);
    }
    there = rte_ring_create("there", RING, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
    back = rte_ring_create("back", RING, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
    if (!there || !back)
        die("no memory for the rings");
    puts("ready");
    fflush(stdout);
    serve();
    return 0;
}
