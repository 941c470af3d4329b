/*
 * What the C workers share: what callgrind is told to look at, the clock, and the way out.
 * Each defines `struct job` as it likes.
 */
#ifndef WORKER_H
#define WORKER_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct job;
typedef void work_fn(const struct job *);

/* What callgrind counts, and where it writes a profile of what it counted since the last one. The
 * barriers keep the calls from becoming jumps. */
__attribute__((noinline)) static void measured_run(work_fn *work, const struct job *job)
{
    work(job);
    __asm__ volatile("" ::: "memory");
}

__attribute__((noinline)) static void measured_dump(void)
{
    __asm__ volatile("" ::: "memory");
}

static void die(const char *what)
{
    fprintf(stderr, "dpdk: %s\n", what);
    exit(1);
}

/* Nanoseconds on a clock that never jumps. */
static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

#endif
